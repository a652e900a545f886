#!/bin/sh
# The aufs driver: command-line tests of all drivers, and a mount whose server
# dies.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
if [ -z "$(find "$builddir/stage" -name 'imgd-aufs-driver.so')" ]; then
	echo "1..0 # SKIP built without the aufs driver"
	exit 0
fi
. "$srcdir/tests/lib/subtests.sh"

out=$(mktemp) || exit 99
trap 'rm -f "$out"' EXIT
trap 'exit 1' HUP INT TERM
IMGD_TEST_DRIVERS=aufs
export IMGD_TEST_DRIVERS
for script in test-pull-trees test-pull-awkward test-pull-deep \
    test-containers test-commit test-diff test-exactness test-mount; do
	sh "$srcdir/tests/cli/$script.sh" >"$out" 2>/dev/null
	subtest $script $? <"$out"
done
sh "$srcdir/tests/cli/aufs-more.sh" >"$out" 2>/dev/null
subtest more $? <"$out"
subtests_end
