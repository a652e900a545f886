#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=vfs
. "$srcdir/tests/suite/suite.sh"
