#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=vfs
disk=btrfs
. "$srcdir/tests/suite/suite.sh"
