# shellcheck shell=sh
# Waiting for what others do.  Source it; then
#
#     wait_for COMMAND…       until it succeeds, a minute at most

wait_for() {
	for _ in $(seq 1200); do
		"$@" 2>/dev/null && return
		sleep 0.05
	done
	return 1
}
