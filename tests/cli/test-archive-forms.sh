#!/bin/sh
# Archives of every form are loaded, however they are compressed and come, as
# the image that they were made of; names move with a word.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"

sh "$lib/make-image.sh" --small "$dir/oci" real
copy() {
	skopeo --insecure-policy copy --quiet "$1" "$2" </dev/null
}
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:real" library/real:1 || exit 99
use_mirror "$registry_port"
copy "oci:$dir/oci:real" "docker-archive:$dir/peer.tar:new:1" || exit 99
"$lib/make-archive.py" "$dir/peer.tar" "$dir/oci" "$dir" || exit 99
mkdir "$dir/mnt"
imgd pull -q --driver="$driver" real:1 >/dev/null || exit 99
registry_stop

tree() { # NAME
	imgd mount "$1" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	imgd umount "$dir/mnt"
}
image_id() {
	imgd inspect "$1" | jq -r '.[0].Id'
}
id=$(image_id real:1)
tree real:1 >"$dir/want"


loads() { # WORDS COMMAND…
	words=$1
	shift
	"$@" >"$dir/said" 2>&1 || { cat "$dir/said"; return 1; }
	cat "$dir/said"
	grep -qx "$words" "$dir/said" || return 1
	[ "$(image_id "${words##*: }")" = "$id" ] &&
	    tree "${words##*: }" | diff "$dir/want" - &&
	    imgd fsck --deep && imgd rmi "${words##*: }" >/dev/null
}
imgd rmi real:1 >/dev/null
by_pipe() { # FILE [PROGRAM]
	${2:-cat} "$1" | "$program" --root "$root" --config \
	    "$dir/daemon.json" load
}
ok "skopeo's docker-archive" loads "Loaded image: new:1" \
    imgd load -i "$dir/peer.tar"
copy "oci:$dir/oci:real" "oci-archive:$dir/peer-oci.tar:docker.io/library/new:1"
ok "skopeo's oci-archive" loads "Loaded image: new:1" \
    imgd load -i "$dir/peer-oci.tar"
digest=$(skopeo inspect --raw "oci:$dir/oci:real" </dev/null | sha256sum |
    cut -c1-64)
kept() {
	imgd load -i "$dir/peer-oci.tar" && imgd inspect "new@sha256:$digest" &&
	    imgd rmi new:1 >/dev/null
}
ok "a layout's manifest is kept, and names it" kept
ok "a layout" loads "Loaded image ID: $id" imgd load -i "$dir/oci"
for pack in gzip bzip2 xz zstd; do
	$pack <"$dir/peer.tar" >"$dir/packed"
	ok "$pack, from a file" loads "Loaded image: new:1" \
	    imgd load -i "$dir/packed"
	ok "$pack, through a pipe" loads "Loaded image: new:1" \
	    by_pipe "$dir/packed"
done
ok "a tar through a pipe" loads "Loaded image: new:1" by_pipe "$dir/peer.tar"
for file in "$dir"/good/*.tar; do
	name=${file##*/}
	ok "form: ${name%.tar}" loads "Loaded image: new:1" \
	    imgd load --driver="$driver" -i "$file"
done
at_offset() {
	{ head -c 1000 /dev/zero; cat "$dir/peer.tar"; } >"$dir/shifted"
	{ dd bs=1000 count=1 of=/dev/null 2>/dev/null
	    "$program" --root "$root" --config "$dir/daemon.json" load
	} <"$dir/shifted"
}
ok "a file is read from where it stands" loads "Loaded image: new:1" at_offset

# ---- before there were diff_ids ----

legacy() { # NAME WORDS
	imgd load -i "$dir/legacy/$1.tar" >"$dir/said" || return 1
	cat "$dir/said"
	grep -Eqx "$2" "$dir/said" || return 1
	what=$(sed 's/.*image: //; s/.*image ID: //' "$dir/said")
	tree "$what" | diff "$dir/want" - && imgd fsck --deep &&
	    [ "$(imgd inspect "$what" |
		jq -r '.[0].RootFS.Layers | length')" -gt 1 ] &&
	    [ "$(imgd inspect "$what" | jq -r '.[0].RootFS.Layers[]')" = \
		"$layers" ] && imgd rmi "$what" >/dev/null
}
imgd load -q -i "$dir/peer.tar" >/dev/null && imgd tag new:1 kept:1 &&
    imgd rmi new:1 >/dev/null || exit 99
layers=$(imgd inspect kept:1 | jq -r '.[0].RootFS.Layers[]')
ok "an old archive, of layers that are here" legacy named \
    "Loaded image: new:1"
imgd rmi kept:1 >/dev/null
ok "an old archive" legacy named "Loaded image: new:1"
ok "an old archive without names" legacy unnamed \
    "Loaded image ID: sha256:[0-9a-f]{64}"

# ---- names ----

"$lib/make-oci.py" "$dir/second" 2 "$dir/peer.tar"
copy "oci:$dir/second:2" "docker-archive:$dir/second.tar:new:1"
moved() {
	imgd load -i "$dir/second.tar" && old=$(image_id new:1) &&
	    imgd load -i "$dir/peer.tar" >"$dir/said" || return 1
	cat "$dir/said"
	[ "$(head -n 1 "$dir/said")" = "The image new:1 already exists,\
 renaming the old one with ID $old to empty string" ] &&
	    [ "$(image_id new:1)" = "$id" ] && [ "$(image_id "$old")" = "$old" ]
}
ok "a name moves, and that is said" moved
again() {
	[ "$(imgd load -i "$dir/peer.tar")" = "Loaded image: new:1" ]
}
ok "one that stays is no news" again
both() {
	imgd save new:1 "$old" >"$dir/both.tar" && imgd rmi new:1 "$old" &&
	    imgd load --json -i "$dir/both.tar" &&
	    [ "$(image_id new:1)" = "$id" ] && [ "$(image_id "$old")" = "$old" ]
}
ok "two images in one archive" both
imgd rmi new:1 "$old" >/dev/null
progress() {
	imgd load --json -i "$dir/peer.tar" >"$dir/said" && cat "$dir/said" &&
	    jq -c . "$dir/said" >"$dir/said-2" &&
	    grep -q '^{"status":"Loading layer","progressDetail":{"current":0,'\
'"total":460800},"id":"[0-9a-f]\{12\}"}$' "$dir/said-2" &&
	    grep -Fqx '{"stream":"Loaded image: new:1\n"}' "$dir/said-2"
}
ok "the stream is as Docker's" progress
save_there() { # PLATFORM
	imgd load -q -i "$dir/peer.tar" >/dev/null &&
	    imgd save --platform "$1" new:1 >"$dir/there.tar"
}
ok "an image is saved for its platform" save_there linux/amd64
refused "and for no other" "for linux/amd64, not for linux/arm64" \
    save_there linux/arm64
imgd rmi new:1 >/dev/null
refused "another platform" "for linux/amd64, not for linux/arm64" \
    imgd load --platform linux/arm64 -i "$dir/peer.tar"
cli_end
