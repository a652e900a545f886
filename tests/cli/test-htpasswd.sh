#!/bin/sh
# A real registry with users of its own: nothing without one, and the password
# is nowhere but where it belongs.
# shellcheck disable=SC2154 # tests/lib/registry.sh sets registry_port
. "$srcdir/tests/lib/cli.sh"
printf '{ "storage-driver": "vfs" }\n' >"$dir/daemon.json"
password='pa:ss word'
perl -e 'print "user:", crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu)), "\n"' \
    "$password" >"$dir/users"
registry_start "$dir/registry" \
    "auth: { htpasswd: { realm: here, path: \"$dir/users\" } }" || exit 99
host=127.0.0.1:$registry_port
mkdir -m 700 "$dir/.docker"

echo hello >"$dir/hello"
tar -C "$dir" -cf "$dir/layer.tar" hello
imgd import "$dir/layer.tar" "$host/t/app:1" >/dev/null || exit 99
login() { # PASSWORD
	printf '%s\n' "$1" | "$program" --root "$root" --config \
	    "$dir/daemon.json" login -u user --password-stdin "$host"
}
denied='no basic auth credentials|unauthorized: authentication required'
refused "a push of nobody's" "$denied" imgd push -q "$host/t/app:1"
refused "a wrong password" "unauthorized" login wrong
[ ! -e "$dir/.docker/config.json" ]
result $? "is not kept"
ok "the right one" login "$password"
[ "$(stat -c %a "$dir/.docker/config.json")" = 600 ]
result $? "is kept, for its owner alone"
ok "push" imgd push -q "$host/t/app:1"
id=$(imgd inspect "$host/t/app:1" | jq -r '.[0].Id')
imgd rmi "$host/t/app:1" >/dev/null
again() {
	imgd pull -q "$host/t/app:1" &&
	    [ "$(imgd inspect "$host/t/app:1" | jq -r '.[0].Id')" = "$id" ]
}
ok "what was pushed is pulled" again
ok "all tags" imgd pull -q -a "$host/t/app"
skopeo --insecure-policy inspect --tls-verify=false --raw \
    --creds "user:$password" "docker://$host/t/app:1" </dev/null |
    jq -e '.config.digest == $id' --arg id "$id" >/dev/null
result $? "skopeo finds it there"
ok "logout" imgd logout "$host"
imgd rmi "$host/t/app:1" >/dev/null
refused "a pull of nobody's" "$denied" imgd pull -q "$host/t/app:1"
printf '%s' "user:$password" | base64 >"$dir/secret"
! grep -rqF -e "$password" -e "$(cat "$dir/secret")" "$root" \
    "$dir/.docker" "$dir/out" "$dir/err"
result $? "after it the password is nowhere"
cli_end
