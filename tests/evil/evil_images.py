"""Evil images whose evil is in their packing, documents or registry."""
import bz2
import gzip
import lzma
import struct
import zlib

from evil_case import (LAYER, OCI, Blob, Case, Image, dump, harmless, make_blob,
                       refused, sha)
from rawtar import f, header, tar

RAW_BLOCK, RLE_BLOCK = 0, 1
NO_IMAGE = 'unsupported media type|there is no image in it'


def good_tar(name):
    """A tar of the case's own: a layer that is there is not read again."""
    return tar(f(b'a', b'1'), f(b'name', name.encode()))


def zstd_frame(blocks, window_log=17, flags=0, rest=b''):
    """RFC 8878; blocks are (type, size, bytes)."""
    out = struct.pack('<IBB', 0xfd2fb528, flags, (window_log - 10) << 3)
    for i, (kind, size, data) in enumerate(blocks):
        head = size << 3 | kind << 1 | (i == len(blocks) - 1)
        out += head.to_bytes(3, 'little') + data
    return out + rest


def zstd_raw(data, **kw):
    return zstd_frame([(RAW_BLOCK, len(data), data)], **kw)


def gzip_of(data, flags=0, extra=b'', method=8, crc=None, size=None):
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    return (struct.pack('<BBBBIBB', 0x1f, 0x8b, method, flags, 0, 0, 3) +
            extra + body + struct.pack(
                '<II', zlib.crc32(data) if crc is None else crc,
                len(data) if size is None else size))


def xz_with_window(data, prop):
    """Its header asks for a dictionary of up to 4 GiB (xz-file-format)."""
    packed = lzma.compress(data, check=lzma.CHECK_CRC32)
    size = (packed[12] + 1) * 4
    head = bytearray(packed[12:12 + size - 4])
    assert head[2] == 0x21 and head[3] == 1
    head[4] = prop
    return packed[:12] + bytes(head) + struct.pack(
        '<I', zlib.crc32(bytes(head))) + packed[12 + size:]


