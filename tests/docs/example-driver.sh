#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# The driver that opens imgd-driver(3) compiles against the installed headers
# alone, offers its one symbol, and passes the conformance suite.
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
# It passes the suite as it stands: eight functions make a driver.
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
name=$(sed -n 's/.*\.name = "\(.*\)".*/\1/p' "$dir/example.c")
mv "$dir/example.so" "$dir/imgd-$name-driver.so"
if "$program" driver test --root "$dir" "$dir/imgd-$name-driver.so" \
    >"$dir/log" 2>/dev/null; then
	echo "ok 5 - it passes the conformance suite"
else
	echo "not ok 5 - it passes the conformance suite"
	sed 's/^/# /' "$dir/log"
fi
if [ "$(grep -c '^ok ' "$dir/log")" -gt 50 ]; then
	echo "ok 6 - more than fifty cases of it"
else
	echo "not ok 6 - more than fifty cases of it"
fi
echo "1..6"
