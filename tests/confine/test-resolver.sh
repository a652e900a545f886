#!/bin/sh
# A puller's root has what it takes to find a registry by its name and to trust
# it by the machine's certificates, and nothing else; looked at from outside
# while it waits.  In a network and with mounts of its own.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
if [ -z "${IMGD_TEST_IN_NET:-}" ]; then
	IMGD_TEST_IN_NET=yes exec unshare -n -m "$0"
fi
ip link set lo up && ip address add 192.0.2.1/32 dev lo &&
    ip address add 192.0.2.53/32 dev lo || exit 99
. "$srcdir/tests/lib/cli.sh"
unset IMGD_LEAKS # so that workers are confined
# What is missing here but for Landlock, which says again what the rest does.
missing=$(imgd info | sed -n 's/^Confinement: //p' |
    sed 's/^full$//; s/landlock ([^)]*)//; s/^without [; ]*$//')
if [ -n "$missing" ]; then
	echo "1..0 # SKIP confined $missing"
	exit 0
fi
name=registry.test
dns_pid=
tls_pid=
pull_pid=
trap 'kill $dns_pid $tls_pid $pull_pid 2>/dev/null; cli_cleanup' EXIT

echo nameserver 192.0.2.53 >"$dir/resolv.conf"
echo "hosts: files dns" >"$dir/nsswitch.conf"
echo "192.0.2.1 by-hosts.test" >"$dir/hosts"
for file in resolv.conf nsswitch.conf hosts; do
	[ -e /etc/$file ] || : >/etc/$file
	mount --bind "$dir/$file" "$(readlink -f /etc/$file)" || exit 99
done
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name \
    -addext "subjectAltName=DNS:$name,DNS:by-hosts.test" \
    -keyout "$dir/key" -out "$dir/cert" 2>/dev/null || exit 99

python3 "$srcdir/tests/confine/dns.py" 192.0.2.53 $name 192.0.2.1 \
    >"$dir/dns.log" 2>&1 &
dns_pid=$!
wait_for grep -q ready "$dir/dns.log" || exit 99

port=$(free_port)
mkdir "$dir/blobs"
cat >"$dir/tls.yml" <<EOT
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: "$dir/blobs" } }
http: { addr: "192.0.2.1:$port",
    tls: { certificate: "$dir/cert", key: "$dir/key" } }
EOT
docker-registry serve "$dir/tls.yml" >"$dir/tls.log" 2>&1 </dev/null &
tls_pid=$!
wait_for curl -fsk -o /dev/null "https://192.0.2.1:$port/v2/" || exit 99
echo hello >"$dir/hello"
tar -C "$dir" -cf "$dir/layer.tar" hello
"$lib/make-oci.py" "$dir/oci" 1 "$dir/layer.tar"
skopeo copy -q --dest-tls-verify=false "oci:$dir/oci:1" \
    "docker://192.0.2.1:$port/t/one:1" || exit 99

ok "a store to begin with" imgd import "$dir/layer.tar" base:1
refused "an authority that the machine does not know" "certificate" \
    imgd pull -q "$name:$port/t/one:1"
grep -q "^$name 1" "$dir/dns.log"
result $? "the name was looked up"
bundle=/etc/ssl/certs/ca-certificates.crt
cat $bundle "$dir/cert" >"$dir/bundle" 2>/dev/null
mount --bind "$dir/bundle" $bundle || exit 99
ok "one that it knows, by DNS" imgd pull -q "$name:$port/t/one:1"
ok "and by /etc/hosts" imgd pull -q "by-hosts.test:$port/t/one:1"
refused "a name that nobody knows" "resolve|known" \
    imgd pull -q --retry 1 "other.test:$port/t/one:1"

# ---- from outside ----

"$program" --root "$root" --config "$dir/daemon.json" pull -q \
    --retry forever 127.0.0.1:1/t/one:1 >/dev/null 2>&1 </dev/null &
pull_pid=$!
pid=
is_confined() {
	engine=$(engine_pid)
	for pid in $(pgrep -P "${engine:-0}"); do
		[ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" = "imgd-puller " ] &&
		    grep -q '^Seccomp:.*2' "/proc/$pid/status" && return
	done
	return 1
}
ok "a puller that waits" wait_for is_confined
[ -n "$pid" ] || exit 99
status() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"
}
is() { # NAME EXPECTED GOT
	[ "$2" = "$3" ]
	result $? "$1"
	[ "$2" = "$3" ] || echo "# wanted $2, is $3"
}
[ "$(status Uid | cut -f1)" -eq $((0x70000000 + pid)) ] 2>/dev/null
result $? "a uid of its own"
is "no groups" "" "$(status Groups | tr -d ' ')"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
	is "no capability: $set" 0000000000000000 "$(status $set)"
done
is "no new privileges" 1 "$(status NoNewPrivs)"
for thread in /proc/"$pid"/task/*; do
	is "calls filtered in thread" 2 \
	    "$(sed -n 's/^Seccomp:[[:space:]]*//p' "$thread/status")"
done
[ "$(stat -c %u "/proc/$pid/environ")" = 0 ]
result $? "no debugger may attach"
for ns in mnt ipc; do
	[ "$(readlink "/proc/$pid/ns/$ns")" != \
	    "$(readlink "/proc/$engine/ns/$ns")" ]
	result $? "another namespace: $ns"
done
is "the engine's network" "$(readlink "/proc/$engine/ns/net")" \
    "$(readlink "/proc/$pid/ns/net")"
(cd "/proc/$pid/root" && find . -path ./etc/ssl/certs -prune -o -print |
    sort) >"$dir/root-list"
! grep -Evx '\.|\./etc(/(resolv.conf|hosts|nsswitch.conf|host.conf|gai.conf|ssl))?' \
    "$dir/root-list"
result $? "its root has the resolver's files and no others"
cut -d' ' -f4-6 "/proc/$pid/mountinfo" >"$dir/mounts"
! grep -v ' ro' "$dir/mounts"
result $? "all that it sees mounted is read-only"
[ "$(grep -vc ' /etc/ssl/certs' "$dir/mounts")" -eq 1 ]
result $? "and there is one mount beside the certificates"
kill $pull_pid
wait $pull_pid 2>/dev/null
pull_pid=

kill $dns_pid $tls_pid
wait $dns_pid $tls_pid 2>/dev/null
umount $bundle
for file in resolv.conf nsswitch.conf hosts; do
	umount "$(readlink -f /etc/$file)"
done
cli_end
