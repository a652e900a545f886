#!/bin/sh
# Memory of what tests/cli/test-limits.sh does not measure: pushes, of several
# layers at once, and pulls from registries of version 1.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/v1.sh"
registry_start "$dir/registry" || exit 99
there=127.0.0.1:$registry_port

# Layers of 30 MB, half of it incompressible.
python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n in range(5):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w",
                      format=tarfile.USTAR_FORMAT) as tar:
        for i in range(30):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 1 << 20
            tar.addfile(info, io.BytesIO(r.randbytes(1 << 19) +
                                         bytes(range(256)) * 2048))
EOT
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar" \
    "$dir/3.tar" "$dir/4.tar"
registry_push "$dir/oci:1" library/source:1 || exit 99
imgd pull -q "$there/library/source:1" >/dev/null || exit 99
wait_for_engine

# Sanitizers need several times as much for themselves.
limit=12288
ldd "$program" | grep -q libasan && limit=120000
peak() { # VERB…
	"$lib/peak-memory.py" "$program" "$program" --root "$root" \
	    --config "$dir/daemon.json" "$@" </dev/null 2>"$dir/peak" ||
	    { cat "$dir/peak"; return 1; }
	cat "$dir/peak"
	kb=$(sed -n 's/.*anon+shmem=\([0-9]*\).*/\1/p' "$dir/peak")
	[ "$kb" -gt 0 ] && [ "$kb" -le $limit ]
}

for compression in gzip zstd; do
	sql 'DELETE FROM sources; DELETE FROM layer_blobs;
	    UPDATE image_layers SET blob_digest = '"''"
	imgd tag "$there/library/source:1" "$there/$compression/image:1"
	wait_for_engine
	ok "a push with $compression, in at most $limit kB of memory" \
	    peak push -q --compression $compression "$there/$compression/image:1"
	sed 's/^/# /' "$dir/peak"
done
sql 'DELETE FROM sources; DELETE FROM layer_blobs'
imgd tag "$there/library/source:1" "$there/pieces/image:1"
wait_for_engine
ok "in pieces, too" peak push -q --retry 3 "$there/pieces/image:1"
sed 's/^/# /' "$dir/peak"
registry_stop

v1_start
wait_for_engine
ok "a pull from a registry of version 1" \
    peak pull -q "127.0.0.1:$v1_port/t/same:1"
sed 's/^/# /' "$dir/peak"
lying_stop
cli_end
