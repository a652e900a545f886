#!/bin/sh
# 100 MB over a link that dies every 10 MB arrive although imgd is killed three
# times and the power is cut, and hardly a byte comes twice.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
dir=$(mktemp -d "$builddir/weak-power-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
n=0
n_bad=0

result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $2"
	fi
}

weak_dir=$dir
. "$srcdir/tests/lib/weak.sh"
weak_make_image hundred 100
blob=$(weak_blob hundred)
size=$(stat -c %s "$dir/oci/blobs/sha256/${blob#sha256:}")
truncate -s 1G "$dir/disk"
mkfs.ext4 -q "$dir/disk" || exit 99

uml_start "$dir/run" -d "$dir/disk" -t 900 \
    sh "$srcdir/tests/uml/weak-guest.sh" work "$dir"
uml_wait "$dir/run" '^AT [3-9]........*$' 600
result $? "killed three times, it has 30 MB"
uml_power_cut
# The whole log is said each time; what is being sent is what it has beyond.
tr -d '\r' <"$dir/run/output" >"$dir/output"
reached=$(sed -n 's/^AT //p' "$dir/output" | tail -n 1)
awk -v blob="$blob" '$1 == "AT" { at = $2; n = end = 0 }
    $1 == "LOG" && $2 == blob { n += $4; end = $3 + $4 }
    END { print n + (at > end ? at - end : 0) }' "$dir/output" >"$dir/sent"
read -r sent <"$dir/sent"

uml_run "$dir/run" -d "$dir/disk" -t 900 \
    sh "$srcdir/tests/uml/weak-guest.sh" finish "$dir" >"$dir/output" 2>&1
status=$?
[ $status -eq 0 ] && grep -q FINISHED "$dir/output"
result $? "after the power cut the image arrives, exact"
first=$(tr -d '\r' <"$dir/output" | awk -v blob="$blob" \
    '$1 == "LOG" && $2 == blob { print $3; exit }')
more=$(tr -d '\r' <"$dir/output" | awk -v blob="$blob" \
    '$1 == "LOG" && $2 == blob { n += $4 } END { print n + 0 }')
echo "# cut at $reached, gone on at $first; $((sent + more)) bytes for $size"
[ "${first:-0}" -gt 20000000 ]
result $? "it goes on where it was"
[ "$more" -gt 0 ] && [ $((sent + more)) -lt $((size / 100 * 105)) ]
result $? "less than 5 % came twice"
[ $n_bad -eq 0 ] || sed 's/^/# /' "$dir/output"
echo "1..$n"
[ $n_bad -eq 0 ]
