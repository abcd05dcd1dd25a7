"""What a registry's directory holds, counted by file sizes and unpacked layers alone: the oracle of `rechunk report`.

sums.py DIR [--files] [--deleted PATTERN]... [--holds PATTERN]...: JSON with the figures of a report, under names in the place of
its indexes. DIR is a directory of CNCF distribution. With --files every layer is unpacked. Tags are ordered by creation; images are
of one platform, and no layer is shared by repositories in which its tar is compressed in another way.
"""
import argparse
import collections
import fnmatch
import json
import os

from unpack import unpack_all

parser = argparse.ArgumentParser()
parser.add_argument('directory')
parser.add_argument('--files', action='store_true')
parser.add_argument('--deleted', action='append')
parser.add_argument('--holds', action='append')
asked = parser.parse_args()
root = os.path.join(asked.directory, 'docker/registry/v2')


def path_of(digest):
    return os.path.join(root, 'blobs/sha256', digest[7:9], digest[7:], 'data')


def size_of(digest):
    return os.stat(path_of(digest)).st_size


def read(digest):
    with open(path_of(digest), 'rb') as file:
        return json.load(file)


def links_in(*parts):
    """Digests that a repository links to."""
    directory = os.path.join(root, 'repositories', *parts, 'sha256')
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return {f'sha256:{name}' for name in names if os.path.exists(os.path.join(directory, name, 'link'))}


class Image:
    """A tag, or a manifest without one."""

    def __init__(self, digest):
        self.digest = digest
        manifest = read(digest)
        self.config = manifest['config']['digest']
        config = read(self.config)
        self.created = config.get('created')
        self.platform = f"{config['os']}/{config['architecture']}"
        self.layers = [layer['digest'] for layer in manifest['layers']]
        self.types = {layer['digest']: layer['mediaType'] for layer in manifest['layers']}
        self.diff_ids = dict(zip(self.layers, config['rootfs']['diff_ids']))
        steps = [step for step in config.get('history', []) if not step.get('empty_layer')]
        self.steps = {layer: step.get('created_by', '')[:200] for layer, step in zip(self.layers, steps)}
        self.needs = {digest, self.config, *self.layers}


repositories, tags, revisions = {}, {}, {}
for directory, names, _ in sorted(os.walk(os.path.join(root, 'repositories'))):
    if '_manifests' not in names:
        continue
    name = os.path.relpath(directory, os.path.join(root, 'repositories'))
    revisions[name] = links_in(name, '_manifests/revisions')
    own = {}
    for tag in os.listdir(os.path.join(directory, '_manifests/tags')):
        path = os.path.join(directory, '_manifests/tags', tag, 'current/link')
        digest = open(path).read().strip() if os.path.exists(path) else None
        if digest in revisions[name]:
            own[f'{name}:{tag}'] = Image(digest)
    repositories[name] = sorted(own, key=lambda tag: own[tag].created)
    tags.update({tag: own[tag] for tag in repositories[name]})

repository_of = {tag: name for name, own in repositories.items() for tag in own}
users = collections.defaultdict(set)
for tag, image in tags.items():
    for blob in image.needs:
        users[blob].add(tag)
owners = {blob: {repository_of[tag] for tag in own} for blob, own in users.items()}
diff_ids = {layer: diff_id for image in tags.values() for layer, diff_id in image.diff_ids.items()}
smallest = {}
for layer, diff_id in diff_ids.items():
    if diff_id not in smallest or size_of(layer) < size_of(smallest[diff_id]):
        smallest[diff_id] = layer
unpacked = unpack_all({diff_id: path_of(layer) for diff_id, layer in smallest.items()}) if asked.files else None


def total(blobs):
    """Bytes as stored and, where layers were unpacked, with their tars in their place."""
    blobs = list(blobs)
    found = {'compressed': sum(size_of(blob) for blob in blobs)}
    if unpacked:
        found['uncompressed'] = sum(
            unpacked[diff_ids[blob]].size if blob in diff_ids else size_of(blob) for blob in blobs
        )
    return found


def both(*sums):
    return {side: sum(one[side] for one in sums) for side in sums[0]} if sums else total([])


def pulled(old, new):
    """Bytes of the layers of `new` that `old` lacks."""
    return total(set(tags[new].layers) - set(tags[old].layers))['compressed']


