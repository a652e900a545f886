#!/bin/sh
# Registries with a private authority that ask for the client's certificate, and
# mirrors of any registry.  In a network of its own, since nothing on loopback
# is verified.
if [ -z "${IMGD_TEST_IN_NET:-}" ]; then
	IMGD_TEST_IN_NET=yes exec unshare -n "$0"
fi
ip link set lo up && ip address add 192.0.2.1/32 dev lo &&
    ip address add 2001:db8::1/128 dev lo nodad || exit 99
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
certs=$dir/certs
configure "\"storage-driver\": \"vfs\", \"certs-dir\": \"$certs\""
tls_pid=
liar_pid=
trap 'kill $tls_pid $liar_pid 2>/dev/null; cli_cleanup' EXIT

echo hello >"$dir/hello"
tar -C "$dir" -cf "$dir/layer.tar" hello
"$lib/make-oci.py" "$dir/oci" 1 "$dir/layer.tar"
registry_push "$dir/oci:1" library/plain:1 || exit 99

# An authority, a server of it with the addresses, a client of it.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority \
    -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
sign() { # NAME EXTENSION
	openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" \
	    -keyout "$dir/$1.key" -out "$dir/$1.csr" 2>/dev/null
	echo "$2" >"$dir/ext"
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.crt" \
	    -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
	    -extfile "$dir/ext" -out "$dir/$1.crt" 2>/dev/null
}
sign server 'subjectAltName=IP:192.0.2.1,IP:2001:db8::1'
sign client 'extendedKeyUsage=clientAuth'

port=$(free_port)
cat >"$dir/tls.yml" <<EOT
version: 0.1
log: { level: error }
storage:
  filesystem: { rootdirectory: "$dir/registry/blobs" }
http:
  addr: ":$port"
  tls:
    certificate: "$dir/server.crt"
    key: "$dir/server.key"
    clientcas: [ "$dir/ca.crt" ]
EOT
docker-registry serve "$dir/tls.yml" >"$dir/tls.log" 2>&1 </dev/null &
tls_pid=$!
wait_for curl -fsk --cert "$dir/client.crt" --key "$dir/client.key" \
    -o /dev/null "https://192.0.2.1:$port/v2/"
host=192.0.2.1:$port
use_certs() { # FILE…, in certs.d of both addresses
	rm -rf "$certs"
	for name in "$host" "[2001:db8::1]:$port"; do
		mkdir -p "$certs/$name"
		for file; do
			cp "$dir/${file%%=*}" "$certs/$name/${file#*=}"
		done
	done
}

ok "a store to begin with" imgd pull -q "127.0.0.1:$registry_port/library/plain:1"
refused "an unknown authority" "certificate" imgd pull -q "$host/library/plain:1"
use_certs ca.crt=ca.crt
refused "no certificate of the client" "certificate" \
    imgd pull -q "$host/library/plain:1"
use_certs ca.crt=ca.crt client.crt=me.cert
refused "a certificate without its key" "missing key me.key" \
    imgd pull -q "$host/library/plain:1"
use_certs ca.crt=ca.crt client.key=me.key
refused "a key without its certificate" "missing client certificate me.cert" \
    imgd pull -q "$host/library/plain:1"
use_certs client.crt=me.cert client.key=me.key
refused "a certificate, but no authority" "certificate" \
    imgd pull -q "$host/library/plain:1"
use_certs ca.crt=ca.crt client.crt=me.cert client.key=me.key
ok "authority and client's certificate" imgd pull -q "$host/library/plain:1"
ok "by an IPv6 address" imgd pull -q "[2001:db8::1]:$port/library/plain:1"
imgd tag "$host/library/plain:1" "$host/library/pushed:1"
ok "push" imgd push -q "$host/library/pushed:1"
mkdir -p "$dir/.docker"
ok "login" sh -c "echo any | '$program' --root '$root' --config \
    '$dir/daemon.json' login -u user --password-stdin '$host'"
! grep -rq "PRIVATE KEY" "$root"
result $? "the key is nowhere in the store"
wait_for_engine
configure "\"certs-dir\": \"$certs\", \"insecure-registries\":
    [ \"192.0.2.0/24\" ]"
use_certs client.crt=me.cert client.key=me.key
ok "insecure, only the client is known" imgd pull -q "$host/library/pushed:1"

# ---- mirrors ----

wait_for_engine
mirrors() {
	wait_for_engine
	configure "\"registry-mirrors\": [ $1 ]"
}
lying_start || exit 99
requests() {
	curl -s "http://127.0.0.1:$lying_port/_requests"
	curl -s -X DELETE "http://127.0.0.1:$lying_port/_requests"
}
mirrors "{ \"url\": \"http://127.0.0.1:$lying_port\",
    \"registry\": \"registry.invalid:5000\", \"ns\": true }"
ok "a mirror of a registry that is not there" \
    imgd pull -q registry.invalid:5000/t/ok:1
requests >"$dir/asked"
jq -e 'length > 0 and all(.path | endswith("?ns=registry.invalid%3A5000"))' \
    "$dir/asked" >/dev/null
result $? "is told each time whose it is"
wait_for_engine
configure "\"registry-mirrors\": [ { \"url\": \"http://127.0.0.1:$lying_port\",
    \"registry\": \"registry.invalid:5000\" } ], \"max-download-attempts\": 1"
imgd pull -q other.invalid/t/ok:1 >"$dir/out" 2>"$dir/err"
[ $? -eq 1 ] && [ "$(requests)" = '[]' ]
result $? "it is not asked for another's images"
mirrors "{ \"url\": \"http://127.0.0.1:$lying_port\", \"registry\": \"*\" }"
ok "a mirror of all" imgd pull -q third.invalid/t/ok:1
requests >"$dir/asked"
jq -e 'length > 0 and all(.path | contains("ns=") | not)' "$dir/asked" \
    >/dev/null
result $? "is told nothing unless it should be"
for bad in '{ "registry": "x" }' '{ "url": 5 }' '{ "url": "x", "ns": 1 }' \
    '{ "url": "x", "other": 1 }' 5; do
	mirrors "$bad"
	imgd pull -q "127.0.0.1:$registry_port/library/plain:1" \
	    >"$dir/out" 2>"$dir/err"
	[ $? -eq 1 ] && grep -q 'registry-mirrors: item 0: ' "$dir/err"
	result $? "refused as a mirror: $bad"
done
configure
cli_end
