#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/v1.sh sets v1_*
# What registries of version 1 can do wrong, and Docker 1.2 let them do: each is
# one clear line, exit 1, and a store as it was.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/v1.sh"
make_tars
v1_start || exit 99
here=127.0.0.1:$v1_port
printf '{ "storage-driver": "vfs" }\n' >"$dir/daemon.json"

bad() { # NAME PATTERN REPOSITORY
	refused "$1" "$2" imgd pull -q "$here/t/$3:1"
}

ok "an image without a fault" imgd pull -q "$here/t/ok:1"
bad "the registry's checksum" "layer [0-9a-f]{12}: checksum mismatch" checksum
bad "its tarsum" "layer [0-9a-f]{12}: tarsum mismatch" tarsum
bad "the index's tarsum" "layer [0-9a-f]{12}: tarsum mismatch" index-sum
bad "damaged gzip" "layer [0-9a-f]{12}: .*gzip" bad-gzip
bad "gzip cut short" "layer [0-9a-f]{12}: .*(gzip|short)" cut-gzip
bad "a layer shorter than announced" "bytes are offered instead of" short-layer
bad "a layer for which there is no room" "there is room for" huge-layer
bad "redirects without end" "more than 10 redirects" redirect-loop
bad "a redirect to a file" "redirect: bad URL" redirect-file
bad "a size that is none" "bad layer size" bad-size

bad "an unknown repository" "repository $here/t/missing not found" missing
bad "a repository without tags" "repository $here/t/no-tags not found" no-tags
refused "an unknown tag" "$here/t/ok:nope not found: .*no such tag" \
    imgd pull -q "$here/t/ok:nope"
bad "an index that lists nothing" "an array is expected" bad-list
bad "a token that no header may hold" "bad token" bad-token
bad "an endpoint with a path" "bad registry \"127.0.0.1" evil-place
bad "an endpoint that would be asked without TLS" \
    "no registry that may be asked" foreign-place
bad "tags that are no object" "tags: .*object" list-tags
bad "tags of 5 MiB" "answer is longer than" huge-tags
bad "an id that is a path" "tag 1: bad image id .*etc/passwd" bad-id
bad "an id in capitals" "tag 1: bad image id" upper-id
bad "an ancestry with a path" "ancestry: bad image id .*\.\./" bad-ancestor
bad "one that comes back to the image" "is its own ancestor" cycle
bad "one in the wrong order" "has the parent .*, expected" wrong-order
bad "one of another image" "does not begin with the image" not-first
bad "one without the base" "has the parent .*, expected" short-ancestry
bad "one of nobody" "does not begin with the image" no-ancestry
bad "one of 4099 images" "(more than 4096|longer than)" long-ancestry
bad "JSON of another image" "image JSON: it is of 555555555555" json-id
bad "JSON with another parent" "has the parent \"555555555555\"" wrong-parent
bad "JSON without a parent" "has the parent \"\"" no-parent
bad "JSON that is none" "image JSON: .*JSON" json-bad
bad "JSON with a key twice" "image JSON: .*(twice|duplicate)" json-twice
bad "JSON of 5 MiB" "image JSON: .*longer than" json-huge
bad "an image that is not there yet" "being uploaded, retry later" uploading
refused "an image for another machine" "for linux/arm(/v7)?, not for" \
    imgd pull -q --platform linux/amd64 "$here/t/arm:1"

refused "a digest" "has no digests" \
    imgd pull -q "$here/t/ok@sha256:$(printf '5%.0s' $(seq 64))"
refused "a digest beside the tag" "has no digests" \
    imgd pull -q --registry-v1 "$here/t/ok:1@sha256:$(printf '5%.0s' $(seq 64))"
refused "a name of three parts" "has no names like this" \
    imgd pull -q "$here/a/t/ok:1"
refused "nobody listens" "127.0.0.1:1:.*(refused|connect)" \
    imgd pull -q --registry-v1 127.0.0.1:1/t/ok:1

# Where there is neither the one version nor the other.
cat >"$dir/other.py" <<'EOT'
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
EOT
mkfifo "$dir/other-in"
python3 "$dir/other.py" <"$dir/other-in" >"$dir/other-port" &
exec 7>"$dir/other-in"
wait_for test -s "$dir/other-port"
refused "no registry at all" "is neither a v2 nor a v1 registry" \
    imgd pull -q "127.0.0.1:$(cat "$dir/other-port")/t/ok:1"
exec 7>&-

ok "what is in the store is whole" imgd fsck --deep

cli_end
