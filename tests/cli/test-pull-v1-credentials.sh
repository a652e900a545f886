#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/v1.sh sets v1_*
# Who is told a password by a pull from a registry of version 1, and who is not.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/v1.sh"
make_tars
v1_start --user=user:secret || exit 99
here=127.0.0.1:$v1_port
basic=$(printf 'user:secret' | base64)

ok "an image for all" imgd pull -q "$here/t/ok:1"
refused "a private repository, without a password" "access denied" \
    imgd pull -q "$here/t/private:1"

login() { # HOST
	mkdir -p "$dir/.docker"
	printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$1" "$basic" \
	    >"$dir/.docker/config.json"
}
login "$here"
index_only() {
	v1_forget
	imgd pull -q "$here/t/private:1" && v1_asked >"$dir/asked" &&
	    cat "$dir/asked" &&
	    [ "$(grep -c "Basic $basic" "$dir/asked")" -eq 1 ] &&
	    grep "Basic $basic" "$dir/asked" |
	    grep -q '/v1/repositories/t/private/images'
}
ok "without TLS only the index is told" index_only
elsewhere() {
	v1_forget
	imgd pull -q "$here/t/dead-first:1" && v1_asked >"$dir/asked" &&
	    cat "$dir/asked" && grep -q "^$v1_other " "$dir/asked" &&
	    ! grep "^$v1_other " "$dir/asked" | grep -q Basic
}
ok "other registries that the index names are not" elsewhere
redirected() {
	v1_forget
	imgd pull -q "$here/t/redirect:1" && v1_asked >"$dir/asked" &&
	    cat "$dir/asked" && grep -q "^$v1_files " "$dir/asked" &&
	    ! grep "^$v1_files " "$dir/asked" | grep -q 'Authorization\|Cookie'
}
ok "nor where they lead to" redirected
lying_stop

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 \
    -keyout "$dir/pem" -out "$dir/pem.crt" 2>/dev/null
cat "$dir/pem.crt" >>"$dir/pem"
v1_start --user=user:secret "--tls=$dir/pem" || exit 99
# shellcheck disable=SC2034 # v1_asked uses it
v1_scheme=https
here=127.0.0.1:$v1_port
login "$here"
decorated() {
	imgd pull -q "$here/t/private:1" && v1_asked >"$dir/asked" &&
	    cat "$dir/asked" &&
	    [ "$(grep "/v1/images" "$dir/asked" | grep -c "Basic $basic")" -eq \
		"$(grep -c "/v1/images" "$dir/asked")" ] &&
	    ! grep -q 'Token Token' "$dir/asked"
}
ok "with TLS a standalone registry is told each time" decorated
not_others() {
	v1_forget
	! imgd pull -q "$here/t/dead-first:1" || return 1
	v1_asked >"$dir/asked" && cat "$dir/asked" &&
	    ! grep -q "^$v1_other " "$dir/asked"
}
# An index with TLS means registries with TLS: there is none at that port.
ok "and nobody is asked without TLS then" not_others

basic=$(printf 'user:wrong' | base64)
login "$here"
refused "a wrong password is of no use" "access denied" \
    imgd pull -q "$here/t/private:1"

cli_end
