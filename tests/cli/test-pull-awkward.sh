#!/bin/sh
# Images made to be awkward: every driver gives the same tree as vfs does, and
# every layer comes back byte for byte.
. "$srcdir/tests/lib/cli.sh"
mkdir "$dir/mnt"
"$lib/make-tar.py" "$dir/tars"

registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"

# offer NAME OPTION-OR-TAR…: an image of these layers as library/NAME:1
offer() {
	image=$1
	shift
	"$lib/make-oci.py" "$dir/oci-$image" 1 "$@" &&
	    registry_push "$dir/oci-$image:1" "library/$image:1"
}

# The tree of an image by one driver.
tree() {
	imgd pull -q --driver="$1" "$2:1" >/dev/null &&
	    imgd mount --driver="$1" "$2:1" "$dir/mnt" >/dev/null &&
	    "$lib/tree-list.py" "$dir/mnt" >"$3" &&
	    imgd umount "$dir/mnt"
}

# Every driver in question against vfs.
compare() { # NAME
	tree vfs "$1" "$dir/vfs"
	result $? "$1: vfs has it"
	for driver in $drivers; do
		[ "$driver" != vfs ] || continue
		tree $driver "$1" "$dir/other" &&
		    diff "$dir/vfs" "$dir/other" >"$dir/differs"
		result $? "$1: $driver and vfs agree"
		sed 's/^/# /' "$dir/differs"
	done
}

for layers in "$dir"/tars/multi/*; do
	name=$(basename "$layers")
	offer "$name" $(ls "$layers"/*.tar | sort -V) >/dev/null || exit 99
	compare "$name"
done
for tar in "$dir"/tars/single/*.tar; do
	name=single-$(basename "$tar" .tar)
	offer "$name" "$tar" >/dev/null || exit 99
	compare "$name"
done
ok "all these layers come back byte for byte" imgd fsck --deep

cli_end
