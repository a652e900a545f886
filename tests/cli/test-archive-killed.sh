#!/bin/sh
# Whoever is killed while images are loaded or saved, nothing is left but what
# is whole.
. "$srcdir/tests/lib/cli.sh"

copy() {
	skopeo --insecure-policy copy --quiet "$1" "$2" </dev/null
}
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
	rm -rf "$dir/saved"
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
