#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
driver=vfs
disk=tmpfs
. "$srcdir/tests/suite/suite.sh"
