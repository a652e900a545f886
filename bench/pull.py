#!/usr/bin/env python3
"""Pull the same images with imgd and with whatever else is installed.

usage: pull.py [--rounds N] [--shapes LIST] [--tools LIST] [--json FILE]
               [--serial PROGRAM] IMGD

IMGD is an installed program, PROGRAM bench/serial.c, which is the floor.  Run
it as root, on a machine that does nothing else.  A registry on loopback serves the images; each tool has in each round a
freshly made ext4 of its own, since deleted inodes slow down creation, and the
page cache is dropped before.  Rounds take the tools in turn.

Of each: seconds until the command ends ("wall"), the same and the time until a
sync of the filesystem is over ("durable"), CPU seconds of all processes of the
tool, daemons included ("cpu"), and what the filesystem then holds.  The median
of the rounds is printed, and each as JSON with --json.

What a tool has made of an image is compared with the image's own tars, file by
file, before any of its times counts.
"""
import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DISK_BYTES = 8 << 30
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def run(*command, **more):
    """Say what it said if it fails."""
    done = subprocess.run(command, stderr=subprocess.PIPE, **QUIET, **more)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
        sys.exit("pull.py: failed: " + " ".join(command))


def output(*command):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL,
                          stdout=subprocess.PIPE).stdout.decode()


def wait_until(is_there, what):
    for _ in range(1200):
        if is_there():
            return
        time.sleep(0.05)
    sys.exit("pull.py: %s does not start" % what)


def answers(path):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path)
        return True
    except OSError:
        return False
    finally:
        s.close()


# ---- images ----

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


def shape_big(layers, r):
    layers.add([("big/%d" % n, words(r, 50 << 20)) for n in range(8)])


