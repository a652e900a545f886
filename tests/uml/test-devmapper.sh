#!/bin/sh
# The devmapper driver's own tests on a real device-mapper, in a user-mode
# kernel, with both filesystems.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/subtests.sh"
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
if [ ! -x "$builddir/tests/driver/devmapper-guest" ]; then
	echo "1..0 # SKIP the devmapper driver is not built"
	exit 0
fi
dir=$(mktemp -d "$builddir/uml-devmapper-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
for fs in ext4 xfs; do
	rm -f "$dir/disk"
	truncate -s 6G "$dir/disk"
	mkfs.ext4 -q "$dir/disk" || exit 99
	uml_run "$dir/run" -d "$dir/disk" -t 900 env \
	    IMGD_TEST_STORES=/run/disk CMOCKA_MESSAGE_OUTPUT=TAP \
	    "$builddir/tests/driver/devmapper-guest" $fs >"$dir/out" 2>&1
	subtest "$fs" $? <"$dir/out"
done
subtests_end
