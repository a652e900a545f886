#!/bin/sh
# An image whose layers are tars of every kind goes from a registry into a
# store, by an archive into another, by a registry into a third: the same
# bytes everywhere, by every driver; and what it costs to keep them.
. "$srcdir/tests/lib/cli.sh"
mkdir "$dir/mnt" "$dir/stores"
"$lib/make-tar.py" "$dir/tars"
# Sparse files are called alike, and so may stand on each other.
odd="base pax-global pax-owner pax-names pax-times v7 base256-size pax-size
    long-names gnu-sparse pax-sparse-0.0 pax-sparse-0.1 pax-sparse-1.0
    no-end-marker one-zero-block no-final-padding odd-zeros-at-end
    zero-blocks-after-end second-tar-after-end junk-after-end only-zeros empty
    hard-link-with-data duplicates"
for name in $odd; do
	set -- "$@" "$dir/tars/single/$name.tar"
	echo "sha256:$(sha256sum <"$dir/tars/single/$name.tar" | cut -c1-64)"
done >"$dir/want-layers"
registry_start "$dir/registry" || exit 99
here=127.0.0.1:$registry_port
use_mirror "$registry_port"
"$lib/make-oci.py" "$dir/oci" odd "$@"
registry_push "$dir/oci:odd" library/odd:1 || exit 99
id=sha256:$(skopeo inspect --config --raw --tls-verify=false \
    "docker://$here/library/odd:1" </dev/null | sha256sum | cut -c1-64)

enter() { # STORE
	root=$dir/stores/$1
	mkdir -p -m 700 "$root"
}
# The config's bytes, the digests that it names, and what is mounted.
same() { # NAME
	[ "$(imgd inspect "$1" | jq -r '.[0].Id')" = "$id" ] &&
	    imgd inspect "$1" | jq -r '.[0].RootFS.Layers[]' |
	    diff "$dir/want-layers" - &&
	    imgd mount "$1" "$dir/mnt" &&
	    "$lib/tree-list.py" "$dir/mnt" >"$dir/tree" &&
	    imgd umount "$dir/mnt" || return 1
	[ -e "$dir/want-tree" ] || cp "$dir/tree" "$dir/want-tree"
	diff "$dir/want-tree" "$dir/tree"
}
# An archive of it has the tars as they were made.
same_tars() { # ARCHIVE TAR…
	archive=$1
	shift
	rm -rf "$dir/members"
	mkdir "$dir/members"
	tar -C "$dir/members" -xf "$archive" || return 1
	for tar in "$@"; do
		sum=$(sha256sum <"$tar" | cut -c1-64)
		cmp "$tar" "$dir/members/blobs/sha256/$sum" || return 1
	done
}

enter reference
imgd pull -q --driver=vfs odd:1 >/dev/null
ok "vfs: the tree to compare with" same odd:1
for driver in $drivers; do
	enter "$driver-first"
	ok "$driver: pull" imgd pull -q --driver="$driver" odd:1
	ok "$driver: is the image" same odd:1
	ok "$driver: save" imgd save -o "$dir/first.tar" odd:1
	ok "$driver: has its tars" same_tars "$dir/first.tar" "$@"
	enter "$driver-second"
	ok "$driver: load" imgd load -q --driver="$driver" -i "$dir/first.tar"
	ok "$driver: is the image once loaded" same odd:1
	imgd tag odd:1 "$here/again/$driver:1"
	ok "$driver: push" imgd push -q "$here/again/$driver:1"
	enter "$driver-third"
	ok "$driver: pull again" \
	    imgd pull -q --driver="$driver" "$here/again/$driver:1"
	ok "$driver: is the image once pushed" same "$here/again/$driver:1"
	imgd tag "$here/again/$driver:1" odd:1
	ok "$driver: save again" imgd save -o "$dir/third.tar" odd:1
	ok "$driver: is the archive, byte for byte" \
	    cmp "$dir/first.tar" "$dir/third.tar"
done

# ---- what exactness costs ----

sh "$lib/make-image.sh" --small "$dir/real" real
registry_push "$dir/real:real" library/real:1 || exit 99
enter cost
imgd pull -q real:1 >/dev/null || exit 99
imgd save -o "$dir/real.tar" real:1 || exit 99
cost() {
	recipes=$(find "$root/recipes" -type f -printf '%s\n' |
	    awk '{ sum += $1 } END { print sum }')
	tars=$(stat -c %s "$dir/real.tar")
	echo "recipes of $recipes bytes for tars of $tars"
	[ "$recipes" -gt 0 ] && [ $((recipes * 50)) -lt "$tars" ]
}
ok "what gives a real image's tars back is under 2% of them" cost

registry_stop
for root in "$dir"/stores/*; do
	wait_for_engine
done
root=$dir/stores
cli_end
