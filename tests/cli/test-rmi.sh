#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/registry.sh sets registry_port
# What goes with a name, and what is refused: as dockerd does it.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/dockerd.sh"
trap 'docker_stop; cli_cleanup' EXIT

for n in 0 1 2; do
	mkdir "$dir/$n"
	echo "$n" >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" "f$n"
done
"$lib/make-oci.py" "$dir/oci" one "$dir/0.tar" "$dir/1.tar"
"$lib/make-oci.py" "$dir/oci" two "$dir/0.tar" "$dir/2.tar"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
docker_start || exit 99
for tag in one two; do
	registry_push "$dir/oci:$tag" "library/$tag:1" || exit 99
	docker_load "$dir/oci:$tag" "$tag:1" || exit 99
	imgd pull -q "$tag:1" >/dev/null || exit 99
done
# An archive has no digests, and dockerd no other way to images here.
no_digests() {
	sql "DELETE FROM digests; UPDATE tags SET manifest_digest = ''"
}
no_digests
one=$(imgd inspect one:1 | jq -r '.[0].Id')
two=$(imgd inspect two:1 | jq -r '.[0].Id')
short=$(echo "$one" | cut -c8-20)

also_tag() { # NAME NAME:TAG
	docker_api POST "/images/$1/tag?repo=${2%:*}&tag=${2##*:}"
	imgd tag "$1" "$2"
}
# Both do the same and say the same: records, or the words of a refusal.
same() { # IMAGE [force]
	docker_api DELETE "/images/$1${2:+?force=1}" |
	    jq -c 'if type == "object" then .message else . end' >"$dir/want"
	job rmi "$1" -- "force=${2:+1}" >"$dir/said"
	tail -n 1 "$dir/said" |
	    jq -c 'if type == "object" then .error else . end' >"$dir/is"
	diff "$dir/want" "$dir/is" && cat "$dir/is"
}
same_code() { # IMAGE
	code=$(docker_api DELETE "/images/$1" -o /dev/null -w '%{http_code}')
	job rmi "$1" >"$dir/said"
	case $(jq .code "$dir/said") in
	2) [ "$code" = 404 ] ;;
	22) [ "$code" = 400 ] ;;
	1037) [ "$code" = 409 ] ;;
	*) false ;;
	esac
}
listed() {
	docker_api GET /images/json | jq -c '[.[].RepoTags[]] | sort' \
	    >"$dir/want"
	job images -- api-minor=41 | jq -c '[.[].RepoTags[]] | sort' |
	    diff "$dir/want" -
}

ok "a name that is not there" same nothing
ok "a name with a tag that is not there" same one:nothing
ok "an id that is not there" same 0123456789ab
ok "is not found" same_code nothing
also_tag one:1 one:2
ok "an id of two tags" same "$one"
ok "is a conflict" same_code "$one"
ok "the beginning of one" same "$short"
ok "one of the tags" same one:2
also_tag one:1 other:x
ok "an id of two repositories" same "$one"
ok "one of the two" same one:1
ok "is a name less" listed
ok "the last name" same other:x
ok "is an image less" listed
also_tag two:1 two:2
also_tag two:1 more:x
ok "by id and force" same "$two" force
ok "leaves nothing" listed
no_layer() {
	sql "SELECT driver, chain_id, state FROM layers" >"$dir/shown"
	cat "$dir/shown"
	[ ! -s "$dir/shown" ]
}
ok "and no layer" no_layer
ok "force of what is not there" same two:1 force

# ---- somebody uses it; dockerd's container is ours by another id ----

docker_load "$dir/oci:one" one:1 || exit 99
imgd pull -q one:1 >/dev/null
no_digests
container=$(docker_api POST /containers/create -d '{"Image":"one:1"}' \
    -H 'Content-Type: application/json' | jq -r .Id | cut -c1-12)
imgd create "$container" one:1 >/dev/null
ok "the last name of an image in use" same one:1
also_tag one:1 one:2
ok "one of its two names" same one:2
ok "the last one by force, but not the image, as dockerd would do" \
    [ "$(imgd rmi -f one:1)" = "Untagged: one:1" ]
ok "is without a name then" [ "$(imgd images --format '{{.Tag}}')" = "<none>" ]
refused "an image in use goes by no force" \
    "unable to delete .* .cannot be forced. - .* container $container" \
    imgd rmi -f "$one"
imgd rm "$container" >/dev/null
docker_stop
ok "then it goes by its id" imgd rmi "$one"

# ---- digests ----

imgd pull -q one:1 >/dev/null
digest=$(imgd images --json one:1 | jq -r .Digest)
imgd tag one:1 other:x
ok "digests of a repository go with its last tag" \
    [ "$(imgd rmi one:1 | tr '\n' ' ')" = \
    "Untagged: one:1 Untagged: one@$digest " ]
imgd pull -q one:1 >/dev/null
ok "a digest goes alone" [ "$(imgd rmi "one@$digest")" = \
    "Untagged: one@$digest" ]
ok "the rest stays" [ "$(imgd images -q one:1 | wc -l)" -eq 1 ]
imgd rmi other:x one:1 >/dev/null
imgd pull -q one:1 >/dev/null
ok "with the last name all is told" \
    [ "$(imgd rmi "$short" | sed 's/: sha256.*//' | tr '\n' ' ')" = \
    "Untagged: one:1 Untagged: one@$digest Deleted Deleted Deleted " ]
ok "rmi -f of what is not there is no failure" imgd rmi -f one:1
refused "without it is one" "No such image: one:1" imgd rmi --no-prune one:1

# ---- two drivers ----

for d in vfs overlay; do
	imgd pull -q --driver=$d one:1 >/dev/null
done
ok "an image's layers are told once" \
    [ "$(imgd rmi one:1 | grep -c ^Deleted:)" -eq 3 ]
cli_end
