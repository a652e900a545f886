#!/bin/sh
# What only btrfs has; test-btrfs.sh runs it on a btrfs with quota.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/0" "$dir/mnt"
echo 0 >"$dir/0/f"
tar -C "$dir/0" -cf "$dir/0.tar" f
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99
layers=$root/drivers/btrfs/layers

# The store's own subvolumes.
subvolumes() {
	btrfs subvolume list "$dir" | grep -c "/${dir##*/}/\|path ${dir##*/}/"
}

ok "the driver works here" \
    sh -c "'$program' --root '$root' --config '$dir/daemon.json' driver ls | grep '^btrfs  *yes'"
ok "pull" imgd pull -q --driver=btrfs app:1
ok "a sealed layer is a read-only subvolume" sh -c "
	[ \"\$(btrfs property get -t subvol $layers/*/root ro)\" = ro=true ]"

nest() {
	imgd create box app:1 && imgd mount box "$dir/mnt" || return
	btrfs subvolume create "$dir/mnt/a" &&
	    mkdir -p "$dir/mnt/a/d/e" &&
	    btrfs subvolume create "$dir/mnt/a/d/e/b" &&
	    btrfs subvolume create "$dir/mnt/a/d/e/b/c" &&
	    btrfs subvolume create "$dir/mnt/a/other" &&
	    echo x >"$dir/mnt/a/d/e/b/c/f" &&
	    btrfs property set -t subvol "$dir/mnt/a/d/e/b" ro true &&
	    imgd umount box
}
ok "users may make subvolumes in a container" nest
ok "which is removed with them" imgd rm box
nothing_left() {
	[ "$(subvolumes)" -eq 1 ] && [ "$(ls "$layers" | wc -l)" -eq 1 ] &&
	    [ -z "$(ls "$root/drivers/btrfs/dying")" ]
}
ok "and nothing of it is left" nothing_left

fill() {
	imgd create --size 20m small app:1 && imgd mount small "$dir/mnt" ||
	    return
	head -c 8M /dev/urandom >"$dir/mnt/fits" && sync "$dir/mnt/fits" ||
	    return
	! head -c 40M /dev/urandom >"$dir/mnt/large" && echo "too much"
}
ok "a limit is held" fill
ok "by an error that names it" sh -c \
    "! head -c 1M /dev/urandom 2>&1 >>'$dir/mnt/large' | grep -v quota"
imgd umount small
ok "it goes" imgd rm small

wait_for_engine
btrfs property set -t subvol "$layers"/*/root ro false
writable() { # COMMAND…
	"$@" >"$dir/said"
	status=$?
	grep 'sealed, but its subvolume is not read-only' "$dir/said" &&
	    return $status
	return 99
}
not_sound() {
	! imgd fsck
}
ok "a sealed layer that is writable is told" writable not_sound
ok "and repaired" writable imgd fsck --repair
ok "then all is well" imgd fsck --deep

# A crash between renaming away and deleting leaves it to the next start.
left() {
	mkdir "$root/drivers/btrfs/dying/half" &&
	    btrfs subvolume create "$root/drivers/btrfs/dying/half/root" &&
	    btrfs subvolume create "$root/drivers/btrfs/dying/half/root/in" ||
	    return
	imgd fsck --deep && [ -z "$(ls "$root/drivers/btrfs/dying")" ]
}
wait_for_engine
ok "what a crash left is removed at the next start" left
ok "removed" imgd rmi app:1
ok "no subvolume is left" test "$(subvolumes)" -eq 0

cli_end
