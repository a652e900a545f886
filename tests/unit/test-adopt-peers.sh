#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Real engines' directories give every layer back byte for byte: dockerd's, by
# two storage drivers, and containers-storage's, as skopeo writes it.
set -u
unshare=-n
. "$srcdir/tests/lib/unshared.sh"
tool=$builddir/tests/lib/adopt-tool
dir=$(mktemp -d "${TMPDIR:-/tmp}/imgd-adopt-XXXXXX") || exit 99
daemon=
n=0
n_bad=0

stop_daemon() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null
	[ -z "$daemon" ] || wait "$daemon"
	daemon=
}

clean_up() {
	stop_daemon
	grep -F " $dir" /proc/self/mountinfo | cut -d' ' -f5 | sort -r |
	    while IFS= read -r target; do
		umount "$target"
	    done
	rm -rf --one-file-system "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

ok() {
	n=$((n + 1))
	ok_name=$1
	shift
	if "$@" >"$dir/out" 2>&1; then
		echo "ok $n - $ok_name"
	else
		n_bad=$((n_bad + 1))
		echo "not ok $n - $ok_name"
		sed 's/^/# /' "$dir/out"
	fi
}

# every_layer DIR DRIVER ID: two layers with the digests that the config says.
every_layer() {
	i=0
	for want in $("$tool" layers "$1" "$2" "$3"); do
		"$tool" layer "$1" "$2" "$3" $i >"$dir/tar" || return 1
		[ "sha256:$(sha256sum <"$dir/tar" | cut -c1-64)" = "$want" ] ||
		    return 1
		i=$((i + 1))
	done
	[ $i -eq 2 ]
}

mkdir -p "$dir/t/etc"
seq 99999 >"$dir/t/etc/motd"
ln "$dir/t/etc/motd" "$dir/t/etc/two"
ln -s motd "$dir/t/etc/link"
tar cf "$dir/1.tar" -C "$dir/t" .
seq 5 >"$dir/t/etc/new"
: >"$dir/t/etc/.wh.two"
tar cf "$dir/2.tar" -C "$dir/t" etc/new etc/.wh.two
"$srcdir/tests/lib/make-oci.py" "$dir/oci" 1 "$dir/1.tar" "$dir/2.tar" ||
    exit 99
copy() {
	skopeo --insecure-policy copy --quiet "oci:$dir/oci:1" "$1" </dev/null
}
copy "docker-archive:$dir/archive:made:1" || exit 99
id=$(tar xOf "$dir/archive" manifest.json |
    sed -n 's/.*"Config":"\([0-9a-f]\{64\}\).*/sha256:\1/p')

ask() { # DRIVER PATH [OPTION…]
	ask_socket=$dir/sock-$1
	ask_path=$2
	shift 2
	curl -fs --unix-socket "$ask_socket" "$@" "http://localhost$ask_path"
}

docker_load() { # DRIVER
	dockerd --data-root "$dir/$1" --exec-root "$dir/exec-$1" \
	    --pidfile "$dir/pid-$1" -H "unix://$dir/sock-$1" \
	    --storage-driver "$1" --bridge=none --iptables=false \
	    --ip-forward=false --ip-masq=false >"$dir/log-$1" 2>&1 </dev/null &
	daemon=$!
	for _ in $(seq 300); do
		ask "$1" /_ping >/dev/null && break
		kill -0 $daemon 2>/dev/null || break
		sleep 0.1
	done
	ask "$1" "/images/load?quiet=1" -H 'Content-Type: application/x-tar' \
	    --data-binary "@$dir/archive" >/dev/null && return 0
	tail -n 5 "$dir/log-$1"
	return 1
}

listed() { # DIR LINE
	[ "$("$tool" list "$1")" = "$2" ]
}

for driver in vfs overlay2; do
	ok "dockerd loads an image by $driver" docker_load $driver
	stop_daemon
	ok "dockerd, $driver: it is listed with its id and name" \
	    listed "$dir/$driver" "$id $driver made:1"
	ok "dockerd, $driver: layers byte for byte" \
	    every_layer "$dir/$driver" $driver "$id"
done
for driver in vfs overlay; do
	ok "skopeo stores an image by $driver" copy \
	    "containers-storage:[$driver@$dir/cs-$driver+$dir/run]a.test/b:1"
	ok "containers-storage, $driver: it is listed with its id and name" \
	    listed "$dir/cs-$driver" "$id $driver a.test/b:1"
	ok "containers-storage, $driver: layers byte for byte" \
	    every_layer "$dir/cs-$driver" $driver "$id"
done
echo "1..$n"
[ $n_bad -eq 0 ]
