#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/v1.sh sets v1_*
# What only registries of version 1 know: search; and login at one.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/v1.sh"
configure '"storage-driver": "vfs"'
make_tars
v1_start --user=user:secret || exit 99
here=127.0.0.1:$v1_port
config=$dir/.docker/config.json

login() { # PASSWORD ARGUMENT…
	password=$1
	shift
	printf '%s\n' "$password" | "$program" --root "$root" \
	    --config "$dir/daemon.json" login -u user --password-stdin "$@"
}

ok "a store to begin with" imgd pull -q "$here/t/ok:1"
ok "search" imgd search "$here/some thing"
cat >"$dir/wanted" <<EOT
NAME           DESCRIPTION                                        STARS   OFFICIAL
t/some thing   d\\x1b[31m                                          7       [OK]
two                                                               0       
three          $(printf 'ä%.0s' $(seq 45))...   1       
EOT
tr -s ' ' <"$dir/out" >"$dir/is"
tr -s ' ' <"$dir/wanted" | diff - "$dir/is" >"$dir/diff"
result $? "shows a table without control characters"
sed 's/^/# /' "$dir/diff"
v1_asked | grep -q '/v1/search?q=some%20thing&n=25'
result $? "asks for 25"
ok "search with a limit" imgd search --limit 1 --json "$here/x"
[ "$(jq -c . "$dir/out")" = '{"name":"t/x","description":"d\u001b[31m","star_count":7,"is_official":true,"is_automated":false}' ]
result $? "as JSON, as many as asked for"
ok "descriptions in full" imgd search --no-trunc "$here/x"
grep -q "$(printf 'ä%.0s' $(seq 60))" "$dir/out"
result $? "all of them"
ok "search for what is not there" imgd search "$here/nothing"
[ "$(wc -l <"$dir/out")" -eq 1 ]
result $? "finds nothing"
refused "an answer without names" "a result without a name" \
    imgd search "$here/nameless"
refused "an answer of another form" "an object is expected" \
    imgd search "$here/list"
refused "a huge answer" "longer than" imgd search "$here/huge"
refused "a limit of nothing" "between 1 and 100" \
    imgd search --limit 0 "$here/x"
refused "no term" "nothing to look for" imgd search "$here/"

ok "login" login secret "$here"
[ "$(jq -r --arg here "$here" '.auths[$here].auth' "$config")" = \
    "$(printf user:secret | base64)" ]
result $? "keeps the password"
v1_forget
ok "search as a user" imgd search "$here/x"
v1_asked | grep '/v1/search' | grep -q "Basic $(printf user:secret | base64)"
result $? "says who asks"
ok "so that a private image is pulled" imgd pull -q "$here/t/private:1"
cp "$config" "$dir/kept"
login wrong "$here" >"$dir/out" 2>"$dir/err"
[ $? -eq 1 ] && grep -q 'incorrect username or password' "$dir/err" &&
    cmp -s "$config" "$dir/kept"
result $? "a wrong password is told, and not kept"
cli_end
