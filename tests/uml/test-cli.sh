#!/bin/sh
# Command-line tests on the device-mapper, in a user-mode kernel: once with
# ext4, once with xfs in its devices; the long one with ext4 alone.
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
dir=$(mktemp -d "$builddir/uml-cli-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
scripts="test-pull-trees test-containers test-diff test-mount"

for fs in ext4 xfs; do
	[ $fs != ext4 ] || set -- test-pull-awkward test-commit test-exactness \
	    devmapper-more
	for script in $scripts "$@"; do
		rm -f "$dir/disk"
		truncate -s 6G "$dir/disk"
		mkfs.ext4 -q "$dir/disk" || exit 99
		uml_run "$dir/run" -d "$dir/disk" -t 900 env \
		    TMPDIR=/run/disk IMGD_TEST_DRIVERS=devmapper \
		    IMGD_TEST_OPTIONS="dm.fs=$fs dm.loopdatasize=3G dm.basesize=1G" \
		    sh "$srcdir/tests/cli/$script.sh" >"$dir/out" 2>&1
		status=$?
		subtest "$fs: $script" $status <"$dir/out"
	done
	set --
done
subtests_end