def streams(_canary):
    def bad(name, record, pattern, pack, **options):
        good = good_tar(name)
        return refused('packed-' + name, record, pattern,
                       [Blob(pack(good), good)], **options)

    def fine(name, record, pack, **options):
        good = good_tar(name)
        return harmless('packed-' + name, record, [Blob(pack(good), good)],
                        [('content', 'a', '1')], **options)
    bomb = 'CVE-2017-14992 Docker, compression bombs'
    go, rfc = 'CVE-2022-30631 Go compress/gzip', 'RFC 1952'
    yield bad('gzip-bomb', bomb, 'diff_id mismatch',
              lambda t: gzip.compress(b'\0' * (200 << 20), 1))
    yield bad('gzip-bomb-file', bomb, 'malformed tar|space|cut short',
              lambda t: gzip.compress(header(b'a', size=1 << 32) +
                                      b'\0' * (50 << 20), 1))
    yield fine('gzip-members', go,
               lambda t: gzip_of(b'') * 20000 + gzip_of(t))
    yield bad('gzip-endless-name', go, 'gzip', lambda t: gzip_of(
        t, flags=8, extra=b'n' * (4 << 20)))
    yield fine('gzip-long-name', rfc, lambda t: gzip_of(
        t, flags=8, extra=b'../../n' * 1000 + b'\0'))
    yield fine('gzip-extra', 'CVE-2022-37434 zlib', lambda t: gzip_of(
        t, flags=4, extra=b'\xff\xff' + b'e' * 65535))
    yield bad('gzip-method', rfc, 'gzip|form|compress',
              lambda t: gzip_of(t, method=7))
    yield bad('gzip-flags', rfc, 'gzip', lambda t: gzip_of(t, flags=0xe0))
    yield bad('gzip-checksum', rfc, 'gzip', lambda t: gzip_of(t, crc=1))
    yield bad('gzip-size', rfc, 'gzip', lambda t: gzip_of(t, size=1))
    yield bad('gzip-cut', rfc, 'gzip|short', lambda t: gzip_of(t)[:-9])
    yield bad('gzip-other-tail', rfc, 'gzip|diff_id',
              lambda t: gzip_of(t) + gzip_of(b'evil'))
    zstd, rfc = 'CVE-2022-4899 zstd, huge windows', 'RFC 8878'
    yield fine('zstd-window-27', zstd, lambda t: zstd_raw(t, window_log=27))
    good = good_tar('zstd-window-27-full')
    zeros = 1100
    yield harmless(
        'packed-zstd-window-27-full', zstd, [Blob(zstd_frame(
            [(RAW_BLOCK, len(good), good)] +
            [(RLE_BLOCK, 128 << 10, b'\0')] * zeros, window_log=27),
            good + b'\0' * (zeros << 17))],
        [('content', 'a', '1')], window_mb=128)
    yield bad('zstd-window-28', zstd, 'zstd',
              lambda t: zstd_raw(t, window_log=28))
    yield bad('zstd-window-41', zstd, 'zstd',
              lambda t: zstd_raw(t, window_log=41))
    yield bad('zstd-bomb', bomb, 'diff_id mismatch', lambda t: zstd_frame(
        [(RLE_BLOCK, 128 << 10, b'\0')] * 1600))
    yield bad('zstd-dictionary', rfc, 'zstd', lambda t: struct.pack(
        '<IBBI', 0xfd2fb528, 3, 56, 77) + zstd_raw(t)[6:])
    yield bad('zstd-reserved-block', rfc, 'zstd',
              lambda t: zstd_frame([(3, 10, b'evil')]))
    yield bad('zstd-block-too-large', rfc, 'zstd', lambda t: zstd_frame(
        [(RLE_BLOCK, (1 << 21) - 1, b'\0')]))
    yield fine('zstd-skippable', rfc, lambda t: (
        struct.pack('<II', 0x184d2a50, 3) + b'abc' + zstd_raw(t) +
        struct.pack('<II', 0x184d2a5f, 0) * 5000))
    yield bad('zstd-skippable-endless', rfc, 'zstd|short', lambda t: (
        zstd_raw(t) + struct.pack('<II', 0x184d2a50, 0xffffffff)))
    yield bad('zstd-checksum', rfc, 'zstd',
              lambda t: zstd_raw(t, flags=4, rest=b'evil'))
    yield bad('xz-window', 'CVE-2014-9357 Docker, xz', 'xz|memory|limit',
              lambda t: xz_with_window(t, 40))
    yield bad('xz-cut', 'CVE-2022-1271 xz', 'xz|short',
              lambda t: lzma.compress(t)[:-13])
    yield bad('bzip2-cut', 'CVE-2019-12900 bzip2', 'bz|short',
              lambda t: bz2.compress(t)[:-5])
    yield bad('of-noise', 'CVE-2016-8687 libarchive', '',
              lambda t: bytes(range(256)) * 100)


