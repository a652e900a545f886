#!/bin/sh
# Images made to do harm, from the record of image and tar vulnerabilities: each
# is refused with one line or does none, whatever way it comes in.
# EVIL_ONLY=PATTERN tries only cases with such names, EVIL_VERBOSE=yes shows
# what was said.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
unset IMGD_LEAKS # so that workers are confined
. "$srcdir/tests/lib/daemon.sh"
evil=$srcdir/tests/evil

# An /etc of our own: others may change that of the machine meanwhile.
mkdir "$dir/etc" "$dir/work" "$dir/work/mnt"
cp -a /etc/. "$dir/etc/"
mount --bind "$dir/etc" /etc

canary=$dir/beside/canary
mkdir -p -m 711 "$canary/dir"
echo alive >"$canary/file"
chmod 4750 "$canary/file"
chown 12:34 "$canary/file"
setfattr -n user.canary -v sings "$canary/file"
ln "$canary/file" "$canary/dir/hard"
ln -s file "$canary/link"
mkfifo "$canary/pipe"
mknod "$canary/null" c 1 3
touch -d 2001-02-03 "$canary" "$canary/dir"

"$evil/make-evil.py" "$dir/cases" "$canary" >"$dir/said" || exit 99
sh "$lib/make-image.sh" --small "$dir/oci" real || exit 99
skopeo --insecure-policy copy --quiet "oci:$dir/oci:real" \
    "docker-archive:$dir/peer.tar:new:1" </dev/null || exit 99
"$lib/make-archive.py" "$dir/peer.tar" "$dir/oci" "$dir/archives" || exit 99
registry_start "$dir/registry" || exit 99
lying_start || exit 99
daemon_start || exit 99
aufs=
[ ! -c /dev/fuse ] || ! command -v fuse-overlayfs >/dev/null || aufs=--aufs

# All of an engine's processes: what a pull may take (tests/cli/test-limits.sh),
# and what a window of 128 MiB adds.  What a sanitizer keeps aside grows with a
# daemon's age, up to 256 MiB, and says nothing.
limit=15000
! ldd "$program" | grep -q libasan || limit=1000000

pass_on() { # its lines are ours
	while IFS= read -r line; do
		case $line in
		'ok '*)     result 0 "${line#ok * - }" ;;
		'not ok '*) result 1 "${line#not ok * - }" ;;
		'# '*)      echo "$line" ;;
		esac
	done <"$1"
}
# cases NAME KB [OPTION…]: try them, in so much memory.
cases() {
	name=$1
	most=$2
	shift 2
	"$lib/peak-memory.py" "$program" "$evil/run-evil.py" \
	    --program "$program" --root "$root" --config "$dir/daemon.json" \
	    --registry "$registry_port" --lying "$lying_port" \
	    --archives "$dir/archives/evil" $aufs ${EVIL_ONLY:+--only} \
	    ${EVIL_ONLY:+"$EVIL_ONLY"} ${EVIL_VERBOSE:+--verbose} "$@" \
	    "$dir/cases" "$dir/work" "$canary" >"$dir/tap" 2>"$dir/peak"
	pass_on "$dir/tap"
	grep -q '^1\.\.' "$dir/tap" || sed 's/^/# /' "$dir/peak"
	grep -q '^1\.\.' "$dir/tap"
	result $? "$name: all were tried"
	kb=$(sed -n 's/.*anon+shmem=\([0-9]*\).*/\1/p' "$dir/peak")
	echo "# $kb kB of memory"
	[ "${kb:-0}" -gt 0 ] && [ "$kb" -le "$most" ]
	result $? "$name: in at most $most kB of memory"
}
cases "small cases" $limit
[ -n "${EVIL_ONLY:-}" ] || [ $n_tests -ge 300 ]
result $? "there are as many cases as there should be"
cases "cases with windows" $((limit + 128 * 1024)) --windows

alive() { kill -0 "$daemon_pid"; }
ok "one daemon has lived through all of them" alive
ok "its store is sound" imgd fsck --deep
ok "it ends when told" daemon_stop
umount /etc
registry_stop
cli_end
