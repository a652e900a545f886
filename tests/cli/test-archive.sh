#!/bin/sh
# Images go into archives and come out of them with their ids, names and trees,
# here, from driver to driver, and at skopeo and umoci.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
first=${drivers%% *}

sh "$lib/make-image.sh" --small "$dir/oci" real
copy() {
	skopeo --insecure-policy copy --quiet "$1" "$2" </dev/null
}
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:real" library/real:1 || exit 99
use_mirror "$registry_port"
mkdir "$dir/mnt"
imgd pull -q --driver="$driver" real:1 >/dev/null || exit 99
registry_stop

other=$dir/other
mkdir -m 700 "$other"
imgd2() { # on another store
	"$program" --root "$other" --config "$dir/daemon.json" "$@" </dev/null
}
tree() { # imgd|imgd2 NAME
	$1 mount "$2" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	$1 umount "$dir/mnt"
}
image_id() {
	imgd inspect "$1" | jq -r '.[0].Id'
}
id=$(image_id real:1)
tree imgd real:1 >"$dir/want"

# ---- here ----

round_trip() { # FROM-DRIVER TO-DRIVER: the file stays at save.tar
	imgd save --driver="$1" real:1 >"$dir/save.tar" &&
	    imgd2 load --driver="$2" -i "$dir/save.tar" >"$dir/said" ||
	    return 1
	[ "$(cat "$dir/said")" = "Loaded image: real:1" ] &&
	    [ "$(imgd2 inspect real:1 | jq -r '.[0].Id')" = "$id" ] &&
	    tree imgd2 real:1 | diff "$dir/want" - && imgd2 fsck --deep &&
	    imgd2 save real:1 | cmp - "$dir/save.tar" &&
	    imgd2 rmi real:1 >/dev/null
}
[ "$first" = "$driver" ] || imgd migrate -q --keep --from "$driver" \
    --to "$first" real:1 || exit 99
for from in $drivers; do
	for to in $drivers; do
		ok "from $from to $to: id, tree and archive are the same" \
		    round_trip "$from" "$to"
	done
done

to_file() {
	echo old >"$dir/file.tar"
	ls -A "$dir" >"$dir/had"
	imgd save -o "$dir/file.tar" real:1 && cmp "$dir/save.tar" \
	    "$dir/file.tar" && ls -A "$dir" | diff "$dir/had" -
}
ok "a file is replaced, and nothing is beside it" to_file
old_file() {
	echo old >"$dir/file.tar"
	ls -A "$dir" >"$dir/had"
	! imgd save -o "$dir/file.tar" real:1 nothing:1 &&
	    [ "$(cat "$dir/file.tar")" = old ] &&
	    ls -A "$dir" | diff "$dir/had" -
}
ok "a file stays what it was when the verb fails" old_file
refused "an image that is not there" "[Nn]o such image: nothing" \
    imgd save real:1 nothing
nothing_said() {
	! imgd save real:1 nothing 2>/dev/null | grep -q .
}
ok "it fails before the first byte" nothing_said
two_tags() {
	imgd tag real:1 real:2 && imgd tag real:1 a.test/x/y:z &&
	    imgd save real a.test/x/y:z >"$dir/all.tar" &&
	    imgd2 load -i "$dir/all.tar" >"$dir/said" && cat "$dir/said" &&
	    [ "$(sort "$dir/said" | cut -d: -f2- | tr -d '\n')" = \
		" a.test/x/y:z real:1 real:2" ] &&
	    imgd2 rmi real:1 real:2 a.test/x/y:z >/dev/null
	tar xOf "$dir/all.tar" repositories
	[ "$(tar tf "$dir/all.tar" | sort | uniq -d)" = "" ] &&
	    tar xOf "$dir/all.tar" repositories |
	    jq -e '.real | keys == ["1", "2"]' &&
	    tar xOf "$dir/all.tar" repositories |
	    jq -e '.["a.test/x/y"] | keys == ["z"]'
}
ok "a name alone is all its tags" two_tags
imgd rmi real:2 a.test/x/y:z >/dev/null
by_id() {
	imgd save "$(echo "$id" | cut -c8-20)" >"$dir/id.tar" &&
	    imgd2 load -i "$dir/id.tar" | grep -x "Loaded image ID: $id" &&
	    imgd2 rmi "$id" >/dev/null
}
ok "an id has no name in the archive" by_id
stopped() {
	"$program" --root "$root" --config "$dir/daemon.json" save real:1 \
	    </dev/null 2>"$dir/err" | head -c 2000 >/dev/null
	cat "$dir/err"
	grep -q "Broken pipe" "$dir/err" && wait_for_engine
}
ok "a reader that goes away ends it" stopped
# A fifo whose reader stops reading, and a verb that is killed.
has_worker() { pgrep -P "$(engine_pid)" >/dev/null; }
stuck() {
	mkfifo "$dir/fifo"
	sleep 60 <"$dir/fifo" &
	reader=$!
	"$program" --root "$root" --config "$dir/daemon.json" save real:1 \
	    </dev/null >"$dir/fifo" &
	writer=$!
	wait_for has_worker
	kill -9 $writer
	wait $writer 2>/dev/null
	wait_for_engine
	status=$?
	kill $reader
	wait $reader 2>/dev/null
	rm "$dir/fifo"
	return $status
}
ok "a reader that stops holds up nobody once the verb is gone" stuck

# ---- peers ----

ok "umoci reads the layout" sh -c "
    '$program' --root '$root' --config '$dir/daemon.json' save \
	-o '$dir/layout/' --format oci real:1 &&
    umoci ls --layout '$dir/layout' | grep -x 1 &&
    umoci unpack --image '$dir/layout:1' '$dir/unpacked'"
ok "umoci makes the same tree" sh -c \
    "'$lib/tree-list.py' '$dir/unpacked/rootfs' | diff '$dir/want' -"
rm -rf "$dir/unpacked"
refused "a directory that is not empty" "Directory not empty" \
    imgd save -o "$dir/layout/" --format oci real:1
peer_reads() { # FROM
	rm -rf "$dir/copied"
	copy "$1" "dir:$dir/copied" &&
	    [ "$(jq -r .config.digest "$dir/copied/manifest.json")" = "$id" ]
}
ok "skopeo reads it as docker-archive" peer_reads \
    "docker-archive:$dir/save.tar:docker.io/library/real:1"
ok "skopeo reads it as oci-archive" peer_reads "oci-archive:$dir/save.tar"
imgd save --format oci real:1 >"$dir/save-oci.tar"
ok "skopeo reads the layout's tar" peer_reads \
    "oci-archive:$dir/save-oci.tar:1"
ok "skopeo reads the layout" peer_reads "oci:$dir/layout:1"
only_oci() {
	tar tf "$dir/save-oci.tar" >"$dir/said" && cat "$dir/said" &&
	    ! grep -E 'manifest.json|repositories' "$dir/said"
}
ok "a layout has nothing of Docker's" only_oci

cli_end
