#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# The driver ABI stays as it was: the header compiles everywhere, its layout
# equals a list, and a driver built from a frozen copy of api 1 works.
set -u
. "$srcdir/tests/lib/examples.sh"
abi=$srcdir/tests/abi
program=$(find "$stage" -path '*/bin/imgd')
include=$(dirname "$(dirname "$(find "$stage" -path '*/imgd/driver.h')")")
dir=$(mktemp -d "$builddir/abi-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
n=0

ok() { # NAME COMMAND…
	n=$((n + 1))
	name=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		sed 's/^/# /' "$dir/log"
	fi
}

warnings="-pedantic -Wall -Wextra -Werror -fsyntax-only"
for header in driver error; do
	printf '#include "imgd/%s.h"\nextern int not_empty;\n' $header \
	    >"$dir/$header.c"
	cp "$dir/$header.c" "$dir/$header.cc"
	# shellcheck disable=SC2086 # flags
	ok "$header.h compiles as C90" ${CC:-cc} -std=c90 $warnings \
	    -I"$include" "$dir/$header.c"
	for std in c++98 c++17; do
		# stdint.h is no part of C++98, but all libraries have it.
		# shellcheck disable=SC2086 # flags
		ok "$header.h compiles as $std" ${CXX:-c++} -std=$std \
		    $warnings -I"$include" "$dir/$header.cc"
	done
done

layout() { # INCLUDE
	${CC:-cc} -I"$1" -o "$dir/layout" "$abi/layout.c" &&
	    "$dir/layout" | diff "$abi/layout-lp64" -
}
if [ "$(getconf LONG_BIT)" = 64 ]; then
	ok "fields and constants are where they were" layout "$include"
	ok "the frozen header has them there, too" layout "$abi/api-1"
fi

build_example minimal "$dir" >/dev/null || exit 99
old=$dir/old/${module##*/}
mkdir "$dir/old"
ok "a driver builds from the frozen header" ${CC:-cc} -std=c99 -fPIC -shared \
    -I"$abi/api-1" -o "$old" "${module%/*}/copies.c"
ok "that driver loads" "$program" driver info "$old"
ok "that driver passes the suite" "$program" driver test --root "$dir" "$old"

exported() {
	nm -D --defined-only "$program" |
	    awk '$2 ~ /[TDBR]/ && $3 ~ /^[a-z]/ && $3 !~ /@/ && \
		$3 != "main" && $3 != "data_start" { print $3 }' |
	    LC_ALL=C sort >"$dir/exported"
	grep -v '^#' "$abi/symbols-program" | LC_ALL=C sort |
	    diff - "$dir/exported"
}
ok "the program exports the listed symbols" exported
echo "1..$n"
