#!/bin/sh
# Sessions against a registry that lies, and against the real one.
set -u
: "${srcdir:=.}" "${builddir:=.}"
tool=$builddir/tests/registry/registry-tool
dir=$(mktemp -d) || exit 99
n=0
pids=
liar=
stop_liar() {
	exec 9>&-
	if [ -n "$liar" ]; then
		# It also ends with its standard input, but not while a
		# process that inherited the other end lives.
		kill "$liar" 2>/dev/null
		wait "$liar" 2>/dev/null
	fi
	liar=
}
cleanup() {
	stop_liar
	for pid in $pids; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 99' HUP INT TERM
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

ok() {
	n=$((n + 1))
	echo "ok $n - $1"
}
not_ok() {
	n=$((n + 1))
	echo "not ok $n - $1"
	sed 's/^/# /' "$dir/out" "$dir/err"
}

# good NAME EXPECTED-LINE ARG…: success, and a line of output matches.
good() {
	name=$1 line=$2
	shift 2
	if "$tool" "$@" >"$dir/out" 2>"$dir/err" && grep -q -- "$line" "$dir/out"
	then ok "$name"; else not_ok "$name"; fi
}

# fails NAME CODE TEXT ARG…: failure with that code and text in its line.
fails() {
	name=$1 code=$2 text=$3
	shift 3
	"$tool" "$@" >"$dir/out" 2>"$dir/err"
	if [ $? = 1 ] && grep -q "^registry-tool: $code: .*$text" "$dir/err"
	then ok "$name"; else not_ok "$name"; fi
}

# asked NAME EXPRESSION: Python's truth over the requests r since last time.
asked() {
	: >"$dir/out"
	if python3 -c "
import json, sys, urllib.request as u
url = 'http://127.0.0.1:$port/_requests'
r = json.load(u.urlopen(url))
u.urlopen(u.Request(url, method='DELETE'))
other = $other
print(*r, sep='\n')
sys.exit(not ($2))" >"$dir/out" 2>"$dir/err"
	then ok "$1"; else not_ok "$1"; fi
}

start_liar() {
	stop_liar
	rm -f "$dir/fifo" "$dir/ports"
	mkfifo "$dir/fifo" && : >"$dir/ports" || exit 99
	python3 "$srcdir/tests/registry/lying-registry.py" "$@" \
	    <"$dir/fifo" >>"$dir/ports" &
	liar=$!
	exec 9>"$dir/fifo"
	while ! grep -q . "$dir/ports"; do
		kill -0 "$liar" || exit 99
		sleep 0.05
	done
	read -r port other <"$dir/ports"
	r=127.0.0.1:$port/t
}

start_liar
good "an image is pulled" "^layer .* gzip .* good$" pull "$r/ok:1"
good "an index leads to the host's platform or the one asked for" \
    "^manifest " pull -p linux/amd64 "$r/index"
asked "an attestation is never fetched" \
    "len([q for q in r if '/index/manifests/' in q['path']]) == 2"
good "types of documents are told by the documents" "^manifest " \
    resolve -p linux/amd64 "$r/no-type"
top=$("$tool" resolve "$r/ok:1" | sed -n 's/^top [^ ]* \([^ ]*\) .*/\1/p')
good "a digest reference is resolved" "^top .*$top" resolve "$r/ok:1@$top"
asked "drop what was asked" "True"
good "a known digest ends the work" "^unchanged$" resolve -k "$top" "$r/ok:1"
asked "after one HEAD and nothing else" "[q['method'] for q in r] == ['HEAD']"
good "with a token, too" "^unchanged$" resolve -k "$top" "$r/bearer:1"
asked "after one challenge and one token" \
    "[(q['method'], q['path'][:6], q['has_auth']) for q in r] ==
     [('HEAD', '/v2/t/', False), ('GET', '/token', False),
      ('HEAD', '/v2/t/', True)]"

fails "a manifest that is not what the header says" 1024 "digest mismatch" \
    resolve "$r/header-lie"
fails "a manifest that is not what was asked for" 1024 "digest mismatch" \
    resolve "$r/manifest-digest@$top"
fails "a child manifest with a wrong digest" 1024 "digest mismatch" \
    resolve -p linux/amd64 "$r/child-digest"
fails "a config with a wrong digest" 1024 "digest mismatch" \
    resolve "$r/config-digest"
fails "a layer with a wrong digest" 1024 "verification failed" \
    pull "$r/blob-digest"
fails "a layer that is too long" 1024 "bytes are offered" pull "$r/blob-length"
fails "a layer without length that is too long" 1024 "more came" \
    pull "$r/blob-no-length"
fails "a layer that is damaged inside" 1025 "gzip: " pull "$r/bad-gzip"
fails "a layer that is cut inside" 1025 "gzip: the stream is cut short" \
    pull "$r/cut-gzip"
fails "more diff_ids than layers" 1025 "don't match image configuration" \
    resolve "$r/diff-count"
fails "a layer without end" 1024 "more came" pull "$r/endless-blob"
fails "a manifest without end" 1026 "longer than 4194304 bytes" \
    resolve "$r/endless-manifest"
fails "a schema 1 manifest that only a list has" 1027 \
    "manifest: sha256:.* not found" \
    resolve "$r/schema1-list"
fails "bad JSON" 1025 "bad JSON" resolve "$r/bad-json"
fails "a key given twice" 1025 "key given twice" resolve "$r/doubled-key"
fails "a manifest that is an index too" 1025 "another kind" resolve "$r/mixed"
fails "an unknown type of layer" 1035 \
    "unsupported media type application/vnd.example.unknown" \
    resolve "$r/media-type"
fails "an artifact" 1035 "vnd.example.sbom: this is an artifact" \
    resolve "$r/artifact"
fails "schema 1 without history" 1025 "do not match" resolve "$r/schema1"
fails "no such platform" 1034 \
    "no matching manifest for linux/arm64 in the manifest list entries" \
    resolve -p linux/arm64 "$r/foreign-platform"
fails "a single image of another platform" 1034 \
    "wanted linux/arm64, actual: linux/amd64" resolve -p linux/arm64 "$r/ok"
fails "a huge manifest" 1026 "longer than 4194304 bytes" \
    resolve "$r/huge-manifest"
fails "huge headers" 1026 "headers are longer" resolve "$r/huge-headers"

good "a connection that breaks again and again is resumed" " good resumed$" \
    pull "$r/drop"
asked "by Range, each byte once" \
    "[q['range'] for q in r if q['range']] ==
     ['bytes=%d-' % (i * 100000) for i in range(1, 8)]"
good "a server that ignores Range is skipped through" " good resumed$" \
    pull "$r/drop-no-range"
good "a server that resumes elsewhere is not believed" " good resumed$" \
    pull "$r/range-lie"
# Side by side: each waits a second before it goes on.
cuts=
for i in $(seq 14); do
	"$tool" pull "$r/cut-4k" >"$dir/cut-$i" 2>&1 &
	cuts="$cuts $!"
done
for pid in $cuts; do wait "$pid"; done
cat "$dir"/cut-* >"$dir/out"
if [ "$(grep -c ' good resumed$' "$dir/out")" = 14 ]
then ok "a layer that is cut at each 4 KiB is resumed"
else not_ok "a layer that is cut at each 4 KiB is resumed"; fi
asked "from there" \
    "sorted(int(q['range'][6:-1]) for q in r if q['range'] and
            'cut-4k' in q['path']) == list(range(4096, 15 * 4096, 4096))"
