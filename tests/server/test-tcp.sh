#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/v1.sh sets v1_*
# On a network nobody is heard without a certificate; credentials and searches
# go through the daemon; numbers for Prometheus.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"
. "$srcdir/tests/lib/v1.sh"

# authority NAME; certify NAME AUTHORITY
authority() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" \
	    -keyout "$dir/$1.key" -out "$dir/$1.crt" 2>/dev/null
}
certify() {
	openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" \
	    -keyout "$dir/$1.key" -out "$dir/$1.csr" 2>/dev/null
	printf 'subjectAltName=IP:127.0.0.1\n' >"$dir/ext"
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/$2.crt" \
	    -CAkey "$dir/$2.key" -CAcreateserial -days 2 \
	    -extfile "$dir/ext" -out "$dir/$1.crt" 2>/dev/null
}
authority ours && authority others && certify server ours &&
    certify client ours && certify stranger others || exit 99
make_tars
v1_start --user=user:secret || exit 99
here=127.0.0.1:$v1_port
port=$(free_port)
configure '"storage-driver": "vfs"'

half() { # OPTION…
	"$program" --root "$root" --config "$dir/daemon.json" --host "$api" \
	    daemon --tcp "127.0.0.1:$port" "$@" </dev/null 2>"$dir/err"
	[ $? -eq 2 ] && grep 'nobody comes in without a certificate' "$dir/err"
}
ok "no TCP without certificates" half
ok "nor without an authority" half --tlscert "$dir/server.crt" \
    --tlskey "$dir/server.key"
no_key() {
	"$program" --root "$root" --config "$dir/daemon.json" --host "$api" \
	    daemon --tcp "127.0.0.1:$port" --tlscacert "$dir/ours.crt" \
	    --tlscert "$dir/server.crt" --tlskey "$dir/none" </dev/null \
	    2>"$dir/err"
	[ $? -eq 1 ] && cat "$dir/err" && grep -q '/none: ' "$dir/err"
}
ok "a key that is not there is named" no_key
daemon_start --metrics --tcp "127.0.0.1:$port" --tlscacert "$dir/ours.crt" \
    --tlscert "$dir/server.crt" --tlskey "$dir/server.key" || exit 99

by_tcp() { # CURL OPTION…
	curl -fsS --noproxy '*' --max-time 20 --cacert "$dir/ours.crt" "$@" \
	    "https://127.0.0.1:$port/_ping"
}
not() { ! "$@"; }
ok "with a certificate of ours" by_tcp --cert "$dir/client.crt" \
    --key "$dir/client.key"
ok "not without one" not by_tcp
ok "not with one of others" not by_tcp --cert "$dir/stranger.crt" \
    --key "$dir/stranger.key"
ok "not without TLS" not curl -fsS --noproxy '*' --max-time 20 \
    "http://127.0.0.1:$port/_ping"
ok "docker by TCP" docker -H "tcp://127.0.0.1:$port" --tlsverify \
    --tlscacert "$dir/ours.crt" --tlscert "$dir/client.crt" \
    --tlskey "$dir/client.key" images
ok "the unix socket needs none" docker images

ok "numbers" answers 200 '^imgd_images 0$' GET /metrics
typed() { grep -q 'text/plain; version=0.0.4' "$dir/status"; }
ok "in Prometheus's format" typed

login() { printf '%s\n' "$1" | docker login -u user --password-stdin "$here"; }
ok "login" login secret
kept() { jq -e ".auths[\"$here\"]" "$DOCKER_CONFIG/config.json"; }
ok "docker keeps the credentials" kept
ok "login with a wrong password" not login wrong
told() { login wrong 2>&1 | grep -qi 'unauthorized\|denied\|incorrect'; }
ok "is told so" told
found() {
	docker search "$here/some thing" >"$dir/shown" 2>&1
	cat "$dir/shown"
	grep -q '^t/some thing ' "$dir/shown"
}
ok "search" found
limited() {
	[ "$(docker search --limit 1 --format '{{.Name}}' "$here/x" | wc -l)" \
	    -eq 1 ]
}
ok "search with a limit" limited
secret() { grep -F secret "$dir/daemon.log"; }
ok "no password is in the log" not secret
peers() { grep 'POST /.*auth from pid [0-9]*, uid 0' "$dir/daemon.log"; }
ok "but who asked is" peers

daemon_stop
daemon_start || exit 99
ok "no numbers unless asked for" answers 404 'page not found' GET /metrics
ok "the daemon ends when told" daemon_stop
lying_stop
cli_end
