#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# The driver that opens imgd-driver(3) compiles against the installed headers
# alone and offers its one symbol.
set -u
dir=$(mktemp -d "$builddir/example-driver-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
${AWK:-awk} '/^\.Bd -literal/ && !seen { on = seen = 1; next }
    on && /^\.Ed/ { on = 0 }
    on { sub(/^\\&/, ""); gsub(/\\e/, "\\"); print }' \
    "$srcdir/man/imgd-driver.3" >"$dir/example.c"

if grep -q IMGD_REGISTER_DRIVER "$dir/example.c"; then
	echo "ok 1 - the page opens with a driver"
else
	echo "not ok 1 - the page opens with a driver"
fi
if ${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror -fPIC -shared \
    -I"$srcdir/include" -o "$dir/example.so" "$dir/example.c" \
    >"$dir/log" 2>&1; then
	echo "ok 2 - it compiles against the headers alone"
else
	echo "not ok 2 - it compiles against the headers alone"
	sed 's/^/# /' "$dir/log"
fi
if nm -D --defined-only "$dir/example.so" 2>/dev/null |
    grep -q ' imgd_driver_init$'; then
	echo "ok 3 - it exports imgd_driver_init"
else
	echo "not ok 3 - it exports imgd_driver_init"
fi
printf '#include "imgd/driver.h"\nextern int not_empty;\n' >"$dir/h.c"
if ${CC:-cc} -std=c90 -pedantic -Wall -Wextra -Werror -fsyntax-only \
    -I"$srcdir/include" "$dir/h.c" 2>"$dir/log"; then
	echo "ok 4 - the headers compile as C90"
else
	echo "not ok 4 - the headers compile as C90"
	sed 's/^/# /' "$dir/log"
fi
echo "1..4"
