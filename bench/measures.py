"""What is measured, and on what."""
import os
import re
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP + "/tests/lib")
import pss  # noqa: E402

DISK_BYTES = 12 << 30
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
SYNCS = "fsync,fdatasync,syncfs,sync_file_range,sync"


class Failed(Exception):
    """A command did not do what it was to do."""


def run(*command, **more):
    """Run it; Failed has what it said."""
    done = subprocess.run(command, stderr=subprocess.PIPE, **QUIET, **more)
    if done.returncode != 0:
        raise Failed("%s: %s" % (" ".join(command),
                                 done.stderr.decode(errors="replace")))


def output(*command):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL,
                          stdout=subprocess.PIPE).stdout.decode()


def wait_until(is_there, what):
    for _ in range(1200):
        if is_there():
            return
        time.sleep(0.05)
    raise Failed("%s does not start" % what)


# ---- processes ----

class Group:
    """A control group: a tool's processes, and the CPU time they took."""

    def __init__(self):
        base = "/sys/fs/cgroup"
        self.is_v1 = os.path.isdir(base + "/cpuacct")
        self.path = "%s%s/imgd-bench-%d" % (
            base, "/cpuacct" if self.is_v1 else "", os.getpid())
        os.mkdir(self.path)

    def entering(self, *command):
        """What runs the command inside, when it is told to by a line: a fork of
        this program, which is large, and the way into the group, which takes
        tens of milliseconds, would else count as the command's time."""
        return ["/bin/sh", "-c", 'echo 0 >"$0" && echo && read -r _ && '
                'exec "$@" </dev/null >/dev/null',
                self.path + "/cgroup.procs", *command]

    def run(self, *command):
        """Run it inside: seconds it took."""
        child = subprocess.Popen(
            self.entering(*command), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.readline()
        began = time.monotonic()
        _, said = child.communicate(b"\n")
        took = time.monotonic() - began
        if child.returncode != 0:
            raise Failed("%s: %s" % (" ".join(command),
                                     said.decode(errors="replace")))
        return took

    def spawn(self, *command, **more):
        """Start it inside."""
        child = subprocess.Popen(
            self.entering(*command), stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, **more)
        child.stdin.write(b"\n")
        child.stdin.close()
        return child

    def seconds(self):
        if self.is_v1:
            with open(self.path + "/cpuacct.usage") as f:
                return int(f.read()) / 1e9
        with open(self.path + "/cpu.stat") as f:
            return int(f.readline().split()[1]) / 1e6

    def memory(self):
        """kB of all of them: anonymous and shared, PSS, RSS."""
        with open(self.path + "/cgroup.procs") as f:
            each = [pss.sample(pid) for pid in f.read().split()]
        return [sum(one[i] for one in each) for i in range(3)]

    def end(self):
        for _ in range(100):
            try:
                return os.rmdir(self.path)
            except OSError:
                time.sleep(0.1)


class Peak:
    """The most memory that a group has while this is entered."""

    def __init__(self, group):
        self.group = group
        self.private = self.pss = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.is_over.wait(0.005):
            private, all_of_it, _ = self.group.memory()
            self.private = max(self.private, private)
            self.pss = max(self.pss, all_of_it)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def count_syncs(path):
    """Of a trace that trace_syncs has made."""
    wanted = re.compile(r"^\d+ +(%s)\(" % SYNCS.replace(",", "|"))
    if not os.path.exists(path):
        return 0
    with open(path) as f:
        return sum(1 for line in f if wanted.match(line))


def trace_syncs(path):
    """What stands before a command so that its syncs are noted in path."""
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-A", "-o", path,
            "-e", "trace=" + SYNCS]


# ---- disks and networks ----

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

    def written(self):
        """Bytes that have come to the device."""
        device = output("findmnt", "-no", "SOURCE", self.top).strip()
        with open("/sys/block/%s/stat" % os.path.basename(device)) as f:
            return int(f.read().split()[6]) * 512

    def sync(self):
        run("sync", "-f", self.top)

    def end(self):
        run("umount", "-R", self.top)
        os.unlink(self.file)


def loopback_bytes():
    """What went over lo, whoever sent it."""
    with open("/proc/net/dev") as f:
        for line in f:
            name, _, counts = line.partition(":")
            if name.strip() == "lo":
                return int(counts.split()[0])
    return 0


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
