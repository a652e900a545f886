#!/usr/bin/env python3
"""Pull the same images with imgd and with whatever else is installed.

usage: pull.py [--rounds N] [--shapes LIST] [--tools LIST] [--json FILE]
               [--chart FILE] [--serial PROGRAM] IMGD

IMGD is an installed program, PROGRAM bench/serial.c, which is the floor.  Run
it as root, on a machine that does nothing else.  A registry on loopback serves
the images; each tool has in each round a freshly made ext4 of its own, since
deleted inodes slow down creation, and the page cache is dropped before.  Rounds
take the tools in turn.

Timed rounds: seconds until the command ends ("wall"), the same and the time
until a sync of the filesystem is over ("durable"), CPU seconds of all processes
of the tool, daemons included ("cpu"), what the filesystem then holds ("disk")
and what came to the device ("written").

One round more looks at memory, which takes time of its own: the peak of all
processes' anonymous and shared pages ("private") and of their share of all pages
("pss"), bytes over loopback ("received"), requests, the time of a pull of what is
there ("noop"; of imgd also without a daemon), and the daemon at rest.  And one
counts calls that wait for the disk ("syncs"), by strace.

What a tool has made of an image is compared with the image's own tars, file by
file, before any of its figures counts.
"""
import argparse
import datetime
import hashlib
import json
import os
import platform
import signal
import statistics
import sys
import tarfile
import tempfile
import time

import chart
import images
import measures
import targets
import tools
from measures import Failed


def read_tree(path):
    tree = {}
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isfile():
                data = tar.extractfile(info).read()
                name = os.path.normpath(info.name)
                tree[name] = hashlib.sha256(data).hexdigest()
            elif info.islnk():
                tree[os.path.normpath(info.name)] = tree.get(
                    os.path.normpath(info.linkname))
    return tree


def compare(tool, name, wanted):
    got = read_tree(tool.tree(name))
    for path, digest in wanted.items():
        if got.get(path) != digest:
            raise Failed("%s makes another %s" % (tool.name, path))


class Bench:
    def __init__(self, options, work, registry, group):
        self.options = options
        self.work = work
        self.registry = registry
        self.group = group

    def on_disk(self, tool, shape, measure):
        """Figures of measure(disk, name), on a filesystem of its own."""
        disk = measures.Disk(self.work)
        name = self.registry.name(shape)
        try:
            tool.start(disk.top)
            if images.before(shape) is not None:
                tool.pull(self.registry.name(images.before(shape)))
                disk.sync()
            measures.drop_caches()
            return measure(disk, name)
        finally:
            tool.end()
            disk.end()

    def timed(self, tool, shape, wanted):
        def measure(disk, name):
            used, written = disk.used(), disk.written()
            cpu = self.group.seconds()
            wall = tool.time_pulls(name, images.SHAPES[shape].n_pulls)
            began = time.monotonic()
            disk.sync()
            figures = {"wall": wall,
                       "durable": wall + time.monotonic() - began,
                       "cpu": self.group.seconds() - cpu,
                       "disk": disk.used() - used,
                       "written": disk.written() - written}
            if wanted is not None:
                compare(tool, name, wanted)
            return figures
        return self.on_disk(tool, shape, measure)

    def looked_at(self, tool, shape):
        def measure(_, name):
            received = measures.loopback_bytes()
            requests = self.registry.requests()
            with measures.Peak(self.group) as peak:
                tool.time_pulls(name, images.SHAPES[shape].n_pulls)
            return {"private": peak.private, "pss": peak.pss,
                    "received": measures.loopback_bytes() - received,
                    "requests": self.registry.requests() - requests,
                    **tool.at_rest(name)}
        return self.on_disk(tool, shape, measure)

    def counted(self, tool, shape):
        trace = self.work + "/trace"
        if os.path.exists(trace):
            os.unlink(trace)

        def measure(_, name):
            before = measures.count_syncs(trace)
            tool.pull(name)
            return {"syncs": measures.count_syncs(trace) - before}
        tool.prefix = measures.trace_syncs(trace)
        try:
            return self.on_disk(tool, shape, measure)
        finally:
            tool.prefix = []

    def shape(self, shape):
        tree = images.make_image(self.work, shape)
        for image in filter(None, (images.before(shape), shape)):
            self.registry.push(self.work + "/oci", image,
                               images.SHAPES[shape].compression)
        left = tools.all_tools(self.options, self.group)
        results = {tool.name: {"rounds": []} for tool in left}
        for n in range(self.options.rounds):
            for tool in list(left):
                try:
                    results[tool.name]["rounds"].append(
                        self.timed(tool, shape, tree if n == 0 else None))
                except Failed as e:
                    print("%s: left out: %s" % (tool.name, e))
                    left.remove(tool)
                    del results[tool.name]
        for tool in left:
            results[tool.name].update(self.looked_at(tool, shape))
            results[tool.name].update(self.counted(tool, shape))
        for result in results.values():
            result.update({key: statistics.median(r[key]
                                                  for r in result["rounds"])
                           for key in result["rounds"][0]})
        return {"about": images.SHAPES[shape].about,
                "bytes": self.registry.layer_bytes(shape),
                "tools": results}


