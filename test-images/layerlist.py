"""Lists what the layers of every image in an OCI layout hold, by Python's tarfile, which the product has no part in.

argv: the layout. stdout: {"TAG": [{"digest": ..., "annotations": {...}, "members": [...]}, ...]}, lowest layer first, members in the
order of the archive, text with one char a byte. Layers are plain or gzipped.
"""
import json
import os
import sys
import tarfile

TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "symlink",
    tarfile.DIRTYPE: "dir",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
XATTR = "SCHILY.xattr."


def raw(text):
    """A name as one char a byte."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def member_of(info):
    xattrs = {raw(k)[len(XATTR):]: raw(v) for k, v in info.pax_headers.items() if k.startswith(XATTR)}
    return {
        "type": TYPES[info.type],
        "path": "" if info.name == "." else raw(info.name).removeprefix("./"),
        "mode": info.mode,
        "uid": info.uid,
        "gid": info.gid,
        # tarfile's own times are floats.
        "mtime": info.pax_headers.get("mtime", str(int(info.mtime))),
        "target": raw(info.linkname),
        "size": info.size,
        "xattrs": xattrs,
    }


def blob(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":"))


def layers_of(layout, digest):
    with open(blob(layout, digest), encoding="utf-8") as file:
        manifest = json.load(file)
    for layer in manifest["layers"]:
        path = blob(layout, layer["digest"])
        with tarfile.open(path, "r:*", encoding="utf-8", errors="surrogateescape") as archive:
            members = [member_of(info) for info in archive]
        yield {"digest": layer["digest"], "annotations": layer.get("annotations", {}), "members": members}


def main():
    layout = sys.argv[1]
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        index = json.load(file)
    tag = "org.opencontainers.image.ref.name"
    print(json.dumps({m["annotations"][tag]: list(layers_of(layout, m["digest"])) for m in index["manifests"]}))


main()
