"""A case of the evil images: what it is, and how it is written down.

DIR/NAME/case.json   name, record, expect ("refused" or "harmless"), pattern or
                     checks, and options, see below
DIR/NAME/oci         the image as an OCI layout, tag "1"
DIR/NAME/image.tar   the image as a docker-archive, of cases made of layers

Options: "tools": its tree is exported as file systems and bundled, too;
"twice": two clients ask for it at once; "is_deep", "is_hole": its tree is not
to be read by naive means; "window_mb": memory that its frames may take;
"fault": it is a behaviour of lying-registry.py instead of files; "config":
members of the config's own config.
"""
import gzip
import hashlib
import io
import json
import os
import tarfile

OCI = 'application/vnd.oci.image.'
LAYER = OCI + 'layer.v1.tar'


def sha(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def dump(doc):
    return json.dumps(doc).encode()


class Blob:
    """A layer as it is sent: its bytes, and the tar that they are of."""

    def __init__(self, data, tar, media_type=LAYER + '+gzip'):
        self.data = data
        self.tar = tar
        self.media_type = media_type


class Image:
    def __init__(self, blobs, config=None):
        self.blobs = {}
        self.layers = blobs
        self.config = {
            'created': '2014-11-24T00:00:00Z', 'architecture': 'amd64',
            'os': 'linux', 'config': {'Cmd': ['/bin/sh'], **(config or {})},
            'rootfs': {'type': 'layers',
                       'diff_ids': [sha(b.tar) for b in blobs]}}
        self.manifest = {
            'schemaVersion': 2, 'mediaType': OCI + 'manifest.v1+json',
            'config': self.add(dump(self.config), OCI + 'config.v1+json'),
            'layers': [self.add(b.data, b.media_type) for b in blobs]}

    def add(self, data, media_type):
        self.blobs[sha(data)] = data
        return {'mediaType': media_type, 'digest': sha(data),
                'size': len(data)}

    def set_config(self, data):
        self.manifest['config'] = self.add(data, OCI + 'config.v1+json')


class Case:
    def __init__(self, name, record, expect, what, image, top=None, **options):
        self.name = name
        self.doc = {'name': name, 'record': record, 'expect': expect,
                    **options}
        self.doc['pattern' if expect == 'refused' else 'checks'] = what
        self.image = image
        self.top = top  # (bytes, media type) of the manifest, where it is odd

    def write(self, top):
        path = os.path.join(top, self.name)
        os.makedirs(path)
        with open(path + '/case.json', 'wb') as out:
            out.write(dump(self.doc))
        if self.image is None:
            return
        self.write_layout(path + '/oci')
        if self.top is None:
            self.write_archive(path + '/image.tar')

    def write_layout(self, path):
        data, media_type = self.top or (
            dump(self.image.manifest), OCI + 'manifest.v1+json')
        entry = self.image.add(data, media_type)
        entry['annotations'] = {
            'org.opencontainers.image.ref.name': '1',
            'io.containerd.image.name': 'evil/%s:1' % self.name}
        os.makedirs(path + '/blobs/sha256')
        for digest, blob in self.image.blobs.items():
            with open(path + '/blobs/' + digest.replace(':', '/'),
                      'wb') as out:
                out.write(blob)
        with open(path + '/oci-layout', 'w') as out:
            out.write('{"imageLayoutVersion": "1.0.0"}')
        with open(path + '/index.json', 'wb') as out:
            out.write(dump({'schemaVersion': 2, 'manifests': [entry]}))

    def write_archive(self, path):
        members = [('%d.tar' % i, b.data)
                   for i, b in enumerate(self.image.layers)]
        members.append(('config.json', dump(self.image.config)))
        members.append(('manifest.json', dump([{
            'Config': 'config.json', 'RepoTags': ['evil/%s:1' % self.name],
            'Layers': ['%d.tar' % i
                       for i in range(len(self.image.layers))]}])))
        with tarfile.open(path, 'w', format=tarfile.USTAR_FORMAT) as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def make_blob(layer):
    if isinstance(layer, Blob):
        return layer
    return Blob(gzip.compress(layer, 1, mtime=0), layer)


def from_layers(name, record, expect, what, layers, config=None, **options):
    return Case(name, record, expect, what,
                Image([make_blob(layer) for layer in layers], config),
                **options)


def refused(name, record, pattern, layers, **options):
    """Layers are tars, or a Blob where it is the packing that is evil."""
    return from_layers(name, record, 'refused', pattern, layers, **options)


def harmless(name, record, layers, checks, **options):
    return from_layers(name, record, 'harmless', checks, layers, **options)
