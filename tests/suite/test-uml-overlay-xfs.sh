#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=overlay
disk=xfs
in_uml=yes
. "$srcdir/tests/suite/suite.sh"
