#!/bin/sh
# Other clients than docker: docker-py, skopeo, curl as callers of old knew it,
# and imgd itself.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"

registry_start "$dir/registry" || exit 99
here=127.0.0.1:$registry_port
"$lib/make-image.sh" --small "$dir/oci" 14.04 >/dev/null || exit 99
registry_push "$dir/oci:14.04" library/ubuntu:14.04 || exit 99
use_mirror "$registry_port"
daemon_start || exit 99

# ---- docker-py ----

ok "docker-py: pull, get, list, tag, history, save, load, push, remove" \
    timeout 120 /usr/bin/python3 - "$here" <<'EOT'
import sys, docker
here = sys.argv[1]
c = docker.from_env(version="auto")
assert c.ping()
assert c.version()["ApiVersion"]
image = c.images.pull("ubuntu", tag="14.04")
assert image.tags == ["ubuntu:14.04"], image.tags
assert c.images.get("ubuntu:14.04").id == image.id
assert [i.id for i in c.images.list()] == [image.id]
assert [i.id for i in c.images.list(name="ubuntu")] == [image.id]
assert c.images.list(filters={"dangling": True}) == []
assert image.tag("foo/bar", tag="2")
assert image.history()[0]["Id"] == image.id
data = b"".join(image.save(named=True))
c.images.remove("foo/bar:2")
c.images.remove("ubuntu:14.04")
assert c.images.list() == []
loaded = c.images.load(data)
assert [i.id for i in loaded] == [image.id]
loaded[0].tag("%s/py/copy" % here, tag="1")
out = c.images.push("%s/py/copy" % here, tag="1")
assert "digest: sha256:" in out, out
data = c.images.get_registry_data("%s/py/copy:1" % here)
assert data.id.startswith("sha256:")
try:
    c.images.get("nosuch:1")
    raise SystemExit("no error")
except docker.errors.ImageNotFound as e:
    print(e)
try:
    c.images.pull("%s/no/such" % here, tag="1")
    raise SystemExit("no error")
except docker.errors.APIError as e:
    print(e)
for line in c.api.pull("ubuntu", tag="14.04", stream=True, decode=True):
    print(line)
assert c.df()["LayersSize"] > 0
c.images.prune(filters={"dangling": True})
EOT

# ---- skopeo, which asks for version 1.22 ----

copied() {
	rm -rf "$dir/copy"
	timeout 60 skopeo --insecure-policy copy -q \
	    --src-daemon-host "unix://$api" docker-daemon:ubuntu:14.04 \
	    "oci:$dir/copy:x" </dev/null &&
	    umoci raw unpack --image "$dir/copy:x" "$dir/tree" &&
	    [ -e "$dir/tree/etc" ]
}
ok "skopeo copies from the daemon" copied
given() {
	timeout 60 skopeo --insecure-policy copy -q \
	    --dest-daemon-host "unix://$api" "oci:$dir/oci:14.04" \
	    docker-daemon:given:1 </dev/null &&
	    imgd images given:1 | grep -q '^given  *1 '
}
ok "skopeo copies to the daemon" given

# ---- raw callers ----

ok "HEAD /_ping" answers 200 '' HEAD /_ping
headers() {
	curl -s --unix-socket "$api" -I http://anything/_ping >"$dir/shown"
	cat "$dir/shown"
	for line in 'Api-Version: 1.50' 'Ostype: linux' \
	    'Docker-Experimental: false' 'Content-Type: text/plain' \
	    'Cache-Control: no-cache'; do
		grep -Fq "$line" "$dir/shown" || return 1
	done
}
ok "with the headers that clients look at" headers
ok "1.14: images" answers 200 '"VirtualSize":[0-9]' GET /v1.14/images/json
ok "1.14: errors are plain text" answers 404 '^No such image: nosuch' \
    GET /v1.14/images/nosuch/json
plain() { grep -q 'text/plain' "$dir/status"; }
ok "by their type, too" plain
ok "1.14: a pull" answers 200 'Image is up to date' \
    POST '/v1.14/images/create?fromImage=ubuntu&tag=14.04'
ok "1.14: history" answers 200 '"CreatedBy"' \
    GET /v1.14/images/ubuntu:14.04/history
ok "a version that is too new" answers 400 \
    'client version 1.99 is too new. Maximum supported API version is 1.50' \
    GET /v1.99/images/json
ok "a route that nobody has" answers 404 '"page not found"' GET /nonsense
ok "a method that it has not" answers 404 '"page not found"' \
    PUT /images/json
