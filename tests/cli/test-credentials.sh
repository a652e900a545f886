#!/bin/sh
# Where credentials come from: the file, a registry's own helper, the helper
# for all.
. "$srcdir/tests/lib/cli.sh"
lying_start || exit 99
host=127.0.0.1:$lying_port
printf '{ "storage-driver": "vfs" }\n' >"$dir/daemon.json"
mkdir "$dir/.docker" "$dir/bin"
PATH=$dir/bin:$PATH
export PATH

use() {
	printf '%s\n' "$1" >"$dir/.docker/config.json"
}

# helper NAME ANSWER STATUS: it also writes down what it was asked, and how.
helper() {
	cat >"$dir/bin/docker-credential-$1" <<-EOT
	#!/bin/sh
	{ echo "\$1 \$(cat)"; env; } >"$dir/asked"
	echo '$2'
	exit $3
	EOT
	chmod +x "$dir/bin/docker-credential-$1"
}

auth=$(printf 'user:pa:ss word' | base64)
good='{ "ServerURL": "x", "Username": "user", "Secret": "pa:ss word" }'
ok "a store to begin with" imgd pull -q "$host/t/ok:1"
refused "no file" "no basic auth credentials" imgd pull -q "$host/t/basic:1"
use "{ \"auths\": { \"$host\": { \"auth\": \"$auth\" } } }"
ok "a password with a colon, in the file" imgd pull -q "$host/t/basic:1"

helper one "$good" 0
use "{ \"credHelpers\": { \"$host\": \"one\" }, \"credsStore\": \"missing\" }"
IMGD_SECRET=1 ok "a registry's own helper" imgd pull -q "$host/t/basic:2"
ok "is asked for that registry" grep -qx "get $host" "$dir/asked"
ok "and sees little of our environment" \
    sh -c "! grep -q IMGD_SECRET '$dir/asked'"
use '{ "credsStore": "one" }'
ok "the helper for all" imgd pull -q "$host/t/basic:3"
helper one "credentials not found in native keychain" 1
refused "a helper that has none" "no basic auth credentials" \
    imgd pull -q "$host/t/basic:4"
helper one "secret words" 1
refused "a helper that fails" "docker-credential-one: failed with status 1" \
    imgd pull -q "$host/t/basic:4"
ok "whose words are not passed on" sh -c "! grep -q secret '$dir/err'"
helper one "no JSON" 0
refused "a helper that talks nonsense" "docker-credential-one: .*JSON" \
    imgd pull -q "$host/t/basic:4"
use '{ "credsStore": "missing" }'
refused "a helper that is not there" "docker-credential-missing: No such file" \
    imgd pull -q "$host/t/basic:4"
use '{ "credsStore": "../../bin/sh" }'
refused "a helper with a path" "bad name of a credential helper" \
    imgd pull -q "$host/t/basic:4"
cli_end
