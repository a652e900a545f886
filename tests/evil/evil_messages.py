#!/usr/bin/env python3
"""What enemies say to an engine.

usage: evil_messages.py write DIR
       evil_messages.py job SOCKET

write: what fake-worker.c sends, a file each: DIR/puller/NAME, DIR/worker/NAME,
with NAME.fds and NAME.end where it asks for them; a list of names is printed.
job: be a client of ROOT/sock that sends what no client does; each is answered
or dropped, and says which.
"""
import array
import hashlib
import json
import os
import random
import socket
import struct
import sys

JOB_RUN = 1
(START, FETCH, DOC, UNCHANGED, RESOLVED, PROGRESS, LAYER_DONE, LAYER_FAILED,
 FAILED, TAG, SIZES, MARK, RATE, RETRYING, LOGGED_IN, FOUND, SIGNATURE,
 SIGNED_DOC) = range(200, 218)
LEGACY_LAYER = 230
(READY, UNPACK_START, NEED_PARENT, PARENT, SET_TRUSTED, TRUSTED_SET,
 WORKER_FAILED, UNPACK_DONE, PACK_START, PACK_DONE) = range(300, 310)
TOP, INDEX, MANIFEST, CONFIG = range(4)
OCI = 'application/vnd.oci.image.'
NOISE = random.Random(1).randbytes(5000)


class U64(int):
    pass


def pack(item):
    if isinstance(item, U64):
        return struct.pack('<Q', item)
    if isinstance(item, int):
        return struct.pack('<I', item)
    data = item.encode() if isinstance(item, str) else item
    return struct.pack('<I', len(data)) + data + b'\0'


def msg(kind, *items, length=None):
    body = b''.join(map(pack, items))
    return struct.pack('<II', kind,
                       len(body) if length is None else length) + body


