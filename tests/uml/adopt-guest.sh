#!/bin/sh
# Run by test-adopt-devicemapper.sh in a user-mode kernel: dockerd keeps an
# image by devicemapper, and it becomes an image of the store.
# adopt-guest.sh ARCHIVE IMAGE FS…
# shellcheck disable=SC2154,SC2013 # cli.sh sets what is not set here; words
archive=$1
image=$2
shift 2
. "$srcdir/tests/lib/cli.sh"
DM_DISABLE_UDEV=1
export DM_DISABLE_UDEV

# ---- dockerd ----

mount -t tmpfs cgroups /sys/fs/cgroup
for controller in $(awk '!/^#/ { print $1 }' /proc/cgroups); do
	mkdir "/sys/fs/cgroup/$controller"
	mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done
# dockerd's own waits no longer than a fast machine takes to start it.
cat >"$dir/containerd.toml" <<EOT
version = 2
root = "$dir/containerd"
state = "/run/containerd"
disabled_plugins = [ "io.containerd.grpc.v1.cri" ]
[grpc]
address = "/run/containerd.sock"
EOT
containerd --config "$dir/containerd.toml" >"$dir/log-containerd" 2>&1 &

wait_until() { # SECONDS COMMAND…
	tries=$(($1 * 10))
	shift
	for _ in $(seq $tries); do
		"$@" && return
		sleep 0.1
	done
	return 1
} >/dev/null 2>&1
ask() { # PATH [OPTION…]
	ask_path=$1
	shift
	curl -fs --unix-socket /run/docker.sock "$@" \
	    "http://localhost$ask_path"
}
docker_load() { # FS SIZE
	wait_until 60 [ -S /run/containerd.sock ] || return
	dockerd --containerd /run/containerd.sock --data-root "$docker" \
	    --exec-root /run/exec --pidfile /run/docker.pid \
	    -H unix:///run/docker.sock --storage-driver devicemapper \
	    --storage-opt "dm.fs=$1" --storage-opt dm.loopdatasize=320M \
	    --storage-opt dm.loopmetadatasize=4M \
	    --storage-opt "dm.basesize=$2" \
	    --storage-opt dm.override_udev_sync_check=true \
	    --bridge=none --iptables=false --ip-forward=false \
	    --ip-masq=false >"$dir/log-$1" 2>&1 </dev/null &
	daemon=$!
	if ! wait_until 90 ask /_ping ||
	    ! ask "/images/load?quiet=1" \
		-H 'Content-Type: application/x-tar' \
		--data-binary "@$archive" >"$dir/answer" ||
	    grep error "$dir/answer"; then
		tail -n 5 "$dir/log-$1"
		return 1
	fi
	id=$(ask /images/json | jq -r '.[0].Id')
}
docker_stop() {
	kill "$daemon"
	wait "$daemon"
}

# ---- the pool, as Docker has it ----

pool_up() {
	meta_loop=$(losetup -f --show "$home/devicemapper/metadata")
	data_loop=$(losetup -f --show "$home/devicemapper/data")
	dmsetup create docker-0:1-pool --table "0 655360 thin-pool $meta_loop \
	    $data_loop 128 32768 1 skip_block_zeroing"
}
pool_down() {
	dmsetup remove docker-0:1-pool
	losetup -d "$meta_loop" "$data_loop"
}
pool() {
	dmsetup message docker-0:1-pool 0 "$*"
}
device_up() { # ID
	dmsetup create "docker-$1" --table \
	    "0 655360 thin /dev/mapper/docker-0:1-pool $1"
}
device_mount() { # ID [OPTIONS]
	device_up "$1" &&
	    mount -o "${2:-rw}" "/dev/mapper/docker-$1" "$dir/mnt"
}
device_umount() { # ID
	umount "$dir/mnt"
	dmsetup remove "docker-$1"
}
# The layer that is no other one's parent.
find_top() {
	for layer in "$docker"/image/devicemapper/layerdb/sha256/*; do
		if ! grep -q "sha256:${layer##*/}" \
		    "${layer%/*}"/*/parent; then
			cat "$layer/cache-id"
			return
		fi
	done
}
mkdir "$dir/mnt"

