"""Evil images whose evil is in their layers' tars.

Each case is a Case of evil_case.py: a name, the record that it comes from,
what is expected, and layers.
"""
from evil_case import harmless, refused
from rawtar import (BASE, BLK, BLOCK, CAP, CHR, DIR, FIFO, FILE, GNU, HARD,
                    SPARSE, SYM, X, base256, d, entry, f, gnu_long, gnu_sparse,
                    hard, header, opq, pad, pax, sym, tar, wh)

OUT = "leaves the layer's root"
NO_ROOT = "root is no directory"
DISAGREE = "tar readers disagree on its "
MALFORMED = "malformed tar"


def raw_pax(body):
    return header(b'PaxHeaders/x', b'x', len(body)) + pad(body)


def with_field(at, value, **kw):
    """A file's header with some bytes of it changed, the checksum right."""
    h = header(b'a', **kw)
    h = h[:at] + value + h[at + len(value):]
    return h[:148] + b'%06o\0 ' % sum(h[:148] + b' ' * 8 + h[156:]) + h[156:]


def traversal(canary):
    up = b'../' * 30
    yield refused('dotdot', 'CVE-2001-1267 GNU tar', 'entry "../x": ' + OUT,
                  [tar(f(b'../x', b'1'))])
    yield refused('dotdot-inside', 'CVE-2007-4131 GNU tar', OUT,
                  [tar(f(b'a/../../x', b'1'))])
    yield refused('dotdot-after-slash', 'CVE-2002-0399 GNU tar', OUT,
                  [tar(f(b'/../x', b'1'))])
    yield refused('dotdot-to-canary', 'CVE-2007-4559 Python tarfile', OUT,
                  [tar(f(b'ok', b'1'), f(up[:50] + b'imgd-evil', b'1'))])
    yield refused('dotdot-in-pax', 'CVE-2016-6321 GNU tar', OUT,
                  [tar(f(b'x', b'1', records=[
                      (b'path', up + canary + b'/file')]))])
    yield refused('dotdot-in-long-name', 'CVE-2016-6321 GNU tar', OUT,
                  [tar(gnu_long(up + canary), f(b'x', b'1', magic=GNU))])
    yield refused('dotdot-in-prefix', 'CVE-2018-1002200 plexus (Zip Slip)',
                  OUT, [tar(f(b'x', b'1', prefix=b'../..'))])
    yield refused('dotdot-directory', 'CVE-2001-1267 GNU tar', OUT,
                  [tar(d(b'..', mode=0o777))])
    yield refused('dotdot-whiteout', 'CVE-2014-9356 Docker', OUT,
                  [tar(wh(b'a/../../x'))])
    yield refused('dotdot-opaque', 'CVE-2014-9356 Docker', OUT,
                  [tar(opq(b'..'))])
    yield refused('dotdot-back-to-root', 'umoci, the root', NO_ROOT,
                  [tar(d(b'a'), f(b'a/..', b'1'))])
    yield refused('dotdot-mixed', 'CVE-2021-32804 node-tar', OUT,
                  [tar(f(b'./..//.//./x', b'1'))])
    yield harmless('dotdot-stays-inside', 'OCI image-spec, layer.md',
                   [tar(d(b'a'), f(b'a/../b', b'in'))],
                   [('content', 'b', 'in')])
    yield harmless('absolute', 'CVE-2021-32804 node-tar',
                   [tar(f(b'/etc/imgd-evil', b'in'))],
                   [('content', 'etc/imgd-evil', 'in')])
    yield harmless('absolute-canary', 'CVE-2021-32804 node-tar',
                   [tar(f(b'////' + canary + b'/file', b'in'))],
                   [('content', canary.decode() + '/file', 'in')])
    yield harmless('backslashes', 'CVE-2021-37713 node-tar',
                   [tar(f(b'..\\..\\imgd-evil', b'in'),
                        f(b'C:\\imgd-evil', b'in'))],
                   [('content', '..\\..\\imgd-evil', 'in')])
    yield harmless('dots-that-are-names', 'CVE-2021-32804 node-tar',
                   [tar(f(b'...', b'1'), f(b'..a/.. /b', b'2'))],
                   [('content', '...', '1'), ('content', '..a/.. /b', '2')])


