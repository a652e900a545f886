#!/usr/bin/env python3
"""Recipes (lib/recipe.h) that no unpacker has written.

usage: evil_recipes.py DIR DIFF-ID TAR-BYTES

DIR/NAME are recipes of a layer that has the files "file" of 100 bytes, the
directory "dir", the fifo "pipe", the device "null", and the links "host" to
/etc/passwd and "etc" to /etc.  None of them gives the layer's tar.
"""
import os
import random
import struct
import sys

sys.path.insert(1, os.path.join(os.path.dirname(__file__), '../lib'))

from evil_images import zstd_frame, zstd_raw

MAGIC = b'IMGDRCP1'
RAW, BODY = 1, 2
U64 = 2**64 - 1


def varint(value):
    out = b''
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def chunk(kind, plain, packed=None, size=None):
    packed = zstd_raw(plain) if packed is None else packed
    return kind + struct.pack(
        '<II', len(packed), len(plain) if size is None else size) + packed


def raw(data, length=None):
    return bytes([RAW]) + varint(len(data) if length is None else length) + \
        data


def body(path, *regions, crc=0, n=None):
    return bytes([BODY]) + varint(len(path)) + path + \
        varint(len(regions) if n is None else n) + b''.join(
            varint(gap) + varint(length) for gap, length in regions) + \
        struct.pack('<Q', crc)


def end(diff_id, tar_bytes, n_bodies=0):
    return b'E' + struct.pack('<IIQQ', 0, 0, tar_bytes, n_bodies) + \
        diff_id.encode()


def recipes(diff_id, n):
    def whole(*records, n_bodies=0, tar_bytes=n, of=diff_id):
        return MAGIC + chunk(b'R', b''.join(records)) + end(of, tar_bytes,
                                                            n_bodies)

    def path(name, *regions):
        return whole(body(name, *(regions or [(0, 100)])), n_bodies=1)
    yield 'nothing', b''
    yield 'noise', random.Random(1).randbytes(3000)
    yield 'other-magic', b'IMGDRCP2' + whole()[8:]
    yield 'magic-alone', MAGIC
    yield 'without-end', MAGIC + chunk(b'R', raw(b'x' * 512))
    yield 'without-records', MAGIC + end(diff_id, n)
    yield 'other-bytes', whole(raw(b'evil' * 128))
    yield 'fewer-bytes', whole(raw(b'x'), tar_bytes=1)
    yield 'more-bytes', whole(raw(b'x'), tar_bytes=U64)
    yield 'other-digest', whole(raw(b'x'), of='sha256:' + '5' * 64)
    yield 'digest-path', whole(raw(b'x'), of='../' * 23 + 'x' * 2)
    yield 'raw-length-lies', whole(raw(b'x', length=1 << 40))
    yield 'raw-length-of-70-bits', whole(b'\1' + b'\xff' * 10 + b'x')
    yield 'record-unknown', whole(b'\7' + b'x' * 50)
    yield 'path-up', path(b'../../../../../../etc/passwd')
    yield 'path-absolute', path(b'/etc/passwd')
    yield 'path-through-link', path(b'etc/passwd')
    yield 'path-is-a-link', path(b'host')
    yield 'path-is-a-fifo', path(b'pipe')
    yield 'path-is-a-device', path(b'null')
    yield 'path-is-a-directory', path(b'dir')
    yield 'path-empty', path(b'')
    yield 'path-dot', path(b'.')
    yield 'path-below-a-file', path(b'file/x')
    yield 'path-with-nul', path(b'file\0evil')
    yield 'path-missing', path(b'missing')
    yield 'path-of-5000', path(b'p/' * 2500)
    yield 'region-beyond', path(b'file', (90, 100))
    yield 'region-far', path(b'file', (1 << 62, 10))
    yield 'region-overflows', path(b'file', (U64, U64))
    yield 'regions-overflow', path(b'file', (1, U64 - 5), (7, 9))
    yield 'region-endless', path(b'file', (0, 1 << 62))
    yield 'regions-many', whole(body(b'file', n=1 << 40), n_bodies=1)
    yield 'regions-70000', whole(body(b'file', *[(0, 1)] * 70000),
                                 n_bodies=1)
    yield 'bodies-many', whole(raw(b'x'), n_bodies=U64)
    yield 'bodies-fewer', whole(body(b'file', (0, 100)))
    yield 'chunk-unknown', MAGIC + chunk(b'X', b'x') + end(diff_id, n)
    yield 'chunk-of-4-gib', MAGIC + b'R' + struct.pack(
        '<II', 0xffffffff, 0xffffffff) + end(diff_id, n)
    yield 'chunk-bomb', MAGIC + chunk(b'R', b'', zstd_frame(
        [(1, 128 << 10, b'\0')] * 2000), 128 << 10) + end(diff_id, n)
    yield 'chunk-window', MAGIC + chunk(b'R', raw(b'x'), zstd_raw(
        raw(b'x'), window_log=31)) + end(diff_id, n)
    yield 'chunk-size-lies', MAGIC + chunk(b'R', raw(b'x' * 9), size=5) + \
        end(diff_id, n)
    yield 'chunk-of-noise', MAGIC + chunk(b'R', b'x' * 9, b'evil') + \
        end(diff_id, n)
    yield 'lost-without-head', MAGIC + chunk(b'D', b'x' * 99) + \
        end(diff_id, n)
    lost = varint(0) + varint(4) + b'file'
    yield 'lost-short', MAGIC + chunk(b'R', body(b'file', (0, 100))) + \
        chunk(b'S', lost.replace(b'\0', b'\1')) + chunk(b'D', b'x') + \
        end(diff_id, n, 1)
    yield 'lost-of-noise', MAGIC + chunk(b'S', b'\xff' * 99) + end(diff_id, n)
    yield 'bytes-after-end', whole(raw(b'x')) + b'evil'


def main():
    top, diff_id, tar_bytes = sys.argv[1:]
    os.makedirs(top)
    for name, data in recipes(diff_id, int(tar_bytes)):
        with open('%s/%s' % (top, name), 'wb') as out:
            out.write(data)


if __name__ == '__main__':
    main()
