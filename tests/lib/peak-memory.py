#!/usr/bin/env python3
"""Run a command and tell how much memory a program's processes had.

usage: peak-memory.py PROGRAM COMMAND [ARG…]

Samples, while COMMAND runs, every process whose executable is the file
PROGRAM and whose HOME is ours (tests beside this one have others), and prints
on standard error the peak of the sum of their anonymous and shared-memory pages
(Pss_Anon + Pss_Shmem) and of their Pss, in kB.
"""
import os
import subprocess
import sys
import time

import pss

HOME = b"HOME=" + os.environb[b"HOME"]


def processes(program):
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            st = os.stat("/proc/%s/exe" % name)
            with open("/proc/%s/environ" % name, "rb") as f:
                is_ours = HOME in f.read().split(b"\0")
        except OSError:
            continue
        if is_ours and (st.st_dev, st.st_ino) == program:
            yield name


def main():
    st = os.stat(sys.argv[1])
    program = (st.st_dev, st.st_ino)
    peak_private = peak_pss = samples = 0
    child = subprocess.Popen(sys.argv[2:])
    while child.poll() is None:
        both = [pss.sample(pid) for pid in processes(program)]
        peak_private = max(peak_private, sum(s[0] for s in both))
        peak_pss = max(peak_pss, sum(s[1] for s in both))
        samples += 1
        time.sleep(0.01)
    print("anon+shmem=%d pss=%d samples=%d" % (
        peak_private, peak_pss, samples), file=sys.stderr)
    sys.exit(child.returncode)


main()
