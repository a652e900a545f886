#!/bin/sh
# What is pulled is what was pushed: the same tree as umoci's, by every driver,
# and every layer's tar back byte for byte.
. "$srcdir/tests/lib/cli.sh"
mkdir "$dir/mnt"

# compare DRIVER NAME LAYOUT TAG: the mounted tree against umoci's.
same_tree() {
	imgd pull -q --driver="$1" "$2" || return 1
	imgd mount --driver="$1" "$2" "$dir/mnt" || return 1
	if [ ! -d "$dir/umoci-$4" ]; then
		umoci raw unpack --image "$3:$4" "$dir/umoci-$4" || return 1
	fi
	"$lib/tree-list.py" "$dir/umoci-$4" >"$dir/want" || return 1
	"$lib/tree-list.py" "$dir/mnt" >"$dir/got" || return 1
	imgd umount "$dir/mnt" || return 1
	[ "$(wc -l <"$dir/got")" -gt 1 ] || return 1
	diff "$dir/want" "$dir/got" | head -n 20 >"$dir/diff"
	cat "$dir/diff"
	[ ! -s "$dir/diff" ]
}

# same_device DRIVER NAME: its block device by a loop device, against the tree
# that same_tree has just seen.
same_device() {
	disk=$(imgd mount --block --driver="$1" "$2") || return 1
	[ "$(imgd mount --block --driver="$1" "$2")" = "$disk" ] || return 1
	imgd mount | grep -q " block .*$disk" || return 1
	! dd if=/dev/zero of="$disk" bs=4096 count=1 2>/dev/null || return 1
	mount -o ro,loop "$disk" "$dir/mnt" || return 1
	"$lib/tree-list.py" "$dir/mnt" >"$dir/got" || return 1
	! imgd umount "$disk" 2>/dev/null || return 1
	umount "$dir/mnt" && imgd umount "$disk" && [ ! -e "$disk" ] &&
	    diff "$dir/want" "$dir/got"
}

registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
sh "$lib/make-image.sh" --small "$dir/real" real
registry_push "$dir/real:real" library/ubuntu:14.04 || exit 99
for driver in $drivers; do
	ok "$driver: a real image has umoci's tree" \
	    same_tree $driver ubuntu:14.04 "$dir/real" real
	if imgd driver info $driver | grep -q '^caps=.*blockdev'; then
		ok "$driver: so has its block device, mounted elsewhere" \
		    same_device $driver ubuntu:14.04
	fi
done

ok "every layer comes back byte for byte" imgd fsck --deep
ok "nothing is fetched twice" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' pull ubuntu:14.04 |
	    grep -q 'Image is up to date for ubuntu:14.04'"

cli_end
