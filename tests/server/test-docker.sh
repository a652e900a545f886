#!/bin/sh
# The docker command works against a daemon as it does against Docker's.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"

registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
here=127.0.0.1:$registry_port
"$lib/make-image.sh" --small "$dir/oci" 14.04 >/dev/null || exit 99
registry_push "$dir/oci:14.04" library/ubuntu:14.04 || exit 99
daemon_start || exit 99

shows() { # PATTERN COMMAND…
	pattern=$1
	shift
	"$@" >"$dir/shown" 2>&1 || {
		cat "$dir/shown"
		return 1
	}
	cat "$dir/shown"
	grep -Eq -- "$pattern" "$dir/shown"
}
fails() { # STATUS PATTERN COMMAND…
	want=$1
	pattern=$2
	shift 2
	"$@" >"$dir/shown" 2>&1
	got=$?
	cat "$dir/shown"
	[ $got -eq "$want" ] && grep -Eq -- "$pattern" "$dir/shown"
}

ok "version" shows 'API version: *1.50 ' docker version
ok "info names the driver" shows 'Storage Driver: [a-z]' docker info
quiet_info() {
	docker info 2>"$dir/err" >/dev/null
	cat "$dir/err"
	[ ! -s "$dir/err" ]
}
ok "info warns of nothing" quiet_info

ok "pull" shows '^docker.io/library/ubuntu:14.04$' docker pull ubuntu:14.04
pull_lines() {
	docker rmi ubuntu:14.04 >/dev/null &&
	    docker pull ubuntu:14.04 >"$dir/pull" || return 1
	cat "$dir/pull"
	sed -n 1p "$dir/pull" | grep -qx '14.04: Pulling from library/ubuntu' &&
	    [ "$(grep -c ': Pulling fs layer$' "$dir/pull")" -eq 4 ] &&
	    [ "$(grep -c ': Pull complete$' "$dir/pull")" -eq 4 ] &&
	    grep -Eqx 'Digest: sha256:[0-9a-f]{64}' "$dir/pull" &&
	    tail -n 2 "$dir/pull" | head -n 1 | grep -qx \
	    'Status: Downloaded newer image for ubuntu:14.04'
}
ok "pull says what dockerd says" pull_lines
ok "pull again" shows 'Status: Image is up to date for ubuntu:14.04' \
    docker pull ubuntu:14.04
bars() {
	docker rmi ubuntu:14.04 >/dev/null &&
	    script -qec 'docker pull ubuntu:14.04' /dev/null >"$dir/typed" \
		</dev/null || return 1
	cat -v "$dir/typed"
	cat -v "$dir/typed" | grep -q '\^\[\[1A\^\[\[2K.*Downloading'
}
ok "pull draws bars on a terminal" bars
ok "pull -q prints the name alone" \
    shows '^docker.io/library/ubuntu:14.04$' docker pull -q ubuntu:14.04
ok "a tag that is not there" fails 1 \
    '^Error response from daemon: .*manifest unknown' \
    docker pull "$here/library/ubuntu:nope"
ok "a repository that is not there" fails 1 '^Error response from daemon: ' \
    docker pull "$here/nobody/nothing"
ok "a name that is none" fails 1 'invalid reference format' \
    docker pull UPPER:1

ok "images" shows '^ubuntu +14.04 +[0-9a-f]{12} .*kB$' docker images
ok "images by format" shows '^ubuntu:14.04 sha256:[0-9a-f]{64}$' \
    docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
ok "images --digests" shows '14.04 +sha256:[0-9a-f]{64} ' \
    docker images --digests
id=$(docker images -q --no-trunc ubuntu:14.04)
filtered() {
	[ "$(docker images -q --no-trunc -f reference='ubu*:14*')" = "$id" ] &&
	    [ -z "$(docker images -q -f reference='x*')" ] &&
	    [ -z "$(docker images -q -f dangling=true)" ] &&
	    [ -z "$(docker images -q -f label=no=such)" ]
}
ok "images by filter" filtered
ok "a filter that is none" fails 1 'invalid filter' docker images -f foo=1
same_id() { [ "$(imgd images -q --no-trunc ubuntu:14.04)" = "$id" ]; }
ok "the command line sees the same image" same_id

ok "inspect" shows "^$id 4 linux\$" docker inspect --format \
    '{{.Id}} {{len .RootFS.Layers}} {{.Os}}' ubuntu:14.04
ok "inspect by a short id" shows ubuntu:14.04 \
    docker inspect "$(docker images -q ubuntu:14.04)"
ok "inspect of nothing" fails 1 'No such object: nosuch' docker inspect nosuch
ok "image inspect of nothing" fails 1 'No such image: nosuch' \
    docker image inspect nosuch
ok "history" shows '^<missing> .*add a Debian system' \
    docker history ubuntu:14.04
ok "history -q" shows "^$id\$" docker history -q --no-trunc ubuntu:14.04

ok "tag" docker tag ubuntu:14.04 other/name:x
ok "tag of nothing" fails 1 'No such image: nosuch' docker tag nosuch x:1
ok "rmi by an id that has two repositories" fails 1 \
    'conflict: unable to delete .* \(must be forced\) - image is referenced in multiple repositories' \
    docker rmi "$id"
ok "rmi of a name untags" shows '^Untagged: other/name:x$' \
    docker rmi other/name:x
ok "rmi of nothing" fails 1 'No such image: nosuch' docker rmi nosuch
ok "a writable layer on the image" sh -c '
    "$1" --root "$2" create box ubuntu:14.04 >/dev/null' \
    sh "$program" "$root"
