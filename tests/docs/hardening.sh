#!/bin/sh
# The program and its modules as they are installed have what compiler and
# linker can do against the use of their faults.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
tap_said=$(mktemp) || exit 99
dump=$(mktemp) || exit 99
trap 'rm -f "$tap_said" "$dump"' EXIT
. "$srcdir/tests/lib/tap.sh"

if grep -q 'define WITH_SANITIZERS' "$builddir/config.h"; then
	result 0 "built with sanitizers, which see more without"
	echo 1..1
	exit
fi

# has NAME PATTERN, hasnt NAME PATTERN: in what readelf says of $file.
has() {
	grep -Eq -- "$2" "$dump"
	result $? "$1: ${file##*/}"
}
hasnt() {
	! grep -E -- "$2" "$dump"
	result $? "$1: ${file##*/}"
}

find "$builddir/stage" -type f \( -path '*/bin/imgd' -o -name 'imgd-*.so' \) |
    sort >"$dump.list"
while IFS= read -r file; do
	readelf -W -h -l -d -n --dyn-syms "$file" >"$dump" 2>/dev/null
	has "position independent" 'Type: *DYN'
	has "tables read-only" 'GNU_RELRO'
	has "bound at once" 'BIND_NOW|Flags:.*NOW'
	has "a stack for data" 'GNU_STACK .* RW '
	hasnt "nothing writable and executable" 'LOAD .* RWE '
	hasnt "no code that is relocated" 'TEXTREL'
	hasnt "no search path" 'RPATH|RUNPATH'
	case ${file##*/} in
	imgd-prober.so) ;;
	*)	has "a guard on the stack" '__stack_chk_fail' ;;
	esac
	case $(uname -m) in
	# The C library's own start-up code may lack the mark for the whole.
	x86_64)	objdump -d "$file" | grep -qw endbr64
		result $? "branches checked: ${file##*/}" ;;
	esac
done <"$dump.list"
[ -s "$dump.list" ]
result $? "there is something to look at"
file=$(grep '/bin/imgd$' "$dump.list")
readelf -W --dyn-syms "$file" >"$dump"
has "checked copies" '__(memcpy|snprintf|read|vsnprintf|fdelt|strcpy|readlink)_chk'
rm -f "$dump.list"
echo "1..$n_tests"
[ $n_bad -eq 0 ]
