#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=btrfs
disk=btrfs
. "$srcdir/tests/suite/suite.sh"
