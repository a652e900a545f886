#!/usr/bin/env python3
"""Make an OCI layout out of tars, each a layer, the base first.

usage: make-oci.py [--wrong-diff-id N] [--plain] [--arch ARCH]
                   [--created TIME] [--label NAME=VALUE]… LAYOUT TAG TAR…

A further call with the same LAYOUT adds a tag.  --wrong-diff-id N lets the
config lie about layer N; --plain leaves layers uncompressed.
"""
import argparse
import gzip
import hashlib
import json
import os
import shutil

OCI = "application/vnd.oci.image."


def file_digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(1 << 20), b""):
            h.update(part)
    return h.hexdigest()


class Layout:
    def __init__(self, top):
        self.top = top
        os.makedirs(top + "/blobs/sha256", exist_ok=True)
        with open(top + "/oci-layout", "w") as f:
            f.write('{"imageLayoutVersion": "1.0.0"}')

    def add_file(self, path, media_type):
        digest = file_digest(path)
        size = os.path.getsize(path)
        os.replace(path, self.top + "/blobs/sha256/" + digest)
        return {"mediaType": media_type, "digest": "sha256:" + digest,
                "size": size}

    def add(self, data, media_type):
        path = self.top + "/blobs/new"
        with open(path, "wb") as f:
            f.write(data)
        return self.add_file(path, media_type)

    def add_layer(self, tar, is_plain):
        path = self.top + "/blobs/new"
        if is_plain:
            shutil.copyfile(tar, path)
            return self.add_file(path, OCI + "layer.v1.tar")
        with open(tar, "rb") as src, open(path, "wb") as out, \
                gzip.GzipFile("", "wb", 1, out, mtime=0) as dst:
            shutil.copyfileobj(src, dst, 1 << 20)
        return self.add_file(path, OCI + "layer.v1.tar+gzip")

    def tag(self, manifest, tag):
        path = self.top + "/index.json"
        index = {"schemaVersion": 2, "manifests": []}
        if os.path.exists(path):
            with open(path) as f:
                index = json.load(f)
        manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
        index["manifests"].append(manifest)
        with open(path, "w") as f:
            json.dump(index, f)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wrong-diff-id", type=int, default=-1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--arch", default="amd64")
    parser.add_argument("--created", default="2014-11-24T00:00:00Z")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--history", help="JSON")
    parser.add_argument("layout")
    parser.add_argument("tag")
    parser.add_argument("tars", nargs="*")
    args = parser.parse_args()

    layout = Layout(args.layout)
    layers = [layout.add_layer(tar, args.plain) for tar in args.tars]
    diff_ids = ["sha256:" + file_digest(tar) for tar in args.tars]
    if args.wrong_diff_id >= 0:
        diff_ids[args.wrong_diff_id] = "sha256:" + "5" * 64
    config = {
        "created": args.created, "architecture": args.arch,
        "os": "linux", "config": {"Cmd": ["/bin/sh"], "Env": ["A=" + args.tag]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2014-11-24T00:00:00Z",
                     "created_by": "layer %d" % i}
                    for i in range(len(layers))]}
    if args.history:
        config["history"] = json.loads(args.history)
    if args.label:
        config["config"]["Labels"] = dict(
            label.split("=", 1) for label in args.label)
    manifest = {
        "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
        "config": layout.add(json.dumps(config).encode(),
                             OCI + "config.v1+json"),
        "layers": layers}
    layout.tag(layout.add(json.dumps(manifest).encode(),
                          OCI + "manifest.v1+json"), args.tag)


main()
