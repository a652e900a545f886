#!/usr/bin/env python3
"""Make awkward and evil tars from raw header bytes.

usage: make-tar.py DIR

  DIR/single/NAME.tar   legal tars of one layer
  DIR/multi/NAME/N.tar  images: layer 0 is the base
  DIR/evil/NAME.tar     to be refused; NAME.expect holds the error's words
"""
import os
import struct
import sys

BLOCK = 512
FILE, OLD, HARD, SYM, CHR, BLK, DIR, FIFO = (
    b'0', b'\0', b'1', b'2', b'3', b'4', b'5', b'6')
USTAR, GNU, V7 = b'ustar\00000', b'ustar  \0', b'\0' * 8


def octal(value, size):
    return b'%0*o\0' % (size - 1, value)


def base256(value, size):
    return (value | 1 << (8 * size - 1)).to_bytes(size, 'big')


def pad(data):
    return data + b'\0' * (-len(data) % BLOCK)


def header(name, type=FILE, size=0, mode=0o644, uid=0, gid=0, mtime=1000000000,
           link=b'', magic=USTAR, major=0, minor=0, prefix=b'', tail=None,
           size_field=None, uid_field=None, checksum=None):
    h = (name.ljust(100, b'\0') + octal(mode, 8) +
         (uid_field or octal(uid, 8)) + octal(gid, 8) +
         (size_field or octal(size, 12)) + octal(mtime, 12) + b' ' * 8 + type +
         link.ljust(100, b'\0') + magic + b'\0' * 64 +
         octal(major, 8) + octal(minor, 8) +
         (tail or prefix.ljust(155, b'\0')).ljust(167, b'\0'))
    assert len(h) == BLOCK, (name, len(h))
    total = sum(h) if checksum is None else checksum
    return h[:148] + b'%06o\0 ' % total + h[156:]


def pax_body(records):
    out = b''
    for key, value in records:
        n = len(key) + len(value) + 3
        while len(b'%d' % n) + len(key) + len(value) + 3 != n:
            n = len(b'%d' % n) + len(key) + len(value) + 3
        out += b'%d %s=%s\n' % (n, key, value)
    return out


def pax(records, type=b'x'):
    body = pax_body(records)
    return header(b'PaxHeaders/x', type, len(body)) + pad(body)


def entry(name, type=FILE, data=b'', records=None, **kw):
    out = pax(records) if records else b''
    kw.setdefault('size', len(data))
    return out + header(name, type, **kw) + pad(data)


def f(name, data=b'', **kw):
    return entry(name, FILE, data, **kw)


def d(name, mode=0o755, **kw):
    return entry(name + b'/', DIR, mode=mode, **kw)


def sym(name, target, **kw):
    return entry(name, SYM, link=target, mode=0o777, **kw)


def hard(name, target, **kw):
    return entry(name, HARD, link=target, **kw)


def wh(name, **kw):
    head, _, base = name.rpartition(b'/')
    return entry((head + b'/' if head else b'') + b'.wh.' + base, FILE,
                 mode=0, mtime=0, **kw)


def opq(name):
    return entry((name + b'/' if name else b'') + b'.wh..wh..opq', mode=0)


def tar(*entries, end=b'\0' * 1024):
    return b''.join(entries) + end


def gnu_long(name, type=b'L'):
    return header(b'././@LongLink', type, len(name) + 1,
                  magic=GNU) + pad(name + b'\0')


def gnu_sparse(name, parts, real_size, data):
    body = [struct.pack('>12s12s', octal(o, 12), octal(n, 12))
            for o, n in parts]
    first, rest = body[:4], body[4:]
    tail = (b'\0' * 41 + b''.join(first).ljust(96, b'\0') +
            (b'\1' if rest else b'\0') + octal(real_size, 12))
    out = header(name, b'S', len(data), magic=GNU, tail=tail)
    while rest:
        block, rest = rest[:21], rest[21:]
        out += (b''.join(block).ljust(504, b'\0') +
                (b'\1' if rest else b'\0')).ljust(BLOCK, b'\0')
    return out + pad(data)


SPARSE = b'GNU.sparse.'
SPARSE_PARTS = [(4096, 1024), (69632, 513), (200000, 0)]
SPARSE_DATA = b'S' * 1024 + b'e' * 513


