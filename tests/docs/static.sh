#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# cppcheck has nothing to say of a part of the tree.  It does not know cleanup
# attributes, so leaks are left to the sanitizer.
set -u
cd "$srcdir" || exit 99
if ! command -v cppcheck >/dev/null; then
	echo "1..0 # SKIP there is no cppcheck"
	exit 0
fi
n=0
for part in adopt archive bench cli core drivers lib registry server tagstore; do
	n=$((n + 1))
	said=$(cppcheck -q --enable=warning,performance,portability \
	    --inline-suppr --error-exitcode=1 --suppress=missingIncludeSystem \
	    --suppress=memleak --suppress=memleakOnRealloc \
	    --suppress=resourceLeak -I. -Iinclude -I"$builddir" \
	    -DHAVE_CONFIG_H -DHAVE_SECCOMP "$part" 2>&1)
	if [ $? -eq 0 ]; then
		echo "ok $n - $part"
	else
		echo "not ok $n - $part"
		echo "$said" | sed 's/^/# /'
	fi
done
echo "1..$n"
