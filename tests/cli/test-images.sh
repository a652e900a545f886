#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/registry.sh sets registry_port
# The list of images: filters, formats and JSON, beside dockerd's own.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/dockerd.sh"
trap 'docker_stop; cli_cleanup' EXIT
configure '"storage-driver": "vfs"'

for n in 0 1 2 3; do
	mkdir "$dir/$n"
	head -c "$((n + 1))000" /dev/zero >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" "f$n"
done
"$lib/make-oci.py" --created 2014-01-01T00:00:00Z --label who=me \
    --label empty= "$dir/oci" old "$dir/0.tar" "$dir/1.tar"
"$lib/make-oci.py" --created 2020-01-01T02:00:00+02:00 --label who=you \
    "$dir/oci" mid "$dir/0.tar" "$dir/2.tar"
"$lib/make-oci.py" --created 2024-01-01T00:00:00.5Z "$dir/oci" new \
    "$dir/3.tar"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
for tag in old mid new; do
	registry_push "$dir/oci:$tag" "library/app-$tag:1" || exit 99
	imgd pull -q "app-$tag:1" >/dev/null || exit 99
done
imgd tag app-mid:1 host:5000/team/app:x || exit 99
imgd tag app-old:1 app-old:2 || exit 99
digest=$(imgd images --json app-old:1 | jq -r .Digest)
mid_digest=$(imgd images --json app-mid:1 | jq -r .Digest)
old_id=$(imgd images -q app-old:1)

lists() { # WANTED ARGUMENT…
	wanted=$1
	shift
	imgd images --format '{{.Repository}}:{{.Tag}}' "$@" >"$dir/said" ||
	    return 1
	got=$(tr '\n' ' ' <"$dir/said")
	[ "$got" = "$wanted${wanted:+ }" ] || { echo "got $got"; return 1; }
}
all="app-new:1 app-mid:1 host:5000/team/app:x app-old:1 app-old:2"

ok "the newest comes first" lists "$all"
in_columns() {
	imgd images app-old:1 >"$dir/shown" && cat "$dir/shown" &&
	    grep -Eq '^app-old +1 +[0-9a-f]{12} +1[0-9]+ years ago +3kB +[a-z]+$' \
		"$dir/shown" &&
	    [ "$(TZ=UTC imgd images --format '{{.CreatedAt}}' app-old:1)" = \
		'2014-01-01 00:00:00 +0000 UTC' ]
}
ok "in columns" in_columns
ok "by a pattern" lists "app-new:1 app-mid:1 app-old:1 app-old:2" \
    -f 'reference=app-*'
ok "a star does not cross a slash" lists "" -f 'reference=host*'
ok "stars and classes" lists "host:5000/team/app:x" \
    -f 'reference=h*t:5000/*/a[a-p]p:[^y]'
ok "of two patterns one is enough" lists "app-new:1 app-old:2" \
    -f reference=app-new -f 'reference=*:2'
ok "a name" lists "app-old:1 app-old:2" app-old
ok "a name with a tag" lists "app-old:2" app-old:2
ok "a name in full" lists "app-old:2" docker.io/library/app-old:2
ok "a label" lists "app-mid:1 host:5000/team/app:x app-old:1 app-old:2" \
    -f label=who
ok "a label's value" lists "app-mid:1 host:5000/team/app:x" -f label=who=you
ok "two labels" lists "app-old:1 app-old:2" -f label=who=me -f label=empty=
ok "without a label" lists "app-new:1" -f 'label!=who'
ok "before an image" lists "app-old:1 app-old:2" -f before=app-mid:1
ok "since an image" lists "app-new:1" -f "since=app-mid:1"
ok "since an image's id" lists "app-new:1 app-mid:1 host:5000/team/app:x" \
    -f "since=$old_id"
ok "until a day" lists "app-mid:1 host:5000/team/app:x app-old:1 app-old:2" \
    -f until=2024-01-01T00:00:00Z
ok "until seconds" lists "app-old:1 app-old:2" -f until=1577836800
ok "until so long ago" lists "$all" -f until=24h
ok "none is dangling" lists "" -f dangling=true
ok "all are not" lists "$all" -f dangling=false
refused "an unknown filter" "invalid filter 'colour'" \
    imgd images -f colour=red
refused "a filter without a value" "KEY=VALUE" imgd images -f dangling
refused "neither true nor false" "invalid filter 'dangling=\[x\]'" \
    imgd images -f dangling=x
refused "a broken pattern" "syntax error in pattern" \
    imgd images -f 'reference=[a'
refused "no such time" "failed to parse value as time" \
    imgd images -f until=soon
refused "two times" "more than one until" \
    imgd images -f until=1h -f until=2h
refused "an image that is not there" "No such image: nothing:latest" \
    imgd images -f before=nothing

ok "a format" [ "$(imgd images --format '{{.ID}}\t{{ json .Tag }}' \
    app-old:1)" = "$(printf '%s\t"1"' "$old_id")" ]