def pax_sparse(name, version):
    """The three forms that GNU tar has written (its manual, "PAX Formats")."""
    n, size = b'%d' % len(SPARSE_PARTS), b'200000'
    if version == '0.0':
        records = [(SPARSE + b'size', size), (SPARSE + b'numblocks', n)]
        for offset, count in SPARSE_PARTS:
            records += [(SPARSE + b'offset', b'%d' % offset),
                        (SPARSE + b'numbytes', b'%d' % count)]
        return f(name, SPARSE_DATA, records=records)
    if version == '0.1':
        return f(b'GNUSparseFile.1/' + name, SPARSE_DATA, records=[
            (SPARSE + b'size', size), (SPARSE + b'numblocks', n),
            (SPARSE + b'name', name),
            (SPARSE + b'map', b','.join(b'%d,%d' % p for p in SPARSE_PARTS))])
    parts = n + b'\n' + b''.join(b'%d\n%d\n' % p for p in SPARSE_PARTS)
    return f(b'GNUSparseFile.1/' + name, pad(parts) + SPARSE_DATA, records=[
        (SPARSE + b'major', b'1'), (SPARSE + b'minor', b'0'),
        (SPARSE + b'name', name), (SPARSE + b'realsize', size)])


CAP = struct.pack('<IIIII', 0x02000001, 1 << 13, 0, 0, 0)
ACL = struct.pack('<I', 2) + b''.join(
    struct.pack('<HHI', *e) for e in (
        (1, 6, 0xffffffff), (2, 6, 1000), (4, 4, 0xffffffff),
        (0x10, 6, 0xffffffff), (0x20, 4, 0xffffffff)))
X = b'SCHILY.xattr.'

BASE = [
    d(b'./', mode=0o751, mtime=5),
    d(b'etc', mode=0o700, uid=3, gid=4, mtime=11),
    f(b'etc/passwd', b'root\n', mode=0o600, uid=1, gid=2, mtime=12),
    f(b'etc/group', b'g\n', mtime=13),
    d(b'usr', mtime=14),
    d(b'usr/lib', mode=0o2755, mtime=15,
      records=[(X + b'user.mark', b'm\0\n1')]),
    f(b'usr/lib/libc', b'C' * 3000, mode=0o4755, mtime=16,
      records=[(X + b'security.capability', CAP)]),
    sym(b'lib', b'usr/lib', mtime=17),
    sym(b'abs', b'/usr/lib', mtime=17),
    sym(b'up', b'usr/../../etc', mtime=17),
    d(b'd', mode=0o711, uid=7, mtime=18),
    f(b'd/a', b'a', mtime=19),
    f(b'd/b', b'b', mtime=20),
    d(b'd/sub', mode=0o500, mtime=21),
    f(b'd/sub/x', b'x', mtime=22),
    d(b'd/sub/deep', mtime=23),
    f(b'd/sub/deep/y', b'y', mtime=24),
    f(b'one', b'1' * 100, mtime=25),
    hard(b'two', b'one', mtime=25),
    sym(b'dangling', b'nowhere', mtime=26),
    entry(b'pipe', FIFO, mtime=27),
    entry(b'null', CHR, major=1, minor=3, mode=0o666, mtime=28),
]

