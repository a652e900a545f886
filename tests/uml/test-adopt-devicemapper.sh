#!/bin/sh
# Images that a real dockerd keeps by its storage driver devicemapper become
# images of the store, in a user-mode kernel: with both filesystems, whatever
# is killed or damaged, and nothing of Docker's is changed.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/subtests.sh"
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
if [ -z "$(find "$builddir/stage" -name 'imgd-mounter.so')" ]; then
	echo "1..0 # SKIP built without libdevmapper"
	exit 0
fi
dir=$(mktemp -d "$builddir/uml-adopt-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# Whiteouts, links, owners; and enough to be read for a while.
python3 - "$dir" <<'EOT'
import io, sys, tarfile
TIME = 1700000000
def add(tar, name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime = TIME
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
def add_dirs(tar):
    for name in ("bin", "etc"):
        add(tar, name, type=tarfile.DIRTYPE, mode=0o755)
with tarfile.open(sys.argv[1] + "/0.tar", "w") as tar:
    add_dirs(tar)
    add(tar, "etc/a", b"hello\n" * 100)
    for n in range(40):
        add(tar, "bin/f%d" % n, bytes([n]) * 100000, mode=0o755)
    add(tar, "bin/hard", type=tarfile.LNKTYPE, linkname="bin/f1")
    add(tar, "bin/large", bytes(24 << 20))
    add(tar, "bin/soft", type=tarfile.SYMTYPE, linkname="/etc/a")
with tarfile.open(sys.argv[1] + "/1.tar", "w") as tar:
    add_dirs(tar)
    add(tar, "etc/.wh.a")
    add(tar, "etc/b", b"b" * 300000, mode=0o4755, uid=12, gid=34)
    add(tar, "bin/f3", b"new", mode=0o600)
EOT
"$srcdir/tests/lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" ||
    exit 99
skopeo --insecure-policy copy -q "oci:$dir/oci:1" \
    "docker-archive:$dir/image.tar:real:1" </dev/null || exit 99

truncate -s 6G "$dir/disk"
mkfs.ext4 -q "$dir/disk" || exit 99
# A dockerd takes a minute and more there.
set -- ext4
[ "${IMGD_TEST_SCALE:-}" != long ] || set -- ext4 xfs
uml_run "$dir/run" -d "$dir/disk" -t 1200 env TMPDIR=/run/disk \
    sh "$srcdir/tests/uml/adopt-guest.sh" "$dir/image.tar" real:1 "$@" \
    >"$dir/out" 2>&1
subtest devicemapper $? <"$dir/out"
subtests_end
