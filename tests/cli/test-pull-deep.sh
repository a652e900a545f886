#!/bin/sh
# An image of 300 layers: each has a file of its own, and every tenth hides the
# one before.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/tree" "$dir/tars" "$dir/mnt"
n_layers=300
# A driver of full copies has nothing deep in it.
drivers=${IMGD_TEST_DRIVERS:-overlay}

make_image() {
	i=1
	set --
	while [ $i -le $n_layers ]; do
		echo $i >"$dir/tree/f$i"
		[ $((i % 10)) -ne 0 ] || : >"$dir/tree/.wh.f$((i - 1))"
		find "$dir/tree" -type f -printf '%f\0' |
		    tar -C "$dir/tree" --null -cf "$dir/tars/$i.tar" -T - ||
		    return
		find "$dir/tree" -type f -delete
		set -- "$@" "$dir/tars/$i.tar"
		i=$((i + 1))
	done
	"$lib/make-oci.py" "$dir/oci" 1 "$@" &&
	    registry_push "$dir/oci:1" library/deep:1
}
make_image || exit 99

tree_is_right() {
	[ "$(find "$dir/mnt" -name 'f*' | wc -l)" -eq $((n_layers * 9 / 10)) ] &&
	    [ "$(cat "$dir/mnt/f1")" = 1 ] &&
	    [ "$(cat "$dir/mnt/f300")" = 300 ] && [ ! -e "$dir/mnt/f299" ]
}

for driver in $drivers; do
	ok "$driver: pull" imgd pull -q --driver=$driver deep:1
	ok "$driver: mount" imgd mount --driver=$driver deep:1 "$dir/mnt"
	ok "$driver: all layers are in it" tree_is_right
	ok "$driver: umount" imgd umount "$dir/mnt"
	ok "$driver: a writable layer on it" \
	    imgd create --driver=$driver box deep:1
	ok "$driver: is mounted" imgd mount box "$dir/mnt"
	rm "$dir/mnt/f1"
	ok "$driver: its changes are told" \
	    test "$(imgd diff box)" = "D /f1"
	ok "$driver: it is unmounted" imgd umount box
	ok "$driver: it goes" imgd rm box
	ok "$driver: every layer comes back exactly" imgd fsck --deep
	ok "$driver: the image goes" imgd rmi deep:1
done

cli_end
