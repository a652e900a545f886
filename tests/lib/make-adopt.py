#!/usr/bin/env python3
"""Make data directories as Docker and containers-storage have them.

usage: make-adopt.py DIR

One directory below DIR for each storage driver, cs-* for containers-storage,
and one for each kind of damage, with Docker's overlay2.
"""
import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile


def crc64(data):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ 0xd800000000000000 if i & 1 else i >> 1
        table.append(i)
    crc = 0xffffffffffffffff
    for byte in data:
        crc = table[(crc ^ byte) & 0xff] ^ crc >> 8
    return (crc ^ 0xffffffffffffffff).to_bytes(8, "big")


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def b64(data):
    return base64.b64encode(data).decode()


def hexdigest(data):
    return hashlib.sha256(data).hexdigest()


class Layer:
    """A tar, the files that it makes, and its tar-split."""

    def __init__(self, files, parent):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for name in ("etc/", "usr/", "usr/bin/"):
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            for name, data in files:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.tar = raw.getvalue()
        self.files = list(files)
        self.diff = "sha256:" + hexdigest(self.tar)
        self.chain = self.diff if parent is None else "sha256:" + hexdigest(
            (parent.chain + " " + self.diff).encode())
        self.parent = parent
        self.split = self.make_split()

    def make_split(self):
        lines, at = [], 0
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as tar:
            for m in tar.getmembers():
                lines.append({"type": 2,
                              "payload": b64(self.tar[at:m.offset_data])})
                entry = {"type": 1, "name": m.name, "size": m.size,
                         "payload": None}
                at = m.offset_data + m.size
                if m.size:
                    entry["payload"] = b64(crc64(self.tar[m.offset_data:at]))
                try:
                    m.name.encode()
                except UnicodeEncodeError:
                    del entry["name"]
                    entry["name_raw"] = b64(os.fsencode(m.name))
                lines.append(entry)
        lines.append({"type": 2, "payload": b64(self.tar[at:])})
        for i, line in enumerate(lines):
            line["position"] = i
        return gzip.compress("".join(json.dumps(x) + "\n"
                                     for x in lines).encode())

    def unpack(self, top):
        """As an engine does it that has the tree as its root: through /bin,
        a link to usr/bin by way of another."""
        os.makedirs(top)
        os.symlink("usr/bin", top + "/usr-bin")
        os.symlink("/usr-bin", top + "/bin")
        for name, data in self.files:
            if name.startswith("bin/"):
                name = "usr/" + name
            if not os.path.basename(name).startswith(".wh."):
                write(top + "/" + name, data)


ODD = os.fsdecode(b"etc/\xff\xfe")
BASE = Layer([("./etc/motd", b"welcome, all of you\n" * 9000),
              (ODD, b"odd"), ("etc/empty", b"")], None)
TOP = Layer([("bin/tool", bytes(range(256)) * 999), ("etc/.wh.motd", b""),
             ("/usr/x", b"12345678")], BASE)
LAYERS = [BASE, TOP]
CONFIG = json.dumps({
    "architecture": "amd64", "os": "linux", "config": {},
    "rootfs": {"type": "layers", "diff_ids": [x.diff for x in LAYERS]},
}).encode()
ID = hexdigest(CONFIG)


def key(layer):
    return hexdigest(b"key of " + layer.diff.encode())


def trees(top, pattern):
    for layer in LAYERS:
        layer.unpack(top + "/" + pattern % key(layer))


def docker(top, driver, pattern):
    image = top + "/image/" + driver
    write(image + "/imagedb/content/sha256/" + ID, CONFIG)
    write(image + "/repositories.json", json.dumps({"Repositories": {
        "made": {"made:1": "sha256:" + ID}}}))
    for layer in LAYERS:
        db = image + "/layerdb/sha256/" + layer.chain[7:] + "/"
        write(db + "diff", layer.diff)
        write(db + "cache-id", key(layer))
        write(db + "size", "1")
        if layer.parent:
            write(db + "parent", layer.parent.chain)
        write(db + "tar-split.json.gz", layer.split)
    if pattern:
        trees(top, pattern)


def containers(top, driver, pattern):
    write(top + "/%s-images/images.json" % driver, json.dumps([
        {"id": ID, "names": ["docker.io/library/made:1"],
         "layer": key(TOP)}]))
    write(top + "/%s-images/%s/=%s" % (
        driver, ID, b64(("sha256:" + ID).encode())), CONFIG)
    write(top + "/%s-layers/layers.json" % driver, json.dumps([
        {"id": key(x), "parent": key(x.parent) if x.parent else "",
         "diff-digest": x.diff} for x in LAYERS]))
    for layer in LAYERS:
        write(top + "/%s-layers/%s.tar-split.gz" % (driver, key(layer)),
              layer.split)
    trees(top, pattern)


def damage(top):
    def case(name):
        path = top + "/" + name
        shutil.copytree(top + "/overlay2", path, symlinks=True)
        return path

    db = "/image/overlay2/layerdb/sha256/" + BASE.chain[7:] + "/"
    repositories = "/image/overlay2/repositories.json"
    tree = "/overlay2/" + key(BASE) + "/diff"
    motd = tree + "/etc/motd"

    with open(case("flipped") + motd, "r+b") as f:
        f.seek(70000)
        f.write(b"X")
    os.unlink(case("missing") + motd)
    with open(case("longer") + motd, "ab") as f:
        f.write(b"X")
    path = case("linked")
    os.rename(path + motd, path + "/moved")
    os.symlink("../../../../moved", path + motd)
    os.unlink(case("no-split") + db + "tar-split.json.gz")
    write(case("cut-split") + db + "tar-split.json.gz", BASE.split[:-20])
    write(case("forged") + db + "cache-id", "../../x")
    path = case("link-dir")
    os.rename(path + tree, path + "/moved")
    os.symlink("../../moved", path + tree)
    path = case("link-top")
    os.rename(path + "/overlay2", path + "/moved")
    os.symlink("moved", path + "/overlay2")
    write(case("other-diff") + db + "diff", TOP.diff)
    write(case("long-line") + db + "tar-split.json.gz",
          gzip.compress(b'{"type":2,"payload":"' + b"A" * (8 << 20)))
    write(case("deep-line") + db + "tar-split.json.gz",
          gzip.compress(b'{"type":' + b"[" * 1000 + b"\n"))
    write(case("no-name") + db + "tar-split.json.gz", gzip.compress(
        json.dumps({"type": 1, "size": 1, "payload": b64(bytes(8)),
                    "name": ""}).encode() + b"\n"))
    write(case("dangling") + repositories, json.dumps({"Repositories": {
        "x": {"x:1": "sha256:%064d" % 7}}}))
    write(case("bad-config") + "/image/overlay2/imagedb/content/sha256/" + ID,
          CONFIG + b" ")
    write(case("huge") + repositories, b" " * (5 << 20))
    write(case("nested") + repositories, b'{"Repositories":' + b"[" * 1000)


def main():
    top = sys.argv[1]
    for driver, pattern in (
            ("overlay2", "overlay2/%s/diff"), ("overlay", "overlay/%s/root"),
            ("fuse-overlayfs", "fuse-overlayfs/%s/diff"),
            ("aufs", "aufs/diff/%s"), ("btrfs", "btrfs/subvolumes/%s"),
            ("vfs", "vfs/dir/%s"), ("devicemapper", None)):
        docker(top + "/" + driver, driver, pattern)
    containers(top + "/cs-overlay", "overlay", "overlay/%s/diff")
    containers(top + "/cs-vfs", "vfs", "vfs/dir/%s")
    damage(top)


main()
