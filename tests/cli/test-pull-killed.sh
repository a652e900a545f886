#!/bin/sh
# Killed at any moment – the command, its engine, or both – a pull leaves a
# store in which the next pull succeeds and nothing of the first is left.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"

# Layers large enough that a kill lands in the middle.
python3 - "$dir" <<'EOT'
import random, sys, tarfile, io
for n in range(3):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for i in range(200):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 20000
            tar.addfile(info, io.BytesIO(r.randbytes(info.size)))
EOT
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:1" library/victim:1 || exit 99
"$lib/make-oci.py" "$dir/oci" twin "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:twin" library/twin:1 || exit 99
"$lib/make-oci.py" "$dir/oci" 2 "$dir/0.tar"
registry_push "$dir/oci:2" library/other:1 || exit 99

# Only what the database says is there: layer rows and the driver's layers.
sound() {
	imgd fsck --deep >"$dir/fsck" || { cat "$dir/fsck"; return 1; }
	[ -z "$(ls "$root/spool")" ] || { ls "$root/spool"; return 1; }
	rows=$(sql "SELECT COUNT(*) FROM layers")
	recipes=$(ls "$root/recipes" | wc -l)
	[ "$rows" -eq "$recipes" ] || {
		echo "$rows rows, $recipes recipes"
		return 1
	}
}

killed() { # DRIVER MS WHO
	imgd pull -q --driver="$1" victim:1 >/dev/null 2>&1 &
	pid=$!
	sleep "0.$(printf %03d "$2")"
	cli=$(pgrep -P $pid -x imgd | head -n 1)
	case $3 in
	cli) kill -9 "${cli:-$pid}" 2>/dev/null ;;
	engine) kill -9 "$(engine_pid)" 2>/dev/null ;;
	both) kill -9 "$(engine_pid)" "${cli:-$pid}" 2>/dev/null ;;
	esac
	wait $pid 2>/dev/null
	imgd pull -q --driver="$1" victim:1 || return 1
	sound || return 1
	imgd rmi victim:1 >/dev/null || return 1
	[ -z "$(ls "$root/recipes")" ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM layers')" = 0 ]
}

n=0
for who in cli engine both; do
	for driver in vfs overlay; do
		for _ in 1 2 3 4; do
			n=$((n + 1))
			ms=$(python3 -c "import random
print(random.Random($n * 7919 + $$).randrange(5, 400))")
			ok "$driver, $who killed after $ms ms" \
			    killed $driver "$ms" $who
		done
	done
done

# Another image with the very same layers waits for them; when its forerunner
# dies it fetches them itself.
taken_over() { # DRIVER MS
	"$program" --root "$root" --config "$dir/daemon.json" pull -q \
	    --driver="$1" victim:1 >/dev/null 2>&1 </dev/null &
	pid=$!
	sleep 0.05
	imgd pull -q --driver="$1" twin:1 >"$dir/twin" 2>&1 &
	twin=$!
	sleep "0.$(printf %03d "$2")"
	kill -9 $pid
	wait $pid 2>/dev/null
	wait $twin || { cat "$dir/twin"; return 1; }
	sound || return 1
	imgd rmi twin:1 >/dev/null
	imgd rmi victim:1 >/dev/null 2>&1
	[ -z "$(ls "$root/recipes")" ]
}
for driver in vfs overlay; do
	for ms in 5 30 60 90 120 150 200; do
		ok "$driver: taken over after $ms ms" taken_over $driver $ms
	done
done

ok "a pull to have while another runs" imgd pull -q other:1
during() {
	imgd pull -q --driver=overlay victim:1 >/dev/null &
	pid=$!
	imgd images | grep -q '^other' && imgd rmi other:1 >/dev/null &&
	    imgd pull -q --driver=overlay other:1 >/dev/null
	status=$?
	wait $pid && [ $status -eq 0 ]
}
ok "listing, removing and pulling others works during a pull" during
ok "the store is sound after all that" sound

interrupt() {
	imgd rmi victim:1 other:1 >/dev/null
	# What runs in the background has SIGINT ignored otherwise.
	env --default-signal=INT "$program" --root "$root" \
	    --config "$dir/daemon.json" pull -q victim:1 >/dev/null 2>&1 &
	pid=$!
	sleep 0.1
	kill -INT $pid
	wait $pid && return 1
	wait_for_engine
	[ -z "$(ls "$root/recipes")" ] && sound
}
ok "an interrupted pull leaves nothing" interrupt

cli_end