SINGLE = {
    'empty': b'',
    'only-zeros': b'\0' * 1024,
    'base': tar(*BASE),
    'no-end-marker': tar(f(b'a', b'x' * 700), f(b'b'), end=b''),
    'one-zero-block': tar(f(b'a', b'x' * 700), end=b'\0' * 512),
    'no-final-padding': (tar(f(b'a', b'x' * 700), end=b''))[:512 + 700],
    'junk-after-end': tar(f(b'a', b'1'), end=b'\0' * 1024 + b'junk' * 5000),
    'second-tar-after-end': tar(f(b'a', b'1')) + tar(f(b'b', b'2')),
    'odd-zeros-at-end': tar(f(b'a', b'1'), end=b'\0' * 100),
    'v7': tar(entry(b'a', OLD, b'old', magic=V7),
              entry(b'dir/', OLD, magic=V7, mode=0o755),
              hard(b'h', b'a', magic=V7)),
    'names': tar(f(b'./a//b/../c', b'1'), f(b'/abs', b'2'),
                 d(b'./x/./y'), f(b'x/y/..z', b'3'),
                 f(b'\xff\xfe\n\t"', b'4'), f(b'sp ace', b'5')),
    'long-names': tar(
        gnu_long(b'L' * 200 + b'/' + b'm' * 200), f(b'L' * 99, b'gnu',
                                                    magic=GNU),
        gnu_long(b'k' * 150), gnu_long(b't' * 180, b'K'),
        entry(b'k' * 99, SYM, link=b't' * 99, magic=GNU),
        f(b'n' * 60, b'prefix', prefix=b'p' * 120),
        f(b'short', b'pax', records=[
            (b'path', b'/'.join([b'q' * 100] * 20))]),
        entry(b's', SYM, records=[(b'path', b'sym'),
                                  (b'linkpath', b'z' * 3000)])),
    'pax-times': tar(
        f(b'a', b'1', records=[(b'mtime', b'1234567890.123456789')]),
        f(b'b', b'1', records=[(b'mtime', b'-1.5')]),
        d(b'c', records=[(b'mtime', b'99.000000001')]), f(b'c/x')),
    'pax-names': tar(
        f(b'x', b'1', records=[(b'path', b'\xff\xfe')]),
        f(b'x', b'2', records=[(b'hdrcharset', b'BINARY'),
                               (b'path', b'\xc3\x28')]),
        f(b'x', b'3', records=[(b'path', 'gr\u00fc\u00df'.encode())]),
        entry(b's', SYM, records=[(b'linkpath', b'\xe4')]),
        hard(b'h', b'', records=[(b'linkpath', b'\xff\xfe')])),
    # Go leaves out of the old fields what is not ASCII.
    'pax-names-alone': tar(
        f(b'', b'1', records=[(b'path', 'gr\u00fc'.encode())]),
        entry(b'', SYM, records=[(b'path', b'\xff'), (b'linkpath', b'\xfe')]),
        hard(b'', b'', records=[(b'path', 'h\u00fc'.encode()),
                                (b'linkpath', 'gr\u00fc'.encode())]),
        entry(b'/', DIR, records=[(b'path', 'd\u00fc/'.encode())])),
    'pax-global': tar(pax([(b'comment', b'c' * 40)], b'g'), f(b'a', b'1')),
    'pax-owner': tar(
        f(b'a', b'1', records=[(b'uid', b'4000000000'),
                               (b'gid', b'3000000000')]),
        f(b'b', uid_field=base256(3000000, 8))),
    'pax-size': tar(f(b'a', b'12345', size=0, records=[(b'size', b'5')])),
    'base256-size': tar(f(b'a', b'12345', size_field=base256(5, 12))),
    'xattrs': tar(
        f(b'cap', b'1', uid=5, mode=0o4755, records=[
            (X + b'security.capability', CAP)]),
        f(b'user', b'1', records=[(X + b'user.a', b'\0\xff\n=')]),
        f(b'acl', b'1', mode=0o664, records=[
            (X + b'system.posix_acl_access', ACL)]),
        d(b'dir', records=[(X + b'system.posix_acl_default', ACL),
                           (X + b'user.d', b'1')]),
        f(b'dir/inherits-nothing', b'1', mode=0o640),
        d(b'dir/nor-this'), sym(b'dir/l', b'x'), entry(b'dir/p', FIFO),
        f(b'tr', records=[(X + b'trusted.t', b'1'),
                          (X + b'trusted.overlay.opaque', b'y'),
                          (X + b'user.overlay.opaque', b'y'),
                          (X + b'security.selinux', b'l')])),
    'set-gid': tar(
        d(b'g', mode=0o2775, gid=50), f(b'g/ours', b'1'),
        f(b'g/theirs', b'1', gid=50, mode=0o664), sym(b'g/l', b'ours'),
        d(b'g/d'), f(b'g/d/f', b'1', mode=0o666),
        f(b'wide', b'1', mode=0o777), f(b'none', b'1', mode=0)),
    'types': tar(
        d(b'sticky', mode=0o1777), f(b'suid', b'1', uid=9, mode=0o6755),
        entry(b'c', CHR, major=5, minor=1), entry(b'b', BLK, major=7, minor=9),
        entry(b'p', FIFO, uid=3), entry(b'7', b'7', b'contiguous'),
        sym(b's', b'../../../etc/passwd', uid=8), hard(b'hs', b's', uid=8),
        hard(b'hc', b'c'), d(b'size', size=4096)),
    'hard-link-with-data': tar(
        f(b'a', b'12345'),
        entry(b'b', HARD, b'12345', link=b'a', records=[(b'x.y', b'1')])),
    'hard-link-size-but-no-data': tar(
        f(b'a', b'12345', magic=GNU),
        entry(b'b', HARD, link=b'a', size=5, magic=GNU), f(b'c', b'c')),
    'hard-link-to-itself': tar(f(b'a', b'1'), hard(b'a', b'./a')),
    'duplicates': tar(
        f(b'a', b'first' * 1000), f(b'a', b'second' * 500), f(b'a', b'last'),
        d(b'd'), f(b'd/x', b'lost' * 2000), f(b'd/y', b'also'),
        sym(b'd', b'a'), f(b'e', b'file'), d(b'e', mode=0o700),
        f(b'e/in', b'in'), f(b'h', b'kept'), hard(b'h2', b'h'), f(b'h', b'n')),
    'implied-directories': tar(f(b'p/q/r/s', b'1'), d(b'p/q', mode=0o700)),
    'through-links': tar(
        d(b'real'), sym(b'l', b'real'), f(b'l/a', b'1'),
        sym(b'out', b'/etc'), f(b'out/inside', b'2'),
        sym(b'climb', b'../../../real'), f(b'climb/b', b'3'),
        d(b'm/n'), sym(b'm/n/loop', b'../../real/./../real'),
        f(b'm/n/loop/c', b'4'), sym(b'later', b'not/yet'),
        f(b'later/d', b'5')),
    'link-replaced-by-directory': tar(
        d(b'real'), sym(b'l', b'real'), f(b'l/a', b'1'), d(b'l'),
        f(b'l/b', b'2')),
    'gnu-sparse': tar(gnu_sparse(
        b's', [(i * 8192, 1024) for i in range(30)] + [(300000, 0)], 300000,
        b''.join(bytes([65 + i]) * 1024 for i in range(30)))),
    'gnu-sparse-only-hole': tar(gnu_sparse(b's', [(5000, 0)], 5000, b'')),
    'pax-sparse-0.0': tar(pax_sparse(b's', '0.0')),
    'pax-sparse-0.1': tar(pax_sparse(b's', '0.1')),
    'pax-sparse-1.0': tar(pax_sparse(b's', '1.0')),
    'zero-blocks-after-end': tar(f(b'a', b'1'), end=b'\0' * 10240 * 3),
    'whiteouts-in-a-base': tar(
        f(b'a', b'1'), wh(b'a'), opq(b'd'), wh(b'x/y'), opq(b''),
        f(b'.wh..wh.aufs'), d(b'.wh..wh.orph'), f(b'.wh..wh.orph/1', b'o')),
    'plnk': tar(
        d(b'.wh..wh.plnk', mode=0o700),
        f(b'.wh..wh.plnk/12.34', b'body' * 300, mode=0o640, uid=5),
        f(b'.wh..wh.plnk/13.34', b'unused'),
        hard(b'a', b'.wh..wh.plnk/12.34', mode=0o640, uid=5),
        hard(b'd/b', b'/.wh..wh.plnk/12.34', mode=0o640, uid=5)),
    'deep': tar(
        f(b'x', b'1', records=[(b'path', b'/'.join([b'd'] * 1024))])),
}

