"""The tools that are compared, each with a way to pull."""
import concurrent.futures
import os
import shutil
import signal
import socket
import statistics
import time

from measures import output, run, wait_until

N_NOOPS = 5


def answers(path):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path)
        return True
    except OSError:
        return False
    finally:
        s.close()


class Tool:
    """One way to pull: on a filesystem of its own, mounted at top."""
    daemon = None
    versions = ()  # commands whose first line tells what it is

    def __init__(self, options, group):
        self.options = options
        self.group = group
        self.top = None
        self.prefix = []  # before each of its commands
        self.seconds = 0  # what they have taken

    def start(self, top):
        self.top = top

    def spawn(self, *command):
        self.daemon = self.group.spawn(
            *self.prefix, *command, start_new_session=True,
            stderr=open(self.top + "/log", "w"))

    def run(self, *command):
        self.seconds += self.group.run(*self.prefix, *command)

    def time_pull(self, name):
        """Pull it: seconds that its commands took."""
        before = self.seconds
        self.pull(name)
        return self.seconds - before

    def time_pulls(self, name, n):
        """Pull it n times at once: seconds until the last has ended, with the
        ways into the group if there are several."""
        if n == 1:
            return self.time_pull(name)
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            list(pool.map(self.pull, [name] * n))
        return time.monotonic() - began

    def at_rest(self, name):
        """Figures of a tool that has the image: of pulling it again, and of the
        daemon that does nothing."""
        figures = {"noop": statistics.median(
            self.time_pull(name) for _ in range(N_NOOPS))}
        if self.daemon is not None:
            time.sleep(2)
            private, _, rss = self.group.memory()
            figures.update(idle_private=private, idle_rss=rss)
        return figures

    def end(self):
        if self.daemon is not None:
            # All of its session: strace lets no signal come to itself.
            os.killpg(self.daemon.pid, signal.SIGTERM)
            self.daemon.wait()
            self.daemon = None


class Imgd(Tool):
    versions = (["imgd", "--version"],)

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

    def at_rest(self, name):
        """Without a daemon each pull has an engine of its own."""
        alone = []
        for _ in range(N_NOOPS):
            self.wait_for_engine()
            alone.append(self.time_pull(name))
        self.wait_for_engine()
        host = self.top + "/sock"
        self.spawn(*self.command, "--host", "unix://" + host, "daemon")
        wait_until(lambda: answers(host), "imgd daemon")
        figures = super().at_rest(name)
        return {**figures, "noop_alone": statistics.median(alone)}

    def wait_for_engine(self):
        """One that is idle ends by itself."""
        run("flock", "-w", "20", self.top + "/root/lock", "true")

    def end(self):
        super().end()
        self.wait_for_engine()


class Docker(Tool):
    versions = (["dockerd", "--version"],)

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
    versions = (["containerd", "--version"],)

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
    versions = (["podman", "--version"],)

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

    def at_rest(self, name):
        return {}  # it pulls once

    def tree(self, name):
        layers = sorted(os.listdir(self.top + "/layers"), key=int)
        run("tar", "-cf", self.top + "/tar", *[
            word for layer in layers
            for word in ("-C", "%s/layers/%s" % (self.top, layer), ".")])
        return self.top + "/tar"


class Umoci(Tool):
    name = "skopeo + umoci"
    versions = (["skopeo", "--version"], ["umoci", "--version"])

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


def versions(options):
    """A line for each program that takes part."""
    said = []
    for tool in all_tools(options, None):
        for command in tool.versions:
            if command[0] == "imgd":
                command = [options.imgd, *command[1:]]
            line = output(*command).splitlines()[0]
            if line not in said:
                said.append(line)
    return said