def symlinks(canary):
    c = canary.decode()
    yield harmless('link-to-canary', 'CVE-2002-1216 GNU tar',
                   [tar(sym(b'l', canary), f(b'l/file', b'in'))],
                   [('content', c + '/file', 'in'), ('link', 'l', c)])
    yield harmless('link-climbs', 'CVE-2025-4517 Python tarfile',
                   [tar(d(b'x'), sym(b'x/l', b'../' * 12 + canary[1:]),
                        f(b'x/l/file', b'in'))],
                   [('content', c + '/file', 'in')])
    yield harmless('link-to-root', 'CVE-2014-9356 Docker',
                   [tar(sym(b'l', b'/'), f(b'l/etc/imgd-evil', b'in'))],
                   [('content', 'etc/imgd-evil', 'in')])
    yield harmless('link-then-file', 'CVE-2018-12015 Archive::Tar',
                   [tar(sym(b'l', canary + b'/file'), f(b'l', b'in'))],
                   [('content', 'l', 'in')])
    yield harmless('link-then-directory', 'CVE-2021-32803 node-tar',
                   [tar(sym(b'l', canary), d(b'l', mode=0o777),
                        f(b'l/file', b'in'))],
                   [('content', 'l/file', 'in'), ('mode', 'l', '777')])
    yield harmless('link-chain', 'CVE-2025-4330 Python tarfile',
                   [tar(sym(b'a', b'b'), sym(b'b', b'./c'),
                        sym(b'c', b'/' + canary), f(b'a/file', b'in'))],
                   [('content', c + '/file', 'in')])
    yield harmless('link-to-proc', 'CVE-2024-21626 runc',
                   [tar(sym(b'l', b'/proc/self/root'),
                        f(b'l/imgd-evil', b'in'),
                        sym(b'm', b'/proc/self/fd/3'),
                        f(b'm/imgd-evil', b'in'), sym(b'n', b'/proc/1/cwd'),
                        f(b'n/imgd-evil', b'in'))],
                   [('content', 'proc/self/root/imgd-evil', 'in')])
    yield harmless('link-to-device', 'CVE-2014-6407 Docker',
                   [tar(sym(b'l', b'/dev/null'), f(b'l', b'in'),
                        sym(b'm', b'/dev'), f(b'm/sda', b'in'))],
                   [('content', 'dev/sda', 'in')])
    yield harmless('link-and-opaque', 'CVE-2014-9356 Docker',
                   [tar(*BASE), tar(sym(b'd/l', canary), opq(b'd/l'))],
                   [('link', 'd/l', c)])
    yield harmless('link-and-whiteout', 'CVE-2014-9356 Docker',
                   [tar(sym(b'l', canary)), tar(wh(b'l/file'), wh(b'l/dir'))],
                   [('link', 'l', c)])
    yield harmless('link-with-metadata', 'CVE-2021-23177 libarchive',
                   [tar(sym(b'l', canary + b'/file', uid=77, gid=77,
                            records=[(X + b'user.evil', b'1'),
                                     (X + b'security.capability', CAP),
                                     (b'SCHILY.acl.access', b'user::rwx')]))],
                   [('link', 'l', c + '/file')])
    yield harmless('link-hard-linked', 'CVE-2014-6407 Docker',
                   [tar(sym(b'l', canary + b'/file'), hard(b'h', b'l'),
                        f(b'h', b'in'))],
                   [('content', 'h', 'in'), ('link', 'l', c + '/file')])
    yield harmless('link-hard-linked-owner', 'CVE-2018-20834 node-tar',
                   [tar(sym(b'l', canary + b'/file'),
                        hard(b'h', b'l', uid=77, mode=0o4777))],
                   [('link', 'h', c + '/file')])
    yield refused('link-hard-linked-data', 'CVE-2016-5418 libarchive',
                  "the hard link's target",
                  [tar(sym(b'l', canary + b'/file'),
                       entry(b'h', HARD, b'evil', link=b'l',
                             records=[(b'x.y', b'1')]))])
    yield refused('link-to-canary-hard-link', 'CVE-2025-48387 tar-fs',
                  'is missing', [tar(sym(b'l', canary),
                                     hard(b'h', b'l/file'))])
    yield refused('link-loop', 'CVE-2018-20482 GNU tar, endless loops',
                  'too many links',
                  [tar(sym(b'a', b'b'), sym(b'b', b'a'), f(b'a/x'))])
    yield refused('link-doubles', 'exponential links', 'too many links',
                  [tar(sym(b'l0', b'.'), *(
                      sym(b'l%d' % i, b'l%d/l%d' % (i - 1, i - 1))
                      for i in range(1, 40)), f(b'l39/x'))])
    yield refused('link-of-4096', 'CVE-2025-4517 Python tarfile',
                  'too many links|exceeds|long',
                  [tar(entry(b's', SYM, records=[
                      (b'linkpath', b'/'.join([b'z' * 200] * 40))]),
                      f(b's/x'))])
    yield refused('link-without-target', 'POSIX, symlink()', '',
                  [tar(sym(b'l', b''))])
    yield refused('link-to-marker', 'aufs, .wh. names', "no directory's name",
                  [tar(sym(b'l', b'.wh.x'), f(b'l/y'))])
    yield harmless('link-later', 'CVE-2025-4138 Python tarfile',
                   [tar(f(b'l/a', b'in'), sym(b'l', canary),
                        f(b'l/b', b'in'))],
                   [('content', c + '/b', 'in'), ('link', 'l', c)])


def hard_links(canary):
    yield refused('hard-link-out', 'CVE-2018-20834 node-tar', OUT,
                  [tar(f(b'a'), hard(b'h', b'../a'))])
    yield refused('hard-link-to-host', 'CVE-2014-6407 Docker', 'is missing',
                  [tar(hard(b'h', b'/etc/passwd'))])
    yield refused('hard-link-to-canary', 'CVE-2014-6407 Docker', 'is missing',
                  [tar(hard(b'h', canary + b'/file'))])
    yield refused('hard-link-in-pax', 'CVE-2016-6321 GNU tar', OUT,
                  [tar(hard(b'h', b'', records=[
                      (b'linkpath', b'../' * 40 + canary + b'/file')]))])
    yield refused('hard-link-through-link', 'CVE-2024-12905 tar-fs',
                  'is missing', [tar(sym(b'l', b'/etc'),
                                     hard(b'h', b'l/passwd'))])
    yield refused('hard-link-to-directory', 'POSIX, link()', 'directory',
                  [tar(d(b'd'), hard(b'h', b'd'))])
    yield refused('hard-link-to-root', 'CVE-2021-29136 umoci', 'root',
                  [tar(hard(b'h', b'./'))])
    yield refused('hard-link-other-data', 'cpio, hard links with data',
                  "not its target's",
                  [tar(f(b'a', b'12345'),
                       entry(b'b', HARD, b'54321', link=b'a',
                             records=[(b'x.y', b'1')]))])
    yield refused('hard-link-to-marker', 'aufs, .wh..wh.plnk', 'is missing',
                  [tar(f(b'.wh..wh.plnk/1', b'1'),
                       hard(b'h', b'.wh..wh.imgd-plnk/1'))])
    yield refused('hard-link-without-target', 'POSIX, link()', '',
                  [tar(f(b'a'), hard(b'h', b''))])
    yield harmless('hard-link-then-write', 'CVE-2016-5418 libarchive',
                   [tar(f(b'a', b'one'), hard(b'h', b'a'), f(b'h', b'two'))],
                   [('content', 'a', 'one'), ('content', 'h', 'two')])
    yield harmless('hard-link-to-device', 'CVE-2014-6407 Docker',
                   [tar(entry(b'mem', CHR, major=1, minor=1),
                        hard(b'h', b'mem', mode=0o666))],
                   [('device', 'h', '1:1')])


