#!/bin/sh
# Install what make bench compares imgd with; no service of theirs starts.
cd "$(dirname "$0")/.." || exit 1
. tests/lib/packages.sh
# shellcheck disable=SC2086 # lists of names
install_packages $DEMO_PACKAGES $BENCH_PACKAGES
