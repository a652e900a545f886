#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# The drivers that are shipped as examples build against what is installed,
# without a warning, install themselves, and pass the conformance suite.
. "$srcdir/tests/lib/subtests.sh"
. "$srcdir/tests/lib/examples.sh"
dir=$(mktemp -d "$builddir/examples-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
program=$(find "$stage" -path '*/bin/imgd')
IMGD_FAULT_MODULE=$(find "$stage" -name imgd-vfs-driver.so)
export IMGD_FAULT_MODULE

check_line() { # STATUS NAME
	if [ "$1" -eq 0 ]; then
		subtest_line ok "$2"
	else
		subtest_line "not ok" "$2"
	fi
}

for name in minimal hardlink fault; do
	build_example $name "$dir" \
	    CFLAGS='-O2 -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror'
	check_line $? "$name builds without a warning"
	"$program" driver test --root "$dir" "$module" >"$dir/out" 2>/dev/null
	subtest "$name" $? <"$dir/out"
	[ "$(grep -c '^ok ' "$dir/out")" -gt 50 ]
	check_line $? "$name: more than fifty cases"
	build_example $name "$dir" DESTDIR="$dir/$name" install
	find "$dir/$name" -path "*/imgd/drivers/${module##*/}" | grep -q .
	check_line $? "$name installs itself"
done
subtests_end
