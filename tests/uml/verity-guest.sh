#!/bin/sh
# In the guest: open exported filesystems through dm-verity.
# shellcheck disable=SC2154 # the command line sets srcdir
dir=$1
tap_said=/run/said
. "$srcdir/tests/lib/tap.sh"
# No udevd runs here.
DM_DISABLE_UDEV=1
export DM_DISABLE_UDEV
for m in dm_verity squashfs erofs; do
	modprobe -q -d /run/m $m
done
mkdir -p /run/mnt

opened() { # FILE HASH OFFSET COMMAND…
	data=$(losetup -rf --show "$1") && hashes=$(losetup -rf --show "$1") ||
	    return 1
	if veritysetup open "$data" imgd-verity "$hashes" "$2" \
	    --hash-offset="$3"; then
		shift 3
		"$@"
		opened_status=$?
		veritysetup close imgd-verity
	else
		opened_status=1
	fi
	losetup -d "$data" "$hashes"
	return $opened_status
}
same_tree() { # FORMAT
	mount -t "$1" -o ro /dev/mapper/imgd-verity /run/mnt || return 1
	"$srcdir/tests/lib/tree-list.py" /run/mnt | diff "$dir/want" -
	same_status=$?
	umount /run/mnt
	return $same_status
}
unreadable() {
	! dd if=/dev/mapper/imgd-verity of=/dev/null bs=64k
}

while read -r format hash offset; do
	file=$dir/files/$format
	ok "$format: behind dm-verity it is the tree" \
	    opened "$file" "$hash" "$offset" same_tree "$format"
	cp "$file" /run/changed
	byte=$(od -An -tu1 -j 150000 -N 1 "$file")
	printf "\\$(printf %o $((byte ^ 1)))" |
	    dd of=/run/changed bs=1 seek=150000 conv=notrunc status=none
	ok "$format: one bit changed, and it cannot be read" \
	    opened /run/changed "$hash" "$offset" unreadable
done <"$dir/list"
[ $n_tests -eq 6 ]
result $? "all formats were there"
echo "1..$n_tests"
[ $n_bad -eq 0 ]
