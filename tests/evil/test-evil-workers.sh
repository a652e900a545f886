#!/bin/sh
# Workers and clients that say what they should not: the pull fails with one
# line, and the engine goes on with all that it had.
. "$srcdir/tests/lib/cli.sh"
unset IMGD_LEAKS # so that workers are confined
. "$srcdir/tests/lib/daemon.sh"
evil=$srcdir/tests/evil

printf x >"$dir/x"
tar -C "$dir" -cf "$dir/x.tar" x
"$lib/make-oci.py" "$dir/oci" 1 "$dir/x.tar"
tar -C "$dir/oci" -cf "$dir/image.tar" .
printf y >"$dir/y"
tar -C "$dir" -cf "$dir/y.tar" y
"$lib/make-oci.py" "$dir/oci-kept" 1 "$dir/y.tar"
tar -C "$dir/oci-kept" -cf "$dir/kept.tar" .
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
	rm -rf "$dir/messages" "$dir/spoken"
	mkdir "$dir/messages"
	daemon_start || exit 99
}
# Each of them was started, and said its piece.
have_spoken() { # NUMBER
	[ "$(stat -c %s "$dir/spoken")" -ge "$1" ]
}
say() { # NAME: what a false unpacker or packer is to say
	rm -f "$dir"/messages/*
	for file in "$dir/all/worker/$1" "$dir/all/worker/$1".*; do
		[ ! -e "$file" ] || cp "$file" \
		    "$dir/messages/unpacker${file#"$dir/all/worker/$1"}"
	done
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

honest=$program
daemon_start || exit 99
ok "an engine" imgd load -q -i "$dir/image.tar"
ok "and its store is empty" imgd rmi "$id"
ok "but for another image" imgd load -q -i "$dir/kept.tar"
kept=$(imgd images -q)
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
ok "each false puller has spoken" have_spoken \
    "$(names puller | wc -w)"
sound "a false puller"
daemon_stop

enter unpacker
cp "$dir/all/worker/noise" "$dir/messages/unpacker"
refused "an engine with false unpackers" . imgd load -i "$dir/image.tar"
before=$(descriptors)
for name in $(names worker); do
	say "$name"
	refused "unpacker: $name" . timeout 60 "$program" --root "$root" \
	    --config "$dir/daemon.json" load -i "$dir/image.tar"
done
ok "each false unpacker has spoken" have_spoken \
    "$(names worker | wc -w)"
sound "a false unpacker"
for name in $(names worker); do
	say "$name"
	refused "packer: $name" . timeout 60 "$program" --root "$root" \
	    --config "$dir/daemon.json" save -o "$dir/saved" "$kept"
done
ok "each false packer has spoken" have_spoken \
    "$((2 * $(names worker | wc -w)))"
ok "and nothing was saved" test ! -e "$dir/saved"
# What a packer says of a layer is noted; an honest one looks again.
ok "a false packer: the engine lives" kill -0 "$daemon_pid"
ok "a false packer: it has no more descriptors than before" wait_for had \
    "$before"
daemon_stop
program=$honest
ok "a false packer: the store is sound" imgd fsck --deep
ok "and the image is all there" imgd save -o "$dir/saved" "$kept"
cli_end
