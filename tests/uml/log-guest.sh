#!/bin/sh
# In the user-mode kernel: work on a store whose disk logs every write, then cut
# the power at moments of that log, each time with other writes lost that no
# flush has brought to the disk, and see that nothing which was reported is.
#
#     log-guest.sh DRIVER OPTIONS FILESYSTEM STEPS CUTS SEED
#
# TAP, one line for each cut.
# shellcheck disable=SC2154 # the harness sets srcdir, builddir and imgd_dir
driver=$1
options=$2
fs=$3
steps=$4
cuts=$5
seed=$6
top=/run/store
disk=/run/disk/store.img
log=/run/disk/log.img
DM_DISABLE_UDEV=1
CRASH_TOP=$top
export DM_DISABLE_UDEV CRASH_TOP

guest() { # MODE COUNT
	sh "$srcdir/tests/uml/crash-guest.sh" "$1" "$driver" "$options" "$2" \
	    "$seed"
}

modprobe -q -d /run/m dm_log_writes
truncate -s 1G $disk
truncate -s 4G $log
loop=$(losetup -f --show $disk)
log_loop=$(losetup -f --show $log)
dmsetup create logged --table \
    "0 $(blockdev --getsz "$loop") log-writes $loop $log_loop" || exit 99
"mkfs.$fs" -q /dev/mapper/logged || exit 99
mkdir -p $top
mount /dev/mapper/logged $top || exit 99
dmsetup message logged 0 mark begin
CRASH_MARK=logged guest steps "$steps" >/run/steps 2>&1 || {
	sed 's/^/# /' /run/steps
	exit 99
}
umount $top && dmsetup remove logged || exit 99
losetup -d "$log_loop"
losetup -d "$loop"
grep -c '^PULLED ' /run/steps | sed 's/^/# pulls reported: /'

survives() {
	rm -f $disk
	truncate -s 1G $disk
	python3 "$srcdir/tests/uml/replay-log.py" $log $disk "$seed" \
	    /run/marks || return
	awk -f "$srcdir/tests/uml/crash-state.awk" /run/marks \
	    >"$imgd_dir/state"
	cat "$imgd_dir/state"
	mount -o loop $disk $top || return
	guest verify 0
	status=$?
	umount $top && return $status
}
n=0
while [ $n -lt "$cuts" ]; do
	n=$((n + 1))
	seed=$((seed + 1))
	if survives >/run/why 2>&1; then
		echo "ok - $driver on $fs: cut $n, $(head -n 1 /run/why)"
	else
		echo "not ok - $driver on $fs: cut $n, seed $seed"
		sed 's/^/# /' /run/why
		exit 1
	fi
done
