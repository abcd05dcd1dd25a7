"""Writes a tar from a JSON list of members with Python's tarfile, an implementation that the product has no part in.

argv: format (pax, gnu or ustar). stdin: {"globals": {...}, "members": [...]}, text with one char a byte; stdout: the tar.
"""
import io
import json
import sys
import tarfile

TYPES = {
    "file": tarfile.REGTYPE,
    "link": tarfile.LNKTYPE,
    "symlink": tarfile.SYMTYPE,
    "dir": tarfile.DIRTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def text(latin1):
    """The name as tarfile wants it: UTF-8, other bytes as surrogates."""
    return latin1.encode("latin-1").decode("utf-8", "surrogateescape")


def member_of(member):
    info = tarfile.TarInfo(text(member["path"]))
    info.type = TYPES[member["type"]]
    info.mode = member["mode"]
    info.uid = member["uid"]
    info.gid = member["gid"]
    info.linkname = text(member.get("target", ""))
    info.devmajor, info.devminor = member.get("device", [0, 0])
    mtime = member["mtime"]
    if "." in mtime:
        # tarfile's own times are floats: the record is written as it stands instead.
        info.pax_headers["mtime"] = mtime
    else:
        info.mtime = int(mtime)
    for name, value in member.get("xattrs", {}).items():
        info.pax_headers["SCHILY.xattr." + text(name)] = text(value)
    content = member.get("content", "").encode("latin-1")
    info.size = len(content)
    return info, content


def main():
    document = json.load(sys.stdin)
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out,
        mode="w",
        format=FORMATS[sys.argv[1]],
        encoding="utf-8",
        errors="surrogateescape",
        pax_headers=document.get("globals", {}),
    ) as archive:
        for member in document["members"]:
            info, content = member_of(member)
            archive.addfile(info, io.BytesIO(content))
    sys.stdout.buffer.write(out.getvalue())


main()