json_type() { [ "$(cut -d' ' -f2- "$dir/status")" = application/json ]; }
ok "errors are exactly application/json" json_type
ok "a pull without a name" answers 400 'fromImage' POST /images/create
ok "what is no name" answers 400 'invalid reference' \
    POST '/images/create?fromImage=UPPER&tag=1'
ok "filters that are no JSON" answers 400 'invalid filter' \
    GET '/images/json?filters=%7B'
platform() { # OS ARCHITECTURE MORE: encoded for a query
	printf '{"os":"%s","architecture":"%s"%s}' "$1" "$2" "${3:-}" |
	    jq -sRr @uri
}
our_arch=$(imgd inspect ubuntu:14.04 | jq -r '.[0].Architecture')
imgd save -o "$dir/platform.tar" ubuntu:14.04
get="/images/get?names=ubuntu:14.04&platform="
saves() { # PLATFORM
	api GET "/v1.48$get$1" >"$dir/got.tar" && cmp "$dir/platform.tar" \
	    "$dir/got.tar"
}
ok "save of a platform" saves "$(platform linux "$our_arch")"
ok "save of one that it is not for" answers 404 'not for linux/s390x' \
    GET "/v1.48$get$(platform linux s390x)"
ok "and by its own route" answers 404 'not for windows/s390x/v9' \
    GET "/v1.48/images/ubuntu:14.04/get?platform=$(platform windows s390x \
    ',"variant":"v9","os.version":"1"')"
ok "half a platform" answers 400 'both OS and Architecture' \
    GET "/v1.48$get$(platform linux '')"
ok "a platform that is no JSON" answers 400 'failed to parse platform' \
    GET "/v1.48$get%7B"
ok "a platform with another inside" answers 400 'failed to parse platform' \
    GET "/v1.48$get$(platform linux/s390x "$our_arch")"
ok "a platform of numbers" answers 400 'failed to parse platform' \
    GET "/v1.48$get%7B%22os%22:1%7D"
loads() { # WANTED-STATUS PATTERN PLATFORM
	answers "$1" "$2" POST "/v1.48/images/load?platform=$3" \
	    -H 'Content-Type: application/x-tar' \
	    --data-binary "@$dir/platform.tar"
}
ok "load of a platform" loads 200 'Loaded image: ubuntu:14.04' \
    "$(platform linux "$our_arch")"
ok "load of one that it is not for" loads 404 'not for linux/s390x' \
    "$(platform linux s390x)"
ok "containers are answered with what imgd is" answers 501 \
    'imgd keeps images' POST /containers/create -d '{"Image":"ubuntu:14.04"}'
ok "credentials that are none are nobody's" answers 200 'up to date' \
    POST '/images/create?fromImage=ubuntu&tag=14.04' -H 'X-Registry-Auth: %%%'
ok "a driver of one's own choice" answers 200 'Status: ' \
    POST '/images/create?fromImage=ubuntu&tag=14.04&driver=vfs'
ok "any job" answers 200 '^\{"result":"' POST /imgd/jobs \
    -d '{"name":"create","args":["box","ubuntu:14.04"]}'
ok "a job that is none" answers 400 'no such job: nonsense' POST /imgd/jobs \
    -d '{"name":"nonsense"}'
ok "what describes no job" answers 400 'not a job' POST /imgd/jobs -d '[1]'
ok "a job that fails" answers 404 'message' POST /imgd/jobs \
    -d '{"name":"rm","args":["nosuch"]}'
ok "the list of jobs" answers 200 '^\[' GET /imgd/jobs
ok "a job that is not there" answers 404 . DELETE /imgd/jobs/999999

# ---- a token that a caller has from elsewhere ----

lying_start || exit 99
with_token() { # REPOSITORY TOKEN PATTERN
	auth=$(printf '{"registrytoken":"%s"}' "$2" | base64 -w 0 | tr +/ -_)
	curl -fs -X DELETE "http://127.0.0.1:$lying_port/_requests"
	api POST "/images/create?fromImage=127.0.0.1:$lying_port/t/$1&tag=1" \
	    -H "X-Registry-Auth: $auth" >"$dir/shown"
	curl -fs "http://127.0.0.1:$lying_port/_requests" >"$dir/asked"
	cat "$dir/shown" "$dir/asked"
	! grep -q '/token' "$dir/asked" &&
	    grep -q "$3" "$dir/shown"
}
ok "a token that will not do" with_token private \
    'known|repository:t/other:pull' 'access denied'
