#!/bin/sh
# Images move between the device-mapper and each other driver, in a user-mode
# kernel whose disk has btrfs, so that all five drivers share one store.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/subtests.sh"
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
for driver in devmapper btrfs; do
	if [ -z "$(find "$builddir/stage" -name "imgd-$driver-driver.so")" ]
	then
		echo "1..0 # SKIP built without the $driver driver"
		exit 0
	fi
done
dir=$(mktemp -d "$builddir/uml-migrate-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
truncate -s 6G "$dir/disk"
mkfs.btrfs -q "$dir/disk" >/dev/null || exit 99
limit=1800
[ "${IMGD_TEST_SCALE:-}" != long ] || limit=7200
uml_run "$dir/run" -d "$dir/disk" -t $limit env \
    TMPDIR=/run/disk IMGD_TEST_HUB=devmapper IMGD_TEST_KILLS=1 \
    IMGD_TEST_SCALE="${IMGD_TEST_SCALE:-}" \
    IMGD_TEST_DRIVERS="devmapper vfs overlay aufs btrfs" \
    IMGD_TEST_OPTIONS="dm.loopdatasize=3G dm.basesize=1G" \
    sh "$srcdir/tests/cli/test-migrate.sh" >"$dir/out" 2>&1
status=$?
subtest migrate $status <"$dir/out"
subtests_end
