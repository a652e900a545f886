#!/bin/sh
# What the configuration demands of images, by registry and namespace.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/signed.sh"

make_keys
registry_start "$dir/registry" || exit 99
host=127.0.0.1:$registry_port
push_image free 1
push_image signed 1
push_image unsigned 1
sign signed "$(digest_of signed)" ec

policy() { # RULE…
	wait_for_engine
	configure "\"storage-driver\": \"vfs\", \"signatures\": [ $* ]"
}
rule() { # SCOPE POLICY [KEY]
	printf '{ "scope": "%s", "policy": "%s"%s }' "$1" "$2" \
	    "${3:+, \"keys\": [ \"$dir/$3.pub\" ]}"
}

policy
ok "without a rule everything is taken" imgd pull -q "$host/t/free:1"
policy "$(rule '*' reject), $(rule "$host/t/signed" key ec)"
refused "a default that denies" \
    "the policy for \* rejects $host/t/free" imgd pull -q "$host/t/free:1"
refused "also what is named by its digest" "the policy for \* rejects" \
    imgd pull -q "$host/t/free@$(digest_of free)"
refused "and all tags" "the policy for \* rejects" imgd pull -q -a "$host/t/free"
refused "and what was named on another registry" "the policy for \* rejects" \
    imgd pull -q localhost:1/t/signed:1
ok "a key's namespace" imgd pull -q "$host/t/signed:1"
refused "a key that the verb asks for besides" "none of the keys made it" \
    imgd pull -q --verify-key "$dir/other.pub" "$host/t/signed:1"

policy "$(rule "$host" key ec), $(rule "$host/t/free" accept)"
refused "nobody has signed it" "t/unsigned:1: signature: there is none" \
    imgd pull -q "$host/t/unsigned:1"
ok "a longer scope that accepts" imgd pull -q "$host/t/free:1"
policy "$(rule "$host" accept), $(rule "$host/t" key other)"
refused "a longer scope that demands" "signature: none of the keys made it" \
    imgd pull -q "$host/t/signed:1"
policy "$(rule "$host" key nokey)"
refused "a key file that is not there" "nokey.pub: No such file" \
    imgd pull -q "$host/t/signed:1"

policy "$(rule '*' digest-only)"
refused "a tag where only digests are taken" \
    "the policy for \* takes $host/t/free by digest only" \
    imgd pull -q "$host/t/free:1"
ok "a digest there" imgd pull -q "$host/t/free@$(digest_of free)"

policy "$(rule ubuntu reject)"
imgd images >"$dir/out" 2>"$dir/err"
result $(($? != 1)) "a scope that could never match is an error"
grep -q 'signatures: item 0: scope ubuntu: ' "$dir/err"
result $? "which names it"
policy

cli_end