fails "a body that stays short" 1031 "" pull "$r/short-body"
fails "a slow drip" 1031 "nothing came" pull -s 500 "$r/drip"

asked "drop what was asked" "True"
good "a redirect to another host is followed" "^layer .* good$" \
    pull "$r/redirect-auth"
asked "without Authorization" \
    "[q['has_auth'] for q in r if q['port'] == other] == [False] * 3 and
     all(q['has_auth'] for q in r if '/blobs/' in q['path'])"
fails "a redirect loop" 1029 "redirects" resolve "$r/redirect-loop"
fails "a redirect to a file" 1029 "bad URL" resolve "$r/redirect-file"
good "a foreign layer's url is used" "^layer .* good$" pull "$r/foreign-url"
asked "without Authorization" "any(q['port'] == other for q in r)"

good "an anonymous token" "^layer .* good$" pull "$r/bearer"
asked "is fetched once" \
    "len([q for q in r if q['path'].startswith('/token')]) == 1"
fails "no token for strangers" 1028 \
    "pull access denied for $r/private, repository does not exist or may require 'docker login': unauthorized: authentication required" \
    resolve "$r/private"
good "a token for a password" "^layer .* good$" \
    pull -u "user:pa:ss word" "$r/private"
good "a token for an identity token" "^config " \
    resolve -t identity "$r/private"
