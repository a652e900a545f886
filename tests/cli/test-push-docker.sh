#!/bin/sh
# What imgd pushes dockerd pulls, and what dockerd pushes imgd pulls: the same
# image under the same digests.
unshare=-n
. "$srcdir/tests/lib/unshared.sh"
ip link set lo up || exit 99
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/dockerd.sh"
. "$srcdir/tests/lib/v1.sh"
docker_namespace=same
trap 'docker_stop; cli_cleanup' EXIT
registry_start "$dir/registry" || exit 99
there=127.0.0.1:$registry_port

make_tars
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:1" library/source:1 || exit 99
imgd pull -q "$there/library/source:1" >/dev/null || exit 99
v1_start || exit 99
imgd pull -q "127.0.0.1:$v1_port/t/ok:1" >/dev/null || exit 99
docker_start || exit 99

docker_pulls() { # NAME TAG
	docker_api POST "/images/create?fromImage=$there/$1&tag=$2" \
	    >"$dir/answer"
	cat "$dir/answer"
	! grep -q '"error"' "$dir/answer" || return 1
	docker_api GET "/images/$there/$1:$2/json" |
	    python3 -c 'import json, sys; print(json.load(sys.stdin)["Id"])' \
	    >"$dir/id"
	[ "$(cat "$dir/id")" = "$(imgd images -q --no-trunc "$there/$1:$2")" ]
}
docker_pushes() { # SOURCE NAME
	docker_api POST "/images/$there/$1/tag?repo=$there/$2&tag=1" &&
	    docker_api POST "/images/$there/$2/push?tag=1" \
		-H 'X-Registry-Auth: e30=' >"$dir/answer"
	cat "$dir/answer"
	! grep -q '"error"' "$dir/answer"
}

# As it came, and made anew.
imgd tag "$there/library/source:1" "$there/peer/same:1"
ok "imgd pushes" imgd push -q "$there/peer/same:1"
ok "dockerd pulls the same image" docker_pulls peer/same 1
sql 'DELETE FROM sources; DELETE FROM layer_blobs;
    UPDATE image_layers SET blob_digest = '"''"
imgd tag "$there/library/source:1" "$there/peer/anew:1"
ok "imgd pushes what it has packed" imgd push -q --retry 3 "$there/peer/anew:1"
ok "dockerd pulls that, too" docker_pulls peer/anew 1
imgd tag "127.0.0.1:$v1_port/t/ok:1" "$there/peer/old:1"
ok "imgd pushes what it has from version 1" imgd push -q "$there/peer/old:1"
ok "dockerd pulls that, too" docker_pulls peer/old 1

id=$(imgd images -q --no-trunc "$there/peer/anew:1")
ok "dockerd pushes" docker_pushes peer/anew:1 docker/own
digest=$(grep -o 'sha256:[0-9a-f]*' "$dir/answer" | tail -n 1)
imgd rmi -f "$id" >/dev/null
ok "imgd pulls" imgd pull -q "$there/docker/own:1"
[ "$(imgd images -q --no-trunc "$there/docker/own:1")" = "$id" ]
result $? "the same image"
imgd images --digests "$there/docker/own" | grep -q "$digest"
result $? "under the digest that dockerd told"
ok "it is whole" imgd fsck --deep
imgd tag "$there/docker/own:1" "$there/back/again:1"
ok "imgd pushes dockerd's" imgd push "$there/back/again:1"
[ "$(grep -c ': Mounted from docker/own' "$dir/out")" -eq 3 ] &&
    grep -q "digest: $digest" "$dir/out"
result $? "nothing is sent, and the digest is dockerd's"

lying_stop
docker_stop
cli_end
