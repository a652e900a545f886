#!/usr/bin/env python3
"""Make what the fuzz targets begin with: DIR/TARGET/NAME.

usage: make-seeds.py DIR [TAR-TOOL]

Most comes from the cases of tests/evil and the tars of tests/lib; TAR-TOOL, as
it was built, makes a sound recipe.
"""
import base64
import gzip
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [HERE + '/../evil', HERE + '/../lib']

import evil_images
import evil_layers
import evil_messages
import evil_recipes
from evil_case import OCI, dump, sha
from rawtar import BASE, d, f, hard, opq, sym, tar, wh

# Bytes: a larger one only makes a fuzzer slow, the more so where it is files.
MOST = 20000
MOST_OF_TAR = 8000

DIGEST = 'sha256:' + '5' * 64
REFERENCES = [
    'ubuntu', 'ubuntu:14.04', 'library/ubuntu', 'docker.io/library/ubuntu',
    'index.docker.io/x', 'localhost/x', 'localhost:5000/a/b:c', '[::1]:5000/x',
    'host.example:80/a_b/c__d/e-f.g@' + DIGEST, 'a:b@' + DIGEST, 'UPPER/x',
    'a' * 255, '../x', 'x:', '@', 'sha256:' + '5' * 64, 'x@sha512:' + '5' * 128,
    'linux/amd64', 'linux/arm/v7', 'windows', 'linux/arm64/v8/x']
CHALLENGES = [
    'Bearer realm="https://auth.example/token",service="r",scope="a:b:pull"',
    'Basic realm="x"', 'Negotiate, basic realm="a, b"', 'Bearer realm=x',
    'bEaReR ReAlM="a\\"b",error=invalid_token', 'Bearer', 'Basic abc==',
    'Digest qop="auth", realm="x"\nBearer realm="y"', 'Bearer realm="x',
    ',,,Bearer ,realm="x",,service=', '"Bearer" realm=x', 'Bearer realm=""']
JSONS = [
    '{}', '[]', '0', 'null', '"x"', '{"a":[1,-2.5e+3,true,false,null,"\\n"]}',
    '{"a":1,"\\u0061":2}', '"\\ud83d\\ude00"', '"\\ud800"', '[1,]', '01',
    '1e999', '{"a":{"b":{"c":[{}]}}}', '"\u20ac\U0001f600"', ' [ 1 ] ',
    '[' * 64 + ']' * 64, '[' * 65 + ']' * 65, '{"":""}', '"<>&\u2028"',
    '{"A":1,"a":2}', '-', '"\\x"', '{"a" :\t1\r\n}']
REQUESTS = [
    '0/v1.40/images/json?all=1&filters=%7B%22a%22%3A%5B%22b%22%5D%7D',
    '0/_ping', '0/v1.999/x', '0/images/a%2Fb:c/json', '0/%00', '0/x?a&b=&=c',
    '0http://host/path?x=%zz', '0/images/x/../../y', '0*',
    '1{"username":"a","password":"b","serveraddress":"c"}',
    '1{"auth":"YTpi","identitytoken":"t","registrytoken":"r"}',
    '1' + base64.urlsafe_b64encode(b'{"username":"a","password":"b"}').decode(),
    '2{"label":{"a=b":true,"c":false},"dangling":["true"]}',
    '2{"since":["2020-01-01T00:00:00.5Z"],"until":["10m"],"before":["x"]}',
    '2{"reference":["*/[a-z]?x*\\\\*"]}', '2{"a":"b"}', '2[]',
    '3CMD ["a","b"]\nENTRYPOINT x y\nENV a=b c="d e" f=$a${g:-h}',
    '3LABEL "a b"=c\nEXPOSE 80 90-95/udp\nVOLUME ["/x"] \nWORKDIR ../$a',
    '3HEALTHCHECK --interval=5s --retries=3 CMD x\nSTOPSIGNAL 9\nUSER a:b',
    '3ONBUILD RUN x\nHEALTHCHECK NONE\nENV x y z\nenv A=\'$B\\',
    '4root:wheel\n\nroot:x:0:0::/:/bin/sh\na:x:1:2\n\nwheel:x:10:root,a\n',
    '40:4294967296', '4a\n\na:x:99999999999:1\n', '4:\n\n:::\n\n::::']
