#!/bin/sh
# Death of the engine at each named point, with the devmapper driver, in a
# user-mode kernel: tests/fault/test-fail-points.sh.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/subtests.sh"
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
if [ -z "$(find "$builddir/stage" -name 'imgd-devmapper-driver.so')" ]; then
	echo "1..0 # SKIP built without the devmapper driver"
	exit 0
fi
dir=$(mktemp -d "$builddir/uml-points-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
filesystems=ext4
limit=900
if [ "${IMGD_TEST_SCALE:-}" = long ]; then
	filesystems="ext4 xfs"
	limit=14400
fi
for fs in $filesystems; do
	rm -f "$dir/disk"
	truncate -s 6G "$dir/disk"
	mkfs.ext4 -q "$dir/disk" || exit 99
	uml_run "$dir/run" -d "$dir/disk" -t $limit env \
	    TMPDIR=/run/disk IMGD_TEST_DRIVERS=devmapper \
	    IMGD_TEST_SCALE="${IMGD_TEST_SCALE:-}" \
	    IMGD_TEST_OPTIONS="dm.fs=$fs dm.loopdatasize=2G dm.basesize=500M" \
	    sh "$srcdir/tests/fault/test-fail-points.sh" >"$dir/out" 2>&1
	status=$?
	subtest "$fs" $status <"$dir/out"
done
subtests_end
