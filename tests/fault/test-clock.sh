#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# The clock jumps years to and fro under an engine at work: pulls, locks, waits
# and gc go on, and the engine ends when it is idle.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
. "$srcdir/tests/fault/sweep.sh"

clock_lib=$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
if [ -z "$clock_lib" ]; then
	echo "1..0 # SKIP no libfaketime"
	exit 0
fi
set_clock() {
	echo "$1" >"$dir/clock.new" && mv "$dir/clock.new" "$dir/clock"
}

# The monotonic clock does not jump in real life.
hold() {
	engine_stop
	set_clock +0
	env LD_PRELOAD="$clock_lib" FAKETIME_TIMESTAMP_FILE="$dir/clock" \
	    FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 "$program" \
	    --root "$root" --config "$dir/daemon.json" events >/dev/null \
	    </dev/null 2>&1 &
	holder=$!
	wait_for is_job events
}

jumps() {
	while [ ! -e "$dir/stop" ]; do
		for by in +10y -20y +3d -1h +0; do
			set_clock $by
			sleep 0.02
		done
	done
}

pulls_and_removals() {
	for _ in 1 2 3 4 5 6 7 8; do
		timeout 60 "$program" --root "$root" --config \
		    "$dir/daemon.json" pull -q --driver="$driver" one:1 &&
		    imgd rmi one:1 && imgd images && imgd jobs || return
	done
}

# What was used in the future is not in the way of anything.
collects() {
	set_clock +10y
	imgd pull -q --driver="$driver" one:1 || return
	set_clock -10y
	timeout 60 "$program" --root "$root" --config "$dir/daemon.json" \
	    gc --max-size 0 --keep-since 1h && has_image one || return
	set_clock +20y
	imgd gc --max-size 0 --keep-since 1h && ! has_image one
}

for driver in $drivers; do
	sweep_begin
	ok "$driver: an engine with a clock of its own" hold
	rm -f "$dir/stop"
	jumps &
	jumper=$!
	ok "$driver: pulls and removals" pulls_and_removals
	: >"$dir/stop"
	wait $jumper
	ok "$driver: a collection" collects
	set_clock -10y
	kill $holder
	wait $holder 2>/dev/null
	ok "$driver: the engine ends when it is idle" wait_for_engine
	ok "$driver: the store is sound" is_sound
	sweep_end
done
cli_end
