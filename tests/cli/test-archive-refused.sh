#!/bin/sh
# Archives that are damaged or made to do harm change nothing, and cost no more
# than one line, also through a pipe; tests/evil loads all of them from files.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"

sh "$lib/make-image.sh" --small "$dir/oci" real
copy() {
	skopeo --insecure-policy copy --quiet "$1" "$2" </dev/null
}
copy "oci:$dir/oci:real" "docker-archive:$dir/peer.tar:new:1" || exit 99
"$lib/make-archive.py" "$dir/peer.tar" "$dir/oci" "$dir" || exit 99
"$lib/make-oci.py" "$dir/other" 1 "$dir/peer.tar"
copy "oci:$dir/other:1" "docker-archive:$dir/other.tar:new:1" || exit 99
imgd load -q -i "$dir/other.tar" >/dev/null || exit 99

by_pipe() {
	"$program" --root "$root" --config "$dir/daemon.json" load <"$dir/in"
}
mkfifo "$dir/in"
for name in cut-3 noise link-up no-layer changed-layer cut-gzip; do
	cat "$dir/evil/$name.tar" >"$dir/in" 2>/dev/null &
	refused "through a pipe: $name" "$(cat "$dir/evil/$name.expect")" \
	    by_pipe
	wait $!
done
refused "a directory of something else" "neither manifest.json nor" \
    imgd load -i "$dir/evil"
refused "a file that is not there" "No such file" \
    imgd load -i "$dir/nothing"
ok "no standard input is wrong usage" sh -c "
    script -qec \"'$program' --root '$root' load\" /dev/null |
    grep -q terminal"

# ---- a copy that has no room ----

mkdir "$dir/full"
mount -t tmpfs -o size=40m,mode=700 tmpfs "$dir/full"
bomb() {
	{ cat "$dir/good/plain.tar"; head -c 200000000 /dev/zero; } |
	    gzip -1 >"$dir/bomb"
	! "$program" --root "$dir/full" --config "$dir/daemon.json" load \
	    --driver=vfs <"$dir/bomb" >"$dir/said" 2>&1 || return 1
	cat "$dir/said"
	grep -q "no space for the archive" "$dir/said" &&
	    flock -w 20 "$dir/full/lock" true &&
	    [ -z "$(find "$dir/full/spool" -type f)" ] &&
	    [ "$(df --output=used -k "$dir/full" | tail -n 1)" -lt 2000 ]
}
ok "a bomb fills no disk" bomb
umount "$dir/full"

cli_end