def across_layers(canary):
    c = canary.decode()
    base = tar(d(b'x'), sym(b'x/l', canary), sym(b'f', canary + b'/file'))
    yield harmless('across-file', 'CVE-2014-9356 Docker',
                   [base, tar(f(b'x/l/file', b'in'))],
                   [('content', c + '/file', 'in')])
    yield harmless('across-overwrite', 'CVE-2014-6407 Docker',
                   [base, tar(f(b'f', b'in'))], [('content', 'f', 'in')])
    yield harmless('across-whiteout', 'CVE-2014-9356 Docker',
                   [base, tar(wh(b'x/l/file'), wh(b'f'))],
                   [('absent', 'f'), ('link', 'x/l', c)])
    yield harmless('across-opaque', 'CVE-2014-9356 Docker',
                   [base, tar(opq(b'x/l'), opq(b'x'))],
                   [('absent', 'x/l')])
    yield harmless('across-directory-mode', 'CVE-2021-41089 Docker',
                   [base, tar(d(b'x/l', mode=0o777, uid=77))],
                   [('mode', 'x/l', '777')])
    yield refused('across-hard-link', 'CVE-2025-48387 tar-fs', 'is missing',
                  [base, tar(hard(b'h', b'x/l/file'))])
    yield harmless('across-three', 'CVE-2018-15664 Docker',
                   [tar(sym(b'a', b'b')), tar(sym(b'b', canary)),
                    tar(f(b'a/file', b'in'), wh(b'a/dir'))],
                   [('content', c + '/file', 'in')])
    yield harmless('across-whiteout-then-below', 'CVE-2014-9356 Docker',
                   [base, tar(wh(b'x/l'), f(b'x/l/file', b'in'))],
                   [('content', 'x/l/file', 'in')])
    yield harmless('across-directory-made-link', 'CVE-2018-15664 Docker',
                   [tar(d(b'x'), f(b'x/file', b'low')),
                    tar(wh(b'x'), sym(b'x', canary)),
                    tar(f(b'x/file', b'top'), wh(b'x/gone'))],
                   [('content', c + '/file', 'top')])
    yield harmless('across-parent-of-link', 'CVE-2021-41091 Docker',
                   [base, tar(d(b'x', mode=0o7777),
                              f(b'x/l/../imgd-evil', b'in'))],
                   [('content', 'x/imgd-evil', 'in')])
    yield harmless('across-marker-directory', 'aufs, .wh..wh.plnk',
                   [tar(*BASE), tar(sym(b'.wh..wh.plnk', canary),
                                    f(b'.wh..wh.orph', b'1'))],
                   [('absent', '.wh..wh.plnk'), ('absent', '.wh..wh.orph')])
    yield refused('across-below-a-file', 'OCI image-spec, layer.md',
                  'no directory', [tar(f(b'a', b'1')),
                                   tar(f(b'a', b'2'), f(b'a/b', b'2'))])


def races(canary):
    c = canary.decode()
    swap = []
    for i in range(200):
        swap += [sym(b'x', canary), f(b'x/file', b'%d' % i), d(b'x'),
                 f(b'x/file', b'%d' % i)]
    yield harmless('swapped-often', 'CVE-2018-15664 Docker', [tar(*swap)],
                   [('content', c + '/file', '199'),
                    ('content', 'x/file', '199')], twice=True)
    swap = []
    for i in range(200):
        swap += [f(b'a', b'%d' % i), hard(b'h', b'a'),
                 sym(b'a', canary + b'/file'), hard(b'h', b'a')]
    yield harmless('swapped-hard-links', 'CVE-2016-5418 libarchive',
                   [tar(*swap)], [('link', 'h', c + '/file')], twice=True)
    yield harmless('swapped-between-layers', 'CVE-2021-30465 runc',
                   [tar(d(b'x'), f(b'x/file', b'low'))] +
                   [tar(sym(b'x', canary), f(b'x/a%d' % i, b'in'))
                    if i % 2 else tar(d(b'x'), f(b'x/b%d' % i, b'in'))
                    for i in range(6)],
                   [('content', c + '/a5', 'in'), ('link', 'x', c)],
                   twice=True)
    yield harmless('duplicates', 'CVE-2018-12015 Archive::Tar',
                   [tar(*(f(b'a', b'%d' % i) for i in range(2000)))],
                   [('content', 'a', '1999')])
    yield harmless('duplicate-kinds', 'CVE-2021-37701 node-tar',
                   [tar(f(b'a', b'1'), d(b'a'), f(b'a/b', b'2'),
                        sym(b'a', canary), entry(b'a', FIFO),
                        entry(b'a', CHR, major=1, minor=3), d(b'a'))],
                   [('mode', 'a', '755'), ('absent', 'a/b')])
    yield harmless('file-with-slash', 'CVE-2022-36227 libarchive, V7 names',
                   [tar(f(b'a', b'1'), f(b'A', b'2'),
                        entry(b'b/', b'\0', mode=0o755))],
                   [('content', 'a', '1'), ('content', 'A', '2')])
    yield refused('below-a-file', 'CVE-2018-12015 Archive::Tar',
                  'no directory', [tar(f(b'a', b'1'), f(b'a/b', b'2'))])


