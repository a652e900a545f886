#!/bin/sh
# Inside a kernel with a device-mapper: an image pulled into a thin pool is the
# one that vfs has, as a tree and as a block device.
#
#     devmapper-pull.sh FS      TMPDIR is on a disk
. "$srcdir/tests/lib/cli.sh"
fs=$1
mkdir "$dir/mnt" "$dir/block"

dm() {
	imgd --driver-opt dm.fs="$fs" --driver-opt dm.loopdatasize=2G \
	    --driver-opt dm.loopmetadatasize=16M \
	    --driver-opt dm.basesize=1G --driver-opt dm.min_free_space=5% "$@"
}

tree() { # DIRECTORY FILE
	"$lib/tree-list.py" "$1" >"$2" && [ "$(wc -l <"$2")" -gt 1 ]
}

same_tree() {
	imgd pull -q --driver=vfs ubuntu:14.04 &&
	    imgd mount --driver=vfs ubuntu:14.04 "$dir/mnt" &&
	    tree "$dir/mnt" "$dir/want" && imgd umount "$dir/mnt" &&
	    imgd mount --driver=devmapper ubuntu:14.04 "$dir/mnt" &&
	    tree "$dir/mnt" "$dir/got" && imgd umount "$dir/mnt" &&
	    diff "$dir/want" "$dir/got"
}

# A copy of the device, mounted elsewhere.
same_block() {
	path=$(imgd mount --driver=devmapper --block ubuntu:14.04) || return 1
	dd if="$path" of="$dir/copy" bs=1M conv=sparse status=none &&
	    mount -o ro,loop "$dir/copy" "$dir/block" &&
	    tree "$dir/block" "$dir/got" && umount "$dir/block" &&
	    rm "$dir/copy" && imgd umount ubuntu:14.04 &&
	    diff "$dir/want" "$dir/got"
}

nothing_active() {
	wait_for_engine
	dmsetup info -c && losetup -a &&
	    [ -z "$(ls /sys/block | grep ^dm-)" ] && [ -z "$(losetup -a)" ]
}

sound() {
	wait_for_engine
	thin_check "$root/drivers/devmapper/metadata"
}

container() {
	imgd create --driver=devmapper box ubuntu:14.04 &&
	    imgd mount box "$dir/mnt" && echo new >"$dir/mnt/new" &&
	    imgd umount "$dir/mnt" && imgd diff box | grep -Fx 'A /new' &&
	    imgd rm box
}

registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
sh "$lib/make-image.sh" --small "$dir/real" real
registry_push "$dir/real:real" library/ubuntu:14.04 || exit 99
ok "$fs: pull" dm pull -q --driver=devicemapper ubuntu:14.04
ok "$fs: nothing is active afterwards" nothing_active
ok "$fs: the metadata is sound" sound
ok "$fs: the tree is vfs's" same_tree
ok "$fs: the block device's, too" same_block
ok "$fs: a container" container
ok "$fs: every layer comes back byte for byte" imgd fsck --deep
ok "$fs: removed" imgd rmi ubuntu:14.04
ok "$fs: nothing is active at the end" nothing_active
ok "$fs: only the base is left" test "$(sqlite3 \
    "$root/drivers/devmapper/pool.db" "SELECT id FROM layers")" = base
ok "$fs: the metadata is sound at the end" sound
cli_end
