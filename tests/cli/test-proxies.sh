#!/bin/sh
# Registries behind proxies: of the verb that asks, whoever started the engine,
# or of the configuration.
. "$srcdir/tests/lib/cli.sh"
unset http_proxy https_proxy no_proxy all_proxy
unset HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY

# No resolver knows the name: only the proxy does.
name=reg.invalid
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name \
    -addext subjectAltName=DNS:$name -keyout "$dir/key" -out "$dir/cert" \
    2>/dev/null || exit 99
cat "$dir/key" "$dir/cert" >"$dir/both"
lying_start "--tls=$dir/both" || exit 99
tls=$name:$lying_port
plain=$name:$lying_ports
mkdir -p "$dir/certs/$tls"
cp "$dir/cert" "$dir/certs/$tls/ca.crt"

mkfifo "$dir/proxy-in"
python3 "$srcdir/tests/registry/proxy.py" <"$dir/proxy-in" >"$dir/proxy-port" \
    2>"$dir/proxy-log" 8>&- &
proxy_pid=$!
exec 7>"$dir/proxy-in"
trap 'exec 7>&-; kill $proxy_pid 2>/dev/null; cli_cleanup' EXIT
wait_for test -s "$dir/proxy-port"
read -r port <"$dir/proxy-port"
proxy=http://127.0.0.1:$port

setup() { # [KEY-AND-VALUE]
	wait_for_engine
	configure "\"insecure-registries\": [ \"$plain\" ],
	    \"certs-dir\": \"$dir/certs\"${1:+, $1}"
}
setup

# went METHOD URL-PREFIX: the proxy was asked so since the last time.
went() {
	curl -fs --noproxy '*' "$proxy/_requests" >"$dir/requests"
	curl -fs --noproxy '*' -X DELETE "$proxy/_requests"
	grep -F "\"method\": \"$1\", \"url\": \"$2" "$dir/requests"
}
none() {
	! went GET http && ! went CONNECT ""
}
pull() { # IMAGE [VARIABLE=VALUE…]
	image=$1
	shift
	env "$@" "$program" --root "$root" --config "$dir/daemon.json" \
	    pull -q --retry 1 "$image" </dev/null && imgd rmi "$image" >/dev/null
}
through() { # METHOD URL-PREFIX IMAGE [VARIABLE=VALUE…]
	method=$1 url=$2
	shift 2
	pull "$@" && went "$method" "$url"
}
cannot() { # IMAGE [VARIABLE=VALUE…]
	! pull "$@" >"$dir/said" 2>&1 && cat "$dir/said"
}

ok "nobody knows the name without a proxy" cannot "$plain/t/ok:1"
ok "http_proxy" through GET "http://$plain/v2/" "$plain/t/ok:1" \
    http_proxy="$proxy" https_proxy="$proxy"
ok "HTTP_PROXY" through GET "http://$plain/v2/" "$plain/t/ok:1" \
    HTTP_PROXY="$proxy" HTTPS_PROXY="$proxy"
ok "https_proxy, by a tunnel" through CONNECT "$tls" "$tls/t/ok:1" \
    https_proxy="$proxy"
ok "all_proxy" through CONNECT "$tls" "$tls/t/ok:1" all_proxy="$proxy"
ok "http_proxy is not for https" cannot "$tls/t/ok:1" http_proxy="$proxy"
ok "no_proxy" cannot "$tls/t/ok:1" https_proxy="$proxy" \
    no_proxy="a.example,$name"
went CONNECT "" >/dev/null
ok "loopback is asked without" pull "127.0.0.1:$lying_ports/t/ok:1" \
    http_proxy="$proxy" https_proxy="$proxy"
ok "indeed" none
ok "with a password" through CONNECT "$tls" "$tls/t/ok:1" \
    https_proxy="http://yes:secret@127.0.0.1:$port"
grep -q '"auth": "Basic eWVzOnNlY3JldA=="' "$dir/requests"
result $? "which the proxy gets"
refused "a proxy that says no" "407" env \
    https_proxy="http://no:secret@127.0.0.1:$port" "$program" --root "$root" \
    --config "$dir/daemon.json" pull -q --retry 1 "$tls/t/ok:1"
! grep -q secret "$dir/err"
result $? "and the password is not told"
refused "a proxy that is not there" "127.0.0.1" env \
    https_proxy="http://127.0.0.1:1" "$program" --root "$root" \
    --config "$dir/daemon.json" pull -q --retry 1 "$tls/t/ok:1"

# An engine of somebody else's.
"$program" --root "$root" --config "$dir/daemon.json" pull -q \
    --retry forever 127.0.0.1:1/t/ok:1 >/dev/null 2>&1 </dev/null &
other=$!
has_engine() {
	pid=$(engine_pid)
	[ -n "$pid" ] && [ -S "$root/sock" ]
}
wait_for has_engine
ok "an engine that a verb without proxies started" through CONNECT "$tls" \
    "$tls/t/ok:1" https_proxy="$proxy"
ok "serves one without them, too" cannot "$tls/t/ok:1"
[ "$(engine_pid)" = "$pid" ]
result $? "it was the same engine"
kill $other
wait $other 2>/dev/null

setup "\"proxies\": { \"https-proxy\": \"$proxy\", \"no-proxy\": \"x.example\" }"
ok "the configuration's" through CONNECT "$tls" "$tls/t/ok:1" \
    https_proxy=http://127.0.0.1:1 no_proxy=$name
setup "\"proxies\": { \"no-proxy\": \"$name\" }"
ok "its no-proxy" cannot "$tls/t/ok:1" https_proxy="$proxy"
setup "\"proxies\": { \"ftp-proxy\": \"x\" }"
ok "an unknown key" sh -c "'$program' --root '$root' \
    --config '$dir/daemon.json' images 2>&1 |
    grep 'proxies: unknown key ftp-proxy'"
setup "\"proxies\": \"x\""
ok "a wrong type" sh -c "'$program' --root '$root' \
    --config '$dir/daemon.json' images 2>&1 | grep 'proxies: not an object'"
setup
ok "search, too" sh -c "https_proxy='$proxy' '$program' --root '$root' \
    --config '$dir/daemon.json' search $tls/x 2>&1 | grep -v resolve"
ok "goes there" went CONNECT "$tls"

exec 7>&-
kill $proxy_pid
wait $proxy_pid 2>/dev/null
lying_stop
cli_end
