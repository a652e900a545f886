# shellcheck shell=sh
# A registry of one's own on a free loopback port.  Source it; then
#
#     registry_start DIR [LINE]
#                             sets registry_port, registry_pid; keeps its blobs
#                             and log in DIR; LINE is more configuration
#     registry_push LAYOUT:TAG NAME:TAG
#     registry_stop           in a trap, too: it is fine without a start
#
# Debian's docker-registry and skopeo do the work.

registry_pid=

free_port() {
	python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

registry_start() {
	mkdir -p "$1/blobs"
	# Between asking for a port and taking it another may take it.
	for _ in 1 2 3; do
		registry_port=$(free_port)
		cat >"$1/config.yml" <<-EOT
		version: 0.1
		log: { level: error }
		storage:
		  filesystem: { rootdirectory: "$1/blobs" }
		  delete: { enabled: true }
		http: { addr: "127.0.0.1:$registry_port" }
		${2:-}
		EOT
		docker-registry serve "$1/config.yml" >"$1/log" 2>&1 </dev/null &
		registry_pid=$!
		# One that wants to know who asks has started, too.
		for _ in $(seq 300); do
			if curl -s --noproxy '*' -o /dev/null \
			    "http://127.0.0.1:$registry_port/v2/"; then
				return 0
			fi
			kill -0 "$registry_pid" 2>/dev/null || break
			sleep 0.1
		done
		registry_stop
	done
	echo "registry: does not start; its log:" >&2
	cat "$1/log" >&2
	return 1
}

registry_push() {
	timeout 300 skopeo --insecure-policy copy --quiet \
	    --dest-tls-verify=false "oci:$1" \
	    "docker://127.0.0.1:$registry_port/$2" </dev/null
}

registry_stop() {
	if [ -n "$registry_pid" ]; then
		kill "$registry_pid" 2>/dev/null || :
		wait "$registry_pid" 2>/dev/null || :
		registry_pid=
	fi
}
