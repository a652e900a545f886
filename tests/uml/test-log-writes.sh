#!/bin/sh
# Power cuts of a disk with a cache, in a user-mode kernel: dm-log-writes tells
# every write, and of those that no flush has brought to the disk some are lost.
# What was reported is there and exact, nothing else is left.
#
# A few cuts; with IMGD_TEST_SCALE=long 60 of each driver and filesystem.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/uml/uml.sh"
. "$srcdir/tests/lib/registry.sh"
. "$srcdir/tests/lib/tap.sh"
dir=$(mktemp -d "$builddir/log-test-XXXXXX") || exit 99
trap 'uml_power_cut; registry_stop; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
. "$srcdir/tests/uml/crash-images.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
tap_said=$dir/out
n_steps=8
n_cuts=3
limit=900
if [ "${IMGD_TEST_SCALE:-}" = long ]; then
	n_steps=30
	n_cuts=60
	limit=7200
fi
n_survived=0

try() { # DRIVER OPTIONS FILESYSTEM
	[ -n "$(find "$builddir/stage" -name "imgd-$1-driver.so")" ] || return
	rm -f "$dir/disk"
	truncate -s 8G "$dir/disk"
	mkfs.ext4 -q "$dir/disk"
	rm -rf "$dir/run"
	uml_run "$dir/run" -d "$dir/disk" -t $limit sh -c "
		ln -s '$dir/images' \"\$imgd_dir/images\"
		export imgd_dir
		exec sh '$srcdir/tests/uml/log-guest.sh' \"\$@\"" \
	    sh "$1" "$2" "$3" $n_steps $n_cuts "$(($$ + $(date +%s)))" \
	    >"$dir/out" 2>&1
	renumber <"$dir/out"
	n=$(grep -c '^ok - ' "$dir/out")
	n_survived=$((n_survived + n))
	[ "$n" -eq $n_cuts ]
	result $? "$1 on $3: all $n_cuts power cuts were survived"
}

make_images
result $? "images are made"
pool="--driver-opt dm.loopdatasize=600M --driver-opt dm.basesize=200M"
try overlay "" ext4
try overlay "" xfs
try devmapper "$pool" ext4
if [ "${IMGD_TEST_SCALE:-}" = long ]; then
	try devmapper "$pool" xfs
	try vfs "" xfs
	try aufs "" ext4
	try btrfs "" btrfs
fi
echo "# $n_survived power cuts"
echo "1..$n_tests"
[ $n_bad -eq 0 ]
