#!/usr/bin/env python3
"""Check a store against a model of it while several verbs run at once.

usage: model.py IMGD-COMMAND… -- DIR DRIVER… [pairs=N] [width=N] [seed=N]

IMGD-COMMAND is the program with the options that lead to an empty store; the
registry that it asks has the images a:1, b:1 and c:1.  DIR has their trees, as
tree-list.py prints them, in NAME.tree, and their archives, as imgd save writes
them, in NAME.tar.

All pairs of operations, then random groups of WIDTH, are begun together on
whatever store the ones before left.  The model knows what each does alone.
After each group the store must be what some order of its operations gives, with
the results that they reported: an operation that was cut off by a killed or
ended engine may have happened or not.  Whatever is listed is mounted and
compared, what is saved is compared byte for byte, and fsck finds nothing.

Prints TAP.
"""
import collections
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

IMAGES = ["a", "b", "c"]
TARGETS = ["m0", "m1"]
TREE_LIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..",
                         "lib", "tree-list.py")
OP_SECONDS = 240

# What the store should be: names is {name: image}, drivers {image: {driver}},
# mounts {target: image}, each as a frozenset of pairs so that states compare.
State = collections.namedtuple("State", "names drivers mounts")


class Draft:
    """A state that an operation changes."""

    def __init__(self, state):
        self.names = dict(state.names)
        self.drivers = {i: set(d) for i, d in state.drivers}
        self.mounts = dict(state.mounts)

    def freeze(self):
        return State(frozenset(self.names.items()),
                     frozenset((i, frozenset(d))
                               for i, d in self.drivers.items()),
                     frozenset(self.mounts.items()))

    def add(self, image, driver):
        self.names[image + ":1"] = image
        self.drivers.setdefault(image, set()).add(driver)

    def is_mounted(self, image):
        return image in self.mounts.values()

    def drop(self, image):
        self.names = {n: i for n, i in self.names.items() if i != image}
        del self.drivers[image]


class World:
    """The real store."""

    def __init__(self, command, where, drivers):
        self.command = command
        self.where = where
        self.drivers = drivers
        self.root = command[command.index("--root") + 1]
        self.trees = {i: self.read(i + ".tree") for i in IMAGES}
        self.tars = {i: self.read(i + ".tar") for i in IMAGES}

    def read(self, name):
        with open(os.path.join(self.where, name), "rb") as f:
            return f.read()

    def path(self, name):
        return os.path.join(self.where, name)

    def run(self, *args, stdin=subprocess.DEVNULL):
        done = subprocess.run([*self.command, *args], stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=OP_SECONDS)
        return done.returncode, done.stdout, done.stderr.decode()

    def engine(self):
        try:
            with open(os.path.join(self.root, "lock")) as f:
                found = re.search(r'"pid":(\d+)', f.read())
        except OSError:
            return None
        return int(found[1]) if found else None

    def mounted(self):
        with open("/proc/self/mountinfo") as f:
            points = {line.split()[4] for line in f}
        return {t for t in TARGETS if self.path(t) in points}

    def tree(self, target):
        return subprocess.run([TREE_LIST, self.path(target)], check=True,
                              stdout=subprocess.PIPE).stdout


class Op:
    """One operation: run() does it and gives (has succeeded, what it said);
    apply() does it to a draft and gives whether it succeeds there."""


    disturbs = False  # the others may be cut off

    def __init__(self, rng):
        self.image = rng.choice(IMAGES)
        self.target = rng.choice(TARGETS)
        self.delay = rng.random() * 0.02
        self.setup(rng)

    def setup(self, rng):
        pass

    def holding(self):
        """The images that gc leaves alone while it runs."""
        return [self.image]

    def apply_beside(self, draft, held):
        """All drafts that it may make of one while those images are held,
        each with whether it succeeds."""
        return [(self.apply(draft), draft)]

    def apply_in_part(self, draft):
        """All drafts that it may leave when it is cut off, but for none and
        the whole."""
        return []

    def __str__(self):
        return f"{type(self).__name__.lower()}({self.image})"

    def verb(self, world, *args, **options):
        code, _, said = world.run(*args, **options)
        return code == 0, said.strip()


