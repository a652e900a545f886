#!/bin/sh
# Workers and clients that say what they should not: the pull fails with one
# line, and the engine goes on with all that it had.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"
evil=$srcdir/tests/evil

printf x >"$dir/x"
tar -C "$dir" -cf "$dir/x.tar" x
"$lib/make-oci.py" "$dir/oci" 1 "$dir/x.tar"
tar -C "$dir/oci" -cf "$dir/image.tar" .
id=$(jq -r '.manifests[0].digest' "$dir/oci/index.json" | cut -c8- |
    xargs -I{} jq -r .config.digest "$dir/oci/blobs/sha256/{}")
"$evil/evil_messages.py" write "$dir/all" >"$dir/names" || exit 99

# A program of its own, whose workers are ours.
enter() { # WORKER: who is false
	rm -rf "$dir/false"
	cp -a "$builddir/stage" "$dir/false"
	program=$(find "$dir/false" -path '*/bin/imgd')
	cp "$builddir/tests/evil/.libs/fake-worker.so" \
	    "${program%/bin/imgd}/lib/imgd/workers/imgd-$1.so"
	rm -rf "$dir/messages"
	mkdir "$dir/messages"
	daemon_start || exit 99
}
descriptors() {
	find "/proc/$daemon_pid/fd" -type l | wc -l
}
had() {
	no_jobs && [ "$(descriptors)" -le "$1" ]
}
sound() { # NAME
	alive() { kill -0 "$daemon_pid"; }
	ok "$1: the engine lives" alive
	ok "$1: it has no more descriptors than before" wait_for had "$before"
	ok "$1: the store is sound" imgd fsck
}
names() { # KIND
	sed -n "s/^$1 //p" "$dir/names"
}

daemon_start || exit 99
ok "an engine" imgd load -q -i "$dir/image.tar"
ok "and its store is empty" imgd rmi "$id"
before=$(descriptors)
jobs() {
	"$evil/evil_messages.py" job "$root/sock" && had_no_bad
}
had_no_bad() { ! grep -q ^bad "$dir/out"; }
ok "clients that are none" jobs
sound "clients that are none"
daemon_stop

enter puller
cp "$dir"/all/puller/* "$dir/messages"
refused "an engine with a false puller" . \
    imgd pull -q 127.0.0.1:1/t/layer-noise:1
before=$(descriptors)
for name in $(names puller); do
	refused "puller: $name" . timeout 60 "$program" --root "$root" \
	    --config "$dir/daemon.json" pull -q "127.0.0.1:1/t/$name:1"
done
sound "a false puller"
daemon_stop

enter unpacker
cp "$dir/all/worker/noise" "$dir/messages/unpacker"
refused "an engine with false unpackers" . imgd load -i "$dir/image.tar"
before=$(descriptors)
for name in $(names worker); do
	rm -f "$dir"/messages/*
	for file in "$dir/all/worker/$name" "$dir/all/worker/$name".*; do
		[ ! -e "$file" ] || cp "$file" \
		    "$dir/messages/unpacker${file#"$dir/all/worker/$name"}"
	done
	refused "unpacker: $name" . timeout 60 "$program" --root "$root" \
	    --config "$dir/daemon.json" load -i "$dir/image.tar"
done
sound "a false unpacker"
daemon_stop
cli_end
