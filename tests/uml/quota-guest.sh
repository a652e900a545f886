#!/bin/sh
# In the guest: a filesystem with limits of projects, and overlay on it.
fs=$1
program=$2
tap_said=/run/said
. "$srcdir/tests/lib/tap.sh"

rm -f /run/disk/$fs
truncate -s 600M /run/disk/$fs
case $fs in
xfs)	mkfs.xfs -q /run/disk/xfs ;;
ext4)	mkfs.ext4 -q -O project,quota /run/disk/ext4 ;;
esac || exit 99
mkdir -p /run/store
mount -o loop,prjquota /run/disk/$fs /run/store || exit 99

# Prints what is limited; a project without limit and use may be listed, too.
limited() {
	xfs_quota -f -x -c 'report -p -b -N' /run/store |
	    awk '$1 ~ /^#[0-9]/ && $4 > 0'
}
none_limited() {
	[ -z "$(limited)" ]
}
held() {
	"$program" driver test --root /run/store --case quota_is_held overlay |
	    grep '^ok 1 - quota_is_held'
}
ok "the driver holds a limit" held
ok "and lifts it when the layer goes" none_limited
umount /run/store

# Without enforcement there is nothing to promise.
mount -o loop /run/disk/$fs /run/store || exit 99
not_offered() {
	"$program" driver test --root /run/store --case quota_is_held \
	    overlay >/run/list 2>&1
	! grep '^ok 1 - quota_is_held$' /run/list
}
ok "where limits are not enforced it offers none" not_offered
umount /run/store
echo "1..$n_tests"
[ $n_bad -eq 0 ]
