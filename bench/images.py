"""The images that are pulled, and the registry that has them."""
import hashlib
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

from measures import TOP, output, run, wait_until

DISTRIBUTION_KB = 1300 << 10


def words(r, n):
    """Bytes that compress about as well as programs do."""
    part = r.randbytes(24 << 10) + bytes(8 << 10) + b"in the beginning" * 1024
    return (part * (n // len(part) + 1))[:n] if n > len(part) else part[:n]


class Layers:
    """The tars of an image, and what its tree has to be."""

    def __init__(self, where):
        self.where = where
        self.paths = []
        self.tree = {}

    def add(self, files):
        path = "%s/%d.tar" % (self.where, len(self.paths))
        dirs = set()
        with tarfile.open(path, "w") as tar:
            for name, data in files:
                top = os.path.dirname(name)
                if top and top not in dirs:
                    dirs.add(top)
                    info = tarfile.TarInfo(top)
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    info.mtime = 1700000000
                    tar.addfile(info)
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), 1700000000
                tar.addfile(info, io.BytesIO(data))
                self.tree[name] = hashlib.sha256(data).hexdigest()
        self.paths.append(path)

    def add_paths(self, paths, seen):
        """Files of this machine; those in seen are in a layer below, but each
        layer has the directories of its files."""
        path = "%s/%d.tar" % (self.where, len(self.paths))
        with tarfile.open(path, "w") as tar:
            for source in paths:
                is_dir = os.path.isdir(source) and not os.path.islink(source)
                if source in seen and not is_dir:
                    continue
                seen.add(source)
                tar.inodes = {}  # no hard links: each file is compared
                tar.add(source, source[1:], recursive=False)
                if os.path.isfile(source) and not os.path.islink(source):
                    with open(source, "rb") as f:
                        data = f.read()
                    self.tree[source[1:]] = hashlib.sha256(data).hexdigest()
        self.paths.append(path)


def shape_big(layers, r):
    layers.add([("big/%d" % n, words(r, 50 << 20)) for n in range(8)])


def shape_small(layers, r):
    layers.add([("d%d/f%d" % (n // 100, n), words(r, r.randrange(100, 6000)))
                for n in range(30000)])


def package_files(package):
    """Files, links and directories, by the names that they have in the end:
    /lib may be a link; and the directories that they are in."""
    for path in output("dpkg", "-L", package).splitlines():
        if path in ("", "/.") or not os.path.lexists(path):
            continue
        top = os.path.realpath(os.path.dirname(path))
        yield os.path.join(top, os.path.basename(path))
        while top != "/":
            yield top
            top = os.path.dirname(top)


def shape_distribution(layers, r):
    """What this machine has installed: the base, then five parts of the rest."""
    packages = [line.split() for line in output(
        "dpkg-query", "-W", "-f",
        "${binary:Package} ${Priority} ${Installed-Size}\\n").splitlines()]
    parts = [[] for _ in range(6)]
    total = 0
    for n, (package, priority, kb) in enumerate(packages):
        if total > DISTRIBUTION_KB:
            break
        if not package.startswith("linux-image"):
            total += int(kb)
            is_base = priority in ("required", "important")
            parts[0 if is_base else 1 + n % 5].append(package)
    seen = set()
    for part in parts:
        layers.add_paths(sorted({path for package in part
                                 for path in package_files(package)}), seen)


def shape_update(layers, r):
    """Nine layers that are there already, and one that is not."""
    for n in range(10):
        layers.add([("u%d/f%d" % (n, i), words(r, r.randrange(1000, 60000)))
                    for i in range(1000)])


def shape_thin(layers, r):
    for n in range(50):
        layers.add([("l%d/f%d" % (n, i), words(r, r.randrange(100, 20000)))
                    for i in range(20)])


class Shape:
    """What is pulled, and how."""

    def __init__(self, about, fill, compression="gzip", n_pulls=1,
                 has_before=False):
        self.about = about
        self.fill = fill  # makes the layers
        self.compression = compression
        self.n_pulls = n_pulls  # of the same image at once
        self.has_before = has_before  # all layers but the last are there


SHAPES = {
    "big": Shape("one layer of 400 MB", shape_big),
    "small": Shape("30000 small files in one layer", shape_small),
    "thin": Shape("50 layers of 20 files", shape_thin),
    "distribution": Shape("a distribution and what runs on it, 6 layers",
                          shape_distribution),
    "update": Shape("10 layers, 9 of them there before", shape_update,
                    has_before=True),
    "zstd": Shape("30000 small files in one layer of zstd", shape_small,
                  compression="zstd"),
    "crowd": Shape("50 layers of 20 files, pulled ten times at once",
                   shape_thin, n_pulls=10),
}


def before(name):
    """The image that a tool has already; None: none."""
    return name + "-before" if SHAPES[name].has_before else None


def make_image(work, name):
    where = tempfile.mkdtemp(dir=work)
    layers = Layers(where)
    SHAPES[name].fill(layers, random.Random(name))
    make = [sys.executable, TOP + "/tests/lib/make-oci.py", work + "/oci"]
    run(*make, name, *layers.paths)
    if before(name) is not None:
        run(*make, before(name), *layers.paths[:-1])
    shutil.rmtree(where)
    return layers.tree


class Registry:
    def __init__(self, work):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        config = work + "/registry.yml"
        with open(config, "w") as f:
            f.write("version: 0.1\nlog: { level: error }\n"
                    "storage: { filesystem: { rootdirectory: %s/blobs } }\n"
                    "http: { addr: '127.0.0.1:%d' }\n" % (work, self.port))
        # Where it writes a line for each request.
        self.log = work + "/registry.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", config], stdout=log,
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.is_up, "the registry")

    def is_up(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def requests(self):
        with open(self.log) as f:
            return sum(1 for line in f if " HTTP/1." in line)

    def push(self, layout, name, compression):
        run("skopeo", "--insecure-policy", "copy", "--quiet",
            "--dest-tls-verify=false", "--dest-compress-format", compression,
            "oci:%s:%s" % (layout, name), "docker://" + self.name(name))

    def layer_bytes(self, name):
        """What the layers of an image take, as they are sent."""
        url = "http://127.0.0.1:%d/v2/bench/%s/manifests/1" % (self.port, name)
        request = urllib.request.Request(url, headers={
            "Accept": "application/vnd.oci.image.manifest.v1+json"})
        with urllib.request.urlopen(request) as answer:
            return sum(d["size"] for d in json.load(answer)["layers"])

    def name(self, image):
        return "127.0.0.1:%d/bench/%s:1" % (self.port, image)

    def end(self):
        self.process.terminate()
        self.process.wait()