ROWS = [
    '', 'images config {"config":{"Labels":{"a":"b"}}}', 'layers state evil',
    'layers key ../../../etc', 'images id x\ntags image x', 'layers size #-1',
    'layers parent k', 'image_layers chain_id ', 'image_layers size #-1',
    'tags repository \x1b[2J\ntags tag ../x', 'layers chain_id x\nlayers '
    'driver ../../x', 'digests manifest_digest evil', 'images created #7',
    'sources registry x\nsources repository ../..', 'layers damage x',
    'image_layers position #9223372036854775807', 'images manifest {']


def load(path):
    spec = importlib.util.spec_from_file_location('made', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tars():
    for name, data in all_tars():
        if len(data) <= MOST_OF_TAR and 'deep' not in name:
            yield name, data


def all_tars():
    made = load(HERE + '/../lib/make-tar.py')
    for name, data in made.SINGLE.items():
        yield name, data
    for name, layers in made.MULTI.items():
        yield 'multi-' + name, layers[-1]
    for case in evil_layers.cases(b'/tmp/canary'):
        yield 'evil-' + case.name, case.image.layers[-1].tar


def streams():
    good = tar(*BASE)
    yield 'gzip', gzip.compress(good, mtime=0)
    yield 'stored', gzip.compress(good, 0, mtime=0)
    yield 'plain', b'hello'
    for case in evil_images.streams(b''):
        # A window of 128 MiB costs as much time as a thousand inputs.
        if 'window-27' in case.name:
            continue
        for blob in case.image.layers:
            yield case.name, blob.data


def manifests():
    for case in evil_images.documents(b''):
        for i, (data, media_type) in enumerate(
                [case.top] + [(b, OCI + 'config.v1+json')
                              for b in case.image.blobs.values()
                              if b.startswith(b'{')]):
            kind = 3 if 'index' in media_type else \
                6 if 'config' in media_type else 2
            yield '%s-%d' % (case.name, i), bytes([kind]) + data
    payload = dump({'critical': {'identity': {'docker-reference': 'x/y'},
                                 'image': {'docker-manifest-digest': DIGEST},
                                 'type': 'cosign container image signature'},
                    'optional': {}})
    yield 'signature', b'\7' + payload
    yield 'signatures', b'\7' + dump({'layers': [{
        'mediaType': 'application/vnd.dev.cosign.simplesigning.v1+json',
        'digest': sha(payload), 'size': len(payload), 'annotations': {
            'dev.cosignproject.cosign/signature': 'AAAA'}}]})
    yield 'referrers', b'\7' + dump({'manifests': [{
        'digest': DIGEST, 'artifactType': 'x', 'size': 1}]})


def schema1():
    def layer(n, parent, **more):
        o = {'id': '%064x' % n, 'created': '2014-01-01T00:00:00Z',
             'container_config': {'Cmd': ['x']}, **more}
        if parent is not None:
            o['parent'] = '%064x' % parent
        return json.dumps(o)
    layers = [layer(2, 1, os='linux', config={'Env': ['A=b']}),
              layer(1, 0, throwaway=True), layer(0, None)]
    yield 'whole', dump({
        'schemaVersion': 1, 'name': 'x', 'tag': '1', 'architecture': 'amd64',
        'fsLayers': [{'blobSum': DIGEST}] * 3,
        'history': [{'v1Compatibility': text} for text in layers]})
    yield 'layer', layers[2].encode()
    yield 'base', layers[0].encode()
    yield 'signed', dump({
        'schemaVersion': 1, 'fsLayers': [], 'history': [], 'signatures': [{
            'header': {'alg': 'ES256', 'jwk': {
                'crv': 'P-256', 'kid': 'x', 'kty': 'EC', 'x': 'AA', 'y': 'AA'}},
            'signature': 'AAAA', 'protected': base64.urlsafe_b64encode(dump({
                'formatLength': 60, 'formatTail': 'fQ'})).decode().rstrip(
                    '=')}]})


def reordered(path):
    """The archive with its documents first, as streams are to be."""
    out = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(
            fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as new:
        for member in reversed(old.getmembers()):
            new.addfile(member, old.extractfile(member))
    return out.getvalue()


def archives():
    good = evil_images.harmless('x', 'x', [tar(f(b'a', b'1')),
                                           tar(f(b'b', b'2'))], [])
    for name, image in [('good', good)] + [
            (c.name, c) for c in evil_layers.traversal(b'/x')][:3]:
        top = '/dev/shm/imgd-seeds-%d' % os.getpid()
        os.makedirs(top)
        image.write_archive(top + '/a')
        image.write_layout(top + '/oci')
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode='w',
                          format=tarfile.USTAR_FORMAT) as t:
            t.add(top + '/oci', '.')
        with open(top + '/a', 'rb') as data:
            yield 'docker-' + name, data.read()
        yield 'stream-' + name, reordered(top + '/a')
        yield 'stream-gzip-' + name, gzip.compress(reordered(top + '/a'),
                                                   mtime=0)
        yield 'oci-' + name, out.getvalue()
        yield 'gzip-' + name, gzip.compress(out.getvalue(), mtime=0)
        subprocess.run(['rm', '-rf', top], check=True)


def messages():
    for name, data in {**evil_messages.PULLER, **evil_messages.WORKER,
                       **evil_messages.JOBS}.items():
        yield name, data
    yield 'start', evil_messages.msg(
        evil_messages.START, '127.0.0.1:5000/x:1', *[''] * 6, 0, 0, 0, 3, 5,
        evil_messages.U64(0), 0, '', 0, 1, 'http://m', 1, 1, 'host', *[''] * 6)


def recipes(tool):
    yield from evil_recipes.recipes(DIGEST, 10240)
    if tool is None:
        return
    top = '/dev/shm/imgd-seeds-%d' % os.getpid()
    os.makedirs(top + '/tree')
    layer = tar(d(b'.'), f(b'file', b'\0' * 100), f(b'dir/lost', b'x' * 99),
                f(b'dir/lost', b'y'), sym(b'host', b'/etc/passwd'))
    subprocess.run([tool, 'unpack', '--form=delete', '--base', top + '/tree',
                    top + '/recipe'], input=layer, check=True,
                   stdout=subprocess.DEVNULL)
    with open(top + '/recipe', 'rb') as data:
        yield 'sound', data.read()
    subprocess.run(['rm', '-rf', top], check=True)


def numbered(texts):
    for i, text in enumerate(texts):
        yield '%02d' % i, text.encode()


def with_first(seeds):
    """Those of targets whose first byte is a setting."""
    for i, (name, data) in enumerate(seeds):
        yield name, bytes([i % 6]) + data


def main():
    tool = sys.argv[2] if len(sys.argv) > 2 else None
    for target, seeds in {
            'archive': archives(), 'challenge': numbered(CHALLENGES),
            'inflate': with_first(streams()), 'json': numbered(JSONS),
            'manifest': manifests(), 'message': messages(),
            'recipe': recipes(tool), 'reference': numbered(REFERENCES),
            'request': numbered(REQUESTS), 'rows': numbered(ROWS),
            'schema1': schema1(), 'tar': with_first(tars())}.items():
        top = '%s/%s' % (sys.argv[1], target)
        os.makedirs(top)
        for name, data in seeds:
            if len(data) <= MOST:
                with open('%s/%s' % (top, name), 'wb') as out:
                    out.write(data)


main()
