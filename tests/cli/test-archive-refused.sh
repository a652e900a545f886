#!/bin/sh
# Archives that are damaged or made to do harm change nothing, and cost no more
# than one line; what is killed in the middle of one leaves nothing.
if [ "${ARCHIVE_UNSHARED:-}" != yes ]; then
	ARCHIVE_UNSHARED=yes exec unshare -m "$0" "$@"
fi
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

for file in "$dir"/evil/*.tar; do
	name=${file##*/}
	name=${name%.tar}
	refused "$name" "$(cat "$dir/evil/$name.expect")" \
	    imgd load --driver="$driver" -i "$file"
done
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

# ---- kills ----

python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n in range(3):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for i in range(200):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 40000
            tar.addfile(info, io.BytesIO(r.randbytes(info.size)))
EOT
"$lib/make-oci.py" "$dir/big" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
copy "oci:$dir/big:1" "docker-archive:$dir/big.tar:big:1" || exit 99
imgd load -q -i "$dir/big.tar" >/dev/null || exit 99
big_id=$(imgd inspect big:1 | jq -r '.[0].Id')
imgd rmi big:1 >/dev/null
wait_for() { # COMMAND…
	for _ in $(seq 200); do
		"$@" && return
		sleep 0.005
	done
	return 1
}
worker_pid() {
	pgrep -P "$(engine_pid)" -f '^imgd-loader' | tail -n 1 | grep .
}
sound() {
	imgd fsck --deep || return 1
	[ "$(sql 'SELECT COUNT(*) FROM layers')" -eq \
	    "$(ls "$root/recipes" | wc -l)" ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM pulls')" -eq 0 ] &&
	    [ -z "$(ls "$root/spool")" ]
}
killed() { # WHO S
	cat "$dir/big.tar" | "$program" --root "$root" --config \
	    "$dir/daemon.json" load --driver="$driver" >"$dir/said" 2>&1 &
	pid=$!
	wait_for worker_pid >"$dir/worker"
	sleep "$2"
	case $1 in
	command) kill -9 $pid ;;
	engine) kill -9 "$(engine_pid)" ;;
	worker) kill -9 "$(worker_pid || tail -n 1 "$dir/worker")" ;;
	esac 2>/dev/null
	wait $pid 2>/dev/null
	cat "$dir/said"
	wait_for_engine
	sound && imgd load -q -i "$dir/big.tar" || return 1
	[ "$(imgd inspect big:1 | jq -r '.[0].Id')" = "$big_id" ] && sound &&
	    imgd rmi big:1 >/dev/null
}
n=0
for who in command engine worker; do
	for _ in 1 2 3; do
		n=$((n + 1))
		s=$(python3 -c "import random
print('0.%03d' % random.Random($n * 7919 + $$).randrange(0, 200))")
		ok "the $who killed after $s s" killed $who "$s"
	done
done
save_killed() { # WHO S
	mkdir "$dir/saved"
	imgd save -o "$dir/saved/big.tar" big:1 >"$dir/said" 2>&1 &
	pid=$!
	sleep "$2"
	case $1 in
	command) kill -9 "$(pgrep -P $pid -x imgd || echo $pid)" ;;
	engine) kill -9 "$(engine_pid)" ;;
	esac 2>/dev/null
	wait $pid 2>/dev/null
	cat "$dir/said"
	wait_for_engine
	# All of it, or nothing.
	if [ -e "$dir/saved/big.tar" ]; then
		imgd save big:1 | cmp - "$dir/saved/big.tar" || return 1
		rm "$dir/saved/big.tar"
	fi
	rmdir "$dir/saved" && sound
}
imgd load -q -i "$dir/big.tar" >/dev/null
for who in command engine; do
	for s in 0.05 0.2; do
		ok "a save whose $who is killed after $s s" save_killed $who $s
	done
done
cli_end
