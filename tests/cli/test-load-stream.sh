#!/bin/sh
# An archive that comes through a pipe is unpacked as it comes, without a copy,
# if its documents come first; in any other order it is the same image, and what
# is found at its end still counts.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
first=${drivers%% *}

sh "$lib/make-image.sh" --small "$dir/oci" real
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:real" library/real:1 || exit 99
use_mirror "$registry_port"
mkdir "$dir/mnt" "$dir/made"
imgd pull -q --driver="$first" real:1 >/dev/null || exit 99
imgd save real:1 >"$dir/made/saved.tar" || exit 99
imgd tag real:1 real:2 && imgd save --format=oci real:1 >"$dir/made/oci.tar" &&
    imgd rmi real:2 >/dev/null || exit 99
last=$("$lib/stream-archives.py" "$dir/made/saved.tar" "$dir/made") || exit 99
gzip -k "$dir/made/saved.tar"
zstd -q "$dir/made/reversed.tar" -o "$dir/made/reversed.tar.zst"
registry_stop

tree() { # NAME
	imgd mount "$1" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	imgd umount "$dir/mnt"
}
id=$(imgd inspect real:1 | jq -r '.[0].Id')
tree real:1 >"$dir/want"
imgd rmi real:1 >/dev/null

load() { # OPTION… from standard input, which must all be read
	"$program" --root "$root" --config "$dir/daemon.json" load "$@"
}
is_whole() {
	[ "$(imgd inspect real:1 | jq -r '.[0].Id')" = "$id" ] &&
	    tree real:1 | diff "$dir/want" - && imgd fsck --deep
}
loads() { # FILE DRIVER
	cat "$1" | load --driver="$2" -q >"$dir/said" && cat "$dir/said" &&
	    is_whole && imgd rmi real:1 >/dev/null
}
for driver in $drivers; do
	for name in saved.tar saved.tar.gz reversed.tar reversed.tar.zst \
	    docs-last.tar docs-between.tar layout.tar layout-reversed.tar \
	    docker.tar more.tar oci.tar; do
		ok "$driver: $name is that image" loads "$dir/made/$name" \
		    "$driver"
	done
done

# ---- nothing is copied ----

# The loader's scratch file has no name, but a size.
loader() {
	pgrep -P "$(engine_pid)" -f imgd-loader
}
scratch_bytes() {
	for fd in /proc/"$(loader)"/fd/*; do
		case $(readlink "$fd") in
		"$root"/spool/*deleted*) stat -Lc %s "$fd" && return ;;
		esac
	done
	return 1
}
small=65536 # what is read at once
paused() { # FILE PATTERN: all but the last layer, and what is copied then
	mkfifo "$dir/fifo"
	{
		head -c "$last" "$1"
		touch "$dir/sent"
		while [ -e "$dir/wait" ]; do
			sleep 0.1
		done
		tail -c "+$((last + 1))" "$1"
	} >"$dir/fifo" &
	touch "$dir/wait"
	load --driver="$first" <"$dir/fifo" >"$dir/said" 2>&1 &
	loading=$!
	is_sent() { [ -e "$dir/sent" ]; }
	wait_for is_sent
	bytes=$(scratch_bytes)
	rm "$dir/wait" "$dir/sent" "$dir/fifo"
	wait $loading || { cat "$dir/said"; return 1; }
	echo "$bytes bytes were copied"
	[ -n "$bytes" ] && [ "$bytes" "$2" $small ] && is_whole &&
	    imgd rmi real:1 >/dev/null
}
ok "what comes in order is not copied" paused "$dir/made/saved.tar" -le
ok "what does not is" paused "$dir/made/docs-last.tar" -gt

# ---- what is there already ----

again() {
	imgd load -i "$dir/made/saved.tar" >/dev/null &&
	    cat "$dir/made/saved.tar" | load >"$dir/said" && cat "$dir/said" &&
	    grep -q "Loaded image: real:1" "$dir/said" && is_whole
}
ok "layers that are there are passed over" again
# A writer must not be killed by a reader that has seen enough.
polite() {
	{
		cat "$dir/made/saved.tar" && head -c 1000000 /dev/zero &&
		    echo written >"$dir/writer"
	} | load >/dev/null && [ "$(cat "$dir/writer")" = written ]
}
ok "the stream is read to its end" polite
imgd rmi real:1 >/dev/null

# ---- what is wrong at the end ----

by_pipe() { # FILE
	cat "$1" | load --driver="$first"
}
refused "a member that is there twice" "is there twice" \
    by_pipe "$dir/made/twice.tar"
refused "Docker's manifest after a layout's layers" "comes after the layers" \
    by_pipe "$dir/made/late.tar"
refused "a layer that never comes" "is not in the archive" \
    by_pipe "$dir/made/missing.tar"
refused "a layer that is not what it should be" "layer .*(mismatch|malformed tar)" \
    by_pipe "$dir/made/damaged.tar"
refused "a link for a layer" "is a link" by_pipe "$dir/made/link.tar"
head -c "$((last + 1000))" "$dir/made/saved.tar" >"$dir/made/cut.tar"
refused "a pipe that is cut short in a layer" "not a whole tar|cut short" \
    by_pipe "$dir/made/cut.tar"
size=$(stat -c %s "$dir/made/saved.tar.gz")
head -c "$((size - 8))" "$dir/made/saved.tar.gz" >"$dir/made/cut.tar.gz"
refused "a gzip without its end" "gzip|cut short" \
    by_pipe "$dir/made/cut.tar.gz"
in_file() {
	imgd load -q -i "$dir/made/link.tar" && is_whole
}
ok "from a file, a link is no matter" in_file

killed() {
	imgd rmi real:1 >/dev/null
	mkfifo "$dir/fifo"
	{ head -c "$last" "$dir/made/saved.tar"; sleep 60; } >"$dir/fifo" &
	writer=$!
	load --driver="$first" <"$dir/fifo" >"$dir/said" 2>&1 &
	loading=$!
	begun() { [ "$(sql 'SELECT count(*) FROM layers')" -ge 1 ]; }
	wait_for begun
	kill -9 $loading
	wait $loading 2>/dev/null
	gone() { [ "$(sql 'SELECT count(*) FROM layers')" -eq 0 ]; }
	wait_for gone
	pkill -P $writer
	kill $writer 2>/dev/null
	rm "$dir/fifo"
	imgd fsck && [ -z "$(imgd images -q)" ]
}
ok "one that is killed meanwhile leaves nothing" killed

cli_end
