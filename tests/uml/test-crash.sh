#!/bin/sh
# Kills of the engine and power cuts, in a user-mode kernel: nothing that was
# reported is lost, and nobody has to help.
#
# IMGD_TEST_SCALE=long makes 100 kills and 20 power cuts with devmapper, 40 and
# 10 with each other driver; else a few.
# IMGD_TEST_CRASH="CONFIGURATION…" tries only those.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/uml/uml.sh"
. "$srcdir/tests/lib/registry.sh"
. "$srcdir/tests/lib/tap.sh"
. "$srcdir/tests/uml/crash-images.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
how_often() { # DRIVER
	n_kills=2
	n_cuts=1
	if [ "${IMGD_TEST_SCALE:-}" = long ]; then
		n_kills=40
		n_cuts=10
		if [ "$1" = devmapper ]; then
			n_kills=100
			n_cuts=20
		fi
	fi
}
dir=$(mktemp -d "$builddir/crash-test-XXXXXX") || exit 99
trap 'uml_power_cut; registry_stop; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

in_guest() { # UML-FUNCTION MODE N SEED
	rm -rf "$dir/run"
	mkdir "$dir/run"
	"$1" "$dir/run" -d "$dir/disk" -t 3000 sh -c "
		ln -s '$dir/images' \"\$imgd_dir/images\"
		cp '$dir/state' \"\$imgd_dir/state\" 2>/dev/null
		export imgd_dir
		exec sh '$srcdir/tests/uml/crash-guest.sh' \"\$@\"" \
	    sh "$2" "$driver" "$options" "$3" "$4"
}

kills() {
	in_guest uml_run kills $n_kills "$seed" >"$dir/out" 2>&1
	renumber <"$dir/out"
	[ "$(grep -c '^ok - ' "$dir/out")" -eq $n_kills ]
	result $? "$name: all $n_kills kills were survived"
}

cuts() {
	: >"$dir/log"
	i=0
	while [ $i -lt $n_cuts ]; do
		i=$((i + 1))
		in_guest uml_start work 0 $((seed + i))
		# The first one comes when there is something to lose.
		line='^[A-Z]*ING '
		grep -q '^PULLED ' "$dir/log" || line='^PULLED '
		uml_wait "$dir/run" "$line" 300 || break
		sleep "$(awk "BEGIN { srand($seed + $i); print rand() * 8 }")"
		uml_power_cut
		grep -E '^[A-Z]*(ING|ED|DE) ' "$dir/run/output" >>"$dir/log"
		awk -f "$srcdir/tests/uml/crash-state.awk" "$dir/log" \
		    >"$dir/state"
		in_guest uml_run verify 0 0 >"$dir/out" 2>&1
		status=$?
		result $status "$name: power cut $i"
		[ $status -eq 0 ] || {
			sed 's/^/# /' "$dir/log" "$dir/out"
			break
		}
	done
	[ $i -eq $n_cuts ] && grep -q '^PULLED ' "$dir/log"
	result $? "$name: all $n_cuts power cuts were survived"
}

try() { # NAME DRIVER OPTIONS
	name=$1
	driver=$2
	options=$3
	case " ${IMGD_TEST_CRASH:-$name} " in
	*" $name "*) ;;
	*) return ;;
	esac
	[ -e "$(find "$builddir/stage" -name "imgd-$driver-driver.so")" ] ||
	    return
	how_often "$driver"
	seed=$(($$ + $(date +%s)))
	for what in kills cuts; do
		rm -f "$dir/disk" "$dir/state"
		truncate -s 4G "$dir/disk"
		if [ "$driver" = btrfs ]; then
			mkfs.btrfs -q "$dir/disk" >/dev/null
		else
			mkfs.ext4 -q "$dir/disk"
		fi
		$what
	done
}

make_images
result $? "images are made"
small="--driver-opt dm.loopdatasize=2G --driver-opt dm.basesize=500M"
try devmapper-ext4 devmapper "$small --driver-opt dm.fs=ext4"
try devmapper-xfs devmapper "$small --driver-opt dm.fs=xfs"
try overlay overlay ""
try aufs aufs ""
try btrfs btrfs ""
try vfs vfs ""
echo "1..$n_tests"
[ $n_bad -eq 0 ]