def shape_small(layers, r):
    layers.add([("d%d/f%d" % (n // 100, n), words(r, r.randrange(100, 6000)))
                for n in range(30000)])


def shape_thin(layers, r):
    for n in range(50):
        layers.add([("l%d/f%d" % (n, i), words(r, r.randrange(100, 20000)))
                    for i in range(20)])


SHAPES = {
    "big": ("one layer of 400 MB", shape_big),
    "small": ("30000 small files in one layer", shape_small),
    "thin": ("50 layers of 20 files", shape_thin),
}


def make_image(work, name):
    where = tempfile.mkdtemp(dir=work)
    layers = Layers(where)
    SHAPES[name][1](layers, random.Random(name))
    run(sys.executable, TOP + "/tests/lib/make-oci.py", work + "/oci", name,
        *layers.paths)
    shutil.rmtree(where)
    return layers.tree


# ---- the registry ----

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
        self.process = subprocess.Popen(
            ["docker-registry", "serve", config], stderr=subprocess.DEVNULL,
            **QUIET)
        wait_until(self.is_up, "the registry")

    def is_up(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def push(self, layout, name):
        run("skopeo", "--insecure-policy", "copy", "--quiet",
            "--dest-tls-verify=false", "oci:%s:%s" % (layout, name),
            "docker://" + self.name(name))

    def name(self, image):
        return "127.0.0.1:%d/bench/%s:1" % (self.port, image)

    def end(self):
        self.process.terminate()
        self.process.wait()


# ---- CPU time ----

class Group:
    """A control group that counts the CPU time of whoever is in it."""

    def __init__(self):
        base = "/sys/fs/cgroup"
        self.is_v1 = os.path.isdir(base + "/cpuacct")
        self.path = "%s%s/imgd-bench-%d" % (
            base, "/cpuacct" if self.is_v1 else "", os.getpid())
        os.mkdir(self.path)

    def enter(self):
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write("0")

    def seconds(self):
        if self.is_v1:
            with open(self.path + "/cpuacct.usage") as f:
                return int(f.read()) / 1e9
        with open(self.path + "/cpu.stat") as f:
            return int(f.readline().split()[1]) / 1e6

    def end(self):
        for _ in range(100):
            try:
                return os.rmdir(self.path)
            except OSError:
                time.sleep(0.1)


# ---- tools ----

class Tool:
    """One way to pull: on a filesystem of its own, mounted at top."""
    daemon = None

    def __init__(self, options, group):
        self.options = options
        self.group = group
        self.top = None

    def start(self, top):
        self.top = top

    def spawn(self, *command):
        self.daemon = subprocess.Popen(
            command, preexec_fn=self.group.enter, start_new_session=True,
            stderr=open(self.top + "/log", "w"), **QUIET)

    def run(self, *command):
        run(*command, preexec_fn=self.group.enter)

    def end(self):
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait()
            self.daemon = None


class Imgd(Tool):
    def __init__(self, options, group, driver):
        super().__init__(options, group)
        self.name = "imgd " + driver
        self.driver = driver

    def start(self, top):
        super().start(top)
        os.mkdir(top + "/root", 0o700)
        with open(top + "/daemon.json", "w") as f:
            f.write("{}")
        self.command = [self.options.imgd, "--root", top + "/root",
                        "--config", top + "/daemon.json"]

    def pull(self, name):
        self.run(*self.command, "pull", "-q", "--driver", self.driver, name)

    def tree(self, name):
        run(*self.command, "export", "-o", self.top + "/tar", name)
        return self.top + "/tar"

    def end(self):
        # An engine that is idle ends by itself.
        run("flock", "-w", "20", self.top + "/root/lock", "true")


class Docker(Tool):
    def __init__(self, options, group, driver):
        super().__init__(options, group)
        self.name = "dockerd " + driver
        self.driver = driver

    def start(self, top):
        super().start(top)
        self.host = top + "/sock"
        self.spawn("/usr/sbin/dockerd", "--data-root", top + "/data",
                   "--exec-root", top + "/exec", "--pidfile", top + "/pid",
                   "-H", "unix://" + self.host, "--storage-driver",
                   self.driver, "--bridge=none", "--iptables=false",
                   "--ip-forward=false", "--ip-masq=false")
        wait_until(lambda: answers(self.host), "dockerd")

    def docker(self):
        return ["/usr/bin/docker", "-H", "unix://" + self.host]

    def pull(self, name):
        self.run(*self.docker(), "pull", "-q", name)

    def tree(self, name):
        box = output(*self.docker(), "create", name, "x").strip()
        run(*self.docker(), "export", "-o", self.top + "/tar", box)
        return self.top + "/tar"


class Containerd(Tool):
    name = "containerd overlayfs"

    def start(self, top):
        super().start(top)
        self.socket = top + "/sock"
        with open(top + "/containerd.toml", "w") as f:
            f.write('version = 2\nroot = "%s/root"\nstate = "%s/state"\n'
                    'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                    '[grpc]\naddress = "%s"\n' % (top, top, self.socket))
        self.spawn("/usr/bin/containerd", "--config", top +
                   "/containerd.toml")
        wait_until(lambda: answers(self.socket), "containerd")

    def pull(self, name):
        self.run("ctr", "-a", self.socket, "images", "pull", "--plain-http",
                 "--snapshotter", "overlayfs", name)

    def tree(self, name):
        where = self.top + "/mnt"
        os.mkdir(where)
        run("ctr", "-a", self.socket, "images", "mount", "--snapshotter",
            "overlayfs", name, where)
        try:
            run("tar", "-C", where, "-cf", self.top + "/tar", ".")
        finally:
            run("ctr", "-a", self.socket, "images", "unmount", where)
        return self.top + "/tar"


class Podman(Tool):
    name = "podman overlay"

    def start(self, top):
        super().start(top)
        self.command = ["podman", "--root", top + "/root", "--runroot",
                        top + "/run", "--storage-driver", "overlay"]

    def pull(self, name):
        self.run(*self.command, "pull", "-q", "--tls-verify=false", name)

    def tree(self, name):
        where = output(*self.command, "image", "mount", name).strip()
        try:
            run("tar", "-C", where, "-cf", self.top + "/tar", ".")
        finally:
            run(*self.command, "image", "unmount", name)
        return self.top + "/tar"


class Serial(Tool):
    """bench/serial.c: layers side by side in directories of their own."""
    name = "serial floor"

    def pull(self, name):
        place, tag = name.rsplit(":", 1)
        host, repository = place.split("/", 1)
        self.run(self.options.serial, "http://" + host, repository, tag,
                 self.top + "/layers")

    def tree(self, name):
        layers = sorted(os.listdir(self.top + "/layers"), key=int)
        run("tar", "-cf", self.top + "/tar", *[
            word for layer in layers
            for word in ("-C", "%s/layers/%s" % (self.top, layer), ".")])
        return self.top + "/tar"


class Umoci(Tool):
    name = "skopeo + umoci"

    def pull(self, name):
        self.run("skopeo", "--insecure-policy", "copy", "--quiet",
                 "--src-tls-verify=false", "docker://" + name,
                 "oci:%s/oci:1" % self.top)
        self.run("umoci", "raw", "unpack", "--image", self.top + "/oci:1",
                 self.top + "/tree")

    def tree(self, name):
        run("tar", "-C", self.top + "/tree", "-cf", self.top + "/tar", ".")
        return self.top + "/tar"


def all_tools(options, group):
    tools = [Imgd(options, group, "overlay"), Imgd(options, group, "vfs")]
    if shutil.which("dockerd") and os.path.exists("/usr/bin/docker"):
        tools += [Docker(options, group, "overlay2"),
                  Docker(options, group, "vfs")]
    if shutil.which("ctr"):
        tools.append(Containerd(options, group))
    if shutil.which("podman"):
        tools.append(Podman(options, group))
    if shutil.which("umoci"):
        tools.append(Umoci(options, group))
    if options.serial:
        tools.append(Serial(options, group))
    if options.tools:
        tools = [t for t in tools if any(w in t.name for w in options.tools)]
    return tools


# ---- rounds ----

class Disk:
    def __init__(self, work):
        self.file = work + "/disk"
        self.top = work + "/mnt"
        os.makedirs(self.top, exist_ok=True)
        with open(self.file, "w") as f:
            f.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-E",
            "lazy_itable_init=0,lazy_journal_init=0", self.file)
        run("mount", "-o", "loop", self.file, self.top)

    def used(self):
        st = os.statvfs(self.top)
        return (st.f_blocks - st.f_bfree) * st.f_frsize

    def sync(self):
        run("sync", "-f", self.top)

    def end(self):
        run("umount", "-R", self.top)
        os.unlink(self.file)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def read_tree(path):
    tree = {}
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isfile():
                data = tar.extractfile(info).read()
                name = os.path.normpath(info.name)
                tree[name] = hashlib.sha256(data).hexdigest()
    return tree


def compare(tool, name, wanted):
    got = read_tree(tool.tree(name))
    for path, digest in wanted.items():
        if got.get(path) != digest:
            sys.exit("pull.py: %s makes another %s" % (tool.name, path))


def measure(work, tool, name, wanted):
    disk = Disk(work)
    try:
        tool.start(disk.top)
        drop_caches()
        before, cpu = disk.used(), tool.group.seconds()
        began = time.monotonic()
        tool.pull(name)
        wall = time.monotonic() - began
        disk.sync()
        durable = time.monotonic() - began
        figures = {"wall": wall, "durable": durable,
                   "cpu": tool.group.seconds() - cpu,
                   "disk": disk.used() - before}
        if wanted is not None:
            compare(tool, name, wanted)
        return figures
    finally:
        tool.end()
        disk.end()


def show(shape, results):
    print("\n%s: %s" % (shape, SHAPES[shape][0]))
    print("%-22s %8s %8s %8s %8s" % ("", "wall s", "durable", "cpu s",
                                     "disk MB"))
    for name, rounds in results.items():
        m = {key: statistics.median(r[key] for r in rounds)
             for key in rounds[0]}
        print("%-22s %8.2f %8.2f %8.2f %8.0f" % (
            name, m["wall"], m["durable"], m["cpu"], m["disk"] / 1e6))
    sys.stdout.flush()


def bench(options, work, registry, group):
    tools = all_tools(options, group)
    everything = {}
    for shape in options.shapes:
        tree = make_image(work, shape)
        registry.push(work + "/oci", shape)
        results = {tool.name: [] for tool in tools}
        for n in range(options.rounds):
            for tool in tools:
                results[tool.name].append(
                    measure(work, tool, registry.name(shape),
                            tree if n == 0 else None))
        show(shape, results)
        everything[shape] = results
    return everything


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default=",".join(SHAPES),
                        type=lambda s: s.split(","))
    parser.add_argument("--tools", type=lambda s: s.split(","))
    parser.add_argument("--json")
    parser.add_argument("--serial", type=os.path.abspath)
    parser.add_argument("imgd")
    options = parser.parse_args()
    options.imgd = os.path.abspath(options.imgd)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="imgd-bench-") as work:
        group = Group()
        registry = Registry(work)
        try:
            results = bench(options, work, registry, group)
        finally:
            registry.end()
            group.end()
    if options.json:
        with open(options.json, "w") as f:
            json.dump(results, f, indent=1)


main()
