#!/bin/sh
# Signatures travel with an OCI layout: save writes them, load keeps them and
# meets the policy's demands with them.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/signed.sh"

make_keys
registry_start "$dir/registry" || exit 99
host=127.0.0.1:$registry_port
configure '"storage-driver": "vfs"'
push_image one 1
push_image plain 1
push_index many two:2
push_index many three:3
sign one "$(digest_of one)" ec
sign --append one "$(digest_of one)" rsa
sign many "$(digest_of many)" ec

save() { # FILE FORMAT NAME…
	save_file=$dir/$1 save_format=$2
	shift 2
	imgd save --format="$save_format" -o "$save_file" "$@"
}
empty() {
	for image in $(imgd images -q --no-trunc | sort -u); do
		imgd rmi -f "$image" >"$dir/out" 2>&1
	done
}
policy() { # SCOPE POLICY [KEY]
	wait_for_engine
	configure "\"storage-driver\": \"vfs\", \"signatures\": [
	    { \"scope\": \"$1\", \"policy\": \"$2\"${3:+, \"keys\":
	    [ \"$dir/$3.pub\" ]} } ]"
}
load() {
	imgd load -q -i "$dir/$1"
}
verify() {
	imgd verify --offline --key "$dir/$1.pub" "$2"
}

imgd pull -q "$host/t/plain:1" >"$dir/out"
imgd pull -q --verify-key "$dir/ec.pub" "$host/t/one:1" >"$dir/out"
imgd pull -q --verify-key "$dir/ec.pub" "$host/t/many:1" >"$dir/out"
ok "images with signatures are saved" save all.tar oci "$host/t/one:1" \
    "$host/t/many:1" "$host/t/plain:1"
save one.tar oci "$host/t/one:1"
save plain.tar oci "$host/t/plain:1"
save docker.tar docker "$host/t/one:1"
imgd tag "$host/t/one:1" "$host/t/alias:1"
save alias.tar oci "$host/t/alias:1"
tag=$(digest_of one | tr : -).sig
has_tag() {
	tar -xOf "$dir/one.tar" index.json | jq -e --arg t "$tag" '.manifests |
	    any(.annotations."org.opencontainers.image.ref.name" == $t)'
}
ok "the layout has cosign's tag" has_tag
ok "no file is in it twice" sh -c \
    '[ -z "$(tar -tf "$1" | sort | uniq -d)" ]' sh "$dir/all.tar"
ok "skopeo reads it" skopeo inspect --raw "oci-archive:$dir/one.tar:$tag"

empty
ok "without a policy all is loaded" load all.tar
ok "and signatures are kept" verify rsa "$host/t/one:1"
ok "also an index's" verify ec "$host/t/many:1"
ok "once more it is saved" save again.tar oci "$host/t/one:1"

empty
policy "$host" key ec
ok "the policy's key" load one.tar
ok "after a second round, too" load again.tar
empty
refused "the same in Docker's form, without signatures" \
    "signature: there is none" load docker.tar
refused "an image without a signature" \
    "t/plain:1: signature: there is none" load plain.tar
refused "another name" "signature: .*it is for the name $host/t/one" \
    load alias.tar
policy "$host" key other
refused "another key" "signature: none of 2 is right; .*none of the keys" \
    load one.tar
policy '*' digest-only
refused "where only digests are taken" "by digest only" load one.tar
policy '*' reject
refused "where nothing is taken" "the policy for \* rejects $host/t/one" \
    load one.tar
policy "$host/t/alias" reject
ok "another name's policy" load one.tar
empty

# A layout's directory, to be changed.
mkdir "$dir/layout" "$dir/moved"
tar -C "$dir/layout" -xf "$dir/plain.tar"
tar -C "$dir/moved" -xf "$dir/one.tar"
edit() { # FILTER FILE…: of index.json
	jq -c "$@" "$dir/layout/index.json" >"$dir/index.new" &&
	    mv "$dir/index.new" "$dir/layout/index.json"
}
cp -n "$dir"/moved/blobs/sha256/* "$dir/layout/blobs/sha256/"
edit --slurpfile from "$dir/moved/index.json" \
    '.manifests += [$from[0].manifests[] | select(.annotations
	."org.opencontainers.image.ref.name" | endswith(".sig"))]'
policy "$host" key ec
refused "another image's signature beside it" "signature: there is none" \
    load layout
payload=$(jq -r .layers[0].digest "$dir/moved/blobs/sha256/$(jq -r '
    .manifests[] | select(.annotations."org.opencontainers.image.ref.name" |
    endswith(".sig")).digest' "$dir/moved/index.json" | cut -d: -f2)")
echo >>"$dir/moved/blobs/sha256/${payload#*:}"
refused "payloads that are damaged" "signature: there is none" load moved

# As other tools make it: without a name, and with the manifest that was signed.
for id in 1 "$tag"; do
	skopeo --insecure-policy copy --quiet --src-tls-verify=false \
	    "docker://$host/t/one:$id" "oci:$dir/skopeo:$id"
done
policy '*' key rsa
ok "a layout of skopeo's" load skopeo
policy '*' key other
refused "another key for that" "none of the keys made it" load skopeo

cli_end
