#!/bin/sh
# Images that dockerd and skopeo have stored become images of the store: the
# same ids, names and trees as by a pull, whatever happens on the way, and
# nothing of theirs is touched.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
daemon=

stop_daemon() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null
	[ -z "$daemon" ] || wait "$daemon"
	daemon=
	# What dockerd leaves mounted on its directories.
	grep -E " $dir/(docker|exec)-" /proc/self/mountinfo | cut -d' ' -f5 |
	    sort -r | while IFS= read -r target; do
		umount "$target"
	    done
}
trap 'stop_daemon; cli_cleanup' EXIT

# ---- images: a real one, and one whose layers take their time ----

# dockerd gets the full one by vfs, and by overlay2 the nearly full one.
sh "$lib/make-image.sh" --small "$dir/vfs" real
sh "$lib/make-image.sh" --small --near "$dir/overlay2" real
python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n in range(3):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for i in range(200):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 20000
            tar.addfile(info, io.BytesIO(r.randbytes(info.size)))
EOT
"$lib/make-oci.py" "$dir/big" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_start "$dir/registry" || exit 99
registry_push "$dir/vfs:real" library/full:1 || exit 99
registry_push "$dir/overlay2:real" library/real:1 || exit 99
registry_push "$dir/big:1" library/big:1 || exit 99
use_mirror "$registry_port"
copy() {
	skopeo --insecure-policy copy --quiet "$1" "$2" </dev/null
}
for peer in vfs overlay2; do
	copy "oci:$dir/$peer:real" "docker-archive:$dir/$peer.tar:real:1" ||
	    exit 99
done
copy "oci:$dir/big:1" "docker-archive:$dir/big.tar:big:1" || exit 99

mkdir "$dir/mnt"
tree() { # NAME
	imgd mount "$1" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	imgd umount "$dir/mnt"
}
image_id() {
	imgd inspect "$1" | jq -r '.[0].Id'
}
for name in full real big; do
	imgd pull -q --driver="$driver" $name:1 >/dev/null || exit 99
	tree $name:1 >"$dir/tree-$name" && [ -s "$dir/tree-$name" ] || exit 99
done
full_id=$(image_id full:1)
near_id=$(image_id real:1)
big_id=$(image_id big:1)
imgd rmi full:1 real:1 big:1 >/dev/null || exit 99
expect_full() {
	id=$full_id
	want=$dir/tree-full
}
expect_near() {
	id=$near_id
	want=$dir/tree-real
}

sound() {
	imgd fsck --deep || return 1
	[ "$(sql 'SELECT COUNT(*) FROM layers')" -eq \
	    "$(ls "$root/recipes" | wc -l)" ]
}
listing() {
	find "$1" -printf '%P %y %m %U %G %s %n %l %T@ %C@\n' | sort
}

# ---- what the peers write ----

ask() { # DRIVER PATH [OPTION…]
	ask_socket=$dir/sock-$1
	ask_path=$2
	shift 2
	curl -fs --unix-socket "$ask_socket" "$@" "http://localhost$ask_path"
}

docker_load() { # DRIVER
	unshare -n dockerd --data-root "$dir/docker-$1" \
	    --exec-root "$dir/exec-$1" --pidfile "$dir/pid-$1" \
	    -H "unix://$dir/sock-$1" --storage-driver "$1" --bridge=none \
	    --iptables=false --ip-forward=false --ip-masq=false \
	    >"$dir/log-$1" 2>&1 </dev/null &
	daemon=$!
	for _ in $(seq 300); do
		ask "$1" /_ping >/dev/null && break
		kill -0 $daemon 2>/dev/null || break
		sleep 0.1
	done
	for image in "$1" big; do
		ask "$1" "/images/load?quiet=1" \
		    -H 'Content-Type: application/x-tar' \
		    --data-binary "@$dir/$image.tar" >"$dir/answer" &&
		    ! grep error "$dir/answer" || {
			tail -n 5 "$dir/log-$1"
			return 1
		}
	done
}

adopted() { # DIR NAME [IMAGE…]
	from=$1
	name=$2
	shift 2
	listing "$from" >"$dir/before-adopt"
	imgd adopt --driver="$driver" "$from" "$@" || return 1
	listing "$from" | diff "$dir/before-adopt" - || return 1
	[ "$(image_id "$name")" = "$id" ] || return 1
	tree "$name" >"$dir/got" && diff "$want" "$dir/got" && sound
}
names() {
	imgd images --json | jq -r '.Repository + ":" + .Tag' | sort |
	    tr '\n' ' '
}

for peer in vfs overlay2; do
	expect_near
	[ $peer != vfs ] || expect_full
	ok "dockerd loads images by $peer" docker_load $peer
	refused "$peer: a daemon at work" "a Docker daemon is at work" \
	    imgd adopt --driver="$driver" "$dir/docker-$peer"
	stop_daemon
	ok "$peer: one image, as if pulled" \
	    adopted "$dir/docker-$peer" real:1 real:1
	ok "$peer: only that one" [ "$(names)" = "real:1 " ]
	ok "$peer: all of them" adopted "$dir/docker-$peer" real:1
	ok "$peer: both are there" [ "$(names)" = "big:1 real:1 " ]
	imgd rmi real:1 big:1 >/dev/null
	ok "$peer: an image by its id's beginning" adopted \
	    "$dir/docker-$peer" real:1 "$(echo "$id" | cut -c8-20)"
	imgd rmi real:1 >/dev/null
