#!/bin/sh
# Pushes that are killed go on where they were; and what was sent once is known.
. "$srcdir/tests/lib/cli.sh"
lying_script=push-registry.py
lying_start --rate=8000000 || exit 99
host=127.0.0.1:$lying_port
printf '{ "storage-driver": "vfs" }\n' >"$dir/daemon.json"

# asked NAME EXPRESSION: Python's truth over the requests r since the last
# time, and the registry's state s.
asked() {
	curl -fs --noproxy '*' "http://$host/_state" >"$dir/state"
	curl -fs --noproxy '*' "http://$host/_requests" >"$dir/requests"
	curl -fs --noproxy '*' -X DELETE "http://$host/_requests"
	python3 - "$dir/requests" "$dir/state" "$2" 2>"$dir/why" <<-'EOT'
	import json, sys
	r, s = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
	sys.exit(not eval("(" + sys.argv[3] + ")"))
	EOT
	result $? "$1"
	sed 's/^/# /' "$dir/why"
}
# state EXPRESSION: Python's truth over the registry's state s.
state() {
	curl -fs --noproxy '*' "http://$host/_state" >"$dir/state"
	python3 - "$dir/state" "$1" <<-'EOT'
	import json, sys
	s = json.load(open(sys.argv[1]))
	sys.exit(not eval("(" + sys.argv[2] + ")"))
	EOT
}

registry_start "$dir/registry" || exit 99
python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n, size in enumerate((24 << 20,)):
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        info = tarfile.TarInfo("f%d" % n)
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(n).randbytes(size)))
EOT
"$lib/make-oci.py" "$dir/oci" big "$dir/0.tar"
registry_push "$dir/oci:big" library/source:big || exit 99
from=127.0.0.1:$registry_port/library/source
imgd pull -q "$from:big" >/dev/null || exit 99
registry_stop

# What they came as is forgotten, so that it must be sent.
sql 'DELETE FROM sources; DELETE FROM layer_blobs;
    UPDATE image_layers SET blob_digest = '"''" || exit 99

imgd tag "$from:big" "$host/t/slow:1"
has() { # FAULT BYTES
	state "any(n >= $2 for name, n in s['uploads'] if name == 't/$1')"
}
killed_at() { # FAULT BYTES ARGUMENT…
	fault=$1 bytes=$2
	shift 2
	"$program" --root "$root" --config "$dir/daemon.json" push -q "$@" \
	    "$host/t/$fault:1" >"$dir/killed" 2>&1 </dev/null &
	pid=$!
	wait_for has "$fault" "$bytes"
	status=$?
	kill -9 "$(engine_pid)" "$pid"
	wait "$pid" 2>/dev/null
	flock -w 20 "$root/lock" true
	[ $status -eq 0 ] || cat "$dir/killed"
	return $status
}
sql "DELETE FROM uploads"
asked "forget" "True"
ok "killed while a stream is sent" killed_at slow 3000000
[ "$(sql "SELECT COUNT(*) FROM uploads WHERE repository = 't/slow'")" = 1 ]
result $? "the upload is remembered"
ok "killed once more, far in it" killed_at slow 18000000
[ "$(sql "SELECT bytes >= 8388608 FROM uploads")" = 1 ]
result $? "with the digest of what arrived"
ok "the third push goes on" imgd push -q "$host/t/slow:1"
asked "in one upload, and the image is there" \
    "len([q for q in r if q['method'] == 'POST' and
          'uploads' in q['path']]) == 2 and
     s['repos']['t/slow']['tags'] and
     [up for up in s['uploads'] if up[0] == 't/slow'] == []"
[ "$(sql "SELECT COUNT(*) FROM uploads")" = 0 ]
result $? "and nothing is kept of it"

# The bytes that were sent are no more what would be sent.
sql 'DELETE FROM layer_blobs; DELETE FROM sources'
imgd tag "$from:big" "$host/t/slow-other:1"
ok "killed with a mark" killed_at slow-other 9500000 --retry 2
sql "UPDATE uploads SET prefix_digest = 'sha256:$(printf %064d 7)'"
ok "another prefix than was sent begins anew" imgd push -q "$host/t/slow-other:1"
asked "with a new upload" "len([q for q in r if q['method'] == 'POST' and
    'slow-other/blobs/uploads' in q['path']]) == 3 and
    s['repos']['t/slow-other']['tags']"

sql 'DELETE FROM layer_blobs; DELETE FROM sources'
imgd tag "$from:big" "$host/t/slow-again:1"
ok "killed before a registry forgets" killed_at slow-again 2000000 --retry 2
sql "UPDATE uploads SET location = replace(location, 'uploads/', 'uploads/0')"
ok "an upload that is forgotten begins anew" \
    imgd push -q "$host/t/slow-again:1"

# What was sent need not be packed to know it.
imgd rmi "$host/t/slow:1" >/dev/null
imgd tag "$from:big" "$host/t/slow:2"
asked "forget" "True"
ok "a layer that was sent is known by its digest" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' \
	    push $host/t/slow:2 | grep ': Layer already exists'"
asked "and nothing is uploaded" "not [q for q in r if q['method'] == 'POST']"

ok "what was pushed is pulled again" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' \
	    rmi -f \$('$program' --root '$root' images -q $from:big) >/dev/null &&
	'$program' --root '$root' --config '$dir/daemon.json' \
	    pull -q $host/t/slow:2"
ok "and all is whole" imgd fsck --deep
lying_stop
cli_end
