#!/bin/sh
# The first process in a user-mode kernel: see uml.sh.  The kernel's command
# line sets imgd_dir, the run's directory.
# shellcheck disable=SC2154
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/run
# Go's threads interrupt each other with signals; there that can go on for ever.
GOMAXPROCS=1
GODEBUG=asyncpreemptoff=1
export PATH HOME GOMAXPROCS GODEBUG

mount -t proc proc /proc
mount -t sysfs sysfs /sys
# Without processing, a line ends where its writer ended it.
stty raw -echo -F /dev/ttyS0
exec </dev/null >/dev/ttyS0 2>&1

shown=$(cat "$imgd_dir/shown")
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
# A tmpfs hides what the machine has below it: show that once more.
for path in $shown; do
	mkdir -p "$path"
	mount -t hostfs -o "$path,ro" none "$path"
done
mkdir -p "$imgd_dir"
mount -t hostfs -o "$imgd_dir" none "$imgd_dir"

# What another kernel has built in or lacks shows later, in the tests.
modules=${imgd_modules:-/usr/lib/uml/modules}/$(uname -r)
if [ -d "$modules" ]; then
	mkdir -p /run/m/lib/modules
	ln -s "$modules" /run/m/lib/modules/
	for m in loop overlay dm_mod dm_thin_pool dm_flakey fuse quota_v2 \
	    aufs; do
		modprobe -q -d /run/m "$m" 2>/dev/null
	done
fi
ip link set lo up 2>/dev/null
ulimit -n 4096

mkdir -p /run/disk
[ ! -b /dev/ubda ] || mount /dev/ubda /run/disk || echo "# no disk" >&2
echo "imgd-uml: up"
sh "$imgd_dir/command"
status=$?
cd /
sync
umount /run/disk 2>/dev/null
echo "imgd-uml: exit $status"
# Let the line drain before the power goes.
stty -F /dev/ttyS0 >/dev/null
sleep 0.2
echo o >/proc/sysrq-trigger
sleep 60
