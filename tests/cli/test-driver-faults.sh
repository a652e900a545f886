#!/bin/sh
# shellcheck disable=SC2154 # cli.sh sets dir, examples.sh sets module
# A driver that fails, kills its engine or is late in the middle of a pull:
# one clear line, nothing half-made, and the next pull succeeds.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/examples.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
build_example fault "$dir" || exit 99

for n in 0 1 2; do
	printf '%s' $n >"$dir/f$n"
	tar -C "$dir" -cf "$dir/$n.tar" "f$n"
done
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:1" library/three:1 || exit 99
"$lib/make-oci.py" "$dir/oci" 2 "$dir/0.tar"
registry_push "$dir/oci:2" library/first:1 || exit 99

# faulty OP N DO VERB…: on a driver with that fault.
faulty() {
	op=$1
	at=$2
	action=$3
	shift 3
	wait_for_engine
	imgd --driver-opt "fault.op=$op" --driver-opt "fault.at=$at" \
	    --driver-opt "fault.do=$action" "$@"
}

n_layers() {
	sql 'SELECT COUNT(*) FROM layers'
}

# Directories of layers, whole or half-made, wherever a driver has them.
n_kept() {
	find "$root/drivers/fault" -maxdepth 2 -type d -regextype posix-egrep \
	    -regex '.*/[0-9a-f]{64}' | wc -l
}

# Nothing but what the database knows, in the store or in the driver.
sound() { # LAYERS
	wait_for_engine
	imgd fsck --deep && [ "$(n_layers)" -eq "$1" ] &&
	    [ -z "$(ls "$root/spool")" ] &&
	    [ "$(ls "$root/recipes" | wc -l)" -eq "$1" ] &&
	    [ "$(n_kept)" -eq "$1" ]
}

killed() { # OP N
	faulty "$1" "$2" kill pull -q --driver="$module" three:1 && return 1
	wait_for_engine
	imgd pull -q --driver="$module" three:1 && sound 3 &&
	    imgd rmi three:1 >/dev/null && sound 0
}

late() {
	faulty create 0 delay:700 pull -q --driver="$module" three:1 \
	    >/dev/null &
	slow=$!
	sleep 0.3
	imgd pull -q --driver="$module" first:1 >/dev/null || return 1
	wait $slow && sound 3
}

for driver in vfs overlay; do
	IMGD_FAULT_MODULE=$(find "$stage" -name "imgd-$driver-driver.so")
	export IMGD_FAULT_MODULE
	[ -n "$IMGD_FAULT_MODULE" ] || continue
	ok "$driver: without a fault" imgd pull -q --driver="$module" first:1
	for op in create seal flush; do
		refused "$driver: no room in $op" \
		    "call 1 of $op: No space left on device" \
		    faulty $op 1 fail:ENOSPC pull -q --driver="$module" three:1
		ok "$driver: the store is sound" sound 1
	done
	refused "$driver: no room in the second seal" \
	    "call 2 of seal: No space left on device" \
	    faulty seal 2 fail:ENOSPC pull -q --driver="$module" three:1
	ok "$driver: the store is sound after it" sound 1
	refused "$driver: an option that is none" "fault.do=sleep: not fail" \
	    faulty seal 1 sleep pull -q --driver="$module" three:1
	ok "$driver: removed" imgd rmi first:1
	ok "$driver: killed in create" killed create 2
	ok "$driver: killed in seal" killed seal 2
	ok "$driver: killed in flush" killed flush 1
	refused "$driver: killed in probe" "crashes: Killed" \
	    faulty probe 1 kill pull -q --driver="$module" three:1
	ok "$driver: a pull beside a late create" late
	ok "$driver: both go" imgd rmi three:1 first:1
	ok "$driver: and leave nothing" sound 0
	wait_for_engine
	rm -rf "$root/drivers/fault"
done
cli_end
