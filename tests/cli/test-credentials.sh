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

# ---- other files ----

rm "$dir/.docker/config.json"
printf '{ "%s": { "auth": "%s", "email": "x" } }\n' "$host" "$auth" \
    >"$dir/.dockercfg"
ok "Docker's first file" imgd pull -q "$host/t/basic:5"
rm "$dir/.dockercfg"
mkdir -p "$dir/run/containers"
bad=$(printf 'user:wrong' | base64)
printf '{ "auths": { "%s": { "auth": "%s" }, "%s/t/basic": { "auth": "%s" },
    "%s/t/bas": { "auth": "%s" } } }\n' "$host" "$bad" "$host" "$auth" \
    "$host" "$bad" >"$dir/run/containers/auth.json"
XDG_RUNTIME_DIR=$dir/run ok "podman's file, by the longest path" \
    imgd pull -q "$host/t/basic:6"
mv "$dir/run/containers/auth.json" "$dir/some.json"
REGISTRY_AUTH_FILE=$dir/some.json ok "a file that is named" \
    imgd pull -q "$host/t/basic:7"
use '{ "auths": { '
refused "a file that is damaged" "config.json: .*JSON" \
    imgd pull -q "$host/t/basic:8"
rm "$dir/.docker/config.json" "$dir/some.json"

# ---- login, logout ----

exec 8>&-
wait "$lying_pid"
rm "$dir/lying-in"
lying_start --ping=basic || exit 99
host=127.0.0.1:$lying_port

login() { # PASSWORD ARGUMENT…
	password=$1
	shift
	printf '%s\n' "$password" | "$program" --root "$root" \
	    --config "$dir/daemon.json" login "$@"
}

config=$dir/.docker/config.json
mode() {
	[ "$(stat -Lc %a "$config")" = 600 ]
}

ok "login" login 'pa:ss word' -u user --password-stdin "$host"
ok "makes a file that is ours alone" mode
jq -e --arg auth "$auth" --arg host "$host" \
    '.auths[$host].auth == $auth' "$config" >/dev/null
result $? "with what Docker would write"
ok "so that a pull succeeds" imgd pull -q "$host/t/basic:9"
cp "$config" "$dir/kept"
login wrong -u user --password-stdin "$host" >"$dir/out" 2>"$dir/err"
[ $? -eq 1 ] && grep -q 'incorrect username or password' "$dir/err" &&
    cmp -s "$config" "$dir/kept"
result $? "a wrong password is told, and not kept"
use '{ "psFormat": "x", "auths": { "other": { "auth": "eDp5" } } }'
chmod 644 "$config"
mv "$config" "$dir/real.json"
ln -s "$dir/real.json" "$config"
ok "login into a file that is there" \
    login 'pa:ss word' -u user --password-stdin "http://$host/v1/"
[ -L "$config" ] && mode && jq -e --arg host "$host" \
    '.psFormat == "x" and .auths.other.auth == "eDp5" and
    (.auths[$host].auth | length) > 0' "$config" >/dev/null
result $? "keeps the rest of it"
ok "logout" imgd logout "$host"
jq -e '.auths == { other: { auth: "eDp5" } }' "$config" >/dev/null
result $? "forgets one registry alone"
refused "so that a pull fails" "no basic auth credentials" \
    imgd pull -q "$host/t/basic:10"
ok "logout once more" imgd logout "$host"
grep -q "Not logged in to $host" "$dir/out"
result $? "says that there was nothing"
[ -z "$(find "$dir/.docker" -name '.config*')" ]
result $? "no file is left beside it"
rm "$config"

login x --password-stdin "$host" >"$dir/out" 2>"$dir/err"
[ $? -eq 1 ] && grep -q 'needs -u' "$dir/err"
result $? "a password alone is not enough"
login x -u user "$host" >"$dir/out" 2>"$dir/err"
[ $? -eq 1 ] && grep -q 'no terminal' "$dir/err"
result $? "a password is asked for on a terminal only"
[ ! -e "$config" ]
result $? "and nothing was written"
cat >"$dir/terminal.py" <<'EOT'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
for prompt, typed in ((b"Username: ", b"user\n"), (b"Password: ", b"pa:ss word\n")):
    while not shown.endswith(prompt):
        shown += os.read(fd, 100)
    os.write(fd, typed)
try:
    while True:
        shown += os.read(fd, 100)
except OSError:
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
EOT
ok "login on a terminal" timeout 60 python3 "$dir/terminal.py" "$program" \
    --root "$root" --config "$dir/daemon.json" login "$host"
! grep -q 'pa:ss word' "$dir/out"
result $? "does not show the password"
[ "$(jq -r --arg host "$host" '.auths[$host].auth' "$config")" = "$auth" ]
result $? "and keeps what was typed"
rm "$config"

helper two '' 0
use '{ "credsStore": "two" }'
ok "login with a helper" login 'pa:ss word' -u user --password-stdin "$host"
grep -Fqx "store {\"ServerURL\":\"$host\",\"Username\":\"user\",\"Secret\":\"pa:ss word\"}" \
    "$dir/asked"
result $? "hands them to it"
ok "and writes none down" sh -c "! grep -q auth '$config'"
ok "logout with a helper" imgd logout "$host"
grep -qx "erase $host" "$dir/asked"
result $? "has it forget them"
rm "$config"

exec 8>&-
wait "$lying_pid"
rm "$dir/lying-in"
lying_start --ping=bearer || exit 99
host=127.0.0.1:$lying_port
ok "login with a token server" \
    login 'pa:ss word' -u user --password-stdin "$host"
[ "$(jq -r --arg host "$host" '.auths[$host].identitytoken' "$config")" = \
    identity ] && ! grep -q "$auth" "$config"
result $? "keeps the token in the password's place"
ok "which is good for a pull" imgd pull -q "$host/t/private:1"
! grep -rq 'pa:ss word' "$root" "$dir/lying-log"
result $? "the password is nowhere in the store"
cli_end
