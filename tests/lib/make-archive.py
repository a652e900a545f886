#!/usr/bin/env python3
"""Make image archives of every form, good and bad, out of one.

usage: make-archive.py IN.tar LAYOUT DIR

IN.tar is a docker-archive as skopeo writes it, LAYOUT an OCI layout of the
same image.

  DIR/good/NAME.tar     to be loaded: the image of IN.tar, as new:1
  DIR/legacy/NAME.tar   likewise, from before there were diff_ids
  DIR/evil/NAME.tar     to be refused; NAME.expect holds the error's words
"""
import bz2
import copy
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import sys
import tarfile

BLOBS = "blobs/sha256/"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def member(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def link(name, target):
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def make(path, members, form=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))


class Image:
    def __init__(self, path):
        with tarfile.open(path) as tar:
            def read(name):
                return tar.extractfile(name).read()
            entry = json.loads(read("manifest.json"))[0]
            self.config = read(entry["Config"])
            self.layers = [read(name) for name in entry["Layers"]]

    def manifest(self, **changes):
        entry = {"Config": "config.json", "RepoTags": ["new:1"],
                 "Layers": ["%d.tar" % i for i in range(len(self.layers))]}
        entry.update(changes)
        return json.dumps([entry]).encode()

    def members(self, manifest=None, leave_out=()):
        """The archive's members, its manifest.json last."""
        all_of_them = [member("%d.tar" % i, data)
                       for i, data in enumerate(self.layers)]
        all_of_them.append(member("config.json", self.config))
        all_of_them.append(member("manifest.json",
                                  manifest or self.manifest()))
        return [m for m in all_of_them if m[0].name not in leave_out]


def good(image, top):
    def at(name):
        return top + "/good/" + name + ".tar"

    def pack(data):
        return {0: gzip.compress, 1: bz2.compress, 2: lzma.compress}[
            len(data) % 3](data)

    os.makedirs(top + "/good")
    plain = image.members()
    make(at("plain"), plain)
    make(at("first"), plain[::-1])
    packed = copy.copy(image)
    packed.layers = [pack(data) for data in image.layers]
    make(at("packed-layers"), packed.members())
    make(at("dotted"), [(member("./" + i.name, d)) for i, d in plain])
    make(at("rooted"), [(member("/" + i.name, d)) for i, d in plain])
    deep = "d" * 90 + "/" + "e" * 120 + "/"
    names = [deep + "%d.tar" % i for i in range(len(image.layers))]
    odd = image.members(image.manifest(Layers=names),
                        ["%d.tar" % i for i in range(len(image.layers))])
    odd[:0] = [member(n, d) for n, d in zip(names, image.layers)]
    make(at("long-names"), odd, tarfile.GNU_FORMAT)
    make(at("pax"), [(member(i.name, d, pax_headers={"comment": "é"}))
                     for i, d in odd], tarfile.PAX_FORMAT)
    linked = [member("x/y/%d" % i, d) for i, d in enumerate(image.layers)]
    linked += [link("a/b/%d" % i, "../c/./%d" % i)
               for i in range(len(image.layers))]
    linked += [member("a/c/%d" % i, type=tarfile.LNKTYPE,
                      linkname="x/y/%d" % i)
               for i in range(len(image.layers))]
    linked += image.members(image.manifest(Layers=[
        "a/b/%d" % i for i in range(len(image.layers))]))[-2:]
    make(at("linked"), linked)
    # Nodes and directories are no part of an image.
    make(at("nodes"), [member("dev", type=tarfile.CHRTYPE),
                       member("fifo", type=tarfile.FIFOTYPE),
                       member("dir/", type=tarfile.DIRTYPE),
                       member("dir/", type=tarfile.DIRTYPE)] + plain)
    make(at("twice"), image.members(json.dumps(
        json.loads(image.manifest()) * 2).encode()))


