#!/usr/bin/env python3
"""Make archives that come as streams, in other orders, out of one.

usage: stream-archives.py SAVED.tar DIR

SAVED.tar is what imgd save writes: the documents of one image, then its layers.
Writes DIR/NAME.tar for each NAME below, and prints where in SAVED.tar the
content of the last layer begins.
"""
import copy
import io
import json
import os
import sys
import tarfile


def write(path, members):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))


def link(info, target):
    out = copy.copy(info)
    out.type, out.linkname, out.size = tarfile.SYMTYPE, target, 0
    return out, b""


def renamed(member, name):
    info = copy.copy(member[0])
    info.name = name
    return info, member[1]


def main():
    saved, where = sys.argv[1:]
    with tarfile.open(saved) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar
                   if m.isreg()]
        last = tar.getmembers()[-1].offset_data
    manifest = next(d for m, d in members if m.name == "manifest.json")
    names = json.loads(manifest)[0]["Layers"]
    docs = [m for m in members if m[0].name not in names]
    layers = [m for m in members if m[0].name in names]
    layout = [m for m in docs if m[0].name not in ("manifest.json",
                                                   "repositories")]
    docker = [m for m in docs if m[0].name not in ("oci-layout",
                                                   "index.json")]
    first = layers[0]
    damaged = first[0], bytes([first[1][0] ^ 1]) + first[1][1:]
    archives = {
        "reversed": docs + layers[::-1],
        "docs-last": layers + docs,
        "docs-between": layers[:1] + docs + layers[1:],
        "layout": layout + layers,
        "layout-reversed": layout + layers[::-1],
        "docker": docker + layers,
        "more": docs + layers[:1] + [renamed(first, "aside")] + layers[1:],
        "twice": docs + layers + [first],
        "late": layout + layers + [m for m in docs
                                   if m[0].name == "manifest.json"],
        "missing": docs + layers[:-1],
        "damaged": docs + [damaged] + layers[1:],
        "link": docs + layers[:-1] + [renamed(layers[-1], "aside"),
                                      link(layers[-1][0], "../../aside")],
    }
    for name, what in archives.items():
        write(os.path.join(where, name + ".tar"), what)
    print(last)


main()
