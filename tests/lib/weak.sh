# shellcheck shell=sh
# shellcheck disable=SC2154 # who sources it sets them
# A registry behind a bad link, and pulls that are killed.  Source it, with
# $srcdir, $program (imgd), $root (the store), $config (its configuration) and
# $weak_dir, a directory for an image layout and a log; then
#
#     weak_make_image TAG MIB     one incompressible layer
#     weak_blob TAG               the digest of its blob
#     weak_start OPTION…          weak-registry.py: sets weak_port; new log
#     weak_stop                   in a trap, too
#     weak_sent BLOB              bytes of all answers with it
#     weak_resumed BLOB MIN MAX   whether the last answer began between these
#     weak_size BLOB              bytes of it that the store has
#     weak_has BLOB BYTES         whether it has so many
#     weak_killed_at BLOB BYTES PULL-ARGUMENT…
#                                 pull, and kill engine and command then

. "$srcdir/tests/lib/wait.sh"

weak_pid=

weak_stop() {
	[ -z "$weak_pid" ] || {
		kill "$weak_pid" && wait "$weak_pid"
		weak_pid=
	} 2>/dev/null
}

weak_start() {
	weak_stop
	: >"$weak_dir/log"
	: >"$weak_dir/port"
	"$srcdir/tests/lib/weak-registry.py" "$@" "$weak_dir/oci" \
	    "$weak_dir/log" >"$weak_dir/port" &
	weak_pid=$!
	wait_for test -s "$weak_dir/port" || return
	read -r weak_port <"$weak_dir/port"
}

weak_make_image() {
	python3 - "$weak_dir/$1.tar" "$2" <<-'EOT'
	import io, random, sys, tarfile
	size = int(sys.argv[2]) << 20
	with tarfile.open(sys.argv[1], "w") as tar:
	    info = tarfile.TarInfo("big")
	    info.size = size
	    tar.addfile(info, io.BytesIO(random.Random(size).randbytes(size)))
	EOT
	"$srcdir/tests/lib/make-oci.py" "$weak_dir/oci" "$1" "$weak_dir/$1.tar"
	rm "$weak_dir/$1.tar"
}

weak_blob() {
	python3 - "$weak_dir/oci" "$1" <<-'EOT'
	import json, sys
	top, tag = sys.argv[1:]
	for m in json.load(open(top + "/index.json"))["manifests"]:
	    if m["annotations"]["org.opencontainers.image.ref.name"] == tag:
	        path = top + "/blobs/" + m["digest"].replace(":", "/")
	        print(json.load(open(path))["layers"][0]["digest"])
	EOT
}

weak_sent() {
	awk -v blob="$1" '$1 == blob { n += $3 } END { print n + 0 }' \
	    "$weak_dir/log"
}

weak_resumed() {
	awk -v blob="$1" -v min="$2" -v max="$3" '$1 == blob { first = $2 }
	    END { exit !(first >= min && first <= max) }' "$weak_dir/log"
}

weak_size() {
	stat -c %s "$root/spool/${1#sha256:}" 2>/dev/null || echo 0
}

weak_has() {
	[ "$(weak_size "$1")" -ge "$2" ]
}

weak_killed_at() {
	blob=$1
	bytes=$2
	shift 2
	"$program" --root "$root" --config "$config" pull -q "$@" \
	    >"$weak_dir/killed" 2>&1 </dev/null &
	pid=$!
	wait_for weak_has "$blob" "$bytes"
	status=$?
	kill -9 "$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$root/lock")" "$pid"
	wait "$pid" 2>/dev/null
	flock -w 20 "$root/lock" true
	[ $status -eq 0 ] || cat "$weak_dir/killed"
	return $status
}
