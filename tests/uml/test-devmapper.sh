#!/bin/sh
# The devmapper driver on a real device-mapper, in a user-mode kernel, with
# both filesystems: its own tests, and an image pulled, mounted and removed.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
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
n=0
n_bad=0

# tap FS-AND-WHAT COMMAND…: its test points as ours, renumbered.
tap() {
	name=$1
	shift
	rm -f "$dir/disk"
	truncate -s 6G "$dir/disk"
	mkfs.ext4 -q "$dir/disk" || exit 99
	uml_run "$dir/run" -d "$dir/disk" -t 900 "$@" >"$dir/out" 2>&1
	status=$?
	while IFS= read -r line; do
		case $line in
		"ok "* | "not ok "*)
			n=$((n + 1))
			echo "$line" | sed "s/ok [0-9]*/ok $n/; s/ - / - $name: /"
			;;
		[0-9]*..*) ;;
		*)	echo "# $line" ;;
		esac
	done <"$dir/out"
	n=$((n + 1))
	if [ $status -eq 0 ]; then
		echo "ok $n - $name: all"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $name: exit status $status"
	fi
}

for fs in ext4 xfs; do
	tap "driver on $fs" env IMGD_TEST_STORES=/run/disk \
	    CMOCKA_MESSAGE_OUTPUT=TAP \
	    "$builddir/tests/driver/devmapper-guest" $fs
	tap "pull" env TMPDIR=/run/disk \
	    sh "$srcdir/tests/uml/devmapper-pull.sh" $fs
done
echo "1..$n"
[ $n_bad -eq 0 ]
