#!/bin/sh
# Exported filesystems behind dm-verity: opened with the root hash that was
# told, they are the tree; one byte changed, and reading fails.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
dir=$(mktemp -d "$builddir/uml-verity-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

mkdir -m 700 "$dir/root"
mkdir -p "$dir/tree/d" "$dir/files"
# Nothing that compresses, so that most bytes of a file are somebody's.
head -c 300000 /dev/urandom >"$dir/tree/noise"
echo hello >"$dir/tree/d/f"
ln "$dir/tree/d/f" "$dir/tree/d/g"
touch -d 2020-01-01T00:00:00Z "$dir/tree/d" "$dir/tree/d/f" "$dir/tree/noise" \
    "$dir/tree"
"$srcdir/tests/lib/tree-list.py" "$dir/tree" >"$dir/want"
imgd() {
	"$program" --root "$dir/root" "$@" </dev/null
}
tar -C "$dir/tree" -c . | "$program" --root "$dir/root" import --driver=vfs - \
    noise:1 >/dev/null || exit 99
for format in ext4 squashfs erofs; do
	imgd export --format=$format --verity --json \
	    -o "$dir/files/$format" noise:1 |
	    jq -r '"\(.Format) \(.RootHash) \(.HashOffset)"' || exit 99
done >"$dir/list"
uml_run "$dir/run" -t 120 sh "$srcdir/tests/uml/verity-guest.sh" "$dir"
status=$?
flock -w 20 "$dir/root/lock" true
exit $status
