#!/bin/sh
# Memory, space and depth: bounded, and told before harm is done.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"

# 400 MB, half of it incompressible.
python3 - "$dir" <<'EOT'
import os, sys
os.mkdir(sys.argv[1] + "/big")
for i in range(40):
    with open("%s/big/%d" % (sys.argv[1], i), "wb") as f:
        for _ in range(20):
            f.write(os.urandom(1 << 18))
            f.write(bytes(range(256)) * 1024)
EOT
tar -C "$dir" -cf "$dir/big.tar" big
"$lib/make-oci.py" "$dir/oci" big "$dir/big.tar"
rm -rf "$dir/big" "$dir/big.tar"
registry_push "$dir/oci:big" library/big:1 || exit 99

peak() { # DRIVER
	"$lib/peak-memory.py" "$program" "$program" --root "$root" \
	    --config "$dir/daemon.json" pull -q --driver="$1" big:1 \
	    </dev/null 2>"$dir/peak" || { cat "$dir/peak"; return 1; }
	cat "$dir/peak"
	kb=$(sed -n 's/.*anon+shmem=\([0-9]*\).*/\1/p' "$dir/peak")
	[ "$kb" -gt 0 ] && [ "$kb" -le 15000 ]
}
if "$program" version --json | grep -q sanitizers; then
	echo "ok $((n_tests += 1)) - memory # SKIP sanitizers need their own"
else
	for driver in vfs overlay; do
		ok "$driver: 400 MB in at most 15 MB of memory" peak $driver
		sed 's/^/# /' "$dir/peak"
	done
fi
imgd rmi big:1 >/dev/null 2>&1
wait_for_engine

# A filesystem that is too small, and one that fills up while unpacking.
mount -t tmpfs -o size=30m,mode=700 none "$root"
refused "no space, seen before the download" "no space" \
    imgd pull -q --driver=vfs big:1
head -c 40000000 /dev/zero >"$dir/zeros"
tar -C "$dir" -cf "$dir/zeros.tar" zeros
"$lib/make-oci.py" "$dir/oci" zeros "$dir/zeros.tar"
registry_push "$dir/oci:zeros" library/zeros:1 || exit 99
refused "no space, met while unpacking" \
    "layer [0-9a-f]{12}: .*[Nn]o space" imgd pull -q --driver=vfs zeros:1
wait_for_engine
umount "$root"

# Deeper than overlay mounts.
printf x >"$dir/x"
tar -C "$dir" -cf "$dir/x.tar" x
set --
for _ in $(seq 501); do
	set -- "$@" "$dir/x.tar"
done
"$lib/make-oci.py" "$dir/oci" deep "$@"
registry_push "$dir/oci:deep" library/deep:1 || exit 99
refused "more layers than the driver mounts" \
    "501 layers, driver overlay mounts at most" \
    imgd pull -q --driver=overlay deep:1

cli_end
