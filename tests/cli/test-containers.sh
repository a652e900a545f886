#!/bin/sh
# Writable layers: create, mount, diff, rm; kept across engines and crashes.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir -p "$dir/0/etc" "$dir/1/lib" "$dir/mnt" "$dir/mnt2"
echo 0 >"$dir/0/etc/a"
echo gone >"$dir/0/etc/gone"
echo 1 >"$dir/1/lib/so"
tar -C "$dir/0" -cf "$dir/0.tar" .
tar -C "$dir/1" -cf "$dir/1.tar" .
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99

# What mount printed is a tree; run a command in it, and unmount.
inside() { # NAME COMMAND…
	inside_name=$1
	shift
	imgd mount "$inside_name" "$dir/mnt" >/dev/null || return 1
	(cd "$dir/mnt" && "$@")
	inside_status=$?
	imgd umount "$dir/mnt" || return 1
	return $inside_status
}

change() {
	echo changed >etc/a && rm etc/gone && echo new >lib/new
}

# Its changes, as one line.
changes() {
	imgd diff "$1" | tr '\n' ';'
}

for driver in $drivers; do
	ok "$driver: pull" imgd pull -q --driver=$driver app:1
	ok "$driver: create" imgd create --driver=$driver box app:1
	refused "$driver: a name that is taken" \
	    "conflict: there is a container named box already" \
	    imgd create box app:1
	ok "$driver: nothing is changed in a new one" \
	    test -z "$(changes box)"
	ok "$driver: it can be written" inside box change
	wait_for_engine
	ok "$driver: what was written is kept" \
	    inside box sh -c 'grep changed etc/a && [ ! -e etc/gone ]'
	ok "$driver: diff tells it" test "$(changes box)" = \
	    'C /etc;C /etc/a;D /etc/gone;C /lib;A /lib/new;'
	ok "$driver: the image is as it was" sh -c "
		path=\$('$program' --root '$root' --config '$dir/daemon.json' \
		    mount --driver=$driver app:1) &&
		    grep 0 \"\$path/etc/a\" && [ -e \"\$path/etc/gone\" ] &&
		    [ ! -e \"\$path/lib/new\" ]"
	ok "$driver: umount of the image" imgd umount app:1
	ok "$driver: a second one on the same image" \
	    imgd create --driver=$driver box2 app:1
	ok "$driver: it has none of the first one's changes" \
	    inside box2 grep 0 etc/a
	ok "$driver: both are listed" test "$(imgd create | grep -c '^box')" \
	    -eq 2
	refused "$driver: the image of a container is not removed" \
	    "container box is using its referenced image" imgd rmi app:1
	refused "$driver: nor by force" \
	    "cannot be forced\) - image is being used by container box" \
	    imgd rmi -f "$(imgd images -q app:1)"
	ok "$driver: mounted by name" imgd mount box "$dir/mnt"
	refused "$driver: a mounted one is not removed" \
	    "conflict: container box is mounted at" imgd rm box
	ok "$driver: unmounted by name" imgd umount box
	ok "$driver: a sound store" imgd fsck --deep
	ok "$driver: removed" imgd rm box box2
	refused "$driver: what is removed is not there" \
	    "no such container: box" imgd rm box
	ok "$driver: then the image goes, too" imgd rmi app:1
	ok "$driver: and leaves nothing" sh -c \
	    "! find '$root/drivers/$driver' -name '??????????????????????????*' \
	    | grep ."
done

imgd pull -q --driver=$driver app:1 >/dev/null
if ! imgd driver info $driver | grep -q '^caps=.*quota'; then
	refused "a limit that the driver cannot hold" \
	    "driver $driver: cannot limit the size" \
	    imgd create --size 1g small app:1
fi
refused "an image that is not there" "No such image" imgd create x nothing
for name in '' -x /x 'a b' '../x' "$(printf %129s x | tr ' ' x)"; do
	refused "a name that is none: ${name%xxxx*}" \
	    "not a container's name|a name has at most" \
	    imgd create -- "$name" app:1
done
ok "the longest name" imgd create "$(printf %128s x | tr ' ' x)" app:1
ok "can be removed" imgd rm "$(printf %128s x | tr ' ' x)"
if ! imgd driver info $driver | grep -q '^caps=.*blockdev'; then
	refused "block devices of a driver that has none" \
	    "is only in $driver, which has no block devices" \
	    imgd mount --block app:1
	refused "and when it is asked for by name" \
	    "driver $driver: has no block" \
	    imgd mount --block --driver=$driver app:1
fi

crash() {
	imgd create box app:1 >/dev/null &&
	    imgd mount box "$dir/mnt" >/dev/null || return 1
	echo before >"$dir/mnt/before"
	imgd tag app:1 app:2
	kill -9 "$(engine_pid)" 2>/dev/null
	echo after >"$dir/mnt/after" || return 1
	imgd mount | grep -F "$dir/mnt" || return 1
	imgd umount "$dir/mnt" && wait_for_engine &&
	    inside box grep -h . before after
}
ok "a mounted container outlives a killed engine" crash

# An engine that is killed while it makes or removes containers.
kill_between() {
	i=0
	while [ $i -lt 12 ]; do
		i=$((i + 1))
		(imgd create k$i app:1 && imgd rm k$i) >/dev/null 2>&1 &
		job=$!
		sleep "0.0$((i * 7 % 10))"
		kill -9 "$(engine_pid)" 2>/dev/null
		wait $job
	done
	imgd create | sed -n 's/^\(k[0-9]*\) .*/\1/p' >"$dir/left"
	while read -r name; do
		inside "$name" grep 0 etc/a && imgd rm "$name" || return 1
	done <"$dir/left"
	imgd fsck
}
ok "no half container is left by a killed engine" kill_between
ok "the rest goes" imgd rm box
ok "and the image" imgd rmi app:1 app:2

cli_end