# ---- adoption ----

# Also those of a removal that has been left to the kernel.
nothing_left() {
	! cat /sys/block/dm-*/dm/name && ! ls /dev/mapper/imgd-* &&
	    ! cat /sys/block/loop*/loop/backing_file
} 2>/dev/null
files() {
	(cd "$docker" && find . -type f -exec sha256sum {} + | sort)
}
tree() {
	imgd mount "$image" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" --no-root-mtime "$dir/mnt"
	imgd umount "$dir/mnt"
}
adopted() {
	files >"$dir/before-adopt"
	imgd adopt --driver="$driver" "$docker" "$image" || return 1
	nothing_left || return 1
	files | diff "$dir/before-adopt" - || return 1
	[ "$(imgd inspect "$image" | jq -r '.[0].Id')" = "$id" ] || return 1
	tree >"$dir/got" && diff "$dir/want" "$dir/got" && imgd fsck --deep &&
	    imgd rmi "$image" >/dev/null
}
# As refused does, but the store is looked at after the last of them.
fails_with() { # PATTERN
	imgd adopt --driver="$driver" "$docker" "$image" >/dev/null \
	    2>"$dir/err"
	status=$?
	cat "$dir/err"
	[ $status -eq 1 ] && [ "$(wc -l <"$dir/err")" -eq 1 ] &&
	    grep -Eq "^imgd: .*($1)" "$dir/err"
}
not_adopted() { # NAME PATTERN
	ok "$1" fails_with "$2"
	nothing_left || result 1 "$1: no device is left"
}

for fs; do
	docker=$dir/docker-$fs
	home=$docker/devicemapper
	ok "dockerd loads an image into $fs devices" docker_load "$fs" 320M
	docker_stop
	top=$(find_top)
	pool_up
	if device_mount "$(jq .device_id "$home/metadata/$top")" \
	    "ro,$([ "$fs" = xfs ] && echo nouuid,norecovery || echo noload)"
	then
		"$lib/tree-list.py" --no-root-mtime "$dir/mnt/rootfs" \
		    >"$dir/want"
		device_umount "$(jq .device_id "$home/metadata/$top")"
	fi
	pool_down
	ok "$fs: the image, with Docker's own tree" adopted
done

docker=$dir/docker-$1
home=$docker/devicemapper
top=$(find_top)
record=$home/metadata/$top

# ---- the same on xfs, without another dockerd ----

copy_rootfs() { # FROM TO
	device_mount "$1" ro
	cp -a "$dir/mnt/rootfs" "$dir/rootfs"
	device_umount "$1"
	device_mount "$2" nouuid
	rm -rf "$dir/mnt/rootfs"
	mv "$dir/rootfs" "$dir/mnt/"
	device_umount "$2"
}
on_xfs() {
	base=$(cat "$(find "$docker/image/devicemapper/layerdb/sha256" \
	    -name cache-id ! -execdir [ -e parent ] \; -print)")
	mkdir "$dir/records"
	cp "$home/metadata/$base" "$record" "$dir/records"
	pool_up && pool create_thin 110 && device_up 110 &&
	    mkfs.xfs -q -K /dev/mapper/docker-110 || return
	dmsetup remove docker-110
	copy_rootfs "$(jq .device_id "$home/metadata/$base")" 110
	pool create_snap 111 110
	copy_rootfs "$(jq .device_id "$record")" 111
	pool_down
	jq -c .device_id=110 "$dir/records/$base" >"$home/metadata/$base"
	jq -c .device_id=111 "$dir/records/$top" >"$record"
	adopted
	status=$?
	cp "$dir/records/"* "$home/metadata/"
	return $status
}
ok "an image on xfs" on_xfs

# ---- kills ----