fails "a wrong password" 1028 "incorrect username or password" \
    resolve -u user:wrong "$r/private"
good "Basic" "^layer .* good$" pull -u "user:pa:ss word" "$r/basic"
fails "Basic without credentials" 1028 "no basic auth credentials" \
    resolve "$r/basic"
fails "Basic with a wrong password" 1028 "pull access denied" \
    resolve -u user:wrong "$r/basic"
asked "drop what was asked" "True"
fails "a token for another scope" 1028 "pull access denied" \
    resolve "$r/other-scope"
asked "is asked for once more, and no more" \
    "len([q for q in r if 'other-scope/manifests' in q['path']]) == 2"
fails "a 401 dance" 1028 "pull access denied" resolve "$r/auth-loop"
asked "ends after the second step" \
    "len([q for q in r if 'auth-loop/manifests' in q['path']]) == 2"

fails "403" 1028 "denied: requested access to the resource is denied" \
    resolve "$r/forbidden"
fails "no such tag" 1027 \
    "manifest for $r/ok:nope not found: manifest unknown: manifest unknown" \
    resolve "$r/ok:nope"
fails "no such repository" 1027 "repository $r/missing not found" \
    resolve "$r/missing"
fails "429 for an hour" 1033 "toomanyrequests: .*try again in 3600 seconds" \
    resolve "$r/rate"
fails "429 without a word" 1033 "too many requests: HTTP status 429" \
    resolve "$r/rate-bare"
good "429 for a second" "^config " resolve "$r/rate-soft"
good "503 that passes" "^layer .* good resumed$" pull "$r/flaky"
fails "500 in plain words, escaped" 1030 'out of \\x1b\[31morder' \
    resolve "$r/broken"
fails "nobody there" 1031 "127.0.0.1:1" resolve 127.0.0.1:1/t/ok

good "tags" "^three$" tags "$r/ok"
good "tags on several pages" "^three$" tags "$r/tags-pages"
fails "pages of tags that never end" 1029 "elsewhere or the same" \
    tags "$r/tags-loop"
fails "tags on another host" 1029 "elsewhere or the same" \
    tags "$r/tags-elsewhere"

asked "drop what was asked" "True"
good "a mirror" "^layer .* good$" \
    pull -u "user:pa:ss word" -M "http://127.0.0.1:$port/mirror" \
    registry.invalid/t/bearer
asked "gets ns, and no password" \
    "any('mirror/v2/t/bearer/manifests/latest?ns=registry.invalid' in q['path']
     for q in r) and
     all('account' not in q['path'] for q in r)"
good "mirrors that fail are passed over" "^layer .* good" \
    pull -m http://127.0.0.1:1 -m "http://127.0.0.1:$port/bad" "$r/ok"
fails "a mirror's URL with a query" 22 "no query" \
    resolve -m "http://127.0.0.1:$port/?a" "$r/ok"

start_liar --ping=bearer
good "a registry with a challenge at its root" "^config " resolve "$r/bearer"
asked "is not needed" "not [q for q in r if q['path'] == '/v2/']"

# ---- TLS ----

# reg.localhost is loopback by its name, but not one that is trusted for it.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=reg.localhost \
    -addext subjectAltName=DNS:reg.localhost -keyout "$dir/key" \
    -out "$dir/cert" 2>"$dir/err" || not_ok "a certificate is made"
cat "$dir/key" "$dir/cert" >"$dir/both"
start_liar --tls="$dir/both"
s=reg.localhost:$port/t
fails "TLS with an unknown certificate" 1032 "certificate" resolve "$s/ok"
good "TLS with a certificate of one's own" "^layer .* good$" \
    pull -C "$dir/cert" "$s/ok"
fails "TLS with a certificate for another name" 1032 "certificate" \
    resolve -C "$dir/cert" "other.localhost:$port/t/ok"
good "TLS of an insecure registry" "^layer .* good$" \
    pull -i "reg.localhost:$port" "$s/ok"
good "TLS on loopback" "^layer .* good$" pull "$r/ok"
fails "a redirect from https to http" 1029 "from https to http refused" \
    resolve -C "$dir/cert" "$s/redirect-other"