class Pull(Op):
    def setup(self, rng):
        self.driver = rng.choice(DRIVERS)

    def run(self, world):
        return self.verb(world, "pull", "-q", "--driver=" + self.driver,
                         self.image + ":1")

    def apply(self, draft):
        draft.add(self.image, self.driver)
        return True


class SamePull(Pull):
    """Pairs of it are pulls of one image."""

    def setup(self, rng):
        self.image, self.driver = "a", DRIVERS[0]


class SharingPull(Pull):
    """Of an image that shares layers with a."""

    def setup(self, rng):
        self.image, self.driver = "b", DRIVERS[0]


class Load(Pull):
    def run(self, world):
        return self.verb(world, "load", "-q", "--driver=" + self.driver, "-i",
                         world.path(self.image + ".tar"))


class LoadStream(Pull):
    def run(self, world):
        with subprocess.Popen(["cat", world.path(self.image + ".tar")],
                              stdout=subprocess.PIPE) as cat:
            return self.verb(world, "load", "-q", "--driver=" + self.driver,
                             stdin=cat.stdout)


class Rmi(Op):
    def run(self, world):
        return self.verb(world, "rmi", self.image + ":1")

    def apply(self, draft):
        name = self.image + ":1"
        if name not in draft.names:
            return False
        if list(draft.names.values()).count(self.image) > 1:
            del draft.names[name]
            return True
        if draft.is_mounted(self.image):
            return False
        draft.drop(self.image)
        return True


class Tag(Op):
    def run(self, world):
        return self.verb(world, "tag", self.image + ":1", self.image + ":2")

    def apply(self, draft):
        if self.image + ":1" not in draft.names:
            return False
        draft.names[self.image + ":2"] = self.image
        return True


class Untag(Rmi):
    def run(self, world):
        return self.verb(world, "rmi", self.image + ":2")

    def apply(self, draft):
        if self.image + ":2" not in draft.names:
            return False
        if list(draft.names.values()).count(self.image) > 1:
            del draft.names[self.image + ":2"]
            return True
        if draft.is_mounted(self.image):
            return False
        draft.drop(self.image)
        return True


class Save(Op):
    def run(self, world):
        path = world.path(f"saved-{threading.get_ident()}")
        code, _, said = world.run("save", "-o", path, self.image + ":1")
        if code == 0:
            with open(path, "rb") as f:
                tar = f.read()
            os.unlink(path)
            if tar != world.tars[self.image]:
                raise AssertionError(f"{self} wrote another archive")
        elif os.path.exists(path):
            raise AssertionError(f"{self} failed and left a file")
        return code == 0, said.strip()

    def apply(self, draft):
        return self.image + ":1" in draft.names


class Mount(Op):
    def run(self, world):
        return self.verb(world, "mount", self.image + ":1",
                         world.path(self.target))

    def apply(self, draft):
        if (self.image + ":1" not in draft.names or
                self.target in draft.mounts):
            return False
        draft.mounts[self.target] = self.image
        return True


class Umount(Op):
    def run(self, world):
        return self.verb(world, "umount", world.path(self.target))

    def apply(self, draft):
        return draft.mounts.pop(self.target, None) is not None


class Gc(Op):
    def run(self, world):
        return self.verb(world, "gc", "--max-size", "0")

    def keeping(self, draft, images):
        """What it leaves if it keeps some of those images."""
        for n in range(len(images) + 1):
            for kept in itertools.combinations(images, n):
                after = Draft(draft.freeze())
                for image in list(after.drivers):
                    if image not in kept and not after.is_mounted(image):
                        after.drop(image)
                yield after

    def apply_beside(self, draft, held):
        return [(True, after) for after in self.keeping(draft, held)]

    def apply_in_part(self, draft):
        return list(self.keeping(draft, IMAGES))


class Fsck(Op):
    def run(self, world):
        return self.verb(world, "fsck", "--deep")

    def holding(self):
        return IMAGES

    def apply(self, draft):
        return True


