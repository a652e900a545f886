#!/bin/sh
# The manners of a daemon: its socket, signals, ends and beginnings.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"

registry_start "$dir/registry" || exit 99
"$lib/make-image.sh" --small "$dir/oci" 14.04 >/dev/null || exit 99
registry_push "$dir/oci:14.04" library/ubuntu:14.04 || exit 99
use_mirror "$registry_port"
printf 'left' >"$dir/not-a-socket"

serve() { # OPTION…: a daemon that is to fail
	timeout 20 "$program" --root "$root" --config "$dir/daemon.json" \
	    "$@" </dev/null
}
failed() { # PATTERN OPTION…
	pattern=$1
	shift
	serve "$@" >"$dir/out1" 2>"$dir/err"
	status=$?
	cat "$dir/err"
	[ $status -eq 1 ] && [ "$(wc -l <"$dir/err")" -eq 1 ] &&
	    grep -Eq -- "^imgd: daemon: .*$pattern" "$dir/err"
}
ok "a path that is no socket is left alone" failed 'not a socket' \
    --host "$dir/not-a-socket" daemon
kept() { [ "$(cat "$dir/not-a-socket")" = left ]; }
ok "with its content" kept
ok "a path that is too long is named" failed 'longer than the 107 bytes' \
    --host "$dir/$(printf '%0120d' 0)" daemon
ok "a group that does not exist is named" failed 'no such group: nobodies' \
    --host "$api" daemon -G nobodies
no_socket() { [ ! -e "$api" ]; }
ok "and nothing is left" no_socket

daemon_start -G nogroup || exit 99
mode() { [ "$(stat -c '%a %U %G' "$api")" = "660 root nogroup" ]; }
ok "the socket belongs to root and the group" mode
ok "a second daemon on the store is refused" failed 'in use by another engine' \
    --host "$dir/other.sock" daemon
mkdir -m 700 "$dir/root2"
second_root() {
	timeout 20 "$program" --root "$dir/root2" --config "$dir/daemon.json" \
	    --host "$api" daemon </dev/null 2>"$dir/err"
	[ $? -eq 1 ] && cat "$dir/err" && grep -q 'another daemon listens' "$dir/err"
}
ok "a second daemon on the socket is refused" second_root

verbs() {
	imgd pull -q ubuntu:14.04 &&
	    [ "$(engine_pid)" = "$daemon_pid" ] &&
	    docker images -q | grep -q .
}
ok "verbs send their jobs to the daemon" verbs
imgd mount ubuntu:14.04 >"$dir/mounted"
read -r mounted <"$dir/mounted"

reloaded() {
	configure '"registry-mirrors": [ "http://127.0.0.1:9" ]'
	kill -HUP "$daemon_pid"
	wait_for grep -q 'is read anew' "$dir/daemon.log"
	docker info --format '{{.RegistryConfig.Mirrors}}' | tee "$dir/shown"
	grep -Fqx '[http://127.0.0.1:9/]' "$dir/shown" ||
	    grep -Fqx '[http://127.0.0.1:9]' "$dir/shown"
}
ok "SIGHUP has the configuration read anew" reloaded
broken() {
	echo '{ "nonsense": 1 }' >"$dir/daemon.json"
	kill -HUP "$daemon_pid"
	wait_for grep -q 'stays as it is' "$dir/daemon.log"
	grep 'nonsense.*stays as it is' "$dir/daemon.log" &&
	    docker info --format '{{.RegistryConfig.Mirrors}}' | grep -q :9
}
ok "a wrong one is told and not taken" broken
use_mirror "$registry_port"

ok "SIGTERM ends it" daemon_stop
ok "and its socket" no_socket
still() { [ -e "$mounted/etc" ]; }
ok "a mount stays" still
daemon_start || exit 99
daemon_kill
socket_left() { [ -S "$api" ]; }
ok "a killed daemon leaves its socket" socket_left
daemon_start
ok "the next takes its place" answers 200 OK GET /_ping
known() { imgd mount | grep -F "$mounted"; }
ok "and knows the mounts" known
ok "the mount goes" imgd umount "$mounted"

# ---- kill -9 in the middle of ten pulls ----

python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n in range(11):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for i in range(150):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 30000
            tar.addfile(info, io.BytesIO(r.randbytes(30000)))
EOT
for i in 0 1 2 3 4 5 6 7 8 9; do
	"$lib/make-oci.py" "$dir/many" "$i" "$dir/10.tar" "$dir/$i.tar" &&
	    registry_push "$dir/many:$i" "library/many:$i" || exit 99
done
ten() {
	for i in 0 1 2 3 4 5 6 7 8 9; do
		curl -s --unix-socket "$api" -X POST -o "$dir/pull-$i" \
		    "http://imgd/images/create?fromImage=many&tag=$i" &
		pids="$pids $!"
	done
}
# shellcheck disable=SC2086 # a list of pids
killed_and_whole() {
	pids=
	ten
	sleep "0.$1"
	daemon_kill
	wait $pids
	daemon_start || return 1
	imgd fsck --deep || return 1
	pids=
	ten
	wait $pids
	grep -L 'Status: ' "$dir"/pull-? | tee "$dir/missing"
	[ ! -s "$dir/missing" ] &&
	    [ "$(docker images -q many | wc -l)" -eq 10 ] &&
	    imgd fsck --deep && docker rmi $(docker images --format \
	    '{{.Repository}}:{{.Tag}}' many) >/dev/null
}
for when in 05 2 5; do
	ok "ten pulls, killed after 0.$when s, then whole" \
	    killed_and_whole $when
done

# ---- socket activation and an idle end ----

daemon_stop
cat >"$dir/activate.py" <<'EOT'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(5)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(sys.argv[1] + ".notify")
notify.settimeout(20)
pid = os.fork()
if pid == 0:
    os.dup2(s.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = "1"
    os.environ["NOTIFY_SOCKET"] = sys.argv[1] + ".notify"
    os.execv(sys.argv[2], sys.argv[2:])
print(notify.recv(200).decode().split("\n")[0], flush=True)
c = socket.socket(socket.AF_UNIX)
c.connect(sys.argv[1])
c.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
print(c.recv(1000).decode().split("\r\n")[0], flush=True)
print(notify.recv(200).decode().split("\n")[0], flush=True)
print(os.waitpid(pid, 0)[1])
EOT
activated() {
	timeout 60 python3 "$dir/activate.py" "$dir/given.sock" "$program" \
	    --root "$root" --config "$dir/daemon.json" daemon --idle-exit 1 \
	    >"$dir/shown" 2>"$dir/err"
	cat "$dir/shown" "$dir/err"
	printf 'READY=1\nHTTP/1.1 200 OK\nSTOPPING=1\n0\n' |
	    cmp - "$dir/shown" && [ -S "$dir/given.sock" ]
}
ok "a given socket is served, and kept at an idle end" activated

registry_stop
cli_end