def legacy(image, top):
    """As Docker 1.2 wrote them: the JSON of an old Docker."""
    def at(name):
        return top + "/legacy/" + name + ".tar"

    def build(names, top_json=None, change=None):
        members, parent = [], None
        ids = [sha(b"v1 %d" % i) for i in range(len(image.layers))]
        for i, data in enumerate(image.layers):
            o = {"id": ids[i], "created": "2014-11-24T00:00:0%dZ" % i,
                 "docker_version": "1.2.0", "architecture": "amd64",
                 "os": "linux", "Size": len(data),
                 "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop)"]}}
            if parent:
                o["parent"] = parent
            parent = ids[i]
            if change:
                change(i, o)
            d = ids[i] + "/"
            members += [member(d, type=tarfile.DIRTYPE),
                        member(d + "VERSION", b"1.0"),
                        member(d + "json", json.dumps(o).encode()),
                        member(d + "layer.tar", data)]
        if names:
            members.append(member("repositories", json.dumps(
                names(ids[-1])).encode()))
        return members, ids

    os.makedirs(top + "/legacy")
    def named(i):
        return {"new": {"1": i}}
    members, ids = build(named)
    make(at("named"), members)
    make(at("unnamed"), build(None)[0])

    def evil(name, expect, members):
        make(top + "/evil/" + name + ".tar", members)
        with open(top + "/evil/" + name + ".expect", "w") as f:
            f.write(expect)

    evil("legacy-unknown", "is not in the archive",
         build(lambda i: {"new": {"1": "7" * 64}})[0])
    evil("legacy-no-id", "not an image id",
         build(lambda i: {"new": {"1": "../../etc"}})[0])
    evil("legacy-name", "invalid", build(lambda i: {"ne w": {"1": i}})[0])
    evil("legacy-no-layer", "is not in the archive",
         [m for m in members if m[0].name != ids[1] + "/layer.tar"])

    def circle(i, o):
        o["parent"] = ids[i - 1]
    evil("legacy-circle", "ancestor|image JSON|more than|no image",
         build(named, change=circle)[0])

    def other(i, o):
        o["id"] = ids[0]
    evil("legacy-other-id", "json is of", build(named, change=other)[0])