class Migrate(Op):
    def setup(self, rng):
        self.source = rng.choice(DRIVERS)
        others = [d for d in DRIVERS if d != self.source]
        self.to = rng.choice(others or DRIVERS)

    def run(self, world):
        return self.verb(world, "migrate", "-q", "--keep", "--from",
                         self.source, "--to", self.to, self.image + ":1")

    def apply(self, draft):
        if (self.image + ":1" not in draft.names or
                self.source not in draft.drivers[self.image]):
            return False
        draft.drivers[self.image].add(self.to)
        return True


class Restart(Op):
    disturbs = True
    signal = signal.SIGTERM

    def setup(self, rng):
        self.delay = rng.random() * 0.3

    def run(self, world):
        pid = world.engine()
        if pid is not None:
            try:
                os.kill(pid, self.signal)
            except ProcessLookupError:
                pass
        return True, ""

    def apply(self, draft):
        return True


class Kill(Restart):
    signal = signal.SIGKILL


KINDS = [Pull, SamePull, SharingPull, Load, LoadStream, Rmi, Tag, Untag, Save,
         Mount, Umount, Gc, Fsck, Migrate, Restart, Kill]
DRIVERS = []


# ---- what may have happened ----

def outcomes(state, op, held, has_succeeded, is_disturbed):
    """The states after it, if it is done in that one; none if it would not
    have ended so."""
    drafts = op.apply_beside(Draft(state), held)
    done = [draft.freeze() for would, draft in drafts if would]
    if has_succeeded:
        return done
    if not is_disturbed:
        return [] if done else [state]
    # Nothing has happened, or a part, or the word of it was lost.
    return [state, *done,
            *(draft.freeze() for draft in op.apply_in_part(Draft(state)))]


def possible(state, ops, results):
    is_disturbed = any(op.disturbs for op in ops)
    held = sorted({image for op in ops for image in op.holding()})
    found = set()
    for order in itertools.permutations(range(len(ops))):
        states = {state}
        for i in order:
            states = {after for s in states
                      for after in outcomes(s, ops[i], held, results[i][0],
                                            is_disturbed)}
        found |= states
    return found


# ---- what has happened ----

def observe(world):
    """The real state; what is mounted is told by its tree."""
    code, out, said = world.run("images", "--json")
    if code != 0:
        raise AssertionError("images: " + said)
    names, drivers = {}, {}
    for line in out.splitlines():
        row = json.loads(line)
        image = row["Repository"]
        names[f"{image}:{row['Tag']}"] = image
        drivers[image] = frozenset(row["Drivers"])
    mounts = {}
    for target in world.mounted():
        tree = world.tree(target)
        found = [i for i in IMAGES if world.trees[i] == tree]
        if not found:
            raise AssertionError(f"{target} is none of the images")
        mounts[target] = found[0]
    return State(frozenset(names.items()), frozenset(drivers.items()),
                 frozenset(mounts.items()))


def show(state):
    names = " ".join(sorted(n for n, _ in state.names))
    drivers = " ".join(f"{i}={'+'.join(sorted(d))}"
                       for i, d in sorted(state.drivers))
    mounts = " ".join(f"{t}={i}" for t, i in sorted(state.mounts))
    return f"names [{names}] drivers [{drivers}] mounts [{mounts}]"


def check_listed(world, state):
    """Whatever is listed can be mounted, and is exact."""
    target = world.path("look")
    for image, _ in state.drivers:
        name = next(n for n, i in state.names if i == image)
        code, _, said = world.run("mount", name, target)
        if code != 0:
            raise AssertionError(f"{name} is listed and not mountable: {said}")
        tree = world.tree("look")
        code, _, said = world.run("umount", target)
        if code != 0:
            raise AssertionError(f"umount: {said}")
        if tree != world.trees[image]:
            raise AssertionError(f"the tree of {name} is another")


def check_sound(world, *options):
    code, out, said = world.run("fsck", *options)
    if code != 0:
        raise AssertionError(f"fsck: {out.decode()} {said}")


