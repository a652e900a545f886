#!/bin/sh
# shellcheck disable=SC2034 # what suite.sh reads
# No kernel of Debian's has aufs: this is for one that is given.
if [ -z "${IMGD_TEST_KERNEL:-}" ]; then
	echo "1..0 # SKIP IMGD_TEST_KERNEL names no kernel with aufs"
	exit 0
fi
driver=aufs
in_uml=yes
. "$srcdir/tests/suite/suite.sh"
