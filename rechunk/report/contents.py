"""What a report says of files, counted from unpacked layers."""
import collections
import hashlib

LISTED, PLACES, TOLD = 50, 5, 50


def file_id(digest):
    """The first 63 bits, by which the report breaks ties."""
    return int.from_bytes(digest[:8], 'big') >> 1


def path_id(path):
    return file_id(hashlib.sha256(path.encode(errors='surrogateescape')).digest())


def shares(rows):
    """The curve of waste, by classes of an eighth of an octave."""
    classes = collections.defaultdict(list)
    for wasted in rows:
        bits = bin(wasted)[2:]
        classes[len(bits), bits[1:4]].append(wasted)
    contents, bytes_ = len(rows), sum(rows)
    some = lost = 0
    found = [{'contents': 0, 'wasted': 0}]
    for own in sorted(classes.values(), key=max, reverse=True):
        some, lost = some + len(own), lost + sum(own)
        found.append({'contents': some / contents, 'wasted': lost / bytes_})
    return found if bytes_ else []


def files_figures(layers, blobs):
    """Figures of files over `layers` by diffID; `blobs` has the smallest blob of each with its size."""
    sizes, copies = {}, collections.Counter()
    holders, paths = collections.defaultdict(set), collections.defaultdict(collections.Counter)
    for diff_id, layer in layers.items():
        for content, path in layer.files:
            sizes[content] = layer.contents[content]
            copies[content] += 1
            holders[content].add(diff_id)
            paths[content][path] += 1
    wasted = {content: (count - 1) * sizes[content] for content, count in copies.items()}
    worst = sorted((content for content in wasted if wasted[content]), key=lambda one: (-wasted[one], file_id(one)))
    by_copies = collections.defaultdict(lambda: [0, 0])
    for content, count in copies.items():
        by_copies[count][0] += 1
        by_copies[count][1] += sizes[content]
    told = [{'copies': count, 'contents': n, 'bytes': size} for count, (n, size) in sorted(by_copies.items())]
    if rest := told[TOLD:]:
        told[TOLD:] = [{
            'copies': rest[0]['copies'], 'contents': sum(row['contents'] for row in rest), 'bytes': sum(row['bytes'] for row in rest),
        }]
    unique = sum(sizes.values())
    compressed = 0
    for content, size in sizes.items():
        diff_id = min(holders[content])
        compressed += size * blobs[diff_id][1] / layers[diff_id].size
    return {'compressed': round(compressed), 'uncompressed': unique}, {
        'contents': len(sizes),
        'references': copies.total(),
        'bytes': sum(sizes[content] * count for content, count in copies.items()),
        'uniqueBytes': unique,
        'byCopies': told,
        'lorenz': shares(list(wasted.values())),
        'duplicates': [{
            'digest': f'sha256:{content.hex()}',
            'size': sizes[content],
            'copies': copies[content],
            'wasted': wasted[content],
            'layers': sorted(blobs[diff_id][0] for diff_id in holders[content]),
            'paths': [path for path, _ in sorted(paths[content].items(), key=lambda one: (-one[1], path_id(one[0])))[:PLACES]],
        } for content in worst[:LISTED]],
    }
