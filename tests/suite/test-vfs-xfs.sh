#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=vfs
disk=xfs
. "$srcdir/tests/suite/suite.sh"
