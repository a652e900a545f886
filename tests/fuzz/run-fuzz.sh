#!/bin/sh
# Build a fuzz target with clang and run it for a while; make fuzz does so.
#
# usage: run-fuzz.sh SOURCE-DIR BUILD-DIR NAME SECONDS
#
# What it learns stays in BUILD-DIR/fuzz/corpus/NAME, what it finds in
# BUILD-DIR/fuzz/found/NAME-…; a find goes into tests/fuzz/crashes/NAME.
set -eu
srcdir=$1
builddir=$2/fuzz
name=$3
seconds=$4

if [ ! -f "$srcdir/tests/fuzz/fuzz-$name.c" ]; then
	echo "make fuzz: FUZZ= is none of:" \
	    "$(cd "$srcdir/tests/fuzz" && echo fuzz-*.c |
		sed 's/fuzz-//g; s/\.c//g')" >&2
	exit 2
fi
main=$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a" \
    2>/dev/null) || main=
if [ ! -f "$main" ]; then
	echo "make fuzz: clang with libFuzzer is needed: on Debian 12," \
	    "apt install clang libclang-rt-14-dev" >&2
	exit 2
fi

mkdir -p "$builddir"
cd "$builddir"
[ -e Makefile ] || "$srcdir/configure" --quiet CC=clang CFLAGS="-O1 -g" \
    --enable-sanitizers=fuzzer-no-link,address,undefined
make --silent -j"$(nproc)" tests/lib/tar-tool
rm -f "tests/fuzz/fuzz-$name"
make --silent -j"$(nproc)" "tests/fuzz/fuzz-$name" FUZZ_MAIN="$main" \
    CCLD=clang++
mkdir -p "corpus/$name" found
rm -rf seeds
"$srcdir/tests/fuzz/make-seeds.py" seeds tests/lib/tar-tool
set -- "corpus/$name" "seeds/$name"
[ ! -d "$srcdir/tests/fuzz/crashes/$name" ] ||
    set -- "$@" "$srcdir/tests/fuzz/crashes/$name"
exec "tests/fuzz/fuzz-$name" -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="found/$name-" "$@"
