#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# gcc's analyzer and clang-tidy, with clang's, have nothing to say of a part of
# the tree.  .clang-tidy names what is not asked for, and why.
#
# gcc 12 loses sight of what goes into the members of an array, and takes it for
# a leak; of leaks the sanitizers tell.  Of a function's paths clang is to see
# 30000 steps: it would be at it three times as long with the 225000 that it has
# otherwise, and says no more.
set -u
cd "$srcdir" || exit 99
if grep -q 'define WITH_SANITIZERS' "$builddir/config.h"; then
	echo "1..0 # SKIP the same text as without sanitizers"
	exit 0
fi
case $(gcc -dumpversion 2>&1),$(clang-tidy --version 2>&1) in
12,*'LLVM version 14.'*) ;;
*)
	echo "1..0 # SKIP gcc 12 and clang-tidy 14 are what it is made for"
	exit 0
	;;
esac
flags="-std=gnu11 -DHAVE_CONFIG_H -I. -Iinclude -I$builddir
    $(pkg-config --cflags json-c ext2fs com_err)"
export flags

# The one file that is itself what analysis.h tells of is seen without.
# shellcheck disable=SC2016 # for another shell
look='
	model="-include tests/docs/analysis.h"
	[ "$1" != lib/error.c ] || model=
	said=$(gcc -O2 -fanalyzer -Werror -Wno-analyzer-malloc-leak $model \
	    $flags -c -o /dev/null "$1" 2>&1) || status=1
	also=$(clang-tidy -quiet --extra-arg=-Xclang \
	    --extra-arg=-analyzer-config --extra-arg=-Xclang \
	    --extra-arg=max-nodes=30000 "$1" -- $model $flags 2>&1) || status=1
	[ -z "${status:-}" ] || printf "%s\n%s\n" "$said" "$also"
	exit "${status:-0}"'

n=0
for part in adopt archive bench cli core drivers lib registry server tagstore; do
	n=$((n + 1))
	said=$(find "$part" -name '*.c' -print0 |
	    xargs -0 -P "$(nproc)" -n 1 sh -c "$look" look)
	if [ $? -eq 0 ]; then
		echo "ok $n - $part"
	else
		echo "not ok $n - $part"
		echo "$said" | sed 's/^/# /'
	fi
done
echo "1..$n"
