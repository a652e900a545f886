#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=aufs
. "$srcdir/tests/suite/suite.sh"