ok "one that does is used as it is" with_token private \
    'known|repository:t/private:pull' 'Status: Downloaded'
lying_stop

# ---- imgd --host ----

remote() {
	"$program" --host "$api" --config "$dir/daemon.json" "$@" </dev/null
}
alike() { # VERB…: the same by both ways
	imgd "$@" >"$dir/near" 2>&1
	near=$?
	remote "$@" >"$dir/far" 2>&1
	[ $? -eq $near ] && diff "$dir/near" "$dir/far"
}
for verb in 'images' 'images --json' 'images --tree' 'inspect ubuntu:14.04' \
    'history ubuntu:14.04' 'inspect nosuch' 'pull -q ubuntu:14.04' \
    'pull -q ubuntu:14.04 --driver vfs' 'tag nosuch x:1' \
    'fsck' 'rmi nosuch' 'search --limit 0 x' "pull -q $here/no/such:1" \
    'migrate --from nodriver --to vfs --all' 'prune -f' 'gc --dry-run' \
    'diff box' 'jobs cancel 999999'; do
	# shellcheck disable=SC2086 # words
	ok "--host: $verb" alike $verb
done
ok "--host: tag" remote tag ubuntu:14.04 far:1
ok "--host: rmi" remote rmi far:1
mounted() {
	mkdir "$dir/there" && remote mount ubuntu:14.04 "$dir/there" &&
	    [ -e "$dir/there/etc" ] && remote umount "$dir/there"
}
ok "--host: mount and umount" mounted
moved() {
	remote save ubuntu:14.04 >"$dir/far.tar" &&
	    imgd save ubuntu:14.04 >"$dir/near.tar" &&
	    cmp "$dir/far.tar" "$dir/near.tar" &&
	    "$program" --host "$api" load <"$dir/far.tar" | tee "$dir/shown" &&
	    grep -q 'Loaded image: ubuntu:14.04' "$dir/shown"
}
ok "--host: save and load" moved
exported() {
	"$program" --host "$api" export ubuntu:14.04 >"$dir/far.tar" &&
	    imgd export ubuntu:14.04 >"$dir/near.tar" &&
	    cmp "$dir/far.tar" "$dir/near.tar" &&
	    docker export box | tar -tf - | grep -qx 'etc/passwd'
}
imported() {
	echo 'import it' >"$dir/word" && tar -C "$dir" -cf "$dir/word.tar" word
	remote import "$dir/word.tar" from:far >/dev/null &&
	    imgd inspect from:far >/dev/null && remote rmi from:far
}
ok "--host: import" imported
"$program" --host "$api" events >/dev/null 2>&1 </dev/null &
events=$!
has_job() { remote jobs | grep -q '^[0-9]* *events .*http'; }
ok "--host: jobs" wait_for has_job
kill $events
wait $events 2>/dev/null
ok "--host: export, and docker's own" exported
near_only() {
	remote export --format ext4 -o "$dir/x" ubuntu:14.04 2>"$dir/err"
	[ $? -eq 1 ] && grep -q 'only with the store at hand' "$dir/err" &&
	    [ ! -e "$dir/x" ]
}
ok "--host: a filesystem is made with the store at hand" near_only
ok "--host: push" remote push "$here/py/copy:1"
env_host() { IMGD_HOST=unix://$api "$program" images -q | grep -q .; }
ok "IMGD_HOST" env_host
nobody_there() {
	"$program" --host "$dir/nobody.sock" images 2>"$dir/err"
	[ $? -eq 1 ] && cat "$dir/err" && [ "$(wc -l <"$dir/err")" -eq 1 ] &&
	    grep -q "nobody.sock" "$dir/err" || return 1
	for verb in 'prune -f' jobs 'export x' 'import -' df fsck gc info; do
		# shellcheck disable=SC2086 # words
		! "$program" --host "$dir/nobody.sock" $verb </dev/null \
		    >"$dir/err" 2>&1 && grep -q 'nobody.sock' "$dir/err" ||
		    { echo "$verb"; return 1; }
	done
	for verb in create mount 'driver ls'; do
		# shellcheck disable=SC2086 # words
		remote $verb >"$dir/err" 2>&1
		grep -q 'only with the store at hand' "$dir/err" ||
		    { echo "$verb"; return 1; }
	done
}
ok "--host: nobody listens" nobody_there

imgd rm box >/dev/null
ok "the daemon ends when told" daemon_stop
registry_stop
cli_end