def check_empty(world):
    """What is neither listed nor mounted takes no room."""
    for target in world.mounted():
        world.run("umount", world.path(target))
    code, _, said = world.run("gc", "--max-size", "0")
    if code != 0:
        raise AssertionError("gc: " + said)
    left = []
    for driver in os.listdir(os.path.join(world.root, "drivers")):
        for path, dirs, files in os.walk(
                os.path.join(world.root, "drivers", driver)):
            left += [os.path.join(path, n) for n in dirs + files
                     if re.search(r"[0-9a-f]{32}", n)]
    for name in "recipes", "spool", "trash":
        path = os.path.join(world.root, name)
        left += [os.path.join(path, n)
                 for n in (os.listdir(path) if os.path.isdir(path) else [])]
    if left:
        raise AssertionError("left over: " + " ".join(left[:5]))


# ---- groups ----

def begin(world, op, results, index):
    try:
        time.sleep(op.delay)
        results[index] = op.run(world)
    except Exception as e:  # told by the thread that waits
        results[index] = e


def run_group(world, state, ops):
    results = [None] * len(ops)
    threads = [threading.Thread(target=begin, args=(world, op, results, i))
               for i, op in enumerate(ops)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    after = observe(world)
    if after not in possible(state, ops, results):
        said = "".join(f"\n  {op}: {'done' if ok else 'failed'} {text}"
                       for op, (ok, text) in zip(ops, results))
        raise AssertionError(f"before: {show(state)}{said}\n"
                             f"  after: {show(after)}")
    return after


class Tap:
    def __init__(self):
        self.n = 0
        self.has_failed = False

    def result(self, name, error=None):
        self.n += 1
        print(("not " if error else "") + f"ok {self.n} - {name}", flush=True)
        for line in str(error or "").splitlines():
            print("# " + line, flush=True)
        self.has_failed |= error is not None


def attempt(tap, name, function, *args):
    try:
        function(*args)
        tap.result(name)
    except (AssertionError, subprocess.TimeoutExpired) as e:
        tap.result(name, e)


def main():
    args = sys.argv[1:]
    cut = args.index("--")
    options = dict(a.split("=", 1) for a in args[cut + 1:] if "=" in a)
    where, *drivers = [a for a in args[cut + 1:] if "=" not in a]
    DRIVERS.extend(drivers)
    seed = int(options.get("seed", random.randrange(1 << 32)))
    rng = random.Random(seed)
    n_groups = int(options.get("pairs", 0))
    width = int(options.get("width", 2))
    world = World(args[:cut], where, drivers)
    for target in [*TARGETS, "look"]:
        os.makedirs(world.path(target), exist_ok=True)
    print(f"# seed={seed}", flush=True)

    groups = list(itertools.combinations_with_replacement(KINDS, 2))
    rng.shuffle(groups)
    groups = groups[:n_groups] + [tuple(rng.choices(KINDS, k=width))
                                  for _ in range(n_groups - len(groups))]
    tap = Tap()
    state = observe(world)
    counts = collections.Counter()
    error = None
    for i, kinds in enumerate(groups):
        ops = [kind(rng) for kind in kinds]
        counts.update(str(op).split("(")[0] for op in ops)
        try:
            state = run_group(world, state, ops)
            if i % 8 == 7:
                check_listed(world, state)
            if i % 16 == 15:
                check_sound(world)
        except (AssertionError, subprocess.TimeoutExpired) as e:
            error = f"group {i}: {' '.join(map(str, ops))}: {e}"
            break
    print(f"# {sum(counts.values())} operations in {i + 1} groups:",
          " ".join(f"{k}={n}" for k, n in sorted(counts.items())), flush=True)
    tap.result("each group of operations is as some order of them", error)
    attempt(tap, "what is listed is whole",
            lambda: check_listed(world, observe(world)))
    attempt(tap, "every layer is exact", check_sound, world, "--deep")
    attempt(tap, "what is not listed takes no room", check_empty, world)
    print(f"1..{tap.n}")
    return tap.has_failed


sys.exit(main())
