"""Tars from raw header bytes: also those that no library would write."""
import struct

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
