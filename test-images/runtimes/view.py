"""Prints what the tree at argv[1] holds, one JSON object a line, with lstat and lgetxattr; text has one char a byte.

The root is the path "". Run as root, so that every namespace of xattrs is seen.
"""
import json
import os
import stat
import sys

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def text(raw):
    return raw.decode("latin-1")


def xattrs_of(path):
    names = sorted(os.listxattr(path, follow_symlinks=False), key=os.fsencode)
    value = lambda name: os.getxattr(path, name, follow_symlinks=False).hex()
    return {text(os.fsencode(name)): value(name) for name in names}


def show(path, name):
    found = os.lstat(path)
    entry = {
        "path": text(name),
        "type": TYPES[stat.S_IFMT(found.st_mode)],
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtimeNs": str(found.st_mtime_ns),
        "xattrs": xattrs_of(path),
    }
    if entry["type"] == "file":
        entry["size"] = found.st_size
    if entry["type"] == "symlink":
        entry["target"] = text(os.readlink(path))
    if entry["type"] in ("char", "block"):
        entry["device"] = [os.major(found.st_rdev), os.minor(found.st_rdev)]
    print(json.dumps(entry))
    return entry["type"]


def walk(path, name):
    if show(path, name) != "dir":
        return
    for child in sorted(os.listdir(path)):
        # A name that is listed and cannot be looked at is told of as such: overlayfs shows dangling whiteouts.
        try:
            walk(os.path.join(path, child), name + b"/" + child if name else child)
        except FileNotFoundError:
            print(json.dumps({"path": text(name + b"/" + child if name else child), "type": "dangling"}))


walk(os.fsencode(sys.argv[1]), b"")
