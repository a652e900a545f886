# shellcheck shell=sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# What command-line tests share: a fresh directory, the program as it was
# installed, TAP, and a look for leaks at the end.  Source it; then
#
#     ok NAME COMMAND…            the command succeeds
#     refused NAME PATTERN COMMAND…
#                                 it exits 1, says one line on stderr that
#                                 matches PATTERN, and leaves the store as it was
#     imgd …                      the program on the test's own store
#     job NAME [ARGUMENT…] [-- KEY=VALUE…]
#                                 a job as the API's server runs it
#     is_job NAME                 one of that name runs
#     use_mirror PORT             plain names come from that registry
#     sql TEXT                    run on the store's database
#     wait_for COMMAND…           until it succeeds, a minute at most
#     fsck_says STATUS PATTERN ARGUMENT…
#                                 it ends so and says that
#     cli_end                     the last line of each test
#
# $dir is the fresh directory, $root the store; $drivers are those to try, and
# $driver is the last of them.  IMGD_TEST_DRIVERS and IMGD_TEST_OPTIONS, a list
# of storage options, are other drivers than vfs and overlay.

. "$srcdir/tests/lib/registry.sh"
. "$srcdir/tests/lib/tap.sh"
. "$srcdir/tests/lib/wait.sh"

program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
lib=$srcdir/tests/lib
lying_pid=

