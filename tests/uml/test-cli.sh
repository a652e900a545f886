#!/bin/sh
# Command-line tests on the device-mapper, in a user-mode kernel: once with
# ext4, once with xfs in its devices.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
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
n=0
n_bad=0
scripts="test-pull-trees test-containers test-diff test-mount"

# Number the lines of all scripts as one; plans are checked, not passed on.
renumber() { # SCRIPT STATUS
	n_seen=0
	n_planned=-1
	while IFS= read -r line; do
		case $line in
		'ok '[0-9]* | 'not ok '[0-9]*)
			n=$((n + 1))
			n_seen=$((n_seen + 1))
			case $line in
			not*)	n_bad=$((n_bad + 1)); word="not ok" ;;
			*)	word=ok ;;
			esac
			echo "$word $n - $1: ${line#*ok [0-9]* - }" ;;
		1..*)	n_planned=${line#1..} ;;
		*)	echo "# $line" ;;
		esac
	done
	n=$((n + 1))
	if [ $n_seen -eq "$n_planned" ] && [ "$2" -eq 0 ]; then
		echo "ok $n - $1: ran to its end"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $1: ran to its end (status $2)"
	fi
}

for fs in ext4 xfs; do
	for script in $scripts; do
		rm -f "$dir/disk"
		truncate -s 6G "$dir/disk"
		mkfs.ext4 -q "$dir/disk" || exit 99
		uml_run "$dir/run" -d "$dir/disk" -t 600 env \
		    TMPDIR=/run/disk IMGD_TEST_DRIVERS=devmapper \
		    IMGD_TEST_OPTIONS="dm.fs=$fs dm.loopdatasize=3G dm.basesize=1G" \
		    sh "$srcdir/tests/cli/$script.sh" >"$dir/out" 2>&1
		status=$?
		renumber "$fs: $script" $status <"$dir/out"
	done
done
echo "1..$n"
[ $n_bad -eq 0 ]
