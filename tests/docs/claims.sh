#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# What docs/ claims is shown by tests that are there.
set -u
cd "$srcdir" || exit 99
n=0
for page in docs/*.md; do
	n=$((n + 1))
	missing=$(grep -o 'tests/[A-Za-z0-9_./-]*' "$page" | sort -u |
	    while read -r path; do
		[ -e "${path%.}" ] || echo "$path"
	    done)
	if [ -z "$missing" ] && grep -q 'tests/' "$page"; then
		echo "ok $n - $page names tests that are there"
	else
		echo "not ok $n - $page names tests that are there"
		echo "$missing" | sed 's/^/# /'
	fi
done
echo "1..$n"
