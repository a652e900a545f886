#!/bin/sh
# mount and umount: read-only, remembered, adopted after a crash.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/0" "$dir/1" "$dir/mnt" "$dir/mnt2"
echo 0 >"$dir/0/f0"
echo 1 >"$dir/1/f1"
tar -C "$dir/0" -cf "$dir/0.tar" f0
tar -C "$dir/1" -cf "$dir/1.tar" f1
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar"
"$lib/make-oci.py" "$dir/oci" lone "$dir/0.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99
registry_push "$dir/oci:lone" library/app:lone || exit 99

for driver in $drivers; do
	ok "$driver: pull" imgd pull -q --driver=$driver app:1
	ok "$driver: pull of a lone layer" imgd pull -q --driver=$driver app:lone
	ok "$driver: mount" imgd mount --driver=$driver app:1 "$dir/mnt"
	ok "$driver: both layers are there" \
	    test "$(cat "$dir/mnt/f0" "$dir/mnt/f1" | tr -d '\n')" = 01
	ok "$driver: it is read-only" \
	    sh -c "! touch '$dir/mnt/new' 2>/dev/null"
	refused "$driver: a second image on the same target" "already mounted" \
	    imgd mount --driver=$driver app:lone "$dir/mnt"
	refused "$driver: a mounted image is not removed" \
	    "mount .*/mnt is using its referenced image" \
	    imgd rmi app:1
	ok "$driver: umount" imgd umount "$dir/mnt"
	ok "$driver: a printed path" sh -c "
		path=\$('$program' --root '$root' --config '$dir/daemon.json' \
		    mount --driver=$driver app:lone) && test -f \"\$path/f0\" &&
		    ! touch \"\$path/new\" 2>/dev/null"
	ok "$driver: umount by name" imgd umount app:lone
	ok "$driver: no mount is left of it" \
	    sh -c "! grep -F ' $dir' /proc/self/mountinfo"
	ok "$driver: removed" imgd rmi app:1 app:lone
done

crash() {
	imgd pull -q --driver=$driver app:1 >/dev/null &&
	    imgd mount app:1 "$dir/mnt" >/dev/null || return 1
	imgd pull -q --driver=$driver app:lone >/dev/null
	kill -9 "$(engine_pid)" 2>/dev/null
	[ "$(cat "$dir/mnt/f1")" = 1 ] || return 1
	imgd mount | grep -F "$dir/mnt" || return 1
	imgd umount "$dir/mnt" && wait_for_engine &&
	    ! grep -F " $dir" /proc/self/mountinfo
}
ok "a mount outlives a killed engine and is found again" crash

forgotten() {
	imgd mount app:1 "$dir/mnt" >/dev/null || return 1
	wait_for_engine
	umount "$dir/mnt" || return 1
	imgd rmi app:1 >/dev/null
}
ok "what the user unmounted himself is forgotten" forgotten
ok "and nothing of the image is left" \
    test "$(imgd images | wc -l)" -eq 2

refused "a target that is not there" "no/such/dir: No such file" \
    imgd mount app:lone "$dir/no/such/dir"
refused "umount of what is not mounted" "not mounted by imgd" \
    imgd umount "$dir/mnt2"
# The engine of a pull holds the store while it runs.
other_namespace() {
	imgd pull -q --driver=$driver app:1 >/dev/null
	unshare -m "$program" --root "$root" --config "$dir/daemon.json" \
	    mount app:1 "$dir/mnt" </dev/null
}
refused_namespace() {
	! other_namespace 2>"$dir/err" && grep 'mount namespace' "$dir/err"
}
ok "another mount namespace than the engine's is refused by name" \
    refused_namespace

cli_end
