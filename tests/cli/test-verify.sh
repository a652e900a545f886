#!/bin/sh
# Whether an image of the store was signed: by what is kept, and else by what its
# registry has.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/signed.sh"

make_keys
registry_start "$dir/registry" || exit 99
host=127.0.0.1:$registry_port
configure '"storage-driver": "vfs"'
push_image one 1
push_index many two:2
push_index many three:3
imgd pull -q "$host/t/one:1" >"$dir/out"
imgd pull -q "$host/t/many:1" >"$dir/out"

verify() {
	imgd verify --key "$dir/ec.pub" "$@"
}
field() { # KEY EXPECTED [OPTION…] IMAGE
	field_key=$1 field_value=$2
	shift 2
	field_got=$(verify --json "$@" | jq -r ".$field_key")
	echo "$field_got"
	[ "$field_got" = "$field_value" ]
}
rows() {
	sql 'SELECT COUNT(*) FROM signatures'
}

refused "no signature anywhere" "verify $host/t/one:1: signature: there is none" \
    verify "$host/t/one:1"
sign one "$(digest_of one)" other
refused "another key" "signature: none of the keys made it" \
    verify "$host/t/one:1"
ok "which is not kept" [ "$(rows)" -eq 0 ]
sign one "$(digest_of one)" ec
refused "offline nobody is asked" "signature: there is none" \
    verify --offline "$host/t/one:1"
refused "by its id neither" "signature: there is none" \
    verify "$(imgd images -q "$host/t/one")"
ok "the registry has it" field Source registry "$host/t/one:1"
ok "from then on the store has it" field Source store "$host/t/one:1"
ok "what was signed is told" field Digest "$(digest_of one)" \
    --offline "$host/t/one:1"
ok "under which name" field SignedAs "$host/t/one" --offline "$host/t/one:1"
ok "by which key" field Key "$dir/ec.pub" --offline "$host/t/one:1"
ok "by its id" field Source store "$(imgd images -q "$host/t/one")"
ok "in words for people" sh -c '"$0" "$@" | grep -qx "Source:    store"' \
    "$program" --root "$root" --config "$dir/daemon.json" verify \
    --key "$dir/ec.pub" "$host/t/one:1"
refused "offline, another key" "signature: none of the keys made it" \
    imgd verify --offline --key "$dir/rsa.pub" "$host/t/one:1"
imgd tag "$host/t/one:1" "$host/t/alias:1"
refused "a name that was not signed" \
    "signature: it is for the name $host/t/one" \
    verify --offline "$host/t/alias:1"
ok "any name" verify --offline --any-name "$host/t/alias:1"
refused "no key at all" "no key is given" imgd verify "$host/t/one:1"

sign many "$(digest_of many)" ec
ok "an index leads to the image" field Digest "$(digest_of many)" \
    "$host/t/many:1"
ok "also from the store" field Source store "$host/t/many:1"
ok "two images have one each" [ "$(rows)" -eq 2 ]

# A tag that moved: it is asked by the digest that was pulled.
push_image one 1
imgd rmi "$host/t/alias:1" >"$dir/out"
ok "an image that is gone takes its signatures along" \
    imgd rmi -f "$host/t/one:1"
ok "and its manifests" [ "$(sql 'SELECT (SELECT COUNT(*) FROM signatures),
    (SELECT COUNT(*) FROM signed_documents)')" = '1|2' ]

ok "what a pull demanded is kept" \
    imgd pull -q --verify-key "$dir/ec.pub" "$host/t/many:1"
registry_stop
ok "and needs no registry" field Source store "$host/t/many:1"
refused "a registry that is gone" "the registry: .*(refused|connect)" \
    imgd verify --key "$dir/rsa.pub" "$host/t/many:1"

wait_for_engine
configure "\"storage-driver\": \"vfs\", \"signatures\": [
    { \"scope\": \"$host\", \"policy\": \"key\", \"keys\": [ \"$dir/ec.pub\" ] } ]"
ok "the policy's key" imgd verify "$host/t/many:1"

cli_end
