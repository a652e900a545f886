# shellcheck shell=sh
# TAP for tests that run commands.  Set $tap_said, a file that may be written, and
# source it; then
#
#     result STATUS NAME      a test's line
#     ok NAME COMMAND…        the command succeeds; what it says is shown if not
#
# $n_tests counts them, $n_bad those that failed.

n_tests=0
n_bad=0

result() {
	n_tests=$((n_tests + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n_tests - $2"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n_tests - $2"
	fi
}

ok() {
	ok_name=$1
	shift
	if "$@" >"$tap_said" 2>&1; then
		result 0 "$ok_name"
	else
		result 1 "$ok_name"
		sed 's/^/# /' "$tap_said"
	fi
}
