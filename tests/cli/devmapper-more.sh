#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# What only devmapper has: thin devices that are lost or written to by others.
# tests/uml/test-cli.sh runs this.
. "$srcdir/tests/lib/cli.sh"

mkdir "$dir/mnt"
for n in 0 1 2; do
	mkdir "$dir/$n"
	head -c 20000 /dev/urandom >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" .
done
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
registry_push "$dir/oci:1" library/app:1 || exit 99
blob=$(jq -r '.layers[1].digest' "$dir/oci/blobs/sha256/$(jq -r \
    '.manifests[0].digest' "$dir/oci/index.json" | cut -d: -f2)")
imgd pull -q --driver=devmapper app:1 >/dev/null || exit 99
# For all but one layer to be fetched the registry would need these.
for n in 0 2; do
	d=$(jq -r ".layers[$n].digest" "$dir/oci/blobs/sha256/$(jq -r \
	    '.manifests[0].digest' "$dir/oci/index.json" | cut -d: -f2)")
	rm "$dir/registry/blobs/docker/registry/v2/blobs/sha256/$(echo \
	    "${d#sha256:}" | cut -c1-2)/${d#sha256:}/data" || exit 99
done
echo "# only $blob is left there"

# While an engine lives its pool is active.
"$program" --root "$root" --config "$dir/daemon.json" events \
    >"$dir/events" 2>&1 </dev/null &
listener=$!
imgd mount app:1 "$dir/mnt" >/dev/null
imgd umount "$dir/mnt"
key=$(sql "SELECT l.key FROM layers l JOIN image_layers il
    ON il.chain_id = l.chain_id WHERE il.position = 1")
device_of() {
	sqlite3 -cmd '.timeout 5000' "$root/drivers/devmapper/pool.db" \
	    "SELECT device FROM layers WHERE id = '$1'"
}
pool=$(sed -n 's/^\(imgd-.*-pool\)$/\1/p' /sys/block/dm-*/dm/name)
is_whole() {
	imgd fsck --deep || return 1
	imgd mount app:1 "$dir/mnt" >/dev/null || return 1
	cmp "$dir/1/f1" "$dir/mnt/f1" && cmp "$dir/2/f2" "$dir/mnt/f2"
	whole=$?
	imgd umount "$dir/mnt"
	return $whole
}

ok "the pool is there" test -n "$pool"
ok "df tells what of it is used" sh -c "'$program' --root '$root' \
    --config '$dir/daemon.json' df --json |
    jq -e '.Store.Drivers.devmapper.PoolBytes > 0'"
used=$(dmsetup status "$pool" | awk '{ split($6, n, "/"); print n[1] }')
block=$(dmsetup table "$pool" | awk '{ print $6 * 512 }')
ok "as the pool does" test "$(imgd df --json |
    jq .Store.Drivers.devmapper.PoolBytes)" = $((used * block))

dmsetup message "$pool" 0 "delete $(device_of "$key")"
result $? "a thin device is lost"
ok "which fsck tells" fsck_says 1 \
    "layer ${key%"${key#????????????}"}: its thin device [0-9]* is not in the pool"
ok "and mends" fsck_says 0 "made again from.*repaired" --repair
ok "so that the image is whole" is_whole

# Somebody else writes to it.
dmsetup create imgd-test-x --table \
    "0 $((1 << 21)) thin /dev/mapper/$pool $(device_of "$key")" || exit 99
dmsetup mknodes imgd-test-x
mount /dev/mapper/imgd-test-x "$dir/mnt" && echo x >>"$dir/mnt/f1" &&
    umount "$dir/mnt" && dmsetup remove imgd-test-x
result $? "a device is written to"
ok "which fsck tells, too" fsck_says 1 "f1: is not what it was" --deep
ok "a pull mends it" imgd pull -q --driver=devmapper app:1
ok "as well" is_whole
kill $listener
wait $listener 2>/dev/null
imgd rmi app:1 >/dev/null
cli_end
