#!/bin/sh
# The btrfs driver on a btrfs of its own: command-line tests of all drivers,
# subvolumes that users make, quota, and the read-only flag.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
if [ -z "$(find "$builddir/stage" -name 'imgd-btrfs-driver.so')" ]; then
	echo "1..0 # SKIP built without the btrfs driver"
	exit 0
fi
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/subtests.sh"

disk=$(mktemp "${TMPDIR:-/tmp}/imgd-btrfs-XXXXXX") || exit 99
trap 'rm -f "$disk"' EXIT
trap 'exit 1' HUP INT TERM
truncate -s 3G "$disk"
mkfs.btrfs -q "$disk" >/dev/null || exit 99
top=$builddir/btrfs-test-$$
mkdir "$top" || exit 99
if ! mount -o loop "$disk" "$top" 2>"$top.why"; then
	echo "1..0 # SKIP no btrfs can be mounted: $(cat "$top.why")"
	rm -f "$top.why"
	rmdir "$top"
	exit 0
fi
rm -f "$top.why"
out=$(mktemp) || exit 99
# rm(1) does not go into subvolumes.
trap 'umount "$top" && rmdir "$top"; rm -f "$out" "$disk"' EXIT
TMPDIR=$top
IMGD_TEST_DRIVERS=btrfs
export TMPDIR IMGD_TEST_DRIVERS
for script in test-pull-trees test-pull-awkward test-containers test-commit \
    test-diff test-exactness test-mount; do
	sh "$srcdir/tests/cli/$script.sh" >"$out" 2>/dev/null
	subtest $script $? <"$out"
done
IMGD_TEST_DRIVERS="btrfs vfs overlay aufs" IMGD_TEST_HUB=btrfs \
    IMGD_TEST_KILLS=1 \
    sh "$srcdir/tests/cli/test-migrate.sh" >"$out" 2>/dev/null
subtest test-migrate $? <"$out"
btrfs quota enable "$top"
sh "$srcdir/tests/cli/btrfs-more.sh" >"$out" 2>/dev/null
subtest more $? <"$out"
subtests_end