dir=$(mktemp -d "${TMPDIR:-/tmp}/imgd-test-XXXXXX") || exit 99
root=$dir/root
tap_said=$dir/out
mkdir -m 700 "$root"
drivers=${IMGD_TEST_DRIVERS:-vfs overlay}
driver=${drivers##* }

# configure [KEY-AND-VALUE]: write the configuration.
configure() {
	opts=
	for opt in ${IMGD_TEST_OPTIONS:-}; do
		opts="$opts${opts:+, }\"$opt\""
	done
	printf '{ "storage-opts": [ %s ]%s }\n' "$opts" "${1:+, $1}" \
	    >"$dir/daemon.json"
}
configure
unset IMGD_DEBUG DOCKER_CONFIG
# An engine has no standard error: sanitizers write here, and cli_end looks.
mkdir "$dir/sanitizer"
ASAN_OPTIONS=log_path=$dir/sanitizer/said
UBSAN_OPTIONS=log_path=$dir/sanitizer/said:print_stacktrace=1
TSAN_OPTIONS=log_path=$dir/sanitizer/said
# Workers are looked at, too, where the build can (core/leave.h).
IMGD_LEAKS=1
export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS IMGD_LEAKS
HOME=$dir
PYTHONDONTWRITEBYTECODE=1
export HOME PYTHONDONTWRITEBYTECODE

imgd() {
	"$program" --root "$root" --config "$dir/daemon.json" "$@" </dev/null
}

job() {
	"${program}-job-tool" "$root" "$dir/daemon.json" "$@" </dev/null
}

# fsck ends so, and says that.
fsck_says() { # EXIT-STATUS PATTERN ARGUMENT…
	fsck_wanted=$1
	fsck_pattern=$2
	shift 2
	imgd fsck "$@" >"$dir/said" 2>&1
	fsck_status=$?
	cat "$dir/said"
	[ $fsck_status -eq "$fsck_wanted" ] &&
	    grep -Eq -- "$fsck_pattern" "$dir/said"
}

is_job() { # NAME
	imgd jobs | grep -q "^[0-9]* *$1 "
}

# The store's database, which an engine may be writing.
sql() {
	sqlite3 -cmd '.timeout 5000' "$root/imgd.db" "$1"
}

use_mirror() {
	configure "\"registry-mirrors\": [ \"http://127.0.0.1:$1\" ]"
}

# Everything a failed verb must leave alone: files and their sizes, the names
# and images, mounts.
snapshot() {
	find "$root" -not -name '*.db' -not -name '*.db-*' \
	    -not -name '*lock' -not -name sock \
	    \( -type d -printf '%P/\n' -o -printf '%P %y %s\n' \) | sort
	imgd images --no-trunc --format \
	    '{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.Size}} {{.Driver}}'
	[ ! -e "$root/imgd.db" ] || sql 'SELECT COUNT(*) FROM pulls;
	    SELECT key, state FROM layers ORDER BY key'
	grep -F " $dir" /proc/self/mountinfo
}

refused() {
	ok_name=$1
	ok_pattern=$2
	shift 2
	snapshot >"$dir/before"
	"$@" >"$dir/out" 2>"$dir/err"
	status=$?
	snapshot >"$dir/after"
	if [ $status -eq 1 ] && [ "$(wc -l <"$dir/err")" -eq 1 ] &&
	    grep -Eq -- "^imgd: .*($ok_pattern)" "$dir/err" &&
	    cmp -s "$dir/before" "$dir/after"; then
		result 0 "$ok_name"
		return
	fi
	result 1 "$ok_name"
	echo "# exit $status, wanted 1 and one line like: $ok_pattern"
	sed 's/^/# /' "$dir/err"
	diff "$dir/before" "$dir/after" | sed 's/^/# /'
}

# Until no engine owns the store; its idle second is not waited for long.
wait_for_engine() {
	[ -e "$root/lock" ] || return 0
	flock -w 20 "$root/lock" true
}

engine_pid() {
	sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$root/lock"
}

# A registry that lies: sets lying_port, and lying_ports to what else it
# prints.  $lying_script is another program of its kind.
lying_start() {
	rm -f "$dir/lying-in" "$dir/lying-ports"
	mkfifo "$dir/lying-in"
	python3 "$srcdir/tests/registry/${lying_script:-lying-registry.py}" "$@" \
	    <"$dir/lying-in" >"$dir/lying-ports" 2>"$dir/lying-log" &
	lying_pid=$!
	exec 8>"$dir/lying-in"
	wait_for test -s "$dir/lying-ports" || return
	read -r lying_port lying_ports <"$dir/lying-ports"
}

lying_stop() {
	[ -n "$lying_pid" ] || return 0
	exec 8>&-
	kill "$lying_pid" 2>/dev/null
	wait "$lying_pid" 2>/dev/null
	lying_pid=
}

cli_cleanup() {
	registry_stop
	lying_stop
	wait_for_engine
	grep -F " $dir" /proc/self/mountinfo | cut -d' ' -f5 | sort -r |
	    while IFS= read -r target; do
		umount "$target"
	    done
	rm -rf --one-file-system "$dir"
}
trap cli_cleanup EXIT
trap 'exit 1' HUP INT TERM

# Loop devices of files in $dir, and active devices of a pool of ours.
list_devices() {
	grep -F "$dir" /sys/block/loop*/loop/backing_file
	[ -z "${IMGD_TEST_DRIVERS:-}" ] ||
	    grep '^imgd-' /sys/block/dm-*/dm/name
} 2>/dev/null

# Nothing may be left: mounts, devices, processes, staged layers.
# A worker that was killed, or the server of a mount that was just taken away,
# may still be on its way out.
has_no_leaks() {
	grep -F " $dir" /proc/self/mountinfo >"$dir/leaks"
	find /proc/[0-9]*/fd -lname "$root/*" -printf '%p\n' 2>/dev/null |
	    while IFS=/ read -r _ _ pid _ fd; do
		echo "descriptor $fd of $pid," \
		    "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
	done >>"$dir/leaks"
	list_devices >>"$dir/leaks"
	[ ! -s "$dir/leaks" ]
}

cli_end() {
	wait_for_engine
	result $? "the engine ends by itself"
	# Its workers hold this one, and are on their way out.
	[ ! -e "$root/workers.lock" ] || flock -w 20 "$root/workers.lock" true
	wait_for has_no_leaks
	result $? "no mount, no device and no process is left"
	sed 's/^/# /' "$dir/leaks"
	# A process that a test kills may be looking for leaks just then: that it
	# cannot is no report.
	cat "$dir"/sanitizer/* 2>/dev/null |
	    grep -v 'Unable to get registers from thread' >"$dir/reports"
	[ ! -s "$dir/reports" ]
	result $? "no sanitizer has anything to say"
	sed 's/^/# /' "$dir/reports"
	echo "1..$n_tests"
	[ $n_bad -eq 0 ]
	exit
}