def root_entry(canary):
    record = 'CVE-2021-29136 umoci'
    yield refused('root-is-a-link', record, NO_ROOT,
                  [tar(sym(b'./', canary))])
    yield refused('root-is-a-link-slash', record, NO_ROOT,
                  [tar(sym(b'/', canary), f(b'x', b'1'))])
    yield refused('root-is-a-file', record, NO_ROOT, [tar(f(b'.', b'1'))])
    yield refused('root-is-a-device', record, NO_ROOT,
                  [tar(entry(b'./', CHR, major=1, minor=1))])
    yield refused('root-is-a-disk', record, NO_ROOT,
                  [tar(entry(b'.', BLK, major=8, minor=0))])
    yield refused('root-is-a-fifo', record, NO_ROOT,
                  [tar(entry(b'./.', FIFO))])
    yield refused('root-is-a-hard-link', record, NO_ROOT,
                  [tar(f(b'a', b'1'), hard(b'.', b'a'))])
    yield refused('root-in-a-later-layer', record, NO_ROOT,
                  [tar(*BASE), tar(sym(b'.', canary))])
    yield refused('empty-name', record, NO_ROOT, [tar(f(b'', b'1'))])
    yield refused('root-whiteout', 'OCI image-spec, layer.md',
                  'whiteout of no name', [tar(f(b'.wh.'))])
    yield refused('root-whiteout-dot', 'OCI image-spec, layer.md',
                  'whiteout of no name', [tar(f(b'.wh..'))])
    yield harmless('root-closed', 'CVE-2021-41091 Docker',
                   [tar(d(b'.', mode=0, uid=77), f(b'a', b'1')),
                    tar(f(b'b', b'2'))],
                   [('mode', '.', '0'), ('content', 'b', '2')])
    yield harmless('root-open', 'CVE-2021-41091 Docker',
                   [tar(d(b'./', mode=0o7777), f(b'a', b'1')), tar(d(b'.'))],
                   [('mode', '.', '755')])
    yield harmless('root-with-xattrs', 'CVE-2021-29136 umoci',
                   [tar(*BASE), tar(d(b'.', records=[
                       (X + b'trusted.overlay.opaque', b'y'),
                       (X + b'trusted.overlay.redirect', b'/d')]))],
                   [('content', 'd/a', 'a')])
    yield harmless('root-opaque', 'OCI image-spec, layer.md',
                   [tar(*BASE), tar(opq(b''), f(b'a', b'1'))],
                   [('absent', 'd'), ('content', 'a', '1')])


def metadata(_canary):
    yield harmless('mode-of-all-bits', 'CVE-2005-1918 GNU tar, set-id bits',
                   [tar(with_field(100, b'7777777\0', size=0))],
                   [('mode', 'a', '7777')])
    yield harmless('mode-base-256', 'CVE-2022-48303 GNU tar',
                   [tar(with_field(100, b'\xff' * 8))],
                   [('exists', 'a')])
    yield refused('mode-of-letters', 'CVE-2022-48303 GNU tar', MALFORMED,
                  [tar(with_field(100, b'rwxr-xr '))])
    yield refused('owner-minus-one', 'CVE-2023-25173 containerd, owners',
                  'owner', [tar(f(b'a', records=[(b'uid', b'4294967295')]))])
    yield refused('group-minus-one', 'CVE-2023-25173 containerd, owners',
                  'owner', [tar(f(b'a', records=[(b'gid', b'4294967295')]))])
    yield refused('owner-of-40-bits', 'CVE-2022-48303 GNU tar', 'owner',
                  [tar(f(b'a', uid_field=base256(1 << 40, 8)))])
    yield refused('owner-negative', 'CVE-2022-48303 GNU tar', 'owner',
                  [tar(f(b'a', uid_field=b'\xff' * 8))])
    yield harmless('owner-of-31-bits', 'CVE-2023-25173 containerd, owners',
                   [tar(f(b'a', b'1', records=[(b'uid', b'2147483648'),
                                               (b'gid', b'4294967294')]))],
                   [('owner', 'a', '2147483648:4294967294')])
    yield harmless('owner-by-name', 'OCI image-spec, layer.md: names',
                   [tar(f(b'a', b'1', uid=5, records=[
                       (b'uname', b'root'), (b'gname', b'root')]))],
                   [('owner', 'a', '5:0')])
    yield harmless('time-huge', 'libarchive, times of 64 bits',
                   [tar(f(b'a', b'1', records=[(b'mtime', b'9' * 18)]))],
                   [('content', 'a', '1')])
    yield harmless('time-negative', 'CVE-2022-48303 GNU tar',
                   [tar(with_field(136, b'\xff' * 12))], [('exists', 'a')])
    yield harmless('time-of-letters', 'libarchive, parse_decimal_time',
                   [tar(f(b'a', b'1', records=[(b'mtime', b'nan')]))],
                   [('content', 'a', '1')])


def devices(_canary):
    yield harmless('device-memory', 'CVE-2014-9357 Docker, devices',
                   [tar(entry(b'mem', CHR, major=1, minor=1, mode=0o666),
                        entry(b'tty', CHR, major=5, minor=0, mode=0o666),
                        entry(b'disk', BLK, major=8, minor=0, mode=0o666))],
                   [('device', 'mem', '1:1'), ('device', 'disk', '8:0')])
    yield harmless('device-fifo', 'CVE-2019-14271 Docker, what blocks',
                   [tar(entry(b'pipe', FIFO, mode=0o666),
                        entry(b'watchdog', CHR, major=10, minor=130))],
                   [('exists', 'pipe')])
    yield refused('device-0-0', 'CVE-2023-0386 overlayfs', 'forged whiteout',
                  [tar(entry(b'a', CHR))])
    yield refused('device-0-0-later', 'CVE-2023-0386 overlayfs',
                  'forged whiteout',
                  [tar(*BASE), tar(entry(b'd/a', CHR))])
    yield harmless('device-0-0-block', 'CVE-2023-0386 overlayfs',
                   [tar(*BASE), tar(entry(b'd/a', BLK))],
                   [('device', 'd/a', '0:0')])
    yield refused('device-0-0-by-overflow', 'CVE-2023-0386 overlayfs',
                  'forged whiteout|disagree|out of range|malformed',
                  [tar(*BASE), tar(entry(b'd/a', CHR, records=[
                      (b'SCHILY.devmajor', b'4294967296'),
                      (b'SCHILY.devminor', b'4294967296')]))])
    yield refused('unknown-type', 'libarchive, unknown types', '',
                  [tar(entry(b'a', b'V'))])
    yield refused('unknown-type-later', 'libarchive, unknown types',
                  'unknown entry', [tar(f(b'a'), entry(b'b', b'Q'))])


