#!/bin/sh
# What only aufs has; test-aufs.sh runs it.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/mnt" "$dir/tars" "$dir/tree"
branches=$root/drivers/aufs/diff

# Each layer has a file of its own, and every tenth hides the one before.
make_layers() { # N
	i=1
	set --
	while [ $i -le 300 ]; do
		rm -rf "$dir/tree" && mkdir "$dir/tree"
		echo $i >"$dir/tree/f$i"
		[ $((i % 10)) -ne 0 ] || : >"$dir/tree/.wh.f$((i - 1))"
		(cd "$dir/tree" && tar -cf "$dir/tars/$i.tar" -- * .wh.* \
		    2>/dev/null) || (cd "$dir/tree" &&
		    tar -cf "$dir/tars/$i.tar" -- *) || return
		set -- "$@" "$dir/tars/$i.tar"
		i=$((i + 1))
	done
	"$lib/make-oci.py" "$dir/oci" 1 "$@" &&
	    registry_push "$dir/oci:1" library/deep:1
}
make_layers || exit 99

deep() {
	imgd pull -q --driver=aufs deep:1 &&
	    imgd mount --driver=aufs deep:1 "$dir/mnt" || return
	n=$(ls "$dir/mnt" | wc -l)
	[ "$n" -eq 270 ] && [ "$(cat "$dir/mnt/f1")" = 1 ] &&
	    [ ! -e "$dir/mnt/f299" ] && imgd umount "$dir/mnt"
}
ok "an image of 300 layers" deep
ok "info says what stacks them" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' info |
	    grep -A20 -i aufs | grep -q 'fuse-overlayfs\|kernel aufs'"

server() { # KEY
	pgrep -f "^[^ ]*fuse-overlayfs .*/mnt/$1\$"
}
ok "a writable layer on it" imgd create box deep:1
ok "is mounted" imgd mount box "$dir/mnt"
echo kept >"$dir/mnt/new"
rm "$dir/mnt/f1"
key=$(find "$branches" -name new | sed 's|/new$||; s|.*/||')

if pid=$(server "$key"); then
	revived() {
		kill -9 "$pid" || return
		! cat "$dir/mnt/new" 2>/dev/null || return
		# Whatever next changes the store.
		imgd tag deep:1 other:1 && imgd fsck --repair >/dev/null
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