# ---- output ----

COLUMNS = (  # figure, heading, what a unit is
    ("wall", "wall s", 1), ("durable", "durable", 1), ("cpu", "cpu s", 1),
    ("private", "anon MB", 1e3), ("pss", "pss MB", 1e3),
    ("received", "net MB", 1e6), ("requests", "asked", 1),
    ("written", "wrote MB", 1e6), ("disk", "disk MB", 1e6),
    ("syncs", "syncs", 1), ("noop", "noop ms", 1e-3),
    ("noop_alone", "alone ms", 1e-3), ("idle_private", "idle MB", 1e3),
    ("idle_rss", "idle rss", 1e3))
COUNTS = ("requests", "syncs")


def show(shape, result):
    print("\n%s: %s, %.0f MB compressed" % (shape, result["about"],
                                          result["bytes"] / 1e6))
    print("%-20s" % "" + "".join("%9s" % c[1] for c in COLUMNS))
    for name, figures in result["tools"].items():
        cells = []
        for key, _, unit in COLUMNS:
            value = figures.get(key)
            cells.append("%9s" % ("-" if value is None else
                                  "%d" % value if key in COUNTS else
                                  "%.2f" % (value / unit) if unit == 1 else
                                  "%.1f" % (value / unit)))
        print("%-20s" % name + "".join(cells))
    sys.stdout.flush()


def machine():
    with open("/proc/cpuinfo") as f:
        models = [line.split(":")[1].strip() for line in f
                  if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(),
            "cpus": os.cpu_count(), "kernel": platform.release(),
            "date": datetime.date.today().isoformat()}


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default=",".join(images.SHAPES),
                        type=lambda s: s.split(","))
    parser.add_argument("--tools", type=lambda s: s.split(","))
    parser.add_argument("--json")
    parser.add_argument("--chart")
    parser.add_argument("--serial", type=os.path.abspath)
    parser.add_argument("imgd")
    options = parser.parse_args()
    options.imgd = os.path.abspath(options.imgd)
    for shape in options.shapes:
        if shape not in images.SHAPES:
            parser.error("no shape is called " + shape)
    return options


def write(options, report):
    """What there is so far: the rest may take an hour."""
    if options.json:
        with open(options.json, "w") as f:
            json.dump(report, f, indent=1)
    if options.chart:
        with open(options.chart, "w") as f:
            f.write(chart.draw(report))


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    report = {"machine": machine(), "rounds": options.rounds,
              "versions": tools.versions(options), "shapes": {}}
    with tempfile.TemporaryDirectory(prefix="imgd-bench-") as work:
        group = measures.Group()
        registry = images.Registry(work)
        try:
            bench = Bench(options, work, registry, group)
            for shape in options.shapes:
                report["shapes"][shape] = bench.shape(shape)
                show(shape, report["shapes"][shape])
                write(options, report)
        except Failed as e:
            sys.exit("pull.py: %s" % e)
        finally:
            registry.end()
            group.end()
    targets.show(report)


main()
