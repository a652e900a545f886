#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=overlay
. "$srcdir/tests/suite/suite.sh"