def overlay(_canary):
    base = tar(*BASE)

    def forged(name, key, value, record='CVE-2021-3493 overlayfs'):
        # What is below must still be seen, and the file must be itself.
        return harmless('forged-' + name, record,
                        [base, tar(d(b'd', records=[(X + key, value)]),
                                   f(b'd/b', b'new', records=[
                                       (X + key, value)]))],
                        [('content', 'd/a', 'a'), ('content', 'd/b', 'new'),
                         ('content', 'd/sub/x', 'x')])
    yield forged('opaque', b'trusted.overlay.opaque', b'y')
    yield forged('opaque-x', b'trusted.overlay.opaque', b'x')
    yield forged('whiteout', b'trusted.overlay.whiteout', b'y')
    yield forged('redirect', b'trusted.overlay.redirect', b'/etc')
    yield forged('metacopy', b'trusted.overlay.metacopy', b'')
    yield forged('origin', b'trusted.overlay.origin', b'\0\xfb\x21\0' * 8)
    yield forged('escaped', b'trusted.overlay.overlay.opaque', b'y')
    yield forged('user-opaque', b'user.overlay.opaque', b'y',
                 'CVE-2023-2640 overlayfs')
    yield forged('user-redirect', b'user.overlay.redirect', b'/etc',
                 'CVE-2023-2640 overlayfs')
    yield forged('fuse-opaque', b'user.fuseoverlayfs.opaque', b'y',
                 'fuse-overlayfs, its own attributes')
    yield forged('fuse-origin', b'user.fuseoverlayfs.origin', b'/etc',
                 'fuse-overlayfs, its own attributes')
    yield forged('override', b'user.containers.override_stat',
                 b'0:0:104755', 'containers/storage, override_stat')
    yield harmless('forged-selinux', 'CVE-2021-3493 overlayfs',
                   [tar(f(b'a', b'1', records=[
                       (X + b'security.selinux', b'evil'),
                       (X + b'security.capability', CAP)]))],
                   [('content', 'a', '1')])
    yield refused('capability-malformed', 'CVE-2023-39804 GNU tar',
                  'security.capability',
                  [tar(f(b'a', records=[(X + b'security.capability',
                                         b'evil')]))])
    yield refused('acl-malformed', 'CVE-2021-31566 libarchive',
                  'system.posix_acl_access',
                  [tar(f(b'a', records=[(X + b'system.posix_acl_access',
                                         b'\2\0\0\0evil')]))])
    yield harmless('acl-of-text', 'CVE-2021-23177 libarchive',
                   [tar(f(b'a', b'1', records=[
                       (b'SCHILY.acl.access',
                        b'user::rwx,' + b'user:x:rwx,' * 3000)]))],
                   [('content', 'a', '1')])
    yield refused('xattr-of-no-kind', 'CVE-2023-39804 GNU tar', 'evil',
                  [tar(f(b'a', records=[(X + b'evil', b'1')]))])
    yield refused('xattr-long-name', 'CVE-2023-39804 GNU tar',
                  'user.n+|range',
                  [tar(f(b'a', records=[(X + b'user.' + b'n' * 300,
                                         b'1')]))])
    yield refused('xattr-huge', 'CVE-2023-39804 GNU tar', 'user.huge',
                  [tar(f(b'a', records=[(X + b'user.huge',
                                         b'h' * 70000)]))])
    yield refused('xattrs-too-many', 'LIMIT_XATTRS_BYTES',
                  'extended attributes exceed|user.n|header',
                  [tar(f(b'a', records=[
                      (X + b'user.n%d' % i, b'h' * 60000)
                      for i in range(17)]))])
    yield harmless('xattr-base64', 'CVE-2023-39804 GNU tar',
                   [tar(f(b'a', b'1', records=[
                       (b'LIBARCHIVE.xattr.user.a', b'*****'),
                       (b'LIBARCHIVE.xattr.%75ser.b', b'Zg')]))],
                   [('content', 'a', '1')])


def whiteouts(canary):
    record = 'aufs, .wh..wh. names'
    base = tar(*BASE)
    yield refused('whiteout-nothing', record, 'whiteout of no name',
                  [tar(f(b'a/.wh.'))])
    yield refused('whiteout-dotdot', record, 'whiteout of no name',
                  [tar(f(b'a/.wh...'))])
    yield refused('whiteout-directory', record, "whiteout's name",
                  [tar(f(b'.wh.a/b', b'1'))])
    yield harmless('whiteout-below-opaque', record,
                   [tar(d(b'a'), f(b'a/.wh..wh..opq/b', b'1'))],
                   [('absent', 'a/.wh..wh..opq'), ('count', 'a', '0')])
    yield harmless('whiteout-of-wh', record,
                   [base, tar(f(b'd/.wh..wh.'), f(b'd/.wh..wh.x'))],
                   [('content', 'd/a', 'a'), ('absent', 'd/.wh.'),
                    ('absent', 'd/.wh..wh.x')])
    yield harmless('whiteout-is-a-link', record,
                   [base, tar(sym(b'd/.wh.a', canary),
                              sym(b'd/sub/.wh..wh..opq', canary))],
                   [('absent', 'd/a'), ('content', 'd/b', 'b')])
    yield harmless('whiteout-is-a-directory', record,
                   [base, tar(d(b'd/.wh.a'))], [('content', 'd/b', 'b')])
    yield harmless('whiteout-is-a-device', record,
                   [base, tar(entry(b'd/.wh.a', CHR, major=1, minor=1))],
                   [('absent', 'd/a')])
    yield harmless('whiteout-with-content', record,
                   [base, tar(f(b'd/.wh.a', b'content' * 1000))],
                   [('absent', 'd/a')])
    yield harmless('whiteout-of-long-name', record,
                   [tar(f(b'x', b'1', records=[(b'path', b'n' * 251)])),
                    tar(f(b'x', records=[(b'path', b'.wh.' + b'n' * 251)]))],
                   [('absent', 'n' * 251)])
    yield harmless('whiteout-of-parent', record,
                   [base, tar(wh(b'd'), wh(b'd/sub'), opq(b'd/sub/deep'))],
                   [('exists', 'etc')])
    yield harmless('whiteout-hard-linked', record,
                   [base, tar(f(b'new', b'1'),
                              hard(b'd/.wh.a', b'new'))],
                   [('absent', 'd/a'), ('content', 'new', '1')])