def evil(image, layout, top):
    def bad(name, expect, members, form=tarfile.USTAR_FORMAT):
        make(top + "/evil/" + name + ".tar", members, form)
        with open(top + "/evil/" + name + ".expect", "w") as f:
            f.write(expect)

    def raw(name, expect, data):
        bad(name, expect, [])
        with open(top + "/evil/" + name + ".tar", "wb") as f:
            f.write(data)

    plain = image.members()
    n = len(image.layers)

    def layers(first):
        return [first] + ["%d.tar" % i for i in range(1, n)]
    for name, path in (("up", "../0.tar"), ("absolute", "/etc/passwd"),
                       ("far-up", "x/../../../../etc/passwd")):
        bad("layer-" + name, "leads out of the archive",
            image.members(image.manifest(Layers=layers(path))))
        bad("config-" + name, "leads out of the archive",
            image.members(image.manifest(Config=path)))
    bad("member-up", "leads out of the archive",
        plain + [member("../../etc/evil", b"x")])
    for name, target in (("up", "../../etc/passwd"),
                         ("absolute", "/etc/passwd")):
        bad("link-" + name, "leads out of the archive",
            [link("0.tar", target)] + plain[1:])
    bad("link-circle", "too many links",
        [link("0.tar", "x"), link("x", "y"), link("y", "x")] + plain[1:])
    bad("link-self", "too many links", [link("0.tar", "0.tar")] + plain[1:])
    bad("link-nowhere", "is not in the archive",
        [link("0.tar", "nowhere")] + plain[1:])
    bad("hard-up", "leads out of the archive",
        [member("0.tar", type=tarfile.LNKTYPE, linkname="../../etc/passwd")] +
        plain[1:])
    bad("manifest-twice", "there twice", plain + plain[-1:])
    bad("layer-twice", "there twice", plain + [member("./0.tar", b"x" * 512)])
    bad("huge-manifest", "longer than",
        image.members(b"[" + b" " * (5 << 20) + b"]"))
    bad("deep-manifest", "manifest.json: ", image.members(b"[" * 100000))
    bad("many-values", "manifest.json: ", image.members(
        b"[" + b"{}," * 30000 + b"{}]"))
    bad("empty-manifest", "no image in it", image.members(b"[]"))
    bad("manifest-object", "manifest.json: .*array", image.members(b"{}"))
    bad("manifest-types", "manifest.json: .*Layers",
        image.members(image.manifest(Layers="0.tar")))
    bad("huge-config", "longer than", plain[:n] + plain[n + 1:] + [
        member("config.json", image.config + b" " * (9 << 20))])
    bad("bad-config", "config.json", plain[:n] + plain[n + 1:] + [
        member("config.json", b"{}x")])
    bad("no-config", "is not in the archive",
        image.members(leave_out=["config.json"]))
    bad("no-layer", "is not in the archive", image.members(leave_out=["1.tar"]))
    bad("no-manifest", "no image archive",
        image.members(leave_out=["manifest.json"]))
    bad("fewer-layers", "layers length mismatch",
        image.members(image.manifest(Layers=["0.tar"])))
    bad("other-layer", "layer .*(diff_id mismatch|hard link)",
        image.members(image.manifest(Layers=layers("1.tar"))))
    changed = image.layers[0][:700] + b"!" + image.layers[0][701:]
    bad("changed-layer", "layer .*(diff_id mismatch|tar)",
        [member("0.tar", changed)] + plain[1:])
    bad("cut-layer", "layer .*(diff_id mismatch|tar)",
        [member("0.tar", image.layers[0][:-1024])] + plain[1:])
    bad("cut-packed", "cut short|damaged",
        [member("0.tar", gzip.compress(image.layers[0])[:-20])] + plain[1:])
    bad("bomb", "diff_id mismatch|disagree|malformed",
        [member("0.tar", gzip.compress(b"\0" * (200 << 20), 1))] + plain[1:])
    for name, tag in (("blank", "a b:1"), ("upper", "New:1"),
                      ("no-tag", "new"), ("sha256", "sha256:" + "5" * 64),
                      ("digest", "new@sha256:" + "5" * 64), ("empty", ""),
                      ("escape", "new:1\x1b[31m"), ("long", "n" * 3000 + ":1"),
                      ("path", "../../new:1")):
        bad("name-" + name, "invalid|not a valid|sha256|reference|name|long",
            image.members(image.manifest(RepoTags=[tag])))
    raw("nothing", "empty", b"")
    raw("noise", "not a whole tar", random.Random(1).randbytes(70000))
    raw("zeros", "no image archive|not a whole tar", b"\0" * 10240)
    with open(top + "/good/plain.tar", "rb") as f:
        whole = f.read()
    packed = gzip.compress(whole)
    raw("cut-gzip", "cut short", packed[:len(packed) // 2])
    raw("noisy-gzip", "gzip",
        packed[:5000] + b"\xff" * 5000 + packed[10000:])
    used = len(whole.rstrip(b"\0"))
    for i, at in enumerate((100, 512, 700, used // 3, used // 2, used - 600,
                            used - 200)):
        raw("cut-%d" % i, "not a whole tar|cut short|no image archive", whole[:at])
    sparse = tarfile.TarInfo("0.tar")
    sparse.size = 10
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                          "GNU.sparse.name": "0.tar",
                          "GNU.sparse.realsize": "4096"}
    body = b"1\n0\n10\n".ljust(512, b"\0") + b"x" * 10
    sparse.size = len(body)
    bad("sparse", "sparse", [(sparse, body)] + plain[1:], tarfile.PAX_FORMAT)

    # ---- layouts ----
    files = []
    for base, _, names in os.walk(layout):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                files.append((os.path.relpath(path, layout), f.read()))
    files.sort()

    def oci(name, expect, change):
        out = [(n, change(n, d)) for n, d in files]
        bad(name, expect, [member(n, d) for n, d in out if d is not None])
    index = json.loads(dict(files)["index.json"])
    top_digest = index["manifests"][0]["digest"][7:]
    manifest = json.loads(dict(files)[BLOBS + top_digest])
    blob = BLOBS + manifest["layers"][0]["digest"][7:]
    config = BLOBS + manifest["config"]["digest"][7:]

    def flip(victim):
        return lambda n, d: d[:40] + bytes([d[40] ^ 1]) + d[41:] \
            if n == victim else d
    oci("layout-manifest", "digest mismatch", flip(BLOBS + top_digest))
    oci("layout-config", "digest mismatch", flip(config))
    oci("layout-blob", "layer .*(mismatch|gzip)", flip(blob))
    oci("layout-short", "the manifest says",
        lambda n, d: d[:-1] if n == blob else d)
    oci("layout-no-blob", "is not in the archive",
        lambda n, d: None if n == blob else d)
    oci("layout-no-manifest", "is not in the archive",
        lambda n, d: None if n == BLOBS + top_digest else d)
    oci("layout-index", "index.json",
        lambda n, d: b"[]" if n == "index.json" else d)
    oci("layout-digest", "index.json",
        lambda n, d: d.replace(top_digest.encode(), b"../../../etc/passwd")
        if n == "index.json" else d)
    oci("layout-empty", "no image in it",
        lambda n, d: b'{"schemaVersion":2,"manifests":[]}'
        if n == "index.json" else d)


def main():
    image = Image(sys.argv[1])
    os.makedirs(sys.argv[3] + "/evil")
    good(image, sys.argv[3])
    legacy(image, sys.argv[3])
    evil(image, sys.argv[2], sys.argv[3])


main()
