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
lib=$srcdir/tests/lib
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
dir=$(mktemp -d "$builddir/crash-test-XXXXXX") || exit 99
trap 'uml_power_cut; registry_stop; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# Four images that share layers, with all that a filesystem has, as a
# registry's blobs; and the tree of each.
make_images() {
	python3 - "$dir" <<-'EOT' || return
	import io, random, sys, tarfile
	for n in range(6):
	    r = random.Random(n)
	    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
	        def add(name, kind=tarfile.REGTYPE, data=b"", **more):
	            info = tarfile.TarInfo(name)
	            info.type, info.size, info.mtime = kind, len(data), 1e9 + n
	            for k, v in more.items():
	                setattr(info, k, v)
	            tar.addfile(info, io.BytesIO(data))
	        add("d%d" % n, tarfile.DIRTYPE, mode=0o755)
	        for i in range(60):
	            add("d%d/f%d" % (n, i), data=r.randbytes(r.randrange(9000)))
	        add("d%d/big" % n, data=r.randbytes(700000))
	        add("d%d/hard" % n, tarfile.LNKTYPE, linkname="d%d/big" % n)
	        add("d%d/soft" % n, tarfile.SYMTYPE, linkname="../f")
	        add("d%d/fifo" % n, tarfile.FIFOTYPE, mode=0o600)
	        add("d%d/null" % n, tarfile.CHRTYPE, devmajor=1, devminor=3)
	        add("d%d/set" % n, data=b"x", mode=0o6755, uid=n, gid=n)
	        add("shared", data=b"%d" % n)
	        if n > 0:
	            add("d%d/.wh.f1" % (n - 1))
	EOT
	registry_start "$dir/images" || return
	set -- one "0 1 2" two "0 1 3" three "0" four "4 5"
	while [ $# -gt 0 ]; do
		tars=
		for i in $2; do
			tars="$tars $dir/$i.tar"
		done
		# shellcheck disable=SC2086 # a list of files
		"$lib/make-oci.py" "$dir/oci" "$1" $tars &&
		    registry_push "$dir/oci:$1" "library/$1:1" || return
		shift 2
	done
}

make_trees() {
	mkdir -m 700 "$dir/root"
	printf '{ "registry-mirrors": [ "http://127.0.0.1:%s" ] }\n' \
	    "$registry_port" >"$dir/daemon.json"
	for image in one two three four; do
		"$program" --root "$dir/root" --config "$dir/daemon.json" \
		    pull -q --driver=vfs $image:1 >/dev/null || return
		path=$("$program" --root "$dir/root" \
		    --config "$dir/daemon.json" mount $image:1) || return
		python3 "$lib/tree-list.py" "$path" >"$dir/images/$image.tree"
		"$program" --root "$dir/root" --config "$dir/daemon.json" \
		    umount $image:1 || return
	done
	flock -w 20 "$dir/root/lock" true
	rm -rf "$dir/root"
}

# Pass the guest's own test lines on.
renumber() {
	while IFS= read -r line; do
		case $line in
		'ok - '*) result 0 "${line#ok - }" ;;
		'not ok - '*) result 1 "${line#not ok - }" ;;
		*) echo "# $line" ;;
		esac
	done
}

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

make_images && make_trees
result $? "images are made"
registry_stop
small="--driver-opt dm.loopdatasize=2G --driver-opt dm.basesize=500M"
try devmapper-ext4 devmapper "$small --driver-opt dm.fs=ext4"
try devmapper-xfs devmapper "$small --driver-opt dm.fs=xfs"
try overlay overlay ""
try aufs aufs ""
try btrfs btrfs ""
try vfs vfs ""
echo "1..$n_tests"
[ $n_bad -eq 0 ]