MULTI = {
    'below-lower-directory': [tar(*BASE), tar(f(b'd/sub/new', b'n'))],
    'through-lower-links': [tar(*BASE), tar(
        f(b'lib/foo', b'1'), f(b'abs/bar', b'2'), d(b'up/conf', mode=0o700),
        f(b'dangling/z', b'3'))],
    'link-made-directory': [tar(*BASE), tar(
        f(b'lib/foo', b'1'), d(b'lib', mode=0o700), f(b'lib/bar', b'2'))],
    'hard-link-to-lower': [tar(*BASE), tar(
        hard(b'h', b'usr/lib/libc', mode=0o755, mtime=77),
        hard(b'd/h2', b'/lib/libc', mode=0o755, mtime=77),
        hard(b'hl', b'lib', mtime=17), hard(b'hp', b'pipe', mtime=27),
        hard(b'hn', b'null', mode=0o666, mtime=28))],
    'hard-link-changes-owner': [tar(*BASE), tar(
        hard(b'h', b'etc/passwd', uid=99, mode=0o444))],
    'replace-files': [tar(*BASE), tar(
        f(b'd/a', b'new'), sym(b'd/b', b'a'), f(b'd/sub', b'was a directory'),
        f(b'pipe', b'was a pipe'), f(b'two', b'not one'))],
    'replace-directory-metadata': [tar(*BASE), tar(
        d(b'usr/lib', mode=0o700, uid=5), d(b'./', mode=0o700))],
    'file-made-directory': [tar(*BASE), tar(
        d(b'one'), f(b'one/in', b'1'), d(b'lib'), d(b'dangling'))],
    'whiteouts': [tar(*BASE), tar(
        wh(b'd/a'), wh(b'usr'), wh(b'pipe'), wh(b'nothing'),
        wh(b'none/at/all'), wh(b'lib/libc'))],
    'whiteout-then-name': [tar(*BASE), tar(
        wh(b'd/a'), f(b'd/a', b'new'), wh(b'd/sub'), d(b'd/sub', mode=0o711),
        f(b'd/sub/n', b'n'), wh(b'etc'), f(b'etc', b'file'))],
    'name-then-whiteout': [tar(*BASE), tar(
        f(b'd/a', b'new'), wh(b'd/a'), d(b'd/sub', mode=0o711),
        f(b'd/sub/n', b'n'), wh(b'd/sub'), f(b'etc', b'file'), wh(b'etc'))],
    'whiteout-then-below': [tar(*BASE), tar(
        wh(b'd'), f(b'd/sub/n', b'n'))],
    'below-then-whiteout': [tar(*BASE), tar(
        f(b'd/sub/n', b'n'), hard(b'd/hx', b'd/sub/x', mtime=22),
        wh(b'd/b'), wh(b'd'))],
    'whiteout-below-then-above': [tar(*BASE), tar(
        wh(b'd/sub/x'), wh(b'd/sub'), wh(b'd'))],
    'opaque-after-files': [tar(*BASE), tar(
        f(b'd/n', b'n'), f(b'd/sub/n', b'n'), wh(b'd/sub/x'), opq(b'd'),
        f(b'd/m', b'm'))],
    'opaque-first': [tar(*BASE), tar(
        opq(b'd'), d(b'd', mode=0o750), f(b'd/sub/n', b'n'))],
    'opaque-root': [tar(*BASE), tar(
        f(b'd/n', b'n'), f(b'new', b'1'), opq(b''), f(b'etc/late', b'2'))],
    'opaque-missing-directory': [tar(*BASE), tar(
        opq(b'none'), opq(b'lib'), opq(b'new'), d(b'new'))],
    'opaque-copied-directory': [tar(*BASE), tar(opq(b'd/sub'))],
    'whiteout-in-new-directory': [tar(*BASE), tar(
        d(b'fresh'), wh(b'fresh/x'), f(b'fresh/y', b'1'))],
    'whiteout-removes-link-target': [tar(*BASE), tar(
        hard(b'keep', b'one', mtime=25), wh(b'one'))],
    'replaced-twice': [tar(*BASE), tar(
        f(b'd', b'file'), d(b'd'), f(b'd/x', b'1'), f(b'd', b'again'),
        f(b'etc', b'e'), d(b'etc'))],
    'three-layers': [tar(*BASE),
                     tar(wh(b'd/sub'), wh(b'one'), f(b'usr/n', b'1')),
                     tar(f(b'd/sub/new', b'2'), f(b'lib/q', b'3'),
                         hard(b'n2', b'usr/n', mtime=9))],
    'four-layers': [tar(*BASE),
                    tar(sym(b'd2', b'd'), wh(b'etc')),
                    tar(f(b'd2/via', b'1'), d(b'etc', mode=0o701),
                        f(b'etc/fresh', b'x')),
                    tar(wh(b'd2/via'), wh(b'd2'), f(b'etc/more', b'y'))],
    'directory-link-directory': [
        tar(d(b'r'), f(b'r/low', b'1'), d(b't')),
        tar(wh(b'r'), sym(b'r', b't')),
        tar(d(b'r', mode=0o700), f(b'r/top', b'2'))],
    'empty-layer': [tar(*BASE), b'', tar()],
    'acl-below': [
        tar(d(b'dir', records=[(X + b'system.posix_acl_default', ACL)])),
        tar(f(b'dir/a/b', b'1', mode=0o640), entry(b'dir/p', FIFO))],
    'hard-link-to-itself': [tar(*BASE), tar(
        hard(b'd/a', b'd/a', uid=5), wh(b'd/a'), wh(b'd/b'))],
    'hard-link-group': [
        tar(d(b'a'), f(b'a/1', b'x' * 99), hard(b'a/2', b'a/1'),
            hard(b'b/c/3', b'a/1'), hard(b'4', b'a/1'), hard(b'5', b'a/1'),
            sym(b's', b't'), hard(b'a/s2', b's')),
        tar(f(b'4', b'mine'), wh(b'5'), hard(b'n', b'a/2', uid=6, mode=0o600),
            wh(b'b/c/3'), hard(b'ns', b's', uid=5))],
    'hard-link-group-hidden': [
        tar(d(b'a'), f(b'a/1', b'x' * 99), hard(b'a/2', b'a/1'),
            hard(b'b/3', b'a/1')),
        tar(f(b'b/own', b'1'), opq(b'b'), hard(b'n', b'a/2', uid=6)),
        tar(hard(b'b/m', b'n', mode=0o600))],
    'hard-link-over-lower': [tar(*BASE), tar(
        f(b'n', b'new'), hard(b'd/a', b'n'), hard(b'd/b', b'd/a'),
        hard(b'etc/passwd', b'etc/group', mtime=13))],
    'duplicates-over-lower': [tar(*BASE), tar(
        f(b'd/a', b'lost' * 3000), f(b'd/a', b'won'),
        d(b'd/sub/k'), f(b'd/sub/k/l', b'lost too' * 999),
        f(b'd/sub', b'file'))],
    'plnk-over-lower': [tar(*BASE), tar(
        f(b'.wh..wh.plnk/1.2', b'body', uid=5),
        hard(b'd/a', b'.wh..wh.plnk/1.2', uid=5), wh(b'd/b'))],
    'whiteout-then-copied-parent': [tar(*BASE), tar(
        wh(b'd/sub/deep'), f(b'd/sub/deep/z', b'1'),
        wh(b'd/sub/x'), hard(b'd/sub/x', b'd/a', mtime=19))],
}

