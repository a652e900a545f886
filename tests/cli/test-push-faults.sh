#!/bin/sh
# Registries that break, forget and lie while an image is sent to them: it
# arrives whole, or the push fails with one clear line and says so.
. "$srcdir/tests/lib/cli.sh"
lying_script=push-registry.py
lying_start --cut=700000 --rate=6000000 || exit 99
host=127.0.0.1:$lying_port
printf '{ "storage-driver": "vfs" }\n' >"$dir/daemon.json"

# state EXPRESSION: Python's truth over the registry's state s.
state() {
	curl -fs --noproxy '*' "http://$host/_state" >"$dir/state"
	python3 - "$dir/state" "$1" <<-'EOT'
	import json, sys
	s = json.load(open(sys.argv[1]))
	sys.exit(not eval("(" + sys.argv[2] + ")"))
	EOT
}

# Two layers of more than a MB, so that links break in the middle of them.
registry_start "$dir/registry" || exit 99
python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n, size in enumerate((1500000, 1200000)):
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        info = tarfile.TarInfo("f%d" % n)
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(n).randbytes(size)))
EOT
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar"
registry_push "$dir/oci:1" library/source:1 || exit 99
from=127.0.0.1:$registry_port/library/source
imgd pull -q "$from:1" >/dev/null || exit 99
registry_stop

# What they came as is forgotten, so that it must be sent.
sql 'DELETE FROM sources; DELETE FROM layer_blobs;
    UPDATE image_layers SET blob_digest = '"''" || exit 99

# Pushes run side by side: each waits for its own registry most of the time.
begin() { # FAULT [OPTION…]
	fault=$1
	shift
	imgd tag "$from:1" "$host/t/$fault:1" || exit 99
	{
		imgd push "$@" "$host/t/$fault:1" >"$dir/shown-$fault" 2>&1
		echo $? >"$dir/status-$fault"
	} &
}
arrives() { # NAME FAULT
	wait_for test -s "$dir/status-$2"
	[ "$(cat "$dir/status-$2")" = 0 ] &&
	    state "len(s['repos']['t/$2']['blobs']) == 3 and
		'1' in s['repos']['t/$2']['tags']"
	result $? "$1"
	sed 's/^/# /' "$dir/shown-$2"
}
# asked NAME FAULT EXPRESSION: Python's truth over its requests r.
asked() {
	curl -fs --noproxy '*' "http://$host/_requests" >"$dir/requests"
	python3 - "$dir/requests" "$2" "$3" 2>"$dir/why" <<-'EOT'
	import json, sys
	r = [q for q in json.load(open(sys.argv[1]))
	     if "/t/%s/" % sys.argv[2] in q["path"]]
	if not eval("(" + sys.argv[3] + ")"):
	    sys.exit("\n".join(map(str, r)))
	EOT
	result $? "$1"
	sed 's/^/# /' "$dir/why"
}
fails() { # NAME FAULT PATTERN
	imgd tag "$from:1" "$host/t/$2:1"
	refused "$1" "$3" imgd push -q --retry 2 "$host/t/$2:1"
	state "'1' not in s['repos'].get('t/$2', {}).get('tags', {})"
	result $? "$1: no tag"
}

begin ok
begin cut
begin cut-forgets
begin pieces --retry 3
begin cut-pieces --retry 3
begin cut-hole --retry 3
begin no-pieces --retry 3
begin min-piece --retry 3
begin no-patch
begin kept-less
begin elsewhere
begin busy
begin short-tokens
begin late-401
begin late-401-pieces --retry 3
begin lost-answer
begin shows-late
begin flips

arrives "a registry without a fault" ok
asked "a layer is a POST, a PATCH, a PUT, and a look before and after" ok \
    "sorted(q['method'] for q in r if 'uploads/' in q['path']) ==
     sorted(['POST', 'PATCH', 'PUT'] * 2 + ['POST', 'PUT']) and
     len([q for q in r if q['method'] == 'HEAD']) == 5"
arrives "links that break, and a registry that knows how far it got" cut
asked "what came is not sent again, and pieces are not needed" cut \
    "not [q for q in r if q['pieces']] and
     len([q for q in r if q['method'] == 'POST']) == 3"
arrives "links that break, and a registry that has forgotten" cut-forgets
arrives "it sends in pieces with --retry" pieces
asked "with a length" pieces "len([q for q in r if q['pieces'] and
    q['pieces'].startswith('0-')]) == 2"
arrives "pieces of a link that breaks" cut-pieces
asked "begin where the last one ended" cut-pieces "len([q for q in r if
    q['pieces'] and q['pieces'].startswith('700000-')]) == 2"
arrives "a registry that loses the end of what it had" cut-hole
arrives "one that wants no pieces gets a stream" no-pieces
arrives "one that wants large pieces" min-piece
arrives "one that takes no PATCH gets all with the PUT" no-patch
arrives "one that kept less than it took" kept-less
arrives "an upload on another host" elsewhere
arrives "503 for the first of each kind of request" busy
arrives "tokens that end in the middle" short-tokens
arrives "401 after all was sent" late-401
arrives "the same in pieces" late-401-pieces
arrives "an answer to the PUT that is lost" lost-answer
arrives "a blob that shows only after a while" shows-late
arrives "bytes that changed on the way are sent anew" flips

fails "403" refused "denied"
fails "507" full "upload: unknown: no space left"
fails "no Location" no-location "does not say where to upload"
fails "201 for another digest" other-digest \
    "layer [0-9a-f]{12}: the registry calls the blob sha256:"
fails "201 for a blob that is not kept" keeps-nothing \
    "layer [0-9a-f]{12}: the registry took the blob .* but does not have it"
fails "201 for a manifest that is not kept" no-manifest \
    "took the manifest, but does not have it"
imgd tag "$from:1" "$host/t/other-manifest:1"
refused "201 for another manifest" "the registry calls the manifest sha256:" \
    imgd push -q "$host/t/other-manifest:1"
imgd tag "$from:1" "127.0.0.1:1/t/x:1"
refused "nobody there" "127.0.0.1:1.*(refused|connect)" \
    imgd push -q --retry 1 127.0.0.1:1/t/x:1

lying_stop
cli_end
