#!/bin/sh
# An archive of 400 MB is loaded and saved in little memory, whether it can be
# sought or not.
. "$srcdir/tests/lib/cli.sh"

mkdir "$dir/big"
python3 - "$dir" <<'EOT'
import os, sys
for i in range(40):
    with open("%s/big/%d" % (sys.argv[1], i), "wb") as f:
        for _ in range(20):
            f.write(os.urandom(1 << 18))
            f.write(bytes(range(256)) * 1024)
EOT
tar -C "$dir" -cf "$dir/big.tar" big
rm -rf "$dir/big"
"$lib/make-oci.py" --plain "$dir/oci" big "$dir/big.tar"
rm "$dir/big.tar"
tar -C "$dir/oci" -cf "$dir/archive.tar" .
rm -rf "$dir/oci"

peak() { # COMMAND…
	"$lib/peak-memory.py" "$program" "$@" 2>"$dir/peak" ||
	    { cat "$dir/peak"; return 1; }
	cat "$dir/peak"
	kb=$(sed -n 's/.*anon+shmem=\([0-9]*\).*/\1/p' "$dir/peak")
	[ "$kb" -gt 0 ] && [ "$kb" -le $limit ]
}
# Sanitizers need several times as much for themselves.
limit=12000
ldd "$program" | grep -q libasan && limit=60000
run() {
	"$program" --root "$root" --config "$dir/daemon.json" "$@"
}
by_file() {
	peak "$program" --root "$root" --config "$dir/daemon.json" load \
	    --driver="$driver" -i "$dir/archive.tar" </dev/null
}
by_pipe() {
	cat "$dir/archive.tar" | peak "$program" --root "$root" --config \
	    "$dir/daemon.json" load --driver="$driver"
}
save() {
	peak "$program" --root "$root" --config "$dir/daemon.json" save \
	    -o "$dir/saved.tar" "$id" </dev/null
}
ok "from a file: at most $limit kB" by_file
sed 's/^/# /' "$dir/peak"
id=$(run images -q --no-trunc </dev/null)
ok "saved: at most $limit kB" save
sed 's/^/# /' "$dir/peak"
rm "$dir/saved.tar"
run rmi "$id" </dev/null >/dev/null
ok "through a pipe: at most $limit kB" by_pipe
sed 's/^/# /' "$dir/peak"
cli_end