def documents(_canary):
    def case(name, record, pattern, change, media_type='manifest.v1+json'):
        """change gets the image, and returns the manifest's bytes or None."""
        good = good_tar(name)
        image = Image([make_blob(good)])
        data = change(image)
        if data is None:
            data = dump(image.manifest)
        if pattern is None:
            return Case(name, record, 'harmless', [('content', 'a', '1')],
                        image, (data, OCI + media_type))
        return Case(name, record, 'refused', pattern, image,
                    (data, OCI + media_type))

    def diff_ids(image):
        return image.config['rootfs']['diff_ids']

    def text(name, record, pattern, old, new):
        return case(name, record, pattern,
                    lambda i: dump(i.manifest).replace(old, new, 1))

    def layer(name, record, pattern, **members):
        return case(name, record, pattern,
                    lambda i: i.manifest['layers'][0].update(members))

    def manifest(name, record, pattern, **members):
        return case(name, record, pattern,
                    lambda i: i.manifest.update(members))

    two = 'CVE-2021-41190 OCI, two kinds in one document'
    yield manifest('document-both', two, 'manifest|another kind',
                   manifests=[])
    yield manifest('document-fs-layers', two, 'another kind', fsLayers=[])
    yield manifest('document-other-type', two, 'media ?[tT]ype|kind',
                   mediaType=OCI + 'index.v1+json')
    yield manifest('document-version-1', two, 'schemaVersion|version',
                   schemaVersion=1)
    yield manifest('document-version-text', two, 'schemaVersion',
                   schemaVersion='2')
    yield text('document-key-twice', two, 'twice', b'"schemaVersion": 2',
               b'"schemaVersion": 2, "layers": []')
    yield text('document-key-escaped', two, 'twice', b'"schemaVersion": 2',
               b'"schemaVersion": 2, "lay\\u0065rs": []')
    yield text('document-key-of-another-case', two, None,
               b'"schemaVersion": 2', b'"Layers": [], "schemaVersion": 2')
    yield case('document-as-index', two, 'kind|manifest|media',
               lambda i: None, 'index.v1+json')
    yield manifest('document-artifact', two, 'artifact',
                   artifactType='application/vnd.evil')

    path = 'CVE-2024-3727 containers/image, digests as paths'
    for name, digest in (
            ('path', 'sha256:../../../../../../etc/passwd'),
            ('short', 'sha256:abc'), ('upper', 'sha256:' + 'AB' * 32),
            ('none', ''), ('md5', 'md5:' + '5' * 32),
            ('sha512', 'sha512:' + '5' * 128),
            ('algorithm', '../../etc:' + '5' * 64),
            ('nul', 'sha256:' + '5' * 63 + '\0'),
            ('long', 'sha256:' + '5' * 100000),
            ('space', ' sha256:' + '5' * 64),
            ('control', 'sha256:\x1b[31m' + '5' * 59)):
        yield layer('digest-' + name, path, 'digest|NUL|\\\\u0000',
                    digest=digest)
    yield layer('digest-number', path, 'digest', digest=7)
    yield case('digest-of-config', path, 'digest',
               lambda i: i.manifest['config'].update(
                   digest='sha256:/etc/passwd'))
    yield case('digest-of-diff-id', path, 'diff_id', lambda i: i.set_config(
        dump(i.config).replace(diff_ids(i)[0].encode(), b'sha256:../x')))

    size = 'CVE-2017-11468 Docker, sizes'
    yield layer('size-is-negative', size, 'size', size=-1)
    yield layer('size-is-text', size, 'size', size='700')
    yield text('size-is-too-big', size, 'size|number', b'"size": ',
               b'"size": 99999999999999999999')
    yield text('size-is-exponential', size, 'size', b'"size": ',
               b'"size": 1e9, "x": ')
    yield layer('size-too-small', size, 'layer|longer|size', size=10)
    yield layer('size-too-large', size, 'layer|short|size', size=1 << 20)
    yield layer('size-of-eib', size, 'space|layer|short|size',
                size=1 << 60)
    yield case('layers-too-many', size, 'layers', lambda i: i.manifest.update(
        layers=i.manifest['layers'] * 4097))
    yield case('layers-fewer', size, 'match', lambda i: i.manifest.update(
        layers=[]))

    wrong = 'CVE-2021-41190 OCI, media types'
    yield layer('type-encrypted', wrong, NO_IMAGE,
                mediaType=LAYER + '+encrypted')
    yield layer('type-unknown', wrong, NO_IMAGE,
                mediaType='application/vnd.evil')
    yield layer('type-generic', 'distribution, application/octet-stream',
                None, mediaType='text/html')
    yield layer('type-control', wrong, NO_IMAGE,
                mediaType='\x1b[2J\n/x')
    yield layer('type-zstd-of-gzip', wrong, None, mediaType=LAYER + '+zstd')
    yield case('type-of-config', wrong, NO_IMAGE,
               lambda i: i.manifest['config'].update(
                   mediaType='application/vnd.docker.plugin.v1+json'))
    yield case('config-is-a-layer', wrong, 'config',
               lambda i: i.manifest['config'].update(
                   digest=i.manifest['layers'][0]['digest'],
                   size=i.manifest['layers'][0]['size']))
    yield case('layer-is-a-config', wrong, 'layer', lambda i: i.manifest[
        'layers'][0].update(digest=i.manifest['config']['digest'],
                            size=i.manifest['config']['size']))
    urls = 'CVE-2020-15157 containerd, foreign layers'

    def only_by_urls(image):
        entry = image.manifest['layers'][0]
        del image.blobs[entry['digest']]
        entry['urls'] = ['file:///etc/passwd', 'ftp://127.0.0.1:1/',
                         'gopher://127.0.0.1:1/x']
    yield case('urls-of-files', urls, 'layer|blob|not', only_by_urls)
    yield layer('data-of-another', wrong, None, data='ZXZpbA==')

    json = 'LIMIT_JSON, JSON that two readers take in two ways'
    big = b'"x": ' + b'[' * 63 + b']' * 63
    yield text('json-deep', json, 'deep', b'{', b'{"x": ' + b'[' * 5000 +
               b']' * 5000 + b',')
    yield text('json-deep-enough', json, None, b'{', b'{' + big + b',')
    yield text('json-values', json, 'values', b'{', b'{"x": [' + b'0,' *
               20001 + b'0],')
    yield case('json-mark', json, 'JSON|manifest',
               lambda i: b'\xef\xbb\xbf' + dump(i.manifest))
    yield case('json-utf16', json, 'JSON|manifest',
               lambda i: dump(i.manifest).decode().encode('utf-16'))
    yield text('json-not-utf8', json, 'UTF-8', b'{', b'{"x": "\xc0\xaf",')
    yield text('json-surrogate', json, None, b'{', b'{"x": "\\ud800",')
    yield text('json-nul', json, None, b'{', b'{"x": "\\u0000",')
    yield case('json-tail', json, 'JSON|manifest',
               lambda i: dump(i.manifest) + b'{}')
    yield text('json-comment', json, 'JSON|manifest', b'{', b'{/* */')
    yield text('json-quote', json, 'JSON|manifest', b'{', b"{'x': 1,")
    yield text('json-number', json, 'JSON|number', b'{', b'{"x": 0x10,')
    yield text('json-nan', json, 'JSON|manifest', b'{', b'{"x": NaN,')
    yield case('json-array', json, 'object', lambda i: b'[]')
    yield case('json-nothing', json, '', lambda i: b'')
    yield case('json-huge', 'CVE-2017-11468 Docker', 'longer|large|bytes',
               lambda i: dump(i.manifest) + b' ' * (5 << 20))
    yield case('config-of-objects', 'json-c, 8 MiB of {}', 'values|config',
               lambda i: i.set_config(b'[' + b'{},' * (2 << 20) + b'{}]'))
    yield case('config-huge', 'CVE-2017-11468 Docker', 'longer|config|bytes',
               lambda i: i.set_config(dump(i.config) + b' ' * (9 << 20)))

    def config(name, record, pattern, **members):
        def change(image):
            image.config.update(members)
            image.set_config(dump(image.config))
        return case('config-' + name, record, pattern, change)
    yield config('rootfs-unknown', wrong, 'rootfs', rootfs={
        'type': '../../evil', 'diff_ids': []})
    yield config('rootfs-list', wrong, 'rootfs', rootfs=[])
    yield config('history-text', wrong, 'history', history='evil')
    yield config('many-diff-ids', size, 'layers', rootfs={
        'type': 'layers', 'diff_ids': [sha(b'evil')] * 4097})
    yield config('other-diff-id', 'OCI image-spec, config.md',
                 'diff_id mismatch', rootfs={
                     'type': 'layers', 'diff_ids': [sha(b'evil')]})
    yield config('long-os', path, 'long|platform|for', os='x' * 5000)
    yield config('os-is-a-path', path, None, os='../../../etc')

    index = 'CVE-2021-41190 OCI, indexes'

    def nested(image):
        entry = image.add(dump(image.manifest), OCI + 'manifest.v1+json')
        for _ in range(20):
            data = dump({'schemaVersion': 2, 'manifests': [entry]})
            entry = image.add(data, OCI + 'index.v1+json')
        return data
    yield case('index-nested', index, 'index', nested, 'index.v1+json')

    def many(image):
        entry = image.add(dump(image.manifest), OCI + 'manifest.v1+json')
        return dump({'schemaVersion': 2, 'manifests': [entry] * 4097})
    yield case('index-of-4097', index, 'manifests|values', many,
               'index.v1+json')

    def with_platform(value):
        def change(image):
            entry = image.add(dump(image.manifest),
                              OCI + 'manifest.v1+json')
            entry['platform'] = value
            return dump({'schemaVersion': 2, 'manifests': [entry]})
        return change
    yield case('index-platform-path', index, 'no matching|platform',
               with_platform({'os': '../..', 'architecture': '/etc'}),
               'index.v1+json')
    yield case('index-platform-long', index, 'long|platform',
               with_platform({'os': 'x' * 9999, 'architecture': 'amd64'}),
               'index.v1+json')
    yield case('index-digest', path, 'digest', lambda i: dump(
        {'schemaVersion': 2, 'manifests': [{
            'mediaType': OCI + 'manifest.v1+json',
            'digest': 'sha256:../../../etc/passwd', 'size': 1}]}),
        'index.v1+json')
    yield case('index-lies', index, 'not found|No such file', lambda i: dump(
        {'schemaVersion': 2, 'manifests': [{
            'mediaType': OCI + 'manifest.v1+json', 'digest': sha(b'evil'),
            'size': 4, 'platform': {'os': 'linux',
                                    'architecture': 'amd64'}}]}),
        'index.v1+json')