def chain(old, new):
    """Bytes of all layers above the first one that differs."""
    has, wants = tags[old].layers, tags[new].layers
    same = 0
    while same < min(len(has), len(wants)) and has[same] == wants[same]:
        same += 1
    return total(set(wants[same:]))['compressed']


def matching(patterns):
    return [tag for tag in tags if any(fnmatch.fnmatchcase(tag, pattern) for pattern in patterns)]


class Shown:
    """What a runtime shows of an image, and what its layers have."""

    def __init__(self, image):
        self.paths, self.has, places = {}, set(), collections.defaultdict(list)
        for digest in image.layers:
            diff_id = image.diff_ids[digest]
            layer = unpacked[diff_id]
            for hidden in layer.whiteouts:
                self.hide(lambda path: path == hidden or path.startswith(f'{hidden}/'))
            for opaque in layer.opaque:
                self.hide(lambda path: path.startswith(f'{opaque}/' if opaque else ''))
            for path, entry in layer.entries.items():
                if entry.kind != 'dir' and self.paths.get(path, (None, entry))[1].kind == 'dir':
                    self.hide(lambda one: one.startswith(f'{path}/'))
                self.paths[path] = diff_id, entry
            self.has |= layer.contents.keys()
        for diff_id, entry in self.paths.values():
            if entry.content:
                places[entry.content].append(diff_id)
        self.weights = {content: self.weigh(content, min(own)) for content, own in places.items()}

    def hide(self, is_hidden):
        for path in [path for path in self.paths if is_hidden(path)]:
            del self.paths[path]

    @staticmethod
    def weigh(content, diff_id):
        layer = unpacked[diff_id]
        return layer.contents[content] * size_of(smallest[diff_id]) / layer.size


shown = {tag: Shown(image) for tag, image in tags.items()} if asked.files else {}


def floor(old, new):
    has = shown[old].has
    least = round(sum(weight for content, weight in shown[new].weights.items() if content not in has))
    return min(least, pulled(old, new))


def metadata_only(old, new):
    """Files that are sent again though their content is the same at the same path."""
    kept, before = set(tags[old].diff_ids.values()), shown[old].paths
    again = [
        entry.size
        for path, (diff_id, entry) in shown[new].paths.items()
        if entry.kind == 'file' and diff_id not in kept and path in before
        and (before[path][1].kind, before[path][1].content) == ('file', entry.content)
    ]
    return {'files': len(again), 'bytes': sum(again)} if again else None


def update(old, new):
    has, wants = set(tags[old].layers), set(tags[new].layers)
    found = {
        'kept': len(wants & has),
        'new': len(wants - has),
        'bytes': pulled(old, new),
        'chainBytes': chain(old, new),
        'total': total(wants)['compressed'],
    }
    return {**found, 'floor': floor(old, new)} if asked.files else found


pairs = [pair for own in repositories.values() for pair in zip(own, own[1:])]
needed = {blob: own for blob, own in users.items()}
held = {f'sha256:{name}': None for _, names, _ in os.walk(os.path.join(root, 'blobs/sha256')) for name in names if len(name) == 64}
untagged = [
    (name, Image(digest)) for name, own in revisions.items() for digest in own if digest not in users
]
lost = {blob for _, image in untagged for blob in image.needs if blob not in users}


def repository(name):
    own = [blob for blob in users if name in owners[blob]]
    needs = {blob for digest in revisions[name] for blob in Image(digest).needs}
    links = links_in(name, '_layers')
    others = {
        other: total(blob for blob in own if other in owners[blob])['compressed']
        for other in repositories if other != name
    }
    return {
        'tags': repositories[name],
        'logical': both(*(total(tags[tag].needs) for tag in repositories[name])),
        'total': total(own),
        'shared': total(blob for blob in own if len(owners[blob]) > 1),
        'unique': total(blob for blob in own if len(owners[blob]) == 1),
        'sharedWith': {other: size for other, size in others.items() if size},
        'links': {'layers': len(links), 'stale': len(links - needs)},
    }


