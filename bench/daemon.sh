#!/bin/sh
# Figures of an idle and of a busy daemon: memory, time to the first answer,
# lists a second.
#
# usage: bench/daemon.sh IMGD [IMAGES [SECONDS]]
#
# IMGD is an installed program.  The store is a fresh directory; nothing goes
# over a network.
set -eu
program=$1
n_images=${2:-500}
seconds=${3:-5}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/imgd-bench-XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -m 700 "$dir/root"
echo '{ "storage-driver": "vfs" }' >"$dir/daemon.json"

set -- "$program" --root "$dir/root" --config "$dir/daemon.json" \
    --host "$dir/sock" daemon -l warn
start() {
	"$@" </dev/null &
	pid=$!
}
stop() {
	kill "$pid"
	wait "$pid"
	pid=
}

start "$@"
python3 "$here/daemon.py" fill "$dir/sock" "$n_images"
stop
for _ in 1 2 3 4 5; do
	python3 "$here/daemon.py" first "$dir/sock" "$@"
done
start "$@"
python3 "$here/daemon.py" idle "$dir/sock" "$pid"
python3 "$here/daemon.py" list "$dir/sock" "$seconds"
python3 "$here/daemon.py" idle "$dir/sock" "$pid"
stop
