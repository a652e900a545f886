# shellcheck shell=sh
# Tests that run other TAP scripts and pass their lines on as their own.
# Source it; then
#
#     subtest NAME STATUS     number the lines of standard input, the output of
#                             a script that ended with STATUS; NAME stands
#                             before each, and one more says whether it ran to
#                             its end
#     subtests_end            the plan; last line of the test

n_tests=0
n_bad=0

subtest_line() { # WORD TEXT
	n_tests=$((n_tests + 1))
	echo "$1 $n_tests - $2"
	[ "$1" = ok ] || n_bad=$((n_bad + 1))
}

subtest() {
	n_seen=0
	n_planned=-1
	while IFS= read -r line; do
		case $line in
		'ok '[0-9]*)
			n_seen=$((n_seen + 1))
			subtest_line ok "$1: ${line#ok [0-9]* - }" ;;
		'not ok '[0-9]*)
			n_seen=$((n_seen + 1))
			subtest_line "not ok" "$1: ${line#not ok [0-9]* - }" ;;
		1..*)	n_planned=${line#1..} ;;
		*)	echo "# $line" ;;
		esac
	done
	if [ $n_seen -eq "$n_planned" ] && [ "$2" -eq 0 ]; then
		subtest_line ok "$1: ran to its end"
	else
		subtest_line "not ok" "$1: ran to its end (status $2)"
	fi
}

subtests_end() {
	echo "1..$n_tests"
	[ $n_bad -eq 0 ]
}