def tag_figures(tag):
    image, name = tags[tag], repository_of[tag]
    return {
        'digest': image.digest,
        'created': image.created,
        'platform': image.platform,
        'layers': image.layers,
        'size': total(set(image.layers)),
        'manifestSize': size_of(image.digest),
        'total': total(image.needs),
        'unique': total(blob for blob in image.needs if users[blob] == {tag}),
        'sharedInRepository': total(
            blob for blob in image.needs if len(users[blob]) > 1 and owners[blob] == {name}
        ),
        'sharedAcross': total(blob for blob in image.needs if len(owners[blob]) > 1),
    }


def layer_figures(digest):
    own = [tag for tag in tags if digest in tags[tag].layers]
    image = tags[own[0]]
    found = {
        'diffId': image.diff_ids[digest],
        'mediaType': image.types[digest],
        'createdBy': image.steps.get(digest, ''),
        'size': size_of(digest),
        'tags': own,
    }
    return {**found, 'uncompressed': unpacked[image.diff_ids[digest]].size} if unpacked else found


def several():
    """The same tar in several blobs."""
    groups = collections.defaultdict(list)
    for layer, diff_id in diff_ids.items():
        groups[diff_id].append(layer)
    sizes = {diff_id: sorted(map(size_of, own)) for diff_id, own in groups.items() if len(own) > 1}
    return {diff_id: {'blobs': len(own), 'wasted': sum(own[1:])} for diff_id, own in sizes.items()}


def retarred():
    """Layers with the same entries in tars that differ, by the least diffID."""
    groups = collections.defaultdict(list)
    for diff_id, layer in unpacked.items():
        if layer.entries:
            groups[layer.fingerprint()].append(diff_id)
    found = {}
    for own in groups.values():
        sizes = sorted(size_of(smallest[diff_id]) for diff_id in own)
        if len(own) > 1:
            found[min(own)] = {'layers': len(own), 'wasted': sum(sizes[1:])}
    return found


def gone(patterns):
    """What deleting tags frees."""
    chosen = set(matching(patterns))
    blobs = [blob for blob, own in users.items() if own <= chosen]
    return {'tags': sorted(chosen), 'freed': total(blobs), 'blobs': len(blobs)}


def pulls(patterns):
    holds = matching(patterns)
    has = {layer for tag in holds for layer in tags[tag].layers}
    rest = {tag: set(image.layers) - has for tag, image in tags.items() if tag not in holds}
    return {tag: {'bytes': total(new)['compressed'], 'layers': len(new)} for tag, new in rest.items()}


def matrix(own):
    found = {'tags': own, 'bytes': [[pulled(old, new) for new in own] for old in own]}
    return {**found, 'floor': [[floor(old, new) for new in own] for old in own]} if asked.files else found


result = {
    'headline': {
        'repositories': len(repositories),
        'tags': len(tags),
        'images': len({image.digest for image in tags.values()}),
        'blobs': len(users),
        'logical': both(*(total(image.needs) for image in tags.values())),
        'stored': total(users),
        'layers': total(diff_ids),
    },
    'repositories': {name: repository(name) for name in repositories},
    'tags': {tag: tag_figures(tag) for tag in tags},
    'layers': {digest: layer_figures(digest) for digest in diff_ids},
    'updates': {f'{old} -> {new}': update(old, new) for old, new in pairs},
    'matrices': {name: matrix(own) for name, own in repositories.items() if len(own) > 1},
    'recompressed': several(),
    'unreferenced': {
        'blobs': len(held.keys() - users.keys() - lost),
        'bytes': sum(size_of(blob) for blob in held.keys() - users.keys() - lost),
        'untagged': sorted(image.digest for _, image in untagged),
        'untaggedBytes': sum(size_of(blob) for blob in lost),
    },
    'onDisk': sum(size_of(blob) for blob in held),
    **({'deletion': gone(asked.deleted)} if asked.deleted else {}),
    **({'pulls': pulls(asked.holds)} if asked.holds else {}),
}
if asked.files:
    from contents import files_figures

    result['headline']['uniqueFiles'], result['files'] = files_figures(unpacked, {
        diff_id: (layer, size_of(layer)) for diff_id, layer in smallest.items()
    })
    again = {f'{old} -> {new}': metadata_only(old, new) for old, new in pairs}
    result['files']['metadataOnly'] = {pair: found for pair, found in again.items() if found}
    result['retarred'] = retarred()
json.dump(result, os.fdopen(1, 'w'))
