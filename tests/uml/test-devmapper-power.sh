#!/bin/sh
# Power cuts under the devmapper driver: what a flush made durable is there
# afterwards, without help, and the pool is sound.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
guest=$builddir/tests/driver/devmapper-guest
if [ ! -x "$guest" ]; then
	echo "1..0 # SKIP the devmapper driver is not built"
	exit 0
fi
dir=$(mktemp -d "$builddir/uml-power-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
rounds=3
[ -z "${IMGD_TEST_SCALE:-}" ] || rounds=20
n=0
n_bad=0

result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $2"
		sed 's/^/# /' "$dir/log"
	fi
}

for fs in ext4 xfs; do
	rm -f "$dir/disk" "$dir/durable"
	truncate -s 6G "$dir/disk"
	mkfs.ext4 -q "$dir/disk" || exit 99
	: >"$dir/durable"
	round=0
	while [ $round -lt $rounds ]; do
		round=$((round + 1))
		uml_start "$dir/run" -d "$dir/disk" -t 300 env \
		    IMGD_TEST_STORES=/run/disk "$guest" $fs work $round
		uml_wait "$dir/run" '^durable' 120 >"$dir/log" 2>&1
		result $? "$fs: work goes on, round $round"
		# Any moment will do.
		sleep "$(awk -v s=$$$round 'BEGIN { srand(s); print 2 * rand() }')"
		uml_power_cut
		# The last line may be half written.
		sed '$d' "$dir/run/output" | grep '^durable' >>"$dir/durable"
		{ echo "exec '$guest' $fs verify - <<'END'"
		    cat "$dir/durable"; echo END; } >"$dir/verify"
		uml_run "$dir/run" -d "$dir/disk" -s "$dir" env \
		    IMGD_TEST_STORES=/run/disk sh "$dir/verify" >"$dir/log" 2>&1
		result $? "$fs: all is there after power cut $round"
		grep -q "^verified $(wc -l <"$dir/durable")$" "$dir/log"
		result $? "$fs: and was looked at, round $round"
	done
done
echo "1..$n"
[ $n_bad -eq 0 ]