ok "keeps it from rmi" fails 1 'conflict|in use|used' docker rmi ubuntu:14.04
ok "the writable layer goes" imgd rm box
removed() {
	docker rmi ubuntu:14.04 >"$dir/shown" || return 1
	cat "$dir/shown"
	sed -n 1p "$dir/shown" | grep -qx 'Untagged: ubuntu:14.04' &&
	    sed -n 2p "$dir/shown" | grep -q '^Untagged: ubuntu@sha256:' &&
	    sed -n 3p "$dir/shown" | grep -qx "Deleted: $id"
}
ok "rmi of the last name" removed
ok "rmi -f of nothing is no failure" docker rmi -f ubuntu:14.04
ok "pull by digest" docker pull -q "ubuntu@$(sed -n 's/^Digest: //p' \
    "$dir/pull")"
docker pull -q ubuntu:14.04 >/dev/null

saved() {
	docker save ubuntu:14.04 >"$dir/saved.tar" &&
	    docker rmi -f "$id" >/dev/null &&
	    docker load <"$dir/saved.tar" >"$dir/shown" || return 1
	cat "$dir/shown"
	grep -qx 'Loaded image: ubuntu:14.04' "$dir/shown" &&
	    [ "$(docker images -q --no-trunc ubuntu:14.04)" = "$id" ]
}
ok "save and load give the same image" saved
piped() { docker save ubuntu:14.04 | docker load -q; }
ok "save into load" shows 'Loaded image: ubuntu:14.04' piped
ok "save of nothing" fails 1 'No such image: nosuch|reference does not exist' \
    docker save nosuch -o "$dir/none.tar"
no_file() { [ ! -e "$dir/none.tar" ]; }
ok "and leaves no file" no_file
cut_short() {
	head -c 200000 "$dir/saved.tar" >"$dir/cut.tar"
	fails 1 . docker load -i "$dir/cut.tar"
}
ok "load of half an archive" cut_short

imported() {
	mkdir "$dir/tree" && echo hello >"$dir/tree/file" &&
	    tar -C "$dir/tree" -cf "$dir/tree.tar" . || return 1
	docker import -c 'CMD ["/bin/true"]' -m words "$dir/tree.tar" made:1 ||
	    return 1
	[ "$(docker inspect -f '{{.Comment}} {{.Config.Cmd}}' made:1)" = \
	    'words [/bin/true]' ]
}
ok "import" imported

committed() {
	imgd create box ubuntu:14.04 && imgd mount box "$dir/box" || return 1
	echo new >"$dir/box/new"
	imgd umount "$dir/box"
	docker commit -a me -m words -c 'CMD ["/bin/true"]' box made:3 \
	    >"$dir/shown" || return 1
	cat "$dir/shown"
	[ "$(docker inspect -f '{{.Id}} {{.Comment}} {{.Author}} {{.Config.Cmd}}' \
	    made:3)" = "$(cat "$dir/shown") words me [/bin/true]" ] &&
	    imgd rm box && docker rmi made:3
}
mkdir "$dir/box"
ok "commit" committed
ok "commit of nothing" fails 1 'no such container: nobody' \
    docker commit nobody made:3

pushed() {
	docker tag ubuntu:14.04 "$here/my/copy:1" &&
	    docker push "$here/my/copy:1" >"$dir/shown" || return 1
	cat "$dir/shown"
	sed -n 1p "$dir/shown" |
	    grep -qx "The push refers to repository \[$here/my/copy\]" &&
	    grep -Eq '^1: digest: sha256:[0-9a-f]{64} size: [0-9]+$' \
		"$dir/shown" &&
	    skopeo --insecure-policy inspect --tls-verify=false \
		"docker://$here/my/copy:1" </dev/null >/dev/null
}
ok "push" pushed
ok "push of nothing" fails 1 'does not exist locally with the tag' \
    docker push "$here/my/nothing"

ok "system df" shows '^Images +[0-9]+ ' docker system df
ok "system df -v" shows "$(echo "$id" | cut -c8-19) .* 0\$" \
    docker system df -v
pruned() {
	docker tag made:1 made:2 && docker rmi made:1 made:2 >/dev/null
	docker import "$dir/tree.tar" >/dev/null || return 1
	[ -n "$(docker images -q -f dangling=true)" ] || return 1
	docker image prune -f >"$dir/shown" || return 1
	cat "$dir/shown"
	grep -q '^deleted: sha256:' "$dir/shown" &&
	    grep -q '^Total reclaimed space: ' "$dir/shown" &&
	    [ -z "$(docker images -q -f dangling=true)" ]
}
ok "image prune" pruned
ok "system prune comes to the images" shows '^Total reclaimed space' \
    docker system prune -f
events() {
	since=$(date +%s)
	docker tag ubuntu:14.04 seen:1 && docker rmi seen:1 >/dev/null
	docker events --since "$since" --until "$(($(date +%s) + 1))" \
	    >"$dir/shown" || return 1
	cat "$dir/shown"
	grep -q ' image tag sha256:.*name=seen:1' "$dir/shown" &&
	    grep -q ' image untag sha256:' "$dir/shown"
}
ok "events" events

ok "ps, volumes, networks and plugins are empty lists" sh -c '
    docker ps && docker volume ls && docker network ls && docker plugin ls'
ok "run says what imgd is" fails 125 'imgd keeps images' docker run ubuntu:14.04
ok "and pulls nothing" fails 125 'imgd keeps images' docker run "$here/no/such"

ok "the daemon ends when told" daemon_stop
registry_stop
cli_end
