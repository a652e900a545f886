#!/usr/bin/env python3
"""Whether a pull or a removal, as strace saw it, did things in order.

usage: order.py pull|rmi TRACE DRIVER N-LAYERS

The trace is of strace -f -y, of a store that was there before.  A call that was
interrupted by another's line begins where it began and ends where it was
resumed.  Prints a line per claim, "ok TEXT" or "not ok TEXT".
"""
import re
import sys

KEY = "[0-9a-f]{64}"


def read_calls(path):
    """(name, arguments, line of its begin, line of its end) of each call."""
    calls = []
    open_calls = {}
    with open(path, errors="replace") as f:
        for at, line in enumerate(f):
            m = re.match(r"(\d+) +(.*)", line)
            if not m:
                continue
            pid, text = m.groups()
            if text.startswith("<... "):
                call = open_calls.pop(pid, None)
                if call:
                    call[3] = at
                continue
            m = re.match(r"(\w+)\((.*)", text)
            if not m:
                continue
            call = [m.group(1), m.group(2), at, at]
            if text.endswith("<unfinished ...>"):
                # What never ended did so when all was over.
                call[3] = sys.maxsize
                open_calls[pid] = call
            calls.append(call)
    return calls


class Trace:
    def __init__(self, path):
        self.calls = read_calls(path)

    def find(self, names, pattern):
        return [c for c in self.calls
                if c[0] in names and re.search(pattern, c[1])]


def begins(calls):
    return min((c[2] for c in calls), default=sys.maxsize)


def ends(calls):
    return max((c[3] for c in calls), default=sys.maxsize)


def claim(is_true, text):
    print(("ok " if is_true else "not ok ") + text)


def pull(t, driver, n_layers):
    home = "/drivers/%s" % driver
    commits = t.find(("fdatasync", "fsync"), "imgd.db-wal>")
    makes = t.find(("mkdirat",), '%s/tmp>, "%s"' % (home, KEY))
    changes = t.find(("mkdirat", "write", "pwrite64", "symlinkat", "renameat",
                      "linkat", "copy_file_range"),
                     r"^\d+<[^>]*(%s/(layers/|diff/|tmp/)?|/recipes/)%s"
                     % (home, KEY))
    seals = t.find(("renameat",), '"state.new".*"state"')
    recipes = t.find(("fsync",), "/recipes/%s>" % KEY)
    names = t.find(("fsync",), "/recipes>")
    flushes = t.find(("syncfs",), home + ">")
    reports = t.find(("write",), "^1<")
    # Those after it are the end of the engine, which tidies the database.
    publishes = [c for c in commits if c[2] > ends(flushes)][:1]

    claim(len(makes) == n_layers and len(seals) == n_layers and
          len(recipes) == n_layers, "it has %d layers to it" % n_layers)
    claim(commits and commits[0][3] < begins(makes),
          "the rows are on the disk before a layer is begun")
    claim(len(changes) > n_layers and ends(changes) < begins(flushes),
          "nothing of a layer changes after the flush")
    claim(ends(seals) < begins(flushes), "the flush comes after the last seal")
    claim(ends(recipes) < begins(publishes) and
          ends(names) < begins(publishes) and begins(names) > begins(recipes),
          "recipes are on the disk before they count")
    claim(len(flushes) == 1 and len(publishes) == 1,
          "there is one flush, and a transaction after it")
    claim(ends(publishes) < begins(reports) < sys.maxsize,
          "it is reported when it is on the disk")


def rmi(t, driver, n_layers):
    commits = t.find(("fdatasync", "fsync"), "imgd.db-wal>")
    moves = t.find(("renameat",), '"%s".*/drivers/%s/dying>' % (KEY, driver))
    reports = t.find(("write",), "^1<")

    claim(len(moves) >= n_layers, "it has %d layers to it" % n_layers)
    claim(commits and commits[0][3] < begins(moves),
          "that they die is on the disk before a layer is touched")
    claim(len(commits) > n_layers and ends(moves) < begins(commits[-1:]),
          "the last row goes when the last layer is gone")
    claim(ends(commits[:1]) < begins(reports) < sys.maxsize,
          "it is reported when it is on the disk")


if __name__ == "__main__":
    {"pull": pull, "rmi": rmi}[sys.argv[1]](Trace(sys.argv[2]), sys.argv[3],
                                            int(sys.argv[4]))