done
docker=$dir/docker-overlay2

cs=$dir/cs
expect_full
ok "skopeo stores an image by vfs" copy "oci:$dir/vfs:real" \
    "containers-storage:[vfs@$cs+$dir/run]a.test/b:1"
ok "containers-storage: as if pulled" adopted "$cs" a.test/b:1
digest=$(skopeo inspect --raw "oci:$dir/vfs:real" </dev/null | sha256sum |
    cut -c1-64)
ok "its manifest is kept, and names it" imgd inspect "a.test/b@sha256:$digest"
imgd rmi a.test/b:1 >/dev/null
expect_near

# ---- names ----

imgd pull -q --driver="$driver" big:1 >/dev/null || exit 99
imgd tag big:1 real:1
imgd rmi big:1 >/dev/null
conflict() {
	imgd adopt --driver="$driver" "$docker" real:1 >"$dir/said" || return 1
	cat "$dir/said"
	grep -q "real:1 is image .* here already, and stays so" "$dir/said" &&
	    [ "$(image_id real:1)" = "$big_id" ] &&
	    [ "$(image_id "$id")" = "$id" ]
}
ok "a name that is another image here is not moved" conflict
imgd tag "$id" real:2
only_names() {
	imgd rmi real:1 >/dev/null && imgd adopt -q "$docker" real:1 &&
	    [ "$(names)" = "real:1 real:2 " ] && sound
}
ok "an image that is here gets its names" only_names
imgd rmi real:1 real:2 >/dev/null

digests() {
	imgd pull -q --driver="$driver" real:1 >/dev/null
	imgd images --digests --json >"$dir/had"
	imgd adopt -q "$docker" real:1 &&
	    imgd images --digests --json | diff "$dir/had" -
}
ok "adopting what was pulled forgets nothing" digests
imgd rmi real:1 >/dev/null
registry_stop

# ---- refusals ----

refused "an image that is not there" "no such image there: nothing:1" \
    imgd adopt --driver="$driver" "$docker" real:1 nothing:1
refused "a directory of nobody's" "no images of Docker or containers-storage" \
    imgd adopt --driver="$driver" "$dir/mnt"
refused "a directory that is not there" "No such file" \
    imgd adopt --driver="$driver" "$dir/nothing"
refused "a driver that is not there" "nosuch" \
    imgd adopt --driver=nosuch "$docker"
usage() {
	"$program" --root "$root" adopt "$@" >/dev/null 2>&1
	[ $? -eq 2 ]
}
ok "no directory is wrong usage" usage

# ---- kills ----

worker_pid() {
	pgrep -P "$(engine_pid)" -f '^imgd-adopter' | tail -n 1 | grep .
}
killed() { # WHO S
	imgd adopt -q --driver="$driver" "$docker" >"$dir/said" 2>&1 &
	pid=$!
	wait_for worker_pid >"$dir/worker"
	sleep "$2"
	case $1 in
	command) kill -9 "$(pgrep -P $pid -x imgd || echo $pid)" ;;
	engine) kill -9 "$(engine_pid)" ;;
	worker) kill -9 "$(worker_pid || tail -n 1 "$dir/worker")" ;;
	esac 2>/dev/null
	wait $pid 2>/dev/null
	cat "$dir/said"
	# An engine whose client is gone is undoing what was begun.
	wait_for_engine
	sound && imgd adopt -q "$docker" || return 1
	[ "$(image_id real:1) $(image_id big:1)" = "$id $big_id" ] &&
	    sound && imgd rmi real:1 big:1 >/dev/null &&
	    [ -z "$(ls "$root/recipes")" ]
}
n=0
for who in command engine worker; do
	for _ in 1 2 3; do
		n=$((n + 1))
		s=$(python3 -c "import random
print('0.%03d' % random.Random($n * 7919 + $$).randrange(0, 250))")
		ok "the $who killed after $s s" killed $who "$s"
	done
done

# ---- damage ----

find "$dir/docker-vfs/vfs/dir" -path '*/etc/debian_version' -type f \
    >"$dir/found"
while IFS= read -r file; do
	tr '0-9a-z' 'a-z0-9' <"$file" >"$dir/damaged"
	cat "$dir/damaged" >"$file"
done <"$dir/found"
refused "a damaged file" "real:1: layer .*etc/debian_version: damaged" \
    imgd adopt --driver="$driver" "$dir/docker-vfs" real:1
others() {
	! imgd adopt -q --driver="$driver" "$dir/docker-vfs" &&
	    [ "$(names)" = "big:1 " ] && sound
}
ok "it keeps no other image there" others
cli_end
