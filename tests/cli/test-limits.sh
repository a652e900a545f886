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
	[ "$kb" -gt 0 ] && [ "$kb" -le $limit ]
}
# Sanitizers need several times as much for themselves.
limit=15000
ldd "$program" | grep -q libasan && limit=60000
for driver in vfs overlay; do
	ok "$driver: 400 MB in at most $limit kB of memory" peak $driver
	sed 's/^/# /' "$dir/peak"
done
imgd rmi big:1 >/dev/null 2>&1
wait_for_engine

# A filesystem that is too small, and one that fills up while unpacking.
mount -t tmpfs -o size=30m,mode=700 none "$root"
printf x >"$dir/x"
tar -C "$dir" -cf "$dir/x.tar" x
"$lib/make-oci.py" "$dir/oci" small "$dir/x.tar"
registry_push "$dir/oci:small" library/small:1 || exit 99
ok "a small store to begin with" imgd pull -q --driver=vfs small:1
refused "no space, seen before the download" "no space" \
    imgd pull -q --driver=vfs big:1
head -c 40000000 /dev/zero >"$dir/zeros"
tar -C "$dir" -cf "$dir/zeros.tar" zeros
"$lib/make-oci.py" "$dir/oci" zeros "$dir/zeros.tar"
registry_push "$dir/oci:zeros" library/zeros:1 || exit 99
refused "no space, met while unpacking" \
    "layer [0-9a-f]{12}: .*[Nn]o space" imgd pull -q --driver=vfs zeros:1
wait_for_engine
for _ in $(seq 50); do
	umount "$root" 2>/dev/null && break
	sleep 0.1
done
ok "a store to begin with" imgd pull -q --driver=overlay small:1

# Deeper than overlay mounts.
set --
for _ in $(seq 501); do
	set -- "$@" "$dir/x.tar"
done
"$lib/make-oci.py" "$dir/oci" deep "$@"
"$lib/push-oci.py" "$dir/oci" deep \
    "http://127.0.0.1:$registry_port/library/deep:1" || exit 99
refused "more layers than the driver mounts" \
    "501 layers, driver overlay mounts at most" \
    imgd pull -q --driver=overlay deep:1

cli_end
