#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Layers come out of other engines' directories byte for byte, and what is
# damaged or forged there is refused by name.
set -u
tool=$builddir/tests/lib/adopt-tool
lib=$srcdir/tests/lib
dir=$(mktemp -d "${TMPDIR:-/tmp}/imgd-adopt-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
n=0
n_bad=0

result() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $2"
		sed 's/^/# /' "$dir/out"
	fi
}

ok() {
	ok_name=$1
	shift
	"$@" >"$dir/out" 2>&1
	result $? "$ok_name"
}

# refused NAME PATTERN COMMAND…: exit 1 and one line that matches.
refused() {
	ok_name=$1
	ok_pattern=$2
	shift 2
	"$@" >/dev/null 2>"$dir/out"
	[ $? -eq 1 ] && [ "$(wc -l <"$dir/out")" -eq 1 ] &&
	    grep -Eq "$ok_pattern" "$dir/out"
	result $? "$ok_name"
}

# every_layer DIR: all images' layers have the digests that their configs say.
every_layer() {
	"$tool" list "$1" >"$dir/list" || return 1
	[ -s "$dir/list" ] || return 1
	while read -r id driver _; do
		i=0
		for want in $("$tool" layers "$1" "$driver" "$id"); do
			"$tool" layer "$1" "$driver" "$id" $i >"$dir/tar" ||
			    return 1
			[ "sha256:$(sha256sum <"$dir/tar" | cut -c1-64)" = \
			    "$want" ] || return 1
			i=$((i + 1))
		done
		[ $i -gt 0 ] || return 1
	done <"$dir/list"
}

python3 "$lib/make-adopt.py" "$dir/made" || exit 99
listing() { # below made/, with times
	(cd "$dir/made" && find . -printf '%p %y %s %T@\n' | sort)
}
listing >"$dir/before"

for d in overlay2 overlay fuse-overlayfs aufs btrfs vfs; do
	ok "Docker's $d: layers byte for byte" every_layer "$dir/made/$d"
done
for d in overlay vfs; do
	ok "containers-storage's $d: layers byte for byte" \
	    every_layer "$dir/made/cs-$d"
done
id=$("$tool" list "$dir/made/overlay2" | cut -d' ' -f1)
layer() { # CASE N [DRIVER]
	"$tool" layer "$dir/made/$1" "${3:-overlay2}" "$id" "$2"
}
refused "a flipped byte names the file" 'etc/motd: damaged' layer flipped 0
refused "a missing file is named" 'etc/motd: No such file' layer missing 0
refused "a file of another size is named" 'etc/motd: it has .* bytes' \
    layer longer 0
refused "a file that is a link now is not followed" 'etc/motd: ' \
    layer linked 0
refused "a layer without a tar-split" 'its tar-split' layer no-split 0
refused "a tar-split cut short" 'cut|truncated|unexpected|end' \
    layer cut-split 0
refused "a forged cache-id" '\.\./\.\./x.* is no cache-id' layer forged 0
refused "a layer's directory that is a link" 'its tree' layer link-dir 0
refused "a link to the whole driver's directory" 'its tree' layer link-top 0
refused "another layer's metadata" "another layer's" layer other-diff 0
refused "a line without end" 'longer than' layer long-line 0
refused "a nested line" 'tar-split: line 1: .*deep|nest' layer deep-line 0
refused "a file without a name" 'line 1: a file without' layer no-name 0
refused "a name that points to nothing" 'not there' \
    "$tool" image "$dir/made/dangling" overlay2 \
    "sha256:$(printf '%064d' 7)"
refused "a damaged config" 'its config is damaged' \
    "$tool" image "$dir/made/bad-config" overlay2 "$id"
refused "huge names" 'repositories.json: longer than' \
    "$tool" list "$dir/made/huge"
refused "nested names" 'repositories.json: .*(deep|nest)' \
    "$tool" list "$dir/made/nested"
refused "a storage driver that cannot be read is named" 'devicemapper' \
    layer devicemapper 0 devicemapper
refused "a directory of nobody's" 'no images of Docker' \
    "$tool" list "$dir"
listing >"$dir/after"
ok "nothing there was changed" cmp "$dir/before" "$dir/after"

echo "1..$n"
[ $n_bad -eq 0 ]
