#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=overlay
disk=xfs
. "$srcdir/tests/suite/suite.sh"