def encodings(_canary):
    record = 'Go archive/tar, names'
    yield refused('name-with-nul', 'CVE-2012-1571 and others, NUL', '',
                  [tar(f(b'a', b'1', records=[(b'path', b'a\0b')]))])
    yield refused('link-with-nul', 'CVE-2012-1571 and others, NUL', '',
                  [tar(entry(b'l', SYM, records=[
                      (b'linkpath', b'a\0b')]))])
    yield harmless('name-not-utf8', record,
                   [tar(f(b'\xff\xfe\xc0\xaf..', b'1'),
                        f(b'x', b'2', records=[(b'path', b'\xc0\xae\xc0\xae/'
                                                         b'\xed\xa0\x80')]))],
                   [('count', '.', '2')])
    yield harmless('name-normal-forms', 'CVE-2021-37712 node-tar',
                   [tar(f('\u00e9'.encode(), b'1'),
                        f('e\u0301'.encode(), b'2'),
                        sym('\ufb01'.encode(), b'/etc'),
                        f(b'fi/x', b'3'))],
                   [('content', '\u00e9', '1'), ('content', 'e\u0301', '2'),
                    ('content', 'fi/x', '3')])
    yield harmless('name-with-controls', 'CVE-2003-0063 terminals',
                   [tar(f(b'\x1b[2J\n\r\x07', b'1'),
                        f('\u202egpj.exe'.encode(), b'2'))],
                   [('content', '\x1b[2J\n\r\x07', '1')])
    yield refused('control-in-message', 'CVE-2003-0063 terminals',
                  r'\\x1b\[2J\\n', [tar(f(b'../\x1b[2J\n'))])
    yield harmless('name-of-options', 'GNU tar, --checkpoint-action',
                   [tar(f(b'-rf', b'1'), f(b'--checkpoint=1', b'1'),
                        f(b'--checkpoint-action=exec=sh x', b'1'),
                        f(b'* $(touch imgd-evil) `id`;\n', b'1'))],
                   [('content', '-rf', '1')], tools=True)
    yield refused('name-of-slashes', 'CVE-2021-32804 node-tar', MALFORMED,
                  [tar(f(b'/' * 90, b'1'))])
    yield refused('long-component', 'NAME_MAX', 'exceeds 255',
                  [tar(f(b'x', records=[(b'path', b'n' * 256)]))])
    yield refused('long-path', 'PATH_MAX', 'exceeds 4096',
                  [tar(f(b'x', records=[
                      (b'path', b'/'.join([b'n' * 255] * 17))]))])
    yield refused('long-name-of-gnu', 'CVE-2022-2879 Go archive/tar',
                  'exceeds|header|long|1 MiB|%d' % (1 << 20),
                  [tar(gnu_long(b'n' * (2 << 20)), f(b'x', magic=GNU))])
    yield harmless('two-names', 'CVE-2025-62518 tokio-tar',
                   [tar(gnu_long(b'gnu'), pax([(b'path', b'pax')]),
                        pax([(b'path', b'other')]), f(b'x', magic=GNU))],
                   [('count', '.', '1')])