BAD_SPARSE = gnu_sparse(b's', [(0, 600), (300, 600)], 5000, b'a' * 1200)

EVIL = {
    'dotdot': (tar(f(b'../x', b'1')), 'entry "../x": leaves the layer'),
    'dotdot-inside': (tar(f(b'a/../../x', b'1')), 'leaves the layer'),
    'hard-link-out': (tar(f(b'a'), hard(b'h', b'../a')), 'leaves the layer'),
    'hard-link-to-host': (tar(hard(b'h', b'/etc/passwd')), 'is missing'),
    'hard-link-through-link': (
        tar(sym(b'l', b'/etc'), hard(b'h', b'l/passwd')), 'is missing'),
    'hard-link-to-directory': (tar(d(b'd'), hard(b'h', b'd')), 'directory'),
    'hard-link-to-root': (tar(hard(b'h', b'./')), 'root'),
    'hard-link-other-data': (
        tar(f(b'a', b'12345'), entry(b'b', HARD, b'54321', link=b'a',
                                     records=[(b'x.y', b'1')])),
        "not its target's"),
    'hard-link-to-marker': (
        tar(f(b'.wh..wh.plnk/1', b'1'),
            hard(b'h', b'.wh..wh.imgd-plnk/1')), 'is missing'),
    'link-loop': (tar(sym(b'a', b'b'), sym(b'b', b'a'), f(b'a/x')),
                  'too many links'),
    'root-is-a-link': (tar(sym(b'./', b'/etc')), 'root is no directory'),
    'root-is-a-file': (tar(f(b'.', b'1')), 'root is no directory'),
    'empty-name': (tar(f(b'', b'1')), 'root is no directory'),
    'below-a-file': (tar(f(b'a', b'1'), f(b'a/b', b'2')), 'no directory'),
    'whiteout-nothing': (tar(f(b'a/.wh.')), 'whiteout of no name'),
    'whiteout-dot': (tar(f(b'.wh..')), 'whiteout of no name'),
    'whiteout-dotdot': (tar(f(b'a/.wh...')), 'whiteout of no name'),
    'whiteout-directory': (tar(f(b'.wh.a/b', b'1')), "whiteout's name"),
    'link-to-marker': (tar(sym(b'l', b'.wh.x'), f(b'l/y')),
                       "no directory's name"),
    'name-with-nul': (tar(f(b'a', b'1', records=[(b'path', b'a\0b')])), ''),
    'size-beyond-file': (
        tar(f(b'a', b'1', size=1 << 30), end=b''), 'malformed tar'),
    'negative-size': (tar(f(b'a', size_field=b'\xff' * 12)), ''),
    'negative-pax-size': (tar(f(b'a', records=[(b'size', b'-5')])), ''),
    'pax-size-hides-entry': (
        tar(entry(b'a', DIR, records=[(b'size', b'512')]), f(b'b', b'1'),
            f(b'c', b'2')), ''),
    'bad-checksum': (tar(f(b'a', b'1'), f(b'b', checksum=1)), ''),
    'bad-first-checksum': (tar(f(b'b', checksum=1)), 'malformed tar'),
    'no-tar': (b'hello, I am no tar\n', 'malformed tar'),
    'cut-in-header': (tar(f(b'a', b'1'), f(b'b'), end=b'')[:-300],
                      'malformed tar'),
    'cut-in-body': (tar(f(b'a', b'1' * 5000), end=b'')[:3000],
                    'malformed tar'),
    'cut-in-body-of-last-block': (tar(f(b'a', b'1' * 600), end=b'')[:1100],
                                  'cut short'),
    'cut-in-pax': (pax([(b'path', b'p' * 2000)])[:1024], 'malformed tar'),
    'header-without-entry': (pax([(b'path', b'p')]) + b'\0' * 1024, ''),
    'unknown-type': (tar(entry(b'a', b'V')), ''),
    'unknown-type-later': (tar(f(b'a'), entry(b'b', b'Q')), 'unknown entry'),
    'device-0-0': (tar(entry(b'a', CHR)), 'forged whiteout'),
    'long-component': (tar(f(b'x', records=[(b'path', b'n' * 256)])),
                       'exceeds 255'),
    'long-path': (tar(f(b'x', records=[
        (b'path', b'/'.join([b'n' * 255] * 17))])), 'exceeds 4096'),
    'too-deep': (tar(f(b'x', records=[
        (b'path', b'/'.join([b'd'] * 1025))])), 'directories deep'),
    'big-pax': (pax([(b'comment', b'c' * (1 << 20))]) + tar(f(b'a')), ''),
    'owner-minus-one': (tar(f(b'a', records=[(b'uid', b'4294967295')])),
                        'owner'),
    'link-without-target': (tar(sym(b'l', b'')), ''),
    'control-in-name': (tar(f(b'../\x1b[2J\n')), r'\\x1b[2J\\n'),
    'sparse-overlap': (tar(BAD_SPARSE), ''),
    'sparse-beyond-size': (
        tar(gnu_sparse(b's', [(9000, 600)], 5000, b'a' * 600)), ''),
}


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as out:
        out.write(data)


def main():
    top = sys.argv[1]
    for name, data in SINGLE.items():
        write('%s/single/%s.tar' % (top, name), data)
    for name, layers in MULTI.items():
        for i, data in enumerate(layers):
            write('%s/multi/%s/%d.tar' % (top, name, i), data)
    for name, (data, expect) in EVIL.items():
        write('%s/evil/%s.tar' % (top, name), data)
        write('%s/evil/%s.expect' % (top, name),
              expect.replace('\\\\', '\\').encode() + b'\n')


main()