is_active() {
	grep -q "^imgd-" /sys/block/dm-*/dm/name
}
find_victim() {
	pgrep -f '^imgd-mounter' >"$dir/mounter" &&
	    pgrep -f '^imgd-adopter' | tail -n 1 >"$dir/adopter" &&
	    engine_pid >"$dir/engine"
}
kill_one() { # WHO: sets status, of the adoption
	imgd adopt -q --driver="$driver" "$docker" >"$dir/said" 2>&1 &
	pid=$!
	wait_until 20 find_victim
	wait_until 20 is_active && kill -9 "$(cat "$dir/$1")"
	wait $pid
	status=$?
	cat "$dir/said"
	wait_for_engine
	wait_until 10 nothing_left
}
# Some kills come when all is done.  An adopter that has all its trees needs no
# mounter, and it has them soon.
killed() { # WHO
	for _ in $(seq 20); do
		kill_one "$1" || return 1
		[ $status -eq 0 ] || break
		imgd rmi "$image" >/dev/null || return 1
		[ "$1" != mounter ] || return 0
	done
	[ $status -ne 0 ] && [ -z "$(imgd images -q)" ]
}
for who in mounter adopter engine; do
	ok "the $who is killed, and nothing is left" killed $who
done
# A kill between the making of a device and the mark that it is to go; the
# number is that of no process.
stale() {
	dmsetup create "imgd-$(stat -c %Hd:%Ld-%i "$root")-a-4194304-pool" \
	    --table "0 8 error" && is_active &&
	    imgd adopt -q --driver="$driver" "$docker" && nothing_left &&
	    imgd rmi "$image" >/dev/null
}
ok "what a kill has left is cleared away" stale

# ---- damage ----

pool_up
origin=$(jq .device_id "$record")
pool create_snap 101 "$origin"
device_mount 101
mv "$dir/mnt/rootfs" "$dir/mnt/other"
device_umount 101
pool create_thin 102
# Snapshots of a mounted device: one whole, and one with a damaged file.
pool create_snap 103 "$origin"
device_mount 103
touch "$dir/mnt/news"
sync
pool create_snap 104 103
printf 'X' | dd of="$dir/mnt/rootfs/etc/b" conv=notrunc status=none
sync
pool create_snap 105 103
device_umount 103
pool_down

snapshot >"$dir/store-before"
files >"$dir/before-damage"
cp "$record" "$dir/record"
says() { # FILTER
	jq -c "$1" "$dir/record" >"$record"
}
says .device_id=101
not_adopted "no rootfs" "layer .*: its tree, rootfs on its device: No such"
says .device_id=102
not_adopted "no filesystem" "its device has neither an ext4 nor an xfs"
says .device_id=999
not_adopted "no such device" "its device 999 is not in the pool"
says .transaction_id=999
not_adopted "a later transaction" "of transaction 999, and the pool at"
says .size=511
not_adopted "a strange size" "no device has the id"
says .device_id=105
not_adopted "a filesystem in use, and damaged" \
    "its filesystem was not unmounted cleanly: .*etc/b: damaged"
says .device_id=104
ok "a filesystem in use, and whole" adopted
rm "$record"
not_adopted "no record" "its device's record: .*No such file"
cp "$dir/record" "$record"

files >"$dir/after-damage"
ok "nothing of Docker's was changed" \
    cmp "$dir/before-damage" "$dir/after-damage"

pool_up
ok "a pool in use" fails_with "is in use: docker-0:1-pool on /dev/loop"
pool_down

cp "$home/devicemapper/metadata" "$dir/metadata"
truncate -s 1M "$home/devicemapper/metadata"
not_adopted "metadata cut short" "metadata is cut short: .*1048576 bytes"
cp "$dir/metadata" "$home/devicemapper/metadata"
printf '\001' | dd of="$home/devicemapper/metadata" bs=1 seek=4 \
    conv=notrunc status=none
not_adopted "metadata that needs a check" "metadata needs a check"
cp "$dir/metadata" "$home/devicemapper/metadata"
dd if=/dev/zero of="$home/devicemapper/metadata" bs=4096 seek=1 count=200 \
    conv=notrunc status=none
not_adopted "metadata damaged" "pool|device"
cp "$dir/metadata" "$home/devicemapper/metadata"
rm "$home/devicemapper/data"
not_adopted "no files" "data is not there: a pool on block devices"
wait_for_engine
snapshot >"$dir/store-after"
ok "what failed has left nothing in the store" \
    diff "$dir/store-before" "$dir/store-after"
cli_end
