# shellcheck shell=sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Run the conformance suite on one driver.  Its tests source this after setting
#
#     driver=NAME
#     disk=FS        on a filesystem of its own, by loop or tmpfs; unset: on
#                    that of the build directory
#     in_uml=yes     in a user-mode kernel, whose disk has ext4; with disk=xfs
#                    it has xfs that enforces limits of projects
#     options="K=V …"
#
# and their names are the columns of the table that driver-table.sh prints.
disk=${disk:-}
options=${options:-}
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)

skip() {
	echo "1..0 # SKIP $1"
	exit 0
}

[ -n "$(find "$builddir/stage" -name "imgd-$driver-driver.so")" ] ||
    skip "built without the $driver driver"
set -- driver test
for option in $options; do
	set -- "$@" --driver-opt "$option"
done

if [ -n "${in_uml:-}" ]; then
	. "$srcdir/tests/uml/uml.sh"
	reason=$(uml_missing) && skip "$reason"
	dir=$(mktemp -d "$builddir/uml-suite-XXXXXX") || exit 99
	trap 'uml_power_cut; rm -rf "$dir"' EXIT
	trap 'exit 1' HUP INT TERM
	truncate -s 6G "$dir/disk"
	mkfs.${disk:-ext4} -q "$dir/disk" || exit 99
	# The options of a mount cannot be changed later.
	uml_run "$dir/run" -d "$dir/disk" -t 1500 sh -c '
		[ "$1" != xfs ] || { umount /run/disk &&
		    mount -o prjquota /dev/ubda /run/disk || exit 99; }
		shift
		exec "$@"' \
	    sh "$disk" "$program" "$@" --root /run/disk "$driver"
	exit
fi

[ -z "$disk" ] || . "$srcdir/tests/lib/unshared.sh"
dir=$(mktemp -d "$builddir/suite-XXXXXX") || exit 99
trap 'umount "$dir/mnt" 2>/dev/null; rm -rf --one-file-system "$dir"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$dir/mnt"
case $disk in
'')	;;
tmpfs)	mount -t tmpfs -o size=4G tmpfs "$dir/mnt" ||
	    skip "tmpfs cannot be mounted" ;;
*)	truncate -s 4G "$dir/disk"
	"mkfs.$disk" -q "$dir/disk" >/dev/null || exit 99
	mount -o loop "$dir/disk" "$dir/mnt" ||
	    skip "$disk cannot be mounted by loop" ;;
esac
[ "$disk" != btrfs ] || btrfs quota enable "$dir/mnt"
"$program" "$@" --root "$dir/mnt" "$driver"
