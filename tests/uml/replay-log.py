#!/usr/bin/env python3
"""What a disk may hold after a power cut, from a log of dm-log-writes.

usage: replay-log.py LOG DISK SEED STATE

Takes a moment in the log and writes to DISK, a sparse file, what was on the disk
by then: all that was flushed, and of what was written since the last flush
some, as a disk with a cache may have it.  STATE gets the marks before it, a
line each.  Format: Linux, drivers/md/dm-log-writes.c.
"""
import os
import random
import struct
import sys

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC = 0x6A736677736872


def read_entries(log):
    """(flags, offset on the disk, bytes, where in the log, mark) of each."""
    magic, _, n, sector = struct.unpack("<QQQI", log.read(28))
    if magic != MAGIC:
        sys.exit("replay-log: not a log of dm-log-writes")
    at = sector
    for _ in range(n):
        log.seek(at)
        where, n_sectors, flags, length = struct.unpack("<QQQQ", log.read(32))
        mark = log.read(length).decode() if flags & MARK else ""
        at += sector
        yield flags, where * sector, n_sectors * sector, at, mark
        if not flags & DISCARD:
            at += n_sectors * sector


def main(log_path, disk_path, seed, state_path):
    rand = random.Random(int(seed))
    with open(log_path, "rb") as log, open(disk_path, "r+b") as disk:
        entries = list(read_entries(log))
        first = next(i for i, e in enumerate(entries) if e[4] == "begin")
        cut = rand.randrange(first + 1, len(entries))
        # An entry that is a flush is one of what came before it.
        flushed = max((i for i in range(cut) if entries[i][0] & FLUSH),
                      default=first)
        keep = rand.choice((0, 0.5, 0.9))
        n_lost = 0
        with open(state_path, "w") as state:
            for i, (flags, where, length, at, mark) in enumerate(entries[:cut]):
                if flags & MARK:
                    print(mark.replace(":", " "), file=state)
                    continue
                if i >= flushed and not flags & FUA and rand.random() >= keep:
                    n_lost += 1
                    continue
                disk.seek(where)
                if flags & DISCARD:
                    # Zeros in 1 MiB pieces; what was discarded may be all.
                    while length > 0:
                        part = min(length, 1 << 20)
                        disk.write(bytes(part))
                        length -= part
                elif length > 0:
                    log.seek(at)
                    disk.write(log.read(length))
        print("cut at entry %d of %d, %d unflushed writes lost" %
              (cut, len(entries), n_lost))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: replay-log.py LOG DISK SEED STATE")
    os.stat(sys.argv[2])
    main(*sys.argv[1:])
