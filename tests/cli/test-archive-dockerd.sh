#!/bin/sh
# What dockerd saves is loaded, and what is saved dockerd loads: the same ids,
# names and bytes of layers, both ways, and the same words on the way.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
daemon=

stop_daemon() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null
	[ -z "$daemon" ] || wait "$daemon"
	daemon=
	# What dockerd leaves mounted on its directories.
	grep -E " $dir/(docker|exec)" /proc/self/mountinfo | cut -d' ' -f5 |
	    sort -r | while IFS= read -r target; do
		umount "$target"
	    done
}
trap 'stop_daemon; cli_cleanup' EXIT

sh "$lib/make-image.sh" --small "$dir/oci" real
# One that has the same layer twice.
tar -C "$dir" -cf "$dir/one.tar" oci/oci-layout
tar -C "$dir" -cf "$dir/two.tar" oci/index.json
"$lib/make-oci.py" "$dir/oci" other "$dir/one.tar" "$dir/two.tar" \
    "$dir/one.tar"
copy() {
	skopeo --insecure-policy copy --quiet "$1" "$2" </dev/null
}
copy "oci:$dir/oci:real" "docker-archive:$dir/real.tar:real:1" || exit 99
copy "oci:$dir/oci:other" "docker-archive:$dir/other.tar:other:1" || exit 99

docker_start() {
	unshare -n dockerd --data-root "$dir/docker" \
	    --exec-root "$dir/exec" --pidfile "$dir/pid" \
	    -H "unix://$dir/sock" --storage-driver vfs --bridge=none \
	    --iptables=false --ip-forward=false --ip-masq=false \
	    >"$dir/log" 2>&1 </dev/null &
	daemon=$!
	for _ in $(seq 300); do
		ask /_ping >/dev/null && return
		kill -0 $daemon 2>/dev/null || break
		sleep 0.1
	done
	tail -n 5 "$dir/log"
	return 1
}
ask() { # PATH [OPTION…]
	ask_path=$1
	shift
	curl -fs --unix-socket "$dir/sock" "$@" "http://localhost$ask_path"
}
docker_load() { # FILE
	ask "/images/load?quiet=1" -H 'Content-Type: application/x-tar' \
	    --data-binary "@$1" >"$dir/answer" && ! grep error "$dir/answer"
}
docker_id() {
	ask "/images/$1/json" | jq -r .Id
}
image_id() {
	imgd inspect "$1" | jq -r '.[0].Id'
}

ok "dockerd starts" docker_start
ok "dockerd loads skopeo's" docker_load "$dir/real.tar"
docker_load "$dir/other.tar" || exit 99
id=$(docker_id real:1)
other=$(docker_id other:1)
ask "/images/get?names=real:1&names=other:1" >"$dir/docker.tar"
loads() {
	imgd load --driver="$driver" -i "$dir/docker.tar" >"$dir/said" &&
	    cat "$dir/said" &&
	    [ "$(sort "$dir/said" | tr '\n' ' ')" = \
		"Loaded image: other:1 Loaded image: real:1 " ] &&
	    [ "$(image_id real:1) $(image_id other:1)" = "$id $other" ] &&
	    imgd fsck --deep
}
ok "what dockerd saves" loads
by_pipe() {
	imgd rmi real:1 other:1 >/dev/null &&
	    ask "/images/get?names=real:1&names=other:1" |
	    "$program" --root "$root" --config "$dir/daemon.json" load &&
	    [ "$(image_id real:1) $(image_id other:1)" = "$id $other" ]
}
ok "what dockerd saves, while it does" by_pipe

ask "/images/real:1?force=1" -X DELETE >/dev/null
ask "/images/other:1?force=1" -X DELETE >/dev/null
there() {
	imgd save real other:1 >"$dir/ours.tar" && docker_load "$dir/ours.tar" &&
	    [ "$(docker_id real:1) $(docker_id other:1)" = "$id $other" ] &&
	    ask "/images/get?names=real:1" >"$dir/back.tar" &&
	    imgd rmi real:1 >/dev/null && imgd load -i "$dir/back.tar" &&
	    [ "$(image_id real:1)" = "$id" ]
}
ok "dockerd loads what is saved, and gives it back" there
stream() {
	sed 's/\r//' "$dir/answer" | jq -r .stream | sort >"$dir/theirs"
	imgd load --json -i "$dir/ours.tar" | jq -r 'select(.stream) | .stream' |
	    sort | diff "$dir/theirs" -
}
ok "both say the same" stream
stop_daemon
cli_end
