#!/bin/sh
# The user-mode kernel harness itself: output, status, disks, power, time.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/uml/uml.sh"

if reason=$(uml_missing); then
	echo "1..0 # SKIP $reason"
	exit 0
fi
dir=$(mktemp -d "$builddir/uml-test-XXXXXX") || exit 99
trap 'uml_power_cut; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
n=0
n_bad=0

ok() { # NAME COMMAND…
	name=$1
	shift
	n=$((n + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $n - $name"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $name"
		sed 's/^/# /' "$dir/log"
	fi
}

truncate -s 256M "$dir/disk"
mkfs.ext4 -q "$dir/disk" || exit 99

uml_run "$dir/run" -d "$dir/disk" sh -c '
	echo "a line"
	printf "%s|" "$@"; echo
	test -f "$srcdir/tests/uml/uml.sh" && echo "sources are there"
	touch "$srcdir/x" "$builddir/x" 2>/dev/null || echo "and read-only"
	touch "$imgd_dir/x" && echo "the run'\''s directory is not"
	findmnt -no FSTYPE /run/disk
	exit 3' sh "two words" "a'quote" >"$dir/out" 2>&1
status=$?
ok "the exit status comes back" test $status -eq 3
cat >"$dir/wanted" <<-'EOT'
	a line
	two words|a'quote|
	sources are there
	and read-only
	the run's directory is not
	ext4
EOT
ok "the output comes back, and nothing else" diff "$dir/wanted" "$dir/out"
ok "what the guest wrote into the run's directory is here" \
    test -e "$dir/run/x"
ok "one's own kernel" grep -q . "$dir/run/console"

uml_start "$dir/run" -d "$dir/disk" sh -c '
	cd /run/disk
	echo kept >kept
	sync kept && sync .
	echo lost >lost
	echo READY
	sleep 60'
ok "a line is waited for" uml_wait "$dir/run" '^READY$'
session=$uml_pid
uml_power_cut
left() {
	uml_pid=$session
	test -z "$(uml_processes)"
	found=$?
	uml_pid=
	return $found
}
ok "no process is left of a cut kernel" left
uml_run "$dir/run" -d "$dir/disk" sh -c '
	cat /run/disk/kept; cat /run/disk/lost 2>/dev/null' >"$dir/out" 2>&1
ok "after a power cut synced files are there and others are not" \
    test "$(cat "$dir/out")" = kept

begin=$(date +%s)
uml_run "$dir/run" -t 6 sleep 100 >"$dir/out" 2>&1
status=$?
ok "a time limit ends it" test $status -eq 124
ok "in time" test $(($(date +%s) - begin)) -le 12
uml_run "$dir/run" sh -c 'echo c >/proc/sysrq-trigger; sleep 60' \
    >"$dir/out" 2>&1
status=$?
ok "a panic is no success" test $status -eq 125

echo "1..$n"
[ $n_bad -eq 0 ]
