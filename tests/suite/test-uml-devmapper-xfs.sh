#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=devmapper
in_uml=yes
options="dm.fs=xfs dm.loopdatasize=2G dm.loopmetadatasize=32M dm.basesize=400M"
. "$srcdir/tests/suite/suite.sh"
