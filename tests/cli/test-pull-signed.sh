#!/bin/sh
# Pulls that demand a signature: cosign's, by both of its schemes, made with
# openssl.  What is not signed as it should be is one line, exit 1, and a store
# as it was.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/signed.sh"

make_keys
registry_start "$dir/registry" || exit 99
host=127.0.0.1:$registry_port
configure '"storage-driver": "vfs"'
push_image one 1
push_image two 2
push_image begin 1
ok "a store to begin with" imgd pull -q "$host/t/begin:1"
digest=$(digest_of one)

pull() { # NAME KEY [OPTION…]
	pull_name=$1 pull_key=$2
	shift 2
	imgd pull -q --verify-key "$dir/$pull_key.pub" "$@" "$host/t/$pull_name"
}

refused "an image without a signature" "t/one:1: signature: there is none" \
    pull one:1 ec
sign one "$digest" other
refused "another key" "signature: none of the keys made it" pull one:1 ec
sign --about "$(digest_of two)" one "$digest" ec
refused "another image's signature" \
    "signature: it is for $(digest_of two), which is not this image" \
    pull one:1 ec
sign --name "$host/t/two" one "$digest" ec
refused "another name" "signature: it is for the name $host/t/two" \
    pull one:1 ec
sign --name "$host/t/one:2" one "$digest" ec
refused "another tag" "signature: it is for the name $host/t/one:2" \
    pull one:1 ec
sign --text 'no base64!' one "$digest"
refused "a signature that is no base64" "signature: bad base64" pull one:1 ec
sign --payload '{' one "$digest" ec
refused "a payload that is no JSON" "signature: payload: " pull one:1 ec
sign --payload '{"critical": null}' one "$digest" ec
refused "a payload that says nothing" 'signature: payload: "critical" is' \
    pull one:1 ec
sign --junk 65 one "$digest" ec
refused "65 signatures" "more than 64 signatures" pull one:1 ec
sign --junk 63 one "$digest" ec
ok "63 that are nobody's, and a right one" pull one:1 ec
ok "which is still asked for when the image is there" pull one:1 ec
sign --junk 3 one "$digest" other
refused "one that is there, once its signature is gone" \
    "signature: none of 4 is right; of one: none of the keys made it" \
    pull one:1 ec
ok "and by digest, as anything without a demand" \
    imgd pull -q "$host/t/one@$digest"
imgd rmi -f "$host/t/one:1" >"$dir/out" 2>&1

for key in ec ec384 ed rsa; do
	sign one "$digest" $key
	ok "a signature by $key" pull one:1 $key
	imgd rmi -f "$host/t/one:1" >"$dir/out" 2>&1
done

# The same by referrers, whose index lies under a tag here.
two=$(digest_of two)
sign --referrers two "$two" other
refused "among referrers: another key" "none of the keys made it" pull two:2 ec
sign --referrers --append two "$two" ec
ok "among referrers: one of two" pull two:2 ec
imgd rmi -f "$host/t/two:2" >"$dir/out" 2>&1
sign --name registry.example.org/team/two two "$two" rsa
refused "moved here: its name" "for the name registry.example.org/team/two" \
    pull two:2 rsa
ok "moved here: any name" pull two:2 rsa --any-name

imgd rmi -f "$host/t/two:2" >"$dir/out" 2>&1

# A registry that lists referrers itself; it tells what it was asked for.
# shellcheck disable=SC2034 # for lying_start
lying_script=referrers.py
lying_start "$registry_port" || exit 99
front=127.0.0.1:$lying_port
asked() {
	curl -s --noproxy '*' "http://$front/_requests"
}
layer=$(curl -s --noproxy '*' "http://$host/v2/t/two/manifests/2" -H \
    'Accept: application/vnd.oci.image.manifest.v1+json' |
    jq -r '.layers[0].digest')
curl -s --noproxy '*' -X DELETE "http://$host/v2/t/two/manifests/$(
    manifest_digest two "$(echo "$two" | tr : -).sig")"
refused "the list of referrers: another name" "for the name $host/t/two" \
    imgd pull -q --verify-key "$dir/ec.pub" "$front/t/two:2"
ok "nothing of a refused image's layers was asked for" sh -c \
    'case $1 in *"$2"*) exit 1 ;; *referrers*) ;; *) exit 1 ;; esac' \
    sh "$(asked)" "$layer"
sign --referrers --name "$front/t/two" two "$two" ec
ok "the list of referrers" \
    imgd pull -q --verify-key "$dir/ec.pub" "$front/t/two:2"
ok "then the layers are" sh -c 'case $1 in *"$2"*) ;; *) exit 1 ;; esac' \
    sh "$(asked)" "$layer"
imgd rmi -f "$front/t/two:2" >"$dir/out" 2>&1
lying_stop

# Of several platforms index or image may be signed.
push_index many three:3
push_index many four:4
index=$(digest_of many)
image=$(digest_of three)
refused "an index that nobody signed" "there is none" pull many:1 ec
sign many "$index" ec
ok "a signature of the index" pull many:1 ec
imgd rmi -f "$host/t/many:1" >"$dir/out" 2>&1
sign many "$index" other
sign many "$image" ec
ok "a signature of the image in it" pull many:1 ec
imgd rmi -f "$host/t/many:1" >"$dir/out" 2>&1
sign many "$image" other
sign many "$(digest_of four)" ec
refused "a signature of another image in it" "none of the keys made it" \
    pull many:1 ec

# Keys that are none.
refused "a key that is not there" "nokey.pub: No such file" pull one:1 nokey
cp "$dir/ec.key" "$dir/private.pub"
refused "a private key" "private.pub: not a public key in PEM form" \
    pull one:1 private
refused "a key of a curve that is not taken" "neither of ECDSA on P-256" \
    pull one:1 ec521

cli_end
