#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# The n-th allocation of a process fails, over whole pulls and removals: the verb
# says one clear line or succeeds, the store is sound, and what was taken is given
# back.  As tests/fault/test-call-faults.sh, which says what is tried when.  One
# place is left out, where json-c dies of it: fault.c.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
. "$srcdir/tests/fault/sweep.sh"
sweep_sample=${IMGD_TEST_SAMPLE:-6}

for driver in $drivers; do
	sweep_begin
	for role in engine unpacker puller spawner client; do
		sweep $role malloc ENOMEM
	done
	# libarchive goes on without what it has no memory for.
	[ "$driver" != "${drivers%% *}" ] ||
	    IMGD_TEST_SCALE=long sweep unpacker malloc ENOMEM
	sweep_end
done
echo "# $n_faults allocations failed"
cli_end
