#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# Pulls and removals write to the disk in the order that makes them safe: rows,
# data, seals, the flush, the transaction, the report.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
. "$srcdir/tests/fault/sweep.sh"

calls=fsync,fdatasync,syncfs,write,pwrite64,mkdirat,linkat,symlinkat,renameat
calls=$calls,unlinkat,copy_file_range

traced() {
	engine_stop
	strace -f -y -qq -s 100 -e "trace=$calls" -e signal=none \
	    -o "$dir/trace" "$program" --root "$root" \
	    --config "$dir/daemon.json" "$@" </dev/null >"$dir/said"
}

in_order() { # PULL-OR-RMI
	"$srcdir/tests/fault/order.py" "$1" "$dir/trace" "$driver" 3 \
	    >"$dir/claims"
	while read -r word text; do
		[ "$word" = ok ]
		result $? "$driver: $1: ${text#ok }"
	done <"$dir/claims"
	[ -s "$dir/claims" ]
	result $? "$driver: $1 was looked at"
}

for driver in $drivers; do
	# A store that is there, with a driver that was probed.
	sweep_begin
	run=traced
	ok "$driver: a pull is traced" verb_of pull
	in_order pull
	ok "$driver: a removal is traced" verb_of rmi
	in_order rmi
	sweep_end
done
cli_end
