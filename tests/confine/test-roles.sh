#!/bin/sh
# What each kind of worker could do once it was taken over: modules that are the
# real ones, but try what is forbidden in the place of reading what is hostile.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
unset IMGD_LEAKS # so that workers are confined
modules=$builddir/tests/confine/.libs
# What is missing here but for Landlock, which says again what the rest does.
missing=$(imgd info | sed -n 's/^Confinement: //p' |
    sed 's/^full$//; s/landlock ([^)]*)//; s/^without [; ]*$//')
if [ -n "$missing" ]; then
	echo "1..0 # SKIP confined $missing"
	exit 0
fi

echo hello >"$dir/hello"
tar -C "$dir" -cf "$dir/layer.tar" hello
mkdir "$dir/mnt" "$dir/docker"
ok "an image" imgd import "$dir/layer.tar" base:1
ok "a container" imgd create box base:1
ok "that is changed" sh -c "'$program' --root '$root' --config \
    '$dir/daemon.json' mount box '$dir/mnt' && touch '$dir/mnt/changed' &&
    umount '$dir/mnt'"
imgd umount box >/dev/null 2>&1
ok "an archive" imgd save -o "$dir/archive.tar" base:1

# The same program, with other modules.
real=$program
mkdir "$dir/stage"
cp -a "$builddir/stage/." "$dir/stage"
program=$dir/stage${real#"$builddir/stage"}
workers=$(dirname "$(find "$dir/stage" -name imgd-unpacker.so)")
with() { # ROLE: of these only its module
	wait_for_engine
	cp "$(dirname "$(find "$builddir/stage" -name imgd-unpacker.so)")"/*.so \
	    "$workers"
	[ -z "$1" ] || cp "$modules/imgd-$1.so" "$workers"
}

# tried NAME COUNT: a line for each thing, of which there are so many.
tried() {
	grep -o 'tried: .*' "$dir/said" | tr ' ' '\n' |
	    grep '=' | sort -u >"$dir/tries"
	while IFS='=' read -r name code; do
		[ "$code" != DONE ]
		result $? "$1: $name ($code)"
	done <"$dir/tries"
	[ "$(wc -l <"$dir/tries")" -ge "$2" ]
	result $? "$1: all was tried"
	[ -s "$dir/tries" ] || sed 's/^/# /' "$dir/said"
}

with unpacker
tar -C "$dir" -cf "$dir/other.tar" docker
imgd import "$dir/other.tar" other:1 >"$dir/said" 2>&1
tried unpacker 41
imgd save -o "$dir/x.tar" base:1 >"$dir/said" 2>&1
tried packer 43
imgd export -o "$dir/x.tar" box >"$dir/said" 2>&1
tried exporter 43
imgd commit box box:1 >"$dir/said" 2>&1
tried "packer of changes" 43

with loader
imgd load -i "$dir/archive.tar" >"$dir/said" 2>&1
tried loader 43

with adopter
imgd adopt "$dir/docker" >"$dir/said" 2>&1
tried adopter 42

with puller
imgd pull -q 127.0.0.1:1/x/y:1 >"$dir/said" 2>&1
tried puller 42
with ""

if [ -e /usr/bin/mksquashfs ]; then
	cp "$builddir/tests/confine/try-tool" "$dir/tool"
	chmod 755 "$dir/tool"
	mount --bind "$dir/tool" /usr/bin/mksquashfs
	imgd export --format=squashfs -o "$dir/x.sqfs" base:1 >"$dir/said" 2>&1
	tried "maker's program" 1
	grep -q '^31-things=' "$dir/tries"
	result $? "maker's program: all things were tried"
	umount /usr/bin/mksquashfs
fi
cli_end