def sha(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def doc(data, kind=TOP, media_type=OCI + 'manifest.v1+json', digest=None):
    return msg(DOC, kind, media_type, digest or sha(data), data)


def image():
    """A whole image's documents, with one layer."""
    layer = b'no layer'
    config = json.dumps({'architecture': 'amd64', 'os': 'linux', 'rootfs': {
        'type': 'layers', 'diff_ids': [sha(layer)]}}).encode()
    manifest = json.dumps({
        'schemaVersion': 2, 'mediaType': OCI + 'manifest.v1+json',
        'config': {'mediaType': OCI + 'config.v1+json',
                   'digest': sha(config), 'size': len(config)},
        'layers': [{'mediaType': OCI + 'layer.v1.tar', 'digest': sha(layer),
                    'size': len(layer)}]}).encode()
    return manifest, config


MAN, CONF = image()
DOCS = doc(MAN) + doc(CONF, CONFIG, OCI + 'config.v1+json')
WHOLE = DOCS + msg(RESOLVED, sha(MAN))

PULLER = {
    'nothing.end': b'',
    'noise': NOISE,
    'type-0': msg(0),
    'type-of-engine': msg(FETCH, 0, 'x', U64(1), 'y', 0),
    'length-of-4-gib': msg(DOC, length=0xffffffff) + NOISE,
    'head-cut.end': msg(DOC)[:5],
    'body-cut.end': msg(DOC, length=500) + NOISE[:100],
    'doc-of-another-kind': doc(b'{}', 99),
    'doc-digest-lies': doc(MAN, digest=sha(b'evil')),
    'doc-digest-path': doc(MAN, digest='sha256:../../../../etc/passwd'),
    'doc-twice': doc(MAN) * 2,
    'doc-no-json': doc(NOISE),
    'doc-without-nul': struct.pack('<II', DOC, 12) + struct.pack(
        '<III', TOP, 3, 0x41414141),
    'doc-length-lies': struct.pack('<II', DOC, 16) + struct.pack(
        '<III', TOP, 0xfffffff0, 0) + b'abcd',
    'doc-with-tail': msg(DOC, TOP, OCI + 'manifest.v1+json', sha(MAN), MAN,
                         7, 7),
    'doc-with-fds.fds': doc(MAN),
    'docs-without-end': doc(b'{"schemaVersion":2}') * 100,
    'config-first': doc(CONF, CONFIG),
    'resolved-first': msg(RESOLVED, sha(MAN)),
    'resolved-without-config': doc(MAN) + msg(RESOLVED, sha(MAN)),
    'resolved-path': DOCS + msg(RESOLVED, '../../../etc/passwd'),
    'resolved-another': DOCS + msg(RESOLVED, sha(b'evil')),
    'unchanged-unknown': msg(UNCHANGED, sha(MAN)),
    'sizes-of-4g': doc(MAN) + msg(SIZES, 0xffffffff),
    'sizes-twice': DOCS + msg(SIZES, 1, U64(5)) * 2 + msg(RESOLVED, sha(MAN)),
    'sizes-of-63-bits': DOCS + msg(SIZES, 1, U64(1 << 63)) +
                        msg(RESOLVED, sha(MAN)),
    'progress-first': msg(PROGRESS, 0, U64(1)),
    'done-first': msg(LAYER_DONE, 0, U64(1), U64(1)),
    'tag-unasked': msg(TAG, '../../evil'),
    'found-unasked': msg(FOUND, 'x', 'y', U64(1), 1, 1),
    'logged-in-unasked': msg(LOGGED_IN, 'token'),
    'signature-huge': msg(SIGNATURE, 'A' * 60000, b'x' * 1000) * 100 +
                      msg(RESOLVED, ''),
    'failed-without-code': msg(FAILED, 0, 'text'),
    'failed-of-4-gib': msg(FAILED, 0xffffffff, 'text'),
    'failed-with-controls': msg(FAILED, 5, 'one\x1b[2Jline\nor two\r'),
    'failed-with-60-kb': msg(FAILED, 5, 'x' * 60000),
    'failed-without-text': msg(FAILED, 5),
    'failed-with-no-text': msg(FAILED, 5, ''),
    'retrying-with-controls': msg(RETRYING, '\x1b[2J\n', 1) * 50 + msg(0),
    'legacy-flood': msg(LEGACY_LAYER, '5' * 64, '', U64(1),
                        b'{}') * 5000,
    'legacy-id-path': msg(LEGACY_LAYER, '../../../etc', '', U64(1), b'{}') +
                      msg(RESOLVED, ''),
    'legacy-and-docs': DOCS + msg(LEGACY_LAYER, '5' * 64, '', U64(1), b'{}'),
    'layer-of-another': WHOLE + msg(PROGRESS, 7, U64(1)),
    'layer-done-of-4g': WHOLE + msg(LAYER_DONE, 0xffffffff, U64(1), U64(1)),
    'layer-done-without-tar': WHOLE + msg(LAYER_DONE, 0, U64(8), U64(8)),
    'layer-done-cut': WHOLE + msg(LAYER_DONE, 0),
    'layer-done-twice': WHOLE + msg(LAYER_DONE, 0, U64(8), U64(8)) * 2,
    'layer-failed-without-code': WHOLE + msg(LAYER_FAILED, 0, 0, 'x'),
    'layer-progress-of-64-bits': WHOLE + msg(PROGRESS, 0, U64(2**64 - 1)) +
                                 msg(LAYER_FAILED, 0, 5, 'so much'),
    'layer-mark-unasked': WHOLE + msg(MARK, 0, U64(1), 'sha256:../x'),
    'layer-rate-huge': WHOLE + msg(RATE, U64(2**64 - 1), U64(0)) + msg(0),
    'layer-doc': WHOLE + doc(MAN),
    'layer-resolved': WHOLE + msg(RESOLVED, sha(MAN)),
    'layer-noise': WHOLE + NOISE,
    'layer-end.end': WHOLE,
}

WORKER = {
    'nothing.end': b'',
    'noise': NOISE,
    'not-ready': msg(UNPACK_DONE, sha(b'x'), U64(1), U64(1), U64(1)),
    'ready-twice': msg(READY) * 2,
    'ready-with-fds.fds': msg(READY) + msg(0),
    'ready-with-tail': msg(READY, 7),
    'ready-and-end.end': msg(READY),
    'length-of-4-gib': struct.pack('<II', READY, 0xffffffff) + NOISE,
    'done-without-digest': msg(READY) + msg(UNPACK_DONE),
    'done-digest-path': msg(READY) + msg(UNPACK_DONE, '../../x', U64(1),
                                         U64(1), U64(1)),
    'done-another': msg(READY) + msg(UNPACK_DONE, sha(b'evil'), U64(1),
                                     U64(1), U64(1)),
    'parent-of-a-base': msg(READY) + msg(NEED_PARENT) * 3,
    'trusted-without-fd': msg(READY) + msg(SET_TRUSTED, 'trusted.x', b'y'),
    'trusted-foreign-fd.fds': msg(SET_TRUSTED, 'trusted.x', b'y'),
    'trusted-redirect': msg(READY) + msg(
        SET_TRUSTED, 'trusted.overlay.redirect', b'/etc'),
    'trusted-capability': msg(READY) + msg(
        SET_TRUSTED, 'security.capability', b'x'),
    'failed-without-code': msg(READY) + msg(WORKER_FAILED, 0, 'x'),
    'failed-with-controls': msg(READY) + msg(WORKER_FAILED, 5, '\x1b[2J\n'),
    'message-of-the-engine': msg(READY) + msg(UNPACK_START, 1, 1),
    'message-of-a-puller': msg(READY) + WHOLE,
}

JOBS = {
    'noise': NOISE,
    'type-0': msg(0),
    'length-of-4-gib': msg(JOB_RUN, length=0xffffffff),
    'name-missing': msg(JOB_RUN),
    'name-unknown': msg(JOB_RUN, 'evil', 0, 0, 0),
    'name-of-60-kb': msg(JOB_RUN, 'e' * 60000, 0, 0, 0),
    'arguments-of-4g': msg(JOB_RUN, 'images', 0xffffffff),
    'arguments-missing': msg(JOB_RUN, 'inspect', 1),
    'variables-of-4g': msg(JOB_RUN, 'images', 0, 0xffffffff),
    'descriptors-of-4g': msg(JOB_RUN, 'load', 0, 0, 0xffffffff),
    'descriptors-missing': msg(JOB_RUN, 'load', 0, 0, 2),
    'text-with-nul': msg(JOB_RUN, b'ima\0ges', 0, 0, 0),
    'tail': msg(JOB_RUN, 'images', 0, 0, 0, 7),
    'of-a-worker': msg(READY),
    'inspect-path': msg(JOB_RUN, 'inspect', 1, '../../etc/passwd', 0, 0),
    'cancel-none': msg(JOB_RUN, 'cancel', 1, '-1', 0, 0),
    'load-without-fd': msg(JOB_RUN, 'load', 0, 0, 0),
    'save-without-fd': msg(JOB_RUN, 'save', 1, 'x', 0, 0),
    'mount-relative': msg(JOB_RUN, 'mount', 2, 'x', '../x', 0, 0),
    'rmi-empty': msg(JOB_RUN, 'rmi', 1, '', 0, 0),
    'many-variables': msg(JOB_RUN, 'images', 0, 5000,
                          *['k', 'v'] * 5000, 0),
}


def write(top):
    for kind, table in (('puller', PULLER), ('worker', WORKER)):
        os.makedirs('%s/%s' % (top, kind))
        for name, data in table.items():
            name, _, mark = name.partition('.')
            path = '%s/%s/%s' % (top, kind, name)
            with open(path, 'wb') as out:
                out.write(data)
            if mark:
                open(path + '.' + mark, 'w').close()
            print(kind, name)


def talk(path, data, fds=()):
    """What comes back, until it is over; a hang is an exception."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    answer = b''
    try:
        s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                            array.array('i', fds))] if fds else [])
        s.shutdown(socket.SHUT_WR)
        while True:
            part = s.recv(65536)
            if not part:
                break
            answer += part
    except (ConnectionResetError, BrokenPipeError):
        pass
    s.close()
    return answer


def jobs(path):
    for name, data in JOBS.items():
        answer = talk(path, data)
        kinds = []
        while len(answer) >= 8:
            kind, length = struct.unpack('<II', answer[:8])
            kinds.append(kind)
            answer = answer[8 + length:]
        # 3: done, 4: failed, 6: begun; a request cut short has no answer.
        is_good = not answer and 3 not in kinds and set(kinds) <= {4, 6}
        print('%s %s %s' % ('ok' if is_good else 'bad', name, kinds))
    for n in (1, 3, 200):
        talk(path, msg(JOB_RUN, 'images', 0, 0, 0), [0] * n)
        print('ok %d-descriptors' % n)


if __name__ == '__main__':
    {'write': write, 'job': jobs}[sys.argv[1]](sys.argv[2])
