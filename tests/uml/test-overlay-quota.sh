#!/bin/sh
# Limits of writable layers by project ids, in a kernel that has them for sure.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/subtests.sh"
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
if [ -z "$(find "$builddir/stage" -name 'imgd-overlay-driver.so')" ]; then
	echo "1..0 # SKIP built without the overlay driver"
	exit 0
fi
dir=$(mktemp -d "$builddir/uml-quota-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
truncate -s 3G "$dir/disk"
mkfs.ext4 -q "$dir/disk" || exit 99

for fs in xfs ext4; do
	uml_run "$dir/run" -d "$dir/disk" -t 200 \
	    sh "$srcdir/tests/uml/quota-guest.sh" $fs "$program" \
	    >"$dir/out" 2>&1
	status=$?
	subtest $fs $status <"$dir/out"
done
subtests_end
