#!/bin/sh
# What fuzzing began with and what it found, given to each target once more.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
set -u
dir=$(mktemp -d "${TMPDIR:-/tmp}/imgd-fuzz-XXXXXX") || exit 99
tap_said=$dir/out
. "$srcdir/tests/lib/tap.sh"
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
fuzz=$srcdir/tests/fuzz
"$fuzz/make-seeds.py" "$dir/seeds" "$builddir/tests/lib/tar-tool" || exit 99

for source in "$fuzz"/fuzz-*.c; do
	name=${source##*/fuzz-}
	name=${name%.c}
	set -- "$dir/seeds/$name"
	[ ! -d "$fuzz/crashes/$name" ] || set -- "$@" "$fuzz/crashes/$name"
	timeout 300 "$builddir/tests/fuzz/fuzz-$name" "$@" \
	    >"$dir/out" 2>"$dir/err"
	status=$?
	n=$(grep -c '^ends ' "$dir/out")
	[ $status -eq 0 ] && [ "$n" -eq "$(find "$@" -type f | wc -l)" ] &&
	    [ "$n" -gt 0 ]
	result $? "$name: $n inputs"
	if [ $status -ne 0 ]; then
		tail -n 1 "$dir/out" | sed "s/^/# status $status, /"
		head -n 40 "$dir/err" | sed 's/^/# /'
	fi
done
echo "1..$n_tests"
[ $n_bad -eq 0 ]
