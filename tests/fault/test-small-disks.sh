#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# Filesystems with too few bytes or inodes, down to none: a pull says one clear
# line and leaves nothing, and succeeds when there is room; a removal makes room.
# One that becomes read-only in the middle keeps what was reported.
#
# IMGD_TEST_SCALE=long takes many more sizes.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
drivers=${IMGD_TEST_DRIVERS:-vfs overlay aufs}

# Large, but small as blobs: the space is not missed before it is used.
for n in 0 1 2; do
	mkdir "$dir/$n"
	head -c 20000 /dev/urandom >"$dir/block"
	for _ in $(seq 400); do
		cat "$dir/block"
	done >"$dir/$n/large$n"
	for i in $(seq 40); do
		: >"$dir/$n/empty$i"
	done
	tar -C "$dir/$n" -cf "$dir/$n.tar" .
done
"$lib/make-oci.py" "$dir/oci" one "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:one" library/one:1 || exit 99
use_mirror "$registry_port"

# ---- filesystems: a size in KiB, a number of inodes, or "-" ----

tmpfs() {
	size=$1
	[ "$1" != 0 ] || size=4
	[ "$2" != - ] || set -- "$1" 0
	mount -t tmpfs -o "size=${size}k,nr_inodes=$2,mode=700" tmpfs "$root"
	[ "$1" != 0 ] || head -c 4096 /dev/zero >"$root/filler" 2>/dev/null
	more="mount -o remount,size=100m,nr_inodes=0"
}

ext4() {
	truncate -s "$1k" "$dir/disk"
	set -- "$2"
	[ "$1" != - ] || set -- 4096
	mkfs.ext4 -q -F -m 0 -N "$1" -O ^has_journal "$dir/disk" &&
	    mount -o loop "$dir/disk" "$root" && chmod 700 "$root"
	more=
}

n_disks=0
n_refused=0
# What must hold on such a disk; it is undone by whoever mounted it.
copes() { # DRIVER
	status=0
	imgd pull -q --driver="$1" one:1 >"$dir/said" 2>"$dir/said-badly" ||
	    status=$?
	said_well || return
	engine_stop
	if [ $status -eq 0 ]; then
		is_sound && imgd rmi one:1 >/dev/null || return
		return
	fi
	n_refused=$((n_refused + 1))
	cat "$dir/said-badly"
	rm -f "$root/filler"
	[ -z "$more" ] && return
	$more "$root" || return
	is_sound && [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq 0 ] &&
	    imgd pull -q --driver="$1" one:1 >/dev/null && is_sound &&
	    imgd rmi one:1 >/dev/null || return
	engine_stop
	find_orphans >"$dir/orphans"
	cat "$dir/orphans"
	[ ! -s "$dir/orphans" ]
}

on_disk() { # DRIVER FILESYSTEM KIB INODES
	"$2" "$3" "$4" >"$dir/why" 2>&1 || {
		# Smaller than the filesystem itself.
		! mountpoint -q "$root" || umount "$root"
		return
	}
	n_disks=$((n_disks + 1))
	copes "$1" >"$dir/why" 2>&1
	result $? "$1 on $2 of $3 KiB, $4 inodes: $(grep '^imgd: ' \
	    "$dir/why" | head -n 1)"
	[ $n_bad -eq 0 ] || sed 's/^/# /' "$dir/why"
	engine_stop
	wait_for umount "$root"
}

sizes=$(scale "0 64 300 5000 19000 25000 34000" \
    "0 $(seq -s ' ' 16 16 400) $(seq -s ' ' 500 500 60000)")
inodes=$(scale "1 2 5 9 17 40 90 150 165 172" "$(seq -s ' ' 1 180)")
for driver in $drivers; do
	for size in $sizes; do
		on_disk "$driver" tmpfs "$size" -
	done
	for n in $inodes; do
		on_disk "$driver" tmpfs 100000 "$n"
	done
	for size in $(scale "2500 26000" "$(seq -s ' ' 1000 1000 60000)"); do
		on_disk "$driver" ext4 "$size" -
	done
	for n in $(scale "32 112" "$(seq -s ' ' 16 16 256)"); do
		on_disk "$driver" ext4 100000 "$n"
	done
done

# ---- full, then a removal ----

removal_makes_room() { # DRIVER
	tmpfs 60000 - || return
	imgd pull -q --driver="$1" one:1 >/dev/null || return
	engine_stop
	cat /dev/zero >"$root/filler" 2>/dev/null
	imgd rmi one:1 >/dev/null 2>"$dir/said-badly"
	status=$?
	cat "$dir/said-badly"
	said_well || return
	rm "$root/filler"
	[ $status -eq 0 ] || imgd rmi one:1 >/dev/null || return
	engine_stop
	is_sound && find_orphans >"$dir/orphans" && [ ! -s "$dir/orphans" ]
}

# ---- a disk that fails, whose filesystem becomes read-only ----

again() {
	mount -o loop,errors=remount-ro "$dir/disk" "$root" &&
	    device=$(findmnt -no SOURCE "$root")
}

has_image() {
	imgd images -q one:1 | grep -q .
}

# What is not on the disk by then is lost, as in a power cut.
dies_after() { # DRIVER MS
	imgd pull -q --driver="$1" one:1 >"$dir/said" 2>"$dir/said-badly" &
	pid=$!
	sleep "0.$2"
	echo 1 >"/sys/fs/ext4/${device#/dev/}/trigger_fs_error"
	status=0
	wait $pid || status=$?
	engine_stop
	cat "$dir/said-badly"
	said_well || return
	wait_for umount "$root" || return
	e2fsck -p "$dir/disk" >"$dir/e2fsck" || [ $? -eq 1 ] || {
		cat "$dir/e2fsck"
		return 1
	}
	again && is_sound || return
	[ $status -ne 0 ] || has_image || {
		echo "reported, but lost"
		return 1
	}
	! has_image || imgd rmi one:1 >/dev/null || return
	engine_stop
}

readonly_disk() { # DRIVER
	truncate -s 200M "$dir/disk"
	mkfs.ext4 -q -F "$dir/disk" && again && chmod 700 "$root" || return
	[ -w "/sys/fs/ext4/${device#/dev/}/trigger_fs_error" ] || return
	for ms in $(scale "020 070 120 200" "$(seq -w -s ' ' 1 10 400)"); do
		dies_after "$1" "$ms" || return
		n_deaths=$((n_deaths + 1))
	done
	mount -o remount,ro "$root" || return
	imgd pull -q --driver="$1" one:1 >"$dir/said" 2>"$dir/said-badly"
	status=$?
	cat "$dir/said-badly"
	[ $status -eq 1 ] && said_well || return
	mount -o remount,rw "$root" && imgd pull -q --driver="$1" one:1 \
	    >/dev/null && is_sound
}

n_deaths=0
for driver in $drivers; do
	ok "$driver: a removal makes room" removal_makes_room "$driver"
	engine_stop
	umount "$root"
	ok "$driver: a disk that becomes read-only" readonly_disk "$driver"
	engine_stop
	umount "$root"
done
echo "# $n_disks small disks, $n_refused of them too small; $n_deaths became" \
    "read-only"
cli_end