def sizes(_canary):
    record = 'CVE-2025-62518 tokio-tar'
    inner = header(b'imgd-evil', FILE, 0)
    yield harmless('size-in-pax-alone', record,
                   [tar(entry(b'a', FILE, inner, size=0, records=[
                       (b'size', b'512')]))], [('absent', 'imgd-evil')])
    yield harmless('size-of-pax-is-zero', record,
                   [tar(header(b'PaxHeaders/x', b'x', 11) + pad(b'10 size=0\n')
                        + header(b'a', FILE, 0), f(b'b', b'1'))],
                   [('content', 'b', '1')])
    yield refused('size-hides-entry', record, '',
                  [tar(entry(b'a', DIR, records=[(b'size', b'512')]),
                       f(b'b', b'1'), f(b'c', b'2'))])
    yield harmless('size-zero-for-a-body', record,
                   [tar(pax([(b'size', b'0')]), header(b'a', FILE, 512),
                        header(b'b', FILE, 0))],
                   [('size', 'a', '0'), ('size', 'b', '0')])
    yield refused('size-of-a-link', record,
                  DISAGREE + '|' + MALFORMED,
                  [tar(entry(b'l', SYM, link=b'x', size=512), inner,
                       entry(b'm', SYM, link=b'y',
                             records=[(b'size', b'512')]), inner)])
    yield harmless('size-twice', record,
                   [tar(pax([(b'size', b'512'), (b'size', b'0')]),
                        header(b'a', FILE, 512), header(b'b', FILE, 0))],
                   [('size', 'a', '0'), ('size', 'b', '0')])
    yield refused('size-of-pax-header', record, '',
                  [tar(pax([(b'size', b'4096')]), pax([(b'path', b'b')]),
                       f(b'a', b'1'))])
    yield refused('size-beyond-file', 'CVE-2018-20482 GNU tar', MALFORMED,
                  [tar(f(b'a', b'1', size=1 << 30), end=b'')])
    yield refused('size-negative', 'CVE-2022-48303 GNU tar', '',
                  [tar(f(b'a', size_field=b'\xff' * 12))])
    yield refused('size-negative-in-pax', record, '',
                  [tar(f(b'a', records=[(b'size', b'-5')]))])
    yield refused('size-of-63-bits', 'CVE-2022-48303 GNU tar', '',
                  [tar(f(b'a', size_field=base256(1 << 63, 12)))])
    yield refused('size-almost-63-bits', 'CVE-2022-48303 GNU tar', '',
                  [tar(f(b'a', size_field=base256((1 << 63) - 1, 12)))])
    yield refused('size-of-letters', 'CVE-2022-48303 GNU tar', '',
                  [tar(f(b'a', b'1', size_field=b'evil evil12\0'))])
    yield refused('size-of-20-digits', record, '',
                  [tar(f(b'a', b'1', records=[
                      (b'size', b'18446744073709551617')]))])
    yield refused('size-in-hexadecimal', record, '',
                  [tar(f(b'a', b'12345', size=0, records=[
                      (b'size', b'0x5')]))])
    yield harmless('checksum-signed', 'old tars, signed sums',
                   [tar(f(b'\xff' * 8, b'1', checksum=(
                       sum(header(b'\xff' * 8, size=1)[:148]) + 256 +
                       sum(header(b'\xff' * 8, size=1)[156:]) - 8 * 256)))],
                   [('count', '.', '1')])
    yield refused('checksum-bad', 'CVE-2021-36976 libarchive', '',
                  [tar(f(b'a', b'1'), f(b'b', checksum=1))])
    yield refused('checksum-bad-first', 'CVE-2021-36976 libarchive',
                  MALFORMED, [tar(f(b'b', checksum=1))])


def pax_headers(_canary):
    record = 'CVE-2022-2879 Go archive/tar'

    def lies(name, body, then=f(b'a', b'1')):
        return refused('pax-' + name, record, '', [tar(raw_pax(body), then)])
    yield lies('length-too-long', b'99 path=b\n')
    yield lies('length-too-short', b'5 path=b\n')
    yield lies('length-zero', b'0 path=b\n')
    yield lies('length-huge', b'99999999999999999999 path=b\n')
    yield lies('length-negative', b'-9 path=b\n')
    yield lies('without-equals', b'9 path:b\n')
    yield lies('without-newline', b'9 path=bb')
    yield lies('without-key', b'5 =b\n')
    yield lies('of-noise', bytes(range(1, 255)))
    yield refused('pax-of-1-mib', record, '',
                  [pax([(b'comment', b'c' * (1 << 20))]) + tar(f(b'a'))])
    yield harmless('pax-global-size', 'CVE-2025-62518 tokio-tar',
                   [tar(pax([(b'size', b'512')], b'g'), f(b'a', b'1'),
                        f(b'b', b'2'))],
                   [('content', 'a', '1'), ('content', 'b', '2')])
    yield harmless('pax-global-path', 'CVE-2016-6321 GNU tar',
                   [tar(pax([(b'path', b'../imgd-evil')], b'g'),
                        f(b'a', b'1'))], [('content', 'a', '1')])
    yield refused('pax-cut', record, MALFORMED,
                  [pax([(b'path', b'p' * 2000)])[:1024]])
    yield refused('pax-without-entry', record, '',
                  [pax([(b'path', b'p')]) + b'\0' * 1024])
    yield refused('pax-many', record, MALFORMED,
                  [tar(*(pax([(b'comment', b'c' * 900)], b'g')
                         for _ in range(3000)), f(b'a', b'1'))])
    yield refused('pax-after-pax', record, '',
                  [tar(*(pax([(b'comment', b'c')]) for _ in range(3000)),
                       f(b'a', b'1'))])


def sparse(_canary):
    record = 'CVE-2025-58183 Go archive/tar'
    data = b'a' * 1200
    yield refused('sparse-overlap', 'CVE-2019-9923 GNU tar', '',
                  [tar(gnu_sparse(b's', [(0, 600), (300, 600)], 5000, data))])
    yield refused('sparse-beyond-size', 'CVE-2018-20482 GNU tar', '',
                  [tar(gnu_sparse(b's', [(9000, 600)], 5000, data[:600]))])
    yield refused('sparse-negative', record, '',
                  [tar(f(b's', data, records=[
                      (SPARSE + b'size', b'5000'),
                      (SPARSE + b'numblocks', b'1'),
                      (SPARSE + b'map', b'-5,600')]))])
    yield refused('sparse-map-of-noise', record, '',
                  [tar(f(b'GNUSparseFile.1/s', pad(b'x\ny\n') + data,
                         records=[(SPARSE + b'major', b'1'),
                                  (SPARSE + b'minor', b'0'),
                                  (SPARSE + b'name', b's'),
                                  (SPARSE + b'realsize', b'5000')]))])
    yield refused('sparse-map-endless', record, '',
                  [tar(f(b'GNUSparseFile.1/s', pad(b'9' * 60000),
                         records=[(SPARSE + b'major', b'1'),
                                  (SPARSE + b'minor', b'0'),
                                  (SPARSE + b'name', b's'),
                                  (SPARSE + b'realsize', b'5000')]))])
    n = 70000
    yield refused('sparse-of-70000-parts', record, 'parts|sparse|exceeds',
                  [tar(f(b'GNUSparseFile.1/s',
                         pad(b'%d\n' % n + b''.join(
                             b'%d\n1\n' % (2 * i) for i in range(n))) +
                         b'x' * n,
                         records=[(SPARSE + b'major', b'1'),
                                  (SPARSE + b'minor', b'0'),
                                  (SPARSE + b'name', b's'),
                                  (SPARSE + b'realsize', b'%d' % (2 * n))]))])
    yield refused('sparse-named-out', 'CVE-2016-6321 GNU tar', '',
                  [tar(f(b'GNUSparseFile.1/s', pad(b'1\n0\n5\n') + b'12345',
                         records=[(SPARSE + b'major', b'1'),
                                  (SPARSE + b'minor', b'0'),
                                  (SPARSE + b'name', b'../imgd-evil'),
                                  (SPARSE + b'realsize', b'5')]))])
    yield harmless('sparse-hole-of-4-tib', record,
                   [tar(f(b's', b'', records=[
                       (SPARSE + b'size', b'%d' % (4 << 40)),
                       (SPARSE + b'numblocks', b'1'),
                       (SPARSE + b'map', b'%d,0' % (4 << 40))]))],
                   [('size', 's', str(4 << 40))], is_hole=True)


