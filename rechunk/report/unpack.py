"""Layers as Python's tarfile unpacks them, which shares nothing with the program."""
import collections
import gzip
import hashlib
import multiprocessing
import os
import subprocess
import sys
import tarfile

Entry = collections.namedtuple('Entry', 'kind content size metadata')
KINDS = {tarfile.REGTYPE: 'file', tarfile.AREGTYPE: 'file', tarfile.DIRTYPE: 'dir', tarfile.SYMTYPE: 'symlink', tarfile.LNKTYPE: 'link'}


class Layer:
    """What a tar holds: `entries` by path, `contents` with their sizes, `files` as they are stored (content, path)."""

    def __init__(self):
        self.size = 0
        self.entries, self.contents = {}, {}
        self.files, self.whiteouts, self.opaque = [], [], []

    def fingerprint(self):
        return hashlib.sha256(repr(sorted(self.entries.items())).encode()).digest()

    def add(self, member, body):
        path = member.name.strip('/').removeprefix('./')
        parent, _, name = path.rpartition('/')
        if name == '.wh..wh..opq':
            return self.opaque.append(parent)
        if name.startswith('.wh.'):
            return self.whiteouts.append(f'{parent}/{name[4:]}'.lstrip('/'))
        kind, content, size = KINDS.get(member.type, 'other'), None, 0
        if kind == 'file':
            digest = hashlib.sha256()
            while part := body.read(1 << 20):
                digest.update(part)
            content, size = digest.digest(), member.size
            self.contents[content] = size
            self.files.append((content, path))
        elif kind == 'link':
            target = self.entries.get(member.linkname.strip('/').removeprefix('./'))
            content, size = (target.content, target.size) if target else (None, 0)
        xattrs = sorted(item for item in member.pax_headers.items() if 'xattr' in item[0])
        mtime = member.pax_headers.get('mtime', str(member.mtime))
        metadata = (member.mode, member.uid, member.gid, mtime, member.linkname, xattrs)
        self.entries[path] = Entry(kind, content, size, metadata)


class Counted:
    """Counts and digests what is read."""

    def __init__(self, file):
        self.file, self.size, self.digest = file, 0, hashlib.sha256()

    def read(self, size):
        part = self.file.read(size)
        self.size += len(part)
        self.digest.update(part)
        return part


def opened(path):
    """A blob's tar, whatever its compression, which its first bytes tell."""
    with open(path, 'rb') as file:
        magic = file.read(4)
    if magic[:2] == b'\x1f\x8b':
        return gzip.open(path)
    if magic == b'\x28\xb5\x2f\xfd':
        return subprocess.Popen(['zstd', '-dcq', path], stdout=subprocess.PIPE).stdout
    return open(path, 'rb')


def unpack(item):
    diff_id, path = item
    layer = Layer()
    with opened(path) as file:
        counted = Counted(file)
        with tarfile.open(fileobj=counted, mode='r|', bufsize=1 << 20) as tar:
            for member in tar:
                layer.add(member, tar.extractfile(member) if member.isreg() else None)
                tar.members = []
        while counted.read(1 << 20):
            pass
    if f'sha256:{counted.digest.hexdigest()}' != diff_id:
        sys.exit(f'{path}: its tar is not {diff_id}')
    layer.size = counted.size
    return diff_id, layer


def unpack_all(paths):
    """Layers by diffID, each of which is checked; `paths` has a blob of each."""
    with multiprocessing.Pool(os.cpu_count()) as pool:
        return dict(pool.imap_unordered(unpack, paths.items()))
