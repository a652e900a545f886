#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# A flush that fails is not tried again and then believed: the pull fails, the
# next one of the same engine does so, too, and a new engine trusts nothing of
# what was written before.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
. "$srcdir/tests/fault/sweep.sh"

# An engine that lives until $holder ends, whose first syncfs fails.
hold() {
	engine_stop
	fault_begin
	env LD_PRELOAD="$fault_lib" IMGD_FAULT_AT=syncfs IMGD_FAULT_N=1 \
	    IMGD_FAULT_DO=EIO IMGD_FAULT_FILE="$dir/fault" "$program" \
	    --root "$root" --config "$dir/daemon.json" events >/dev/null \
	    </dev/null 2>&1 &
	holder=$!
	wait_for is_job events
}

let_go() {
	kill $holder
	wait $holder 2>/dev/null
	engine_stop
}

for driver in $drivers; do
	sweep_begin
	ok "$driver: an engine with a disk that fails" hold
	engine=$(engine_pid)
	refused "$driver: the flush fails" "flush.*Input/output error" \
	    imgd pull -q --driver="$driver" one:1
	fault_end
	ok "$driver: by that" test -n "$struck"
	sql "SELECT key FROM layers" >"$dir/left"
	ok "$driver: nothing of it stays" test ! -s "$dir/left"
	refused "$driver: the next one is not believed" \
	    "flush.*Input/output error" \
	    imgd pull -q --driver="$driver" one:1
	ok "$driver: of the same engine" test "$engine" = "$(engine_pid)"
	let_go
	ok "$driver: a new engine fetches all of it again" imgd pull \
	    --driver="$driver" one:1
	[ "$(grep -c 'Pull complete' "$dir/out")" -eq 3 ]
	result $? "$driver: each layer of it"
	ok "$driver: and it is sound" is_sound
	sweep_end
done
cli_end
