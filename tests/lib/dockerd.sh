# shellcheck shell=sh
# shellcheck disable=SC2154 # tests/lib/cli.sh sets dir
# A dockerd to compare with, in a network namespace of its own, or in the test's
# own namespace if $docker_namespace is "same"; it then has the mirror
# $docker_mirror.  The test runs in a mount namespace of its own; source this
# after tests/lib/cli.sh; then
#
#     docker_start            a dockerd without images, by vfs
#     docker_api METHOD PATH [CURL-OPTION…]
#                             ask it; prints the answer
#     docker_load LAYOUT:TAG NAME:TAG…
#                             give it an image of an OCI layout
#     docker_stop             in a trap, too: it is fine without a start

docker_pid=

docker_start() {
	set -- unshare -n
	[ "${docker_namespace:-}" != same ] || set -- env
	"$@" dockerd ${docker_mirror:+--registry-mirror="$docker_mirror"} \
	    --data-root "$dir/docker" --exec-root "$dir/exec" \
	    --pidfile "$dir/docker-pid" -H "unix://$dir/docker-sock" \
	    --storage-driver vfs --bridge=none --iptables=false \
	    --ip-forward=false --ip-masq=false >"$dir/docker-log" 2>&1 \
	    </dev/null &
	docker_pid=$!
	for _ in $(seq 300); do
		! docker_api GET /_ping >/dev/null || return 0
		kill -0 $docker_pid 2>/dev/null || break
		sleep 0.1
	done
	tail -n 5 "$dir/docker-log" >&2
	return 1
}

docker_api() {
	docker_method=$1
	docker_path=$2
	shift 2
	curl -gs --unix-socket "$dir/docker-sock" -X "$docker_method" "$@" \
	    "http://localhost$docker_path"
}

docker_load() {
	docker_layout=$1
	docker_name=$2
	rm -f "$dir/docker.tar"
	skopeo --insecure-policy copy --quiet "oci:$docker_layout" \
	    "docker-archive:$dir/docker.tar:$docker_name" </dev/null &&
	    docker_api POST '/images/load?quiet=1' \
		-H 'Content-Type: application/x-tar' \
		--data-binary "@$dir/docker.tar" >"$dir/docker-answer" &&
	    ! grep error "$dir/docker-answer"
}

docker_stop() {
	[ -n "$docker_pid" ] || return 0
	kill "$docker_pid" 2>/dev/null
	wait "$docker_pid"
	docker_pid=
	# What dockerd leaves mounted on its directories.
	grep -E " $dir/(docker|exec)" /proc/self/mountinfo | cut -d' ' -f5 |
	    sort -r | while IFS= read -r docker_target; do
		umount "$docker_target"
	    done
}
