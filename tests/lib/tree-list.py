#!/usr/bin/env python3
"""List a directory tree so that two trees are equal if their lists are.

usage: tree-list.py [--no-root-mtime] [--no-mtime] [--no-xattr] [--no-links]
           DIR

One line per object, sorted: path, type, mode, uid:gid, mtime in ns, what
belongs to the type (size and sha256, link target, device numbers), the first
name of its hard link group, xattrs.  Bytes that are not printable are escaped.
"""
import argparse
import hashlib
import os
import stat
import sys

TYPES = {stat.S_IFREG: 'file', stat.S_IFDIR: 'dir', stat.S_IFLNK: 'link',
         stat.S_IFCHR: 'char', stat.S_IFBLK: 'block', stat.S_IFIFO: 'fifo',
         stat.S_IFSOCK: 'sock'}
HIDDEN = (b'trusted.overlay.', b'user.overlay.', b'user.fuseoverlayfs.',
          b'security.selinux')


def text(raw):
    return repr(raw)[2:-1].replace(' ', '\\x20')


def digest(fd):
    h = hashlib.sha256()
    while True:
        block = os.read(fd, 1 << 20)
        if not block:
            return h.hexdigest()
        h.update(block)


def xattrs(path):
    found = []
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        name = os.fsencode(name)
        if not name.startswith(HIDDEN):
            value = os.getxattr(path, name, follow_symlinks=False)
            found.append(text(name) + '=' + value.hex())
    return found


def walk(dir_fd, prefix, out):
    for name in sorted(os.listdir(dir_fd)):
        name = os.fsencode(name)
        path = prefix + b'/' + name if prefix else name
        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        extra = ''
        if stat.S_ISREG(st.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dir_fd)
            extra = '%d %s' % (st.st_size, digest(fd))
            os.close(fd)
        elif stat.S_ISLNK(st.st_mode):
            extra = text(os.readlink(name, dir_fd=dir_fd))
        elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
            extra = '%d,%d' % (os.major(st.st_rdev), os.minor(st.st_rdev))
        out.append((path, st, extra))
        if stat.S_ISDIR(st.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
                         dir_fd=dir_fd)
            walk(fd, path, out)
            os.close(fd)


def lines(top, root_mtime=True, mtime=True, with_xattrs=True, links=True):
    found = [(b'', os.stat(top), '')]
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    walk(fd, b'', found)
    os.close(fd)
    found.sort()
    # A merged tree tells the link count of a lower layer: count what is seen.
    groups = {}
    for path, st, extra in found:
        if not stat.S_ISDIR(st.st_mode):
            groups.setdefault((st.st_dev, st.st_ino), []).append(path)
    out = []
    for path, st, extra in found:
        kind = TYPES[stat.S_IFMT(st.st_mode)]
        time = str(st.st_mtime_ns)
        if not mtime or (path == b'' and not root_mtime):
            time = '-'
        line = ['/' + text(path), kind,
                '%04o' % stat.S_IMODE(st.st_mode),
                '%d:%d' % (st.st_uid, st.st_gid), time]
        if extra:
            line.append(extra)
        group = groups.get((st.st_dev, st.st_ino), [])
        if len(group) > 1 and kind != 'dir' and links:
            line.append('group=/' + text(group[0]))
        if with_xattrs:
            line += xattrs(os.path.join(os.fsencode(top), path))
        out.append(' '.join(line))
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--no-root-mtime', action='store_true')
    p.add_argument('--no-mtime', action='store_true')
    p.add_argument('--no-xattr', action='store_true')
    p.add_argument('--no-links', action='store_true')
    p.add_argument('dir')
    args = p.parse_args()
    sys.setrecursionlimit(10000)
    os.chdir(args.dir)
    for line in lines('.', not args.no_root_mtime, not args.no_mtime,
                      not args.no_xattr, not args.no_links):
        print(line)


if __name__ == '__main__':
    main()