def configs(canary):
    """What a config says is taken by runtimes; nothing is opened for it."""
    c = canary.decode()

    def says(name, record, **members):
        return harmless('config-' + name, record, [good_tar(name)],
                        [('content', 'a', '1')], config=members, tools=True)
    yield says('workdir-up', 'CVE-2024-21626 runc',
               WorkingDir='../../../..' + c)
    yield says('workdir-fd', 'CVE-2024-21626 runc',
               WorkingDir='/proc/self/fd/7/../../..')
    yield says('volumes', 'CVE-2022-23648 containerd',
               Volumes={'/../..' + c: {}, '../../../etc': {}, '': {},
                        '/proc': {}})
    yield says('environment', 'CVE-2025-24965 crun, CVE-2019-5736 runc',
               Env=['PATH=/x\n', 'LD_PRELOAD=' + c + '/evil.so', 'novalue',
                    '=', 'A' * 100000 + '=1'])
    yield says('user-path', 'CVE-2016-3697 runc, users', User='../../' + c)
    yield says('user-number', 'CVE-2016-3697 runc, users',
               User='4294967295:4294967296')
    yield says('words', 'CVE-2003-0063 terminals',
               Cmd=['\x1b[2J', '', '-c', '$(touch imgd-evil)'],
               Labels={'\x1b]0;evil\x07': '\n', '': ''},
               StopSignal='SIGKILL; touch imgd-evil',
               ExposedPorts={'0/evil': {}, '99999/tcp': {}})


def registries(_canary):
    """Behaviours of tests/registry/lying-registry.py."""
    for fault, record, pattern in (
            ('endless-manifest', 'CVE-2017-11468 Docker', 'longer|large|byte'),
            ('endless-blob', 'CVE-2017-11468 Docker', 'layer'),
            ('blob-length', 'Docker registry, sizes', 'layer'),
            ('blob-digest', 'CVE-2014-9358 Docker, unverified ids',
             'verification failed'),
            ('header-lie', 'CVE-2014-9358 Docker, unverified ids', 'digest'),
            ('child-digest', 'CVE-2014-9358 Docker, unverified ids',
             'digest'),
            ('config-digest', 'CVE-2014-9358 Docker, unverified ids',
             'digest'),
            ('huge-headers', 'CVE-2023-38039 curl', 'header'),
            ('redirect-loop', 'CVE-2022-27774 curl', 'redirect'),
            ('redirect-file', 'CVE-2009-0037 curl', 'redirect|file:'),
            ('auth-loop', 'CVE-2020-15157 containerd', 'auth-loop')):
        yield Case('registry-' + fault, record, 'refused', pattern, None,
                   fault=fault)


def cases(canary):
    for group in (streams, documents, configs, registries):
        yield from group(canary)
