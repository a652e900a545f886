#!/bin/sh
# fsck asks the drivers, and --repair removes what nobody knows.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/0" "$dir/mnt"
echo 0 >"$dir/0/f"
tar -C "$dir/0" -cf "$dir/0.tar" f
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99
stray=$(printf %064d 7)

# What fsck prints, and its exit status in the last line.
fsck() {
	imgd fsck "$@"
	echo "exit $?"
}
says() { # PATTERN COMMAND…
	pattern=$1
	shift
	"$@" >"$dir/said" 2>&1
	tr '\n' ';' <"$dir/said" | grep -Eq -- "$pattern" ||
	    { cat "$dir/said"; return 1; }
}

# The same of a store with a leftover.  An engine's start takes leftovers away,
# so that it must come while one runs, which may have ended again.
leftover() { # PATTERN COMMAND…
	for _ in 1 2 3 4 5; do
		imgd tag app:1 app:busy && mkdir -p "$home/tmp/junk" || return
		says "$@" && return
	done
	return 1
}

for driver in vfs overlay; do
	imgd pull -q --driver=$driver app:1 >/dev/null
	imgd create --driver=$driver box app:1 >/dev/null
	imgd mount box "$dir/mnt" >/dev/null
	ok "$driver: a mounted store is sound" \
	    says '^1 layers checked, 0 problems;exit 0;$' fsck --deep
	ok "$driver: what it was compared with is gone" test -z \
	    "$(sql "SELECT key FROM layers WHERE state <> 'ready'")"
	imgd umount box
	wait_for_engine

	home=$root/drivers/$driver
	[ $driver = overlay ] && layers=$home || layers=$home/layers
	layer=$(sql "SELECT key FROM layers WHERE driver = '$driver'")
	cp -a "$layers/$layer" "$layers/$stray"
	if [ $driver = overlay ]; then
		ln -sfn ../l/strayy "$layers/$stray/link"
		ln -s "../$stray/diff" "$home/l/strayy"
	fi
	ok "$driver: a layer that no row names is told" \
	    says "$driver: layer 000000000000: in the driver, but in no row;.*1 problems;exit 1" \
	    fsck
	ok "$driver: and still there" test -d "$layers/$stray"
	ok "$driver: --repair removes it" \
	    says "in no row: removed .repaired.;.*, 0 problems, 1 repaired;exit 0" \
	    fsck --repair
	ok "$driver: it is gone" test ! -e "$layers/$stray"
	ok "$driver: nothing is left to repair" \
	    says '^1 layers checked, 0 problems;exit 0;$' fsck --repair

	ok "$driver: the driver's own check is asked" \
	    leftover "$driver: .*tmp.*;.* 1 problems;exit 1" fsck
	ok "$driver: as JSON" leftover \
	    "\"driver\":\"$driver\",\"layer\":\"\",\"repaired\":false" \
	    fsck --json
	ok "$driver: and may repair" leftover "repaired.;.*exit 0" \
	    fsck --repair
	ok "$driver: which it did" test ! -e "$home/tmp/junk"
	imgd rmi app:busy >/dev/null

	for gone in "$layers"/????????????????????????????????*; do
		mv "$gone" "$dir/away-$driver-${gone##*/}"
	done
	ok "$driver: missing layers are told, also a container's" \
	    says "in a row, but not there;.*container box: its writable layer is not there;.*exit 1" \
	    fsck
	ok "$driver: the image's is repaired, the container's cannot be" \
	    says "there: made again.*, 1 problems, [0-9]* repaired;exit 1" \
	    fsck --repair
	ok "$driver: nor forgotten" says "app +1 .*" imgd images
	ok "$driver: the container can be removed" imgd rm box
	ok "$driver: and the image" imgd rmi app:1
	ok "$driver: and pulled again" imgd pull -q --driver=$driver app:1
	ok "$driver: whole" says ", 0 problems;exit 0" fsck --deep
	imgd rmi app:1 >/dev/null
done

cli_end