def bombs(_canary):
    yield refused('too-deep', 'CVE-2023-25153 containerd, what is too much',
                  'directories deep', [tar(f(b'x', records=[
                      (b'path', b'/'.join([b'd'] * 1025))]))])
    yield harmless('deep', 'PATH_MAX and a tree to remove',
                   [tar(f(b'x', b'1', records=[
                       (b'path', b'/'.join([b'd'] * 1024))]))], [],
                   is_deep=True)
    yield harmless('many-files', 'inode bombs',
                   [tar(*(f(b'%d' % i) for i in range(3000)))],
                   [('count', '.', '3000')])
    yield harmless('many-directories', 'inode bombs',
                   [tar(*(d(b'%d/%d' % (i, j)) for i in range(40)
                          for j in range(40)))], [('count', '.', '40')])
    yield harmless('zeros-after-end', 'CVE-2017-14992 Docker, tar-split',
                   [tar(f(b'a', b'1'), end=b'\0' * (100 << 20))],
                   [('content', 'a', '1')])
    yield harmless('tar-after-end', 'OCI image-spec, layer.md',
                   [tar(f(b'a', b'1')) + tar(f(b'imgd-evil', b'2'))],
                   [('absent', 'imgd-evil')])
    yield harmless('noise-after-end', 'CVE-2017-14992 Docker, tar-split',
                   [tar(f(b'a', b'1'), end=b'\0' * 1024 + b'junk' * 50000)],
                   [('content', 'a', '1')])
    yield harmless('entry-after-one-zero-block', 'CVE-2025-62518 tokio-tar',
                   [tar(f(b'a', b'1'), b'\0' * BLOCK, f(b'imgd-evil', b'2'))],
                   [('absent', 'imgd-evil')])
    yield refused('no-tar', 'CVE-2016-8687 libarchive', MALFORMED,
                  [b'hello, I am no tar\n'])
    yield refused('cut-in-header', 'CVE-2016-8687 libarchive', MALFORMED,
                  [tar(f(b'a', b'1'), f(b'b'), end=b'')[:-300]])
    yield refused('cut-in-body', 'CVE-2016-8687 libarchive', MALFORMED,
                  [tar(f(b'a', b'1' * 5000), end=b'')[:3000]])
    yield refused('cut-in-last-block', 'CVE-2016-8687 libarchive',
                  'cut short', [tar(f(b'a', b'1' * 600), end=b'')[:1100]])


def for_tools(canary):
    """What tools run or read that root starts on a tree."""
    c = canary.decode()
    yield harmless('tool-passwd-is-a-link', 'CVE-2019-14271 Docker',
                   [tar(sym(b'etc/passwd', b'/etc/shadow'),
                        sym(b'etc/group', b'/etc/shadow'))],
                   [('link', 'etc/passwd', '/etc/shadow')], tools=True,
                   config={'User': 'root:root'})
    yield harmless('tool-passwd-is-a-fifo', 'CVE-2019-14271 Docker',
                   [tar(entry(b'etc/passwd', FIFO),
                        entry(b'etc/group', CHR, major=5, minor=0))],
                   [('exists', 'etc/passwd')], tools=True,
                   config={'User': 'evil'})
    yield harmless('tool-passwd-is-huge', 'CVE-2022-29162 runc, users',
                   [tar(f(b'etc/passwd', b'x:x:0:0' + b':' * (2 << 20)),
                        f(b'etc/group', b'\xff\0\n' * 1000))],
                   [('exists', 'etc/passwd')], tools=True,
                   config={'User': 'x'})
    yield harmless('tool-preload', 'CVE-2019-14271 Docker',
                   [tar(f(b'etc/ld.so.preload', b'/evil.so\n'),
                        f(b'evil.so', b'\x7fELF', mode=0o755),
                        f(b'lib/x86_64-linux-gnu/libnss_files.so.2',
                          b'\x7fELF', mode=0o755),
                        f(b'sbin/modprobe', b'#!/bin/sh\ntouch ' + canary +
                          b'/evil\n', mode=0o4755),
                        f(b'etc/mke2fs.conf', b'[defaults]\n'),
                        sym(b'etc/resolv.conf', canary + b'/file'),
                        sym(b'etc/mtab', canary + b'/file'))],
                   [('exists', 'etc/ld.so.preload')], tools=True)
    yield harmless('tool-lost-found', 'CVE-2019-19882 and others, mke2fs',
                   [tar(sym(b'lost+found', canary),
                        f(b'lost+found/file', b'in'),
                        entry(b'dev', SYM, link=canary),
                        sym(b'proc', canary), sym(b'sys', canary))],
                   [('content', c + '/file', 'in'),
                    ('link', 'lost+found', c)], tools=True)


GROUPS = (traversal, symlinks, hard_links, across_layers, races, root_entry,
          metadata, devices, overlay, whiteouts, encodings, sizes,
          pax_headers, sparse, bombs, for_tools)


def cases(canary):
    for group in GROUPS:
        yield from group(canary)
