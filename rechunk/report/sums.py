"""What a registry's directory holds, counted by file sizes alone: the oracle of `rechunk report`.

sums.py DIR: JSON with stored and logical bytes, of each repository and tag all, shared and unique bytes, of each tag
what an update from the tag before pulls, and the bytes of every pair. Tags are ordered by number.
"""
import json
import os
import sys

root = os.path.join(sys.argv[1], 'docker/registry/v2')


def path_of(digest):
    return os.path.join(root, 'blobs/sha256', digest[7:9], digest[7:], 'data')


def size_of(digest):
    return os.stat(path_of(digest)).st_size


def read(digest):
    with open(path_of(digest), 'rb') as file:
        return json.load(file)


def link(path):
    with open(path) as file:
        return file.read().strip()


def number(tag):
    return [int(part) for part in tag.split('.')]


repositories = {}
for directory, names, _ in os.walk(os.path.join(root, 'repositories')):
    if '_manifests' in names:
        names.clear()
        tags = os.path.join(directory, '_manifests/tags')
        name = os.path.relpath(directory, os.path.join(root, 'repositories'))
        repositories[name] = {
            tag: link(os.path.join(tags, tag, 'current/link')) for tag in sorted(os.listdir(tags), key=number)
        }

needs, users, owners, layers = {}, {}, {}, {}
for name, tags in repositories.items():
    for tag, digest in tags.items():
        manifest = read(digest)
        layers[name, tag] = [layer['digest'] for layer in manifest['layers']]
        needs[name, tag] = {digest, manifest['config']['digest'], *layers[name, tag]}
        for blob in needs[name, tag]:
            users.setdefault(blob, set()).add((name, tag))
            owners.setdefault(blob, set()).add(name)


def total(blobs):
    return sum(size_of(blob) for blob in blobs)


def pulled(old, new):
    return total(set(layers[new]) - set(layers[old]))


def chain(old, new):
    same = 0
    while same < min(len(layers[old]), len(layers[new])) and layers[old][same] == layers[new][same]:
        same += 1
    return total(set(layers[new][same:]))


result = {
    'stored': total(users),
    'logical': sum(total(blobs) for blobs in needs.values()),
    'blobs': len(users),
    'onDisk': sum(
        os.stat(os.path.join(directory, 'data')).st_size
        for directory, _, files in os.walk(os.path.join(root, 'blobs'))
        if 'data' in files
    ),
    'repositories': {
        name: {
            'total': total(blob for blob in users if name in owners[blob]),
            'unique': total(blob for blob in users if owners[blob] == {name}),
        }
        for name in repositories
    },
    'tags': {
        f'{name}:{tag}': {
            'total': total(blobs),
            'unique': total(blob for blob in blobs if users[blob] == {(name, tag)}),
            'across': total(blob for blob in blobs if len(owners[blob]) > 1),
        }
        for (name, tag), blobs in needs.items()
    },
    'updates': {
        f'{name}:{new}': [pulled((name, old), (name, new)), chain((name, old), (name, new))]
        for name, tags in repositories.items()
        for old, new in zip(list(tags), list(tags)[1:])
    },
    'matrices': {
        name: [[pulled((name, old), (name, new)) for new in tags] for old in tags]
        for name, tags in repositories.items()
    },
}
json.dump(result, sys.stdout)