fails "no credentials for a token server without TLS" 1029 \
    "it gets no credentials" \
    resolve -C "$dir/cert" -u user:secret "$s/bearer"
fails "no plain http where TLS is demanded" 1032 "" \
    resolve -C "$dir/cert" "reg.localhost:$other/t/ok"

# ---- the real one ----

start_registry() {
	{
		echo 'version: 0.1'
		echo 'log: {level: error}'
		echo "storage: {filesystem: {rootdirectory: $dir/store}}"
		echo "http: {addr: '127.0.0.1:$1'}"
		[ $# = 1 ] ||
		    echo "auth: {htpasswd: {realm: basic-realm, path: $2}}"
	} >"$dir/config-$1.yml"
	docker-registry serve "$dir/config-$1.yml" >"$dir/log-$1" 2>&1 9>&- &
	pids="$pids $!"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		python3 -c "
import socket
socket.create_connection(('127.0.0.1', $1))" 2>/dev/null && return 0
		sleep 0.1
	done
	return 1
}

free_port() {
	python3 -c "
import socket
s = socket.socket()
s.bind(('127.0.0.1', 0))
print(s.getsockname()[1])"
}

if ! command -v docker-registry >/dev/null || ! command -v skopeo >/dev/null
then
	n=$((n + 1))
	echo "ok $n # SKIP docker-registry and skopeo are not there"
	echo "1..$n"
	exit 0
fi
mkdir "$dir/tree" && echo hello >"$dir/tree/file"
tar -C "$dir/tree" -cf "$dir/layer.tar" .
python3 - "$dir" <<'PY'
import hashlib, json, os, sys
top = sys.argv[1]
os.makedirs(top + "/oci/blobs/sha256")
def put(data, kind):
    name = hashlib.sha256(data).hexdigest()
    with open(top + "/oci/blobs/sha256/" + name, "wb") as f:
        f.write(data)
    return {"mediaType": "application/vnd.oci.image." + kind,
            "digest": "sha256:" + name, "size": len(data)}
layer = put(open(top + "/layer.tar", "rb").read(), "layer.v1.tar")
config = put(json.dumps({"os": "linux", "architecture": "amd64",
    "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode(),
    "config.v1+json")
manifest = put(json.dumps({"schemaVersion": 2, "config": config,
    "layers": [layer]}).encode(), "manifest.v1+json")
manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
json.dump({"schemaVersion": 2, "manifests": [manifest]},
          open(top + "/oci/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open(top + "/oci/oci-layout", "w"))
PY
: >"$dir/out"
p=$(free_port)
start_registry "$p" &&
    skopeo copy -q --insecure-policy --dest-tls-verify=false \
	"oci:$dir/oci:1" "docker://127.0.0.1:$p/real/image:1" 2>"$dir/err" &&
    skopeo copy -q --insecure-policy --dest-tls-verify=false --format v2s2 \
	"oci:$dir/oci:1" "docker://127.0.0.1:$p/real/image:2" 2>"$dir/err" ||
    not_ok "the real registry starts"
good "docker-registry: an OCI image" "^layer .* good$" \
    pull "127.0.0.1:$p/real/image:1"
good "docker-registry: a Docker image" "^layer .* good$" \
    pull "localhost:$p/real/image:2"
good "docker-registry: tags" "^2$" tags "127.0.0.1:$p/real/image"
fails "docker-registry: no such tag" 1027 "manifest unknown" \
    resolve "127.0.0.1:$p/real/image:3"
fails "docker-registry: no such repository" 1027 "name unknown" \
    tags "127.0.0.1:$p/real/none"

p=$(free_port)
python3 -W ignore -c "
import crypt
print('user:' + crypt.crypt('secret', '\$2b\$05\$abcdefghijklmnopqrstuu'))" \
    >"$dir/htpasswd"
start_registry "$p" "$dir/htpasswd" || not_ok "the htpasswd registry starts"
good "docker-registry with htpasswd" "^layer .* good$" \
    pull -u user:secret "127.0.0.1:$p/real/image:1"
fails "docker-registry with htpasswd, no credentials" 1028 \
    "no basic auth credentials" resolve "127.0.0.1:$p/real/image:1"
fails "docker-registry with htpasswd, wrong password" 1028 \
    "unauthorized: authentication required" \
    resolve -u user:wrong "127.0.0.1:$p/real/image:1"
echo "1..$n"
