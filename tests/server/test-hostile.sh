#!/bin/sh
# Callers of every kind, and the daemon goes on.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"

registry_start "$dir/registry" || exit 99
"$lib/make-image.sh" --small "$dir/oci" 14.04 >/dev/null || exit 99
registry_push "$dir/oci:14.04" library/ubuntu:14.04 || exit 99
head -c 30000000 /dev/urandom >"$dir/random"
tar -C "$dir" -cf "$dir/big.tar" random
"$lib/make-oci.py" "$dir/big" 1 "$dir/big.tar" &&
    registry_push "$dir/big:1" library/big:latest || exit 99
use_mirror "$registry_port"
daemon_start || exit 99
ulimit -n 8192
imgd pull -q big >/dev/null || exit 99
imgd pull -q ubuntu:14.04 >/dev/null || exit 99

try() { # NAME CASE
	ok "$1" timeout 120 python3 "$srcdir/tests/server/hostile.py" "$api" \
	    "$daemon_pid" "$2"
}
try "a thousand idle connections" idle
try "heads byte by byte" slow_head
try "100 MB of headers" long_head
try "a request line of 1 MB" long_target
try "a client that closes its side" half_closed
try "chunks that are none" bad_chunks
try "a large JSON body" big_json
try "a deep JSON body" deep_json
try "names that try to be paths" names
try "twenty that do not read" slow_reader
try "ten that stop sending" slow_writer
try "requests in one piece" pipelined
try "pulls and removals of one image at once" delete_and_pull
ok "the store is sound after all that" imgd fsck --deep
alive() { kill -0 "$daemon_pid"; }
ok "the daemon lives" alive
ok "no job is left" wait_for no_jobs
ok "it ends when told" daemon_stop
registry_stop
cli_end
