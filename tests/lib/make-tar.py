#!/usr/bin/env python3
"""Make awkward tars from raw header bytes; evil ones are tests/evil's.

usage: make-tar.py DIR

  DIR/single/NAME.tar   legal tars of one layer
  DIR/multi/NAME/N.tar  images: layer 0 is the base
"""
import os
import sys

from rawtar import (ACL, BASE, BLK, CAP, CHR, DIR, FIFO, GNU, HARD, OLD, SYM,
                    V7, X, base256, d, entry, f, gnu_long, gnu_sparse, hard,
                    opq, pax, pax_sparse, sym, tar, wh)

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


if __name__ == '__main__':
    main()