ok "a table of one's own" [ "$(imgd images --format \
    'table {{.Tag}}\t{{.Size}}' app-old:1 | tr -s ' ')" = \
    "TAG SIZE
1 3kB" ]
ok "JSON by a format" [ "$(imgd images --format json app-new |
    jq -r '.Repository + .Size + .UniqueSize')" = "app-new4kB4kB" ]
ok "what an image shares" [ "$(imgd images --format \
    '{{.SharedSize}} {{.UniqueSize}}' app-mid)" = "1kB 3kB" ]
refused "no such field" "there is no .Colour" \
    imgd images --format '{{.Colour}}'
refused "an unfinished format" "without" imgd images --format '{{.ID'
ok "ids alone" [ "$(imgd images -q | wc -l)" -eq 3 ]
ok "in full" [ "$(imgd images -q --no-trunc app-old:1 | wc -c)" -eq 72 ]
ok "digests" [ "$(imgd images --digests app-old:2 | awk 'NR == 2 {print $3}')" \
    = "$digest" ]

imgd rmi app-new:1 app-old:2 >/dev/null
registry_push "$dir/oci:new" library/app-old:1 || exit 99
imgd pull -q app-old:1 >/dev/null
ok "an image without a tag" lists "app-old:<none>" -f dangling=true
sql "DELETE FROM digests WHERE repository LIKE '%app-old'"
ok "an image without a name" lists "<none>:<none>" -f dangling=true
ok "is not listed by a pattern" lists "app-old:1" -f 'reference=*old*'
ok "a writable layer" imgd create box app-mid:1
ok "writable layers are counted" [ "$(imgd images --format '{{.Containers}}' \
    app-mid:1)" = 1 ]
imgd rm box >/dev/null

# ---- what a registry has, without a pull ----

distribution() { # NAME WANTED
	job distribution "$1" | tee "$dir/is" |
	    jq -e --arg digest "$2" '.Descriptor.digest == $digest and
		.Descriptor.size > 100 and
		.Platforms == [{"architecture":"amd64","os":"linux"}] and
		.Descriptor.mediaType ==
		    "application/vnd.oci.image.manifest.v1+json"'
}
ok "a manifest's descriptor and platform" distribution \
    "127.0.0.1:$registry_port/library/app-mid:1" \
    "$mid_digest"
unknown() {
	! job distribution "127.0.0.1:$registry_port/library/nothing:1" \
	    >"$dir/is" && cat "$dir/is" && jq -e '.code == 1027' "$dir/is"
}
ok "a name that the registry does not know" unknown

# ---- dockerd's list ----

docker_start || exit 99
docker_ok=0
registry_push "$dir/oci:old" library/app-old:1 || exit 99
for tag in old mid new; do
	docker_load "$dir/oci:$tag" "app-$tag:1" || docker_ok=1
	imgd pull -q "app-$tag:1" >/dev/null || docker_ok=1
done
docker_api POST '/images/app-old:1/tag?repo=app-old&tag=2'
imgd tag app-old:1 app-old:2
imgd rmi host:5000/team/app:x >/dev/null
result $docker_ok "dockerd has the same images"
# Nor does dockerd know of digests here.
sql "DELETE FROM digests"
# Sizes are the drivers' own; skopeo's archive has no digests.
normal() {
	jq -S '[.[] | {Id, RepoTags, Created, Labels, ParentId, SharedSize}]'
}
job_images() { # FILTERS
	job images -- "filters=$1" >"$dir/is"
}
same_list() { # FILTERS
	docker_api GET "/v1.41/images/json?filters=$1" | normal >"$dir/want"
	job_images "$1" || return 1
	normal <"$dir/is" | diff "$dir/want" -
}
# That is what newer ones write, as the start of a sentence in capitals.
same_refusal() { # FILTERS
	docker_api GET "/v1.41/images/json?filters=$1" |
	    jq -r '.message | ascii_downcase' >"$dir/want"
	! job_images "$1" &&
	    jq -r '.error | ascii_downcase' <"$dir/is" | diff "$dir/want" -
}
for f in '' '{"reference":{"app-*:1":true}}' '{"reference":["app-old"]}' \
    '{"label":["who"]}' '{"label":{"who=me":true,"empty=":true}}' \
    '{"label":["nothing"]}' '{"before":["app-mid:1"]}' \
    '{"since":{"app-old:1":true}}' '{"dangling":["true"]}' \
    '{"dangling":["false"],"label":["who=you"]}'; do
	ok "the list is dockerd's: $f" same_list "$f"
done
for f in '{"colour":["red"]}' '{"dangling":["x"]}' '{"reference":["[a"]}' \
    '{"before":["nothing"]}' '{"since":{"nothing:1":true}}'; do
	ok "the refusal is dockerd's: $f" same_refusal "$f"
done
malformed() {
	! job_images "$1" && [ "$(cat "$dir/is")" = \
	    '{"error":"invalid filter","code":22}' ]
}
for f in '{' '[]' '"x"' '{"dangling":"x"}' '{"dangling":[1]}' 'null' \
    '{"label":["a"],"label":["b"]}'; do
	ok "a malformed filter: $f" malformed "$f"
done
docker_stop
ok "a list's text is kept" job_images '' && cp "$dir/is" "$dir/kept"
fresh() {
	job images | cmp - "$dir/kept" && imgd tag app-old:2 app-old:3 &&
	    job images | grep -q app-old:3 &&
	    sql "DELETE FROM tags WHERE tag = '3'" &&
	    job images | cmp - "$dir/kept"
}
ok "until a tag is made, or another process changes it" fresh

cli_end
