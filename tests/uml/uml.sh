# shellcheck shell=sh
# A user-mode kernel: a whole Linux as one process, with a device-mapper and a
# power cord.  Source it; then
#
#     uml_missing             print why no kernel can be run here; fail if one can
#     uml_run DIR [OPTION…] COMMAND [ARGUMENT…]
#                             run a command in it: its output is ours, and its
#                             exit status; 124 when the time is over, 125 when
#                             the kernel ended by itself
#     uml_start DIR [OPTION…] COMMAND [ARGUMENT…]
#                             the same in the background: sets uml_pid
#     uml_wait DIR PATTERN [SECONDS]
#                             until the output has a line like PATTERN
#     uml_power_cut           kill the kernel at once
#     uml_end DIR             wait for the end: output and status as uml_run
#
#     -d FILE                 a disk; the first is mounted at /run/disk
#     -m SIZE                 memory, default 600M
#     -s DIR                  a directory of the machine below /tmp or /run that
#                             the guest sees, too
#     -t SECONDS              time limit, default 300
#
# The guest sees the machine's files, read-only, but /tmp and /run are its own.
# DIR is the run's directory, made fresh: the guest may write there, and it
# holds "output" (of the command) and "console" (of the kernel) afterwards.
# The sources and the build directory are always shown.
#
# IMGD_TEST_KERNEL is another kernel than Debian's user-mode-linux,
# IMGD_TEST_MODULES the directory that has a directory of its modules.

uml_kernel=${IMGD_TEST_KERNEL:-linux.uml}
uml_pid=

uml_missing() {
	if ! command -v "$uml_kernel" >/dev/null; then
		echo "no user-mode kernel: $uml_kernel"
		return 0
	fi
	uml_try=$(mktemp -d "${builddir:-/tmp}/uml-try-XXXXXX") || return 0
	if uml_run "$uml_try/run" -t 60 true >/dev/null 2>&1; then
		uml_reason=
	else
		uml_reason="the user-mode kernel does not boot: $(tail -n 1 \
		    "$uml_try/run/console" | tr -d '\r')"
	fi
	rm -rf "$uml_try"
	[ -n "$uml_reason" ] && echo "$uml_reason"
}

uml_quote() {
	printf "'%s' " "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# What the guest is to do, as a script: variables, directory, command.
uml_command() {
	for uml_var in srcdir builddir IMGD_TEST_SCALE; do
		eval "uml_value=\${$uml_var:-}"
		printf '%s=%s; export %s\n' $uml_var \
		    "$(uml_quote "$uml_value")" $uml_var
	done
	printf 'cd %s 2>/dev/null\nexec ' "$(uml_quote "$PWD")"
	for uml_arg; do
		uml_quote "$uml_arg"
	done
	echo
}

uml_start() {
	uml_dir=$1
	shift
	uml_memory=600M
	uml_limit=300
	uml_disks=
	uml_n=0
	uml_shown="${srcdir:-} ${builddir:-}"
	OPTIND=1
	while getopts d:m:s:t: uml_opt; do
		case $uml_opt in
		d)	uml_disks="$uml_disks ubd$uml_n=$OPTARG"
			uml_n=$((uml_n + 1)) ;;
		m)	uml_memory=$OPTARG ;;
		s)	uml_shown="$uml_shown $OPTARG" ;;
		t)	uml_limit=$OPTARG ;;
		*)	return 2 ;;
		esac
	done
	shift $((OPTIND - 1))
	rm -rf "$uml_dir"
	mkdir -p "$uml_dir" || return 1
	uml_dir=$(cd "$uml_dir" && pwd -P)
	echo "$uml_shown" >"$uml_dir/shown"
	uml_command "$@" >"$uml_dir/command"
	# A session of its own: whatever it starts can be found again.
	# shellcheck disable=SC2086 # a list of options
	setsid "$uml_kernel" mem=$uml_memory root=/dev/root rootfstype=hostfs \
	    rootflags=/ ro init="$uml_init" imgd_dir="$uml_dir" \
	    imgd_modules="${IMGD_TEST_MODULES:-}" con=null con0=null,fd:1 \
	    ssl=null ssl0=null,fd:3 quiet panic=-1 $uml_disks </dev/null \
	    >"$uml_dir/console" 2>&1 3>"$uml_dir/output" &
	uml_pid=$!
	uml_deadline=$(($(date +%s) + uml_limit))
}

uml_init=${srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/uml/init.sh

# Look again a little later.  On a busy machine the kernel loses its timer now
# and then, and nothing in it goes on until another alarm comes: here is one.
# Before it is up it would die of that.
uml_pause() {
	sleep 0.1
	uml_n_pauses=$((${uml_n_pauses:-0} + 1))
	if [ $((uml_n_pauses % 10)) -eq 0 ] && [ -s "$uml_dir/output" ]; then
		kill -s ALRM "$uml_pid" 2>/dev/null
	fi
}

uml_is_over() {
	! kill -0 "$uml_pid" 2>/dev/null
}

uml_wait() {
	uml_until=$(($(date +%s) + ${3:-60}))
	until grep -q -- "$2" "$1/output" 2>/dev/null; do
		if uml_is_over || [ "$(date +%s)" -ge $uml_until ]; then
			echo "uml: no line like $2" >&2
			return 1
		fi
		uml_pause
	done
}

# The processes of the kernel's session.  A field of stat before the session
# may hold blanks: it is cut off.
uml_processes() {
	for uml_stat in /proc/[0-9]*/stat; do
		uml_fields=$(sed 's/.*) //' "$uml_stat" 2>/dev/null) || continue
		# shellcheck disable=SC2086 # fields
		set -- $uml_fields
		if [ "${4:-}" = "$uml_pid" ] && [ "$1" != Z ]; then
			uml_stat=${uml_stat#/proc/}
			echo "${uml_stat%/stat}"
		fi
	done
}

# The kernel first, so that it notices nothing of the others' end.
uml_power_cut() {
	[ -n "$uml_pid" ] || return 0
	uml_others=$(uml_processes)
	kill -9 "$uml_pid" 2>/dev/null
	# shellcheck disable=SC2086 # a list of numbers
	[ -z "$uml_others" ] || kill -9 $uml_others 2>/dev/null
	wait "$uml_pid" 2>/dev/null
	until uml_others=$(uml_processes); [ -z "$uml_others" ]; do
		# shellcheck disable=SC2086 # a list of numbers
		kill -9 $uml_others 2>/dev/null
		sleep 0.1
	done
	uml_pid=
}

uml_end() {
	uml_late=
	until uml_is_over; do
		if [ "$(date +%s)" -ge $uml_deadline ]; then
			uml_late=yes
			break
		fi
		uml_pause
	done
	uml_power_cut
	grep -v '^imgd-uml: ' "$1/output"
	uml_status=$(sed -n 's/^imgd-uml: exit //p' "$1/output" | tail -n 1)
	[ -z "$uml_status" ] || return "$uml_status"
	if [ -n "$uml_late" ]; then
		echo "uml: killed after its time limit" >&2
		return 124
	fi
	echo "uml: the kernel ended without a status:" >&2
	tail -n 5 "$1/console" >&2
	return 125
}

uml_run() {
	uml_start "$@" || return
	uml_end "$1"
}
