#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir
# Images with manifests of schema 1: signed, unsigned, by digest, of a real
# registry; and what is wrong with them.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/v1.sh"
make_tars
lying_script=schema1-registry.py
lying_start "$dir/0.tar" "$dir/1.tar" "$dir/2.tar" || exit 99
here=127.0.0.1:$lying_port
registry_start "$dir/registry" 'compatibility: { schema1: { enabled: true } }' ||
    exit 99
there=127.0.0.1:$registry_port
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:1" t/two:1 || exit 99

asked() { curl -fs "http://$here/_requests" | tr ',' '\n'; }
forget() { curl -fs -X DELETE "http://$here/_requests"; }

by_content() {
	imgd pull -q --driver vfs "$there/t/two:1" &&
	    imgd pull -q --driver vfs "$here/t/ok:1" &&
	    [ "$(asked | grep -c 'GET.*/blobs/')" -eq 3 ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq 3 ]
}
ok "layers that another registry gave are not kept twice" by_content
tree() { # IMAGE DRIVER FILE
	mkdir "$dir/m"
	imgd mount --driver "$2" "$1" "$dir/m" &&
	    "$lib/tree-list.py" "$dir/m" >"$3" && imgd umount "$dir/m" &&
	    rmdir "$dir/m"
}
same_tree() {
	imgd pull -q --driver "$driver" "$here/t/ok:1" &&
	    tree "$here/t/ok:1" "$driver" "$dir/tree1" &&
	    tree "$there/t/two:1" vfs "$dir/tree2" && [ -s "$dir/tree1" ] &&
	    cmp "$dir/tree1" "$dir/tree2"
}
ok "the tree is that of schema 2" same_tree
digest=$(curl -fsI -H \
    'Accept: application/vnd.docker.distribution.manifest.v1+prettyjws' \
    "http://$here/v2/t/ok/manifests/1" | tr -d '\r' |
    sed -n 's/^Docker-Content-Digest: //p')
no_op() {
	forget
	imgd pull --driver vfs "$here/t/ok:1" >"$dir/shown" || return 1
	cat "$dir/shown"
	asked >"$dir/asked" && cat "$dir/asked" &&
	    grep -q 'Image is up to date' "$dir/shown" &&
	    grep -qx "Digest: $digest" "$dir/shown" &&
	    [ "$(grep -c GET "$dir/asked")" -eq 0 ]
}
ok "a second pull is one HEAD" no_op
others() {
	forget
	imgd pull -q --driver vfs "$here/t/unsigned:1" &&
	    imgd pull -q --driver vfs "$here/t/ok@$digest" &&
	    ! asked | grep '/blobs/'
}
ok "unsigned, and by digest: what is there is not fetched" others
config() {
	imgd inspect "$here/t/ok:1" >"$dir/inspect" || return 1
	sql 'SELECT config FROM images' | grep -q '"odd":1.50' || return 1
	python3 - "$dir/inspect" "$digest" <<-'EOT'
	import json, sys
	doc = json.load(open(sys.argv[1]))[0]
	assert doc["Config"]["Env"] == ["A=2"], doc["Config"]
	assert doc["DockerVersion"] == "1.9.1"
	assert any(d.endswith(sys.argv[2]) for d in doc["RepoDigests"])
	assert len(doc["RootFS"]["Layers"]) == 3
	EOT
}
ok "the config is made of the top layer's JSON" config

# Without what is remembered of blobs, they come again.
again() { # NAME
	sql 'DELETE FROM sources'
	forget
	imgd pull -q --driver vfs "$here/t/$1:1" &&
	    [ "$(asked | grep -c 'GET.*/blobs/')" -ge 3 ] &&
	    [ "$(sql 'SELECT COUNT(DISTINCT chain_id) FROM layers')" -eq 3 ]
}
ok "a type that says nothing" again text-plain
ok "layers that are none are not asked for" again throwaway
ok "an id twice counts once" again doubled
ok "a blob of which nobody says how long it is" again no-length
ok "one whose transfer breaks" again cut
ok "in a manifest list, its size with signatures" again list
ok "in a manifest list, its size without" again list-payload
list_digest() {
	imgd inspect "$here/t/list:1" >"$dir/inspect" || return 1
	cat "$dir/inspect"
	list=$(curl -fs "http://$here/v2/t/list/manifests/1" | sha256sum)
	grep -q "t/list@sha256:${list%% *}" "$dir/inspect"
}
ok "the digest of a name is then that of the list" list_digest

bad() { # NAME PATTERN REPOSITORY
	sql 'DELETE FROM sources'
	refused "$1" "$2" imgd pull -q --driver vfs "$here/t/$3:1"
}
bad "a manifest changed after it was signed" "signature is wrong" changed
bad "a signature of another text" "signature is wrong" other-text
bad "a signature beyond the end" "formatLength.* beyond the end" format-length
bad "a key that is none" "key is not a P-256 key" no-point
bad "two signatures of two texts" "about different payloads" two-texts
bad "another digest than the registry says" "digest mismatch" header-lie
bad "less history than layers" "layers and history do not match" short-history
bad "history that is no JSON" "image JSON: .*JSON" bad-history
bad "a list that says another size" "bytes came instead of 5" list-size
bad "a list that says another type" "digest mismatch" \
    list-other-type
bad "members of schema 2" "members of another kind" mixed
bad "a parent that is not the next" "has the parent" wrong-order
bad "an image that is its own ancestor" "is its own ancestor" cycle
bad "an id that is a path" "bad image id .*\.\./" bad-id
bad "a digest that is a path" "bad digest" bad-digest
bad "5000 layers" "(20000 values|more than 4096|longer than)" many
bad "a manifest of 5 MiB" "longer than" huge
bad "another blob" "layer [0-9a-f]{12}: .*verification failed" other-blob
bad "a blob for which there is no room" "there is room for" huge-blob
refused "a digest of something else" "manifest for .* not found" \
    imgd pull -q "$here/t/ok@sha256:$(printf '5%.0s' $(seq 64))"
refused "another platform" "not for linux/s390x" \
    imgd pull -q --platform linux/s390x "$here/t/ok:1"

# skopeo makes and signs them, docker-registry checks and keeps them.
peers() {
	skopeo --insecure-policy copy -q --format v2s1 \
	    --src-tls-verify=false --dest-tls-verify=false \
	    "docker://$there/t/two:1" "docker://$there/t/one:1" </dev/null &&
	    imgd pull -q --driver vfs "$there/t/one:1" &&
	    imgd tag "$there/t/one:1" "$there/t/again:2" &&
	    imgd push -q "$there/t/again:2" &&
	    skopeo --insecure-policy copy -q --src-tls-verify=false \
		"docker://$there/t/again:2" "dir:$dir/copy" </dev/null ||
	    return 1
	id=$(imgd images -q --no-trunc "$there/t/one:1")
	[ "sha256:$(sha256sum <"$dir/copy/${id#*:}" | cut -d' ' -f1)" = "$id" ]
}
ok "an image that skopeo and docker-registry made so is pulled and pushed" \
    peers
ok "all is whole" imgd fsck --deep

cli_end
