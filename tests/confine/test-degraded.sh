#!/bin/sh
# Machines that refuse a part of the confinement: what is left works, and what is
# missing is told, once in the daemon's log and by info.
# shellcheck disable=SC2154 # make check sets srcdir and builddir
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
unset IMGD_LEAKS # so that workers are confined
registry_start "$dir/registry" || exit 99
"$lib/make-image.sh" --small "$dir/image" 1 >/dev/null || exit 99
registry_push "$dir/image:1" library/real:1 || exit 99
use_mirror "$registry_port"
# Of one owner alone.
echo hello >"$dir/hello"
tar -C "$dir" --owner=0 --group=0 -cf "$dir/hello.tar" hello
"$lib/make-oci.py" "$dir/plain" 1 "$dir/hello.tar"
registry_push "$dir/plain:1" library/plain:1 || exit 99
chmod 755 "$dir"

confinement() {
	"$@" --root "$root" --config "$dir/daemon.json" info |
	    sed -n 's/^Confinement: //p'
}
lacks() { # NAME PART COMMAND…
	lacks_name=$1
	lacks_part=$2
	shift 2
	confinement "$@" >"$dir/said"
	grep -q "without .*$lacks_part (" "$dir/said"
	result $? "$lacks_name: without $lacks_part"
	sed 's/^/# /' "$dir/said"
}

# Pull, read back, write a layer on top: all kinds of workers.
works() { # IMAGE COMMAND…
	image=$1
	shift
	wait_for_engine
	rm -rf "$root"
	mkdir -m 700 "$root"
	run="$* --root $root --config $dir/daemon.json"
	$run pull -q --driver=vfs "$image" </dev/null &&
	    $run save -o "$dir/image.tar" "$image" </dev/null &&
	    $run rmi "$image" </dev/null >/dev/null &&
	    $run load --driver=vfs -i "$dir/image.tar" </dev/null >/dev/null &&
	    $run fsck --deep </dev/null
}

if [ "$(confinement "$program")" = full ]; then
	result 0 "here it is full"
else
	echo "# here it is: $(confinement "$program")"
fi

# ---- without SYS_ADMIN, as containers are ----

container="setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin $program"
# shellcheck disable=SC2086 # a list of words
lacks "no SYS_ADMIN" "a root of its own" $container
ok "no SYS_ADMIN: pull, save, load, fsck" works real:1 $container
wait_for_engine
# shellcheck disable=SC2086 # a list of words
$container --root "$root" --config "$dir/daemon.json" \
    --host "unix://$dir/api" daemon >/dev/null 2>"$dir/log" </dev/null &
daemon=$!
wait_for test -S "$dir/api"
ok "no SYS_ADMIN: a daemon pulls" imgd pull -q --driver=vfs real:1
kill $daemon
wait $daemon
[ "$(grep -c 'confinement of workers: without .*a root of its own' \
    "$dir/log")" -eq 1 ]
result $? "no SYS_ADMIN: its log says so once"
sed 's/^/# /' "$dir/log"

# ---- the root of a user namespace ----

# in_userns MAP COMMAND…: root of a new one, with these uids and gids.
cat >"$dir/userns.py" <<'EOT'
import ctypes, os, sys
lower, count = sys.argv[1].split(":")
r1, w1 = os.pipe()
r2, w2 = os.pipe()
pid = os.fork()
if pid == 0:
    ctypes.CDLL(None).unshare(0x10020000)  # CLONE_NEWUSER | CLONE_NEWNS
    os.write(w1, b"x")
    os.read(r2, 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.execv(sys.argv[2], sys.argv[2:])
os.read(r1, 1)
for kind in "gid_map", "uid_map":
    with open("/proc/%d/%s" % (pid, kind), "w") as f:
        f.write("0 %s %s\n" % (lower, count))
os.write(w2, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
EOT
maps="0:65536 0:1"
if ! unshare -U true 2>/dev/null; then
	echo "# there are no user namespaces here"
	maps=
fi
for map in $maps; do
	userns="python3 $dir/userns.py $map $program"
	# shellcheck disable=SC2086 # a list of words
	case $map in
	*:1)	image=plain:1
		lacks "a user namespace $map" "a uid of its own" $userns ;;
	*)	image=real:1
		[ "$(confinement $userns)" = "$(confinement "$program")" ]
			result $? "a user namespace $map: as outside" ;;
	esac
	ok "a user namespace $map: pull, save, load, fsck" works "$image" $userns
done
cli_end
