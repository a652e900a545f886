#!/bin/sh
# What only aufs has; test-aufs.sh runs it.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/mnt" "$dir/tree"
branches=$root/drivers/aufs/diff

echo 1 >"$dir/tree/f1"
echo 2 >"$dir/tree/f2"
tar -C "$dir/tree" -cf "$dir/1.tar" f1
tar -C "$dir/tree" -cf "$dir/2.tar" f2
"$lib/make-oci.py" "$dir/oci" 1 "$dir/1.tar" "$dir/2.tar" &&
    registry_push "$dir/oci:1" library/app:1 || exit 99

ok "pull" imgd pull -q --driver=aufs app:1
ok "info says what stacks them" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' info |
	    grep -A20 -i aufs | grep -q 'fuse-overlayfs\|kernel aufs'"

server() { # KEY
	pgrep -f "^[^ ]*fuse-overlayfs .*/mnt/$1\$"
}
ok "a writable layer on it" imgd create box app:1
ok "is mounted" imgd mount box "$dir/mnt"
echo kept >"$dir/mnt/new"
rm "$dir/mnt/f1"
key=$(find "$branches" -name new | sed 's|/new$||; s|.*/||')

if pid=$(server "$key"); then
	revived() {
		kill -9 "$pid" || return
		! cat "$dir/mnt/new" 2>/dev/null || return
		# Whatever next changes the store.
		imgd tag app:1 other:1 && imgd fsck --repair >/dev/null
		[ "$(cat "$dir/mnt/new")" = kept ] && [ ! -e "$dir/mnt/f1" ]
	}
	ok "its server dies, and it is mounted anew" revived
fi
ok "it is unmounted" imgd umount box
wait_for_engine
aufs_form() {
	[ -z "$(find "$branches/$key" -type c)" ] &&
	    [ -f "$branches/$key/.wh.f1" ]
}
ok "its branch is in aufs's form" aufs_form
ok "and says what was done" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' diff box |
	    tr '\n' ' ' | grep -q 'D /f1 A /new'"
ok "it goes" imgd rm box
ok "all is well" imgd fsck --deep
no_server() {
	! pgrep -f "fuse-overlayfs .*$root/"
}
ok "no server is left" no_server

cli_end
