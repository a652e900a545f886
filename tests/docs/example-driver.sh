#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# imgd-driver(3) opens with a whole driver, which is the smallest example; the
# suite is run on that one.
set -u
dir=$(mktemp -d "$builddir/example-driver-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
${AWK:-awk} '/^\.Bd -literal/ && !seen { on = seen = 1; next }
    on && /^\.Ed/ { on = 0 }
    on { sub(/^\\&/, ""); gsub(/\\e/, "\\"); print }' \
    "$srcdir/man/imgd-driver.3" >"$dir/copies.c"

if grep -q IMGD_REGISTER_DRIVER "$dir/copies.c"; then
	echo "ok 1 - the page opens with a driver"
else
	echo "not ok 1 - the page opens with a driver"
fi
if diff "$srcdir/examples/driver-minimal/copies.c" "$dir/copies.c" \
    >"$dir/log"; then
	echo "ok 2 - it is the example driver-minimal"
else
	echo "not ok 2 - it is the example driver-minimal"
	sed 's/^/# /' "$dir/log"
fi
# What a reader is told to type there works with what is installed.
include=$(dirname "$(dirname "$(find "$builddir/stage" \
    -path '*/imgd/driver.h')")")
program=$(find "$builddir/stage" -path '*/bin/imgd')
if (cd "$dir" && ${CC:-cc} -std=c99 -fPIC -shared -I"$include" \
    -o imgd-copies-driver.so copies.c &&
    "$program" driver info ./imgd-copies-driver.so) >"$dir/log" 2>&1; then
	echo "ok 3 - it compiles and loads"
else
	echo "not ok 3 - it compiles and loads"
	sed 's/^/# /' "$dir/log"
fi
echo "1..3"
