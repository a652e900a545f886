# shellcheck shell=sh
# shellcheck disable=SC2154,SC2034 # what cli.sh sets
# A daemon of one's own, in tests that have sourced cli.sh:
#
#     daemon_start [OPTION…]  sets daemon_pid, DOCKER_HOST and $api, the socket
#     daemon_stop             by SIGTERM; its exit status
#     no_jobs                 whether nobody asks it for anything
#     api METHOD PATH [CURL OPTION…]
#                             prints the body; the status is in $dir/status
#     docker …                Debian's, with a configuration of its own
#
# Its log is $dir/daemon.log; $daemon_level is how much it says.

daemon_pid=
api=$dir/imgd.sock
DOCKER_HOST=unix://$api
DOCKER_CONFIG=$dir/docker-config
export DOCKER_HOST DOCKER_CONFIG
mkdir "$DOCKER_CONFIG"

daemon_start() {
	"$program" --root "$root" --config "$dir/daemon.json" --host "$api" \
	    daemon -l "${daemon_level:-info}" "$@" </dev/null \
	    >>"$dir/daemon.log" 2>&1 &
	daemon_pid=$!
	for _ in $(seq 200); do
		curl -fs --unix-socket "$api" -o /dev/null \
		    http://imgd/_ping && return
		kill -0 "$daemon_pid" 2>/dev/null || break
		sleep 0.05
	done
	echo "the daemon does not start; its log:" >&2
	cat "$dir/daemon.log" >&2
	return 1
}

daemon_stop() {
	[ -n "$daemon_pid" ] || return 0
	kill "$daemon_pid" 2>/dev/null
	wait "$daemon_pid"
	daemon_status=$?
	daemon_pid=
	return $daemon_status
}

# Jobs of clients that left end soon.
no_jobs() {
	[ -z "$(imgd jobs | sed 1d)" ]
}

# As a power cut would, but for the kernel.
daemon_kill() {
	kill -KILL "$daemon_pid"
	wait "$daemon_pid" 2>/dev/null
	daemon_pid=
}

daemon_cleanup() {
	daemon_stop
	cli_cleanup
}
trap daemon_cleanup EXIT

api() {
	api_method=$1
	api_path=$2
	shift 2
	[ "$api_method" != HEAD ] || set -- --head "$@"
	curl -s --max-time 60 --unix-socket "$api" -X "$api_method" \
	    -o "$dir/body" -w '%{http_code} %{content_type}' "$@" \
	    "http://imgd$api_path" >"$dir/status"
	cat "$dir/body"
}

# answers STATUS PATTERN METHOD PATH [CURL OPTION…]
answers() {
	want=$1
	pattern=$2
	shift 2
	api "$@" >"$dir/answer"
	cat "$dir/status" "$dir/answer"
	case $(cat "$dir/status") in
	"$want"*) grep -Eq -- "$pattern" "$dir/answer" ;;
	*) return 1 ;;
	esac
}
