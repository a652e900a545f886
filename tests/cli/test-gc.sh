#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# gc takes what was not used for longest, and nothing that somebody relies on.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"

# Four images of 1 MB on one layer of 2 MB.
mkdir "$dir/mnt" "$dir/base"
head -c 2000000 /dev/urandom >"$dir/base/base"
tar -C "$dir/base" -cf "$dir/base.tar" base
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
for n in 1 2 3 4; do
	mkdir "$dir/$n"
	head -c 1000000 /dev/urandom >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" "f$n"
	"$lib/make-oci.py" "$dir/oci" "$n" "$dir/base.tar" "$dir/$n.tar"
	registry_push "$dir/oci:$n" "library/app:$n" || exit 99
done
pull_all() {
	for n in "$@"; do
		imgd pull -q "app:$n" >/dev/null || return 1
	done
}
# The app's tags that are left.
tags() {
	imgd images --format '{{.Tag}}' app | sort | tr '\n' ' '
}
# leaves TAGS ARGUMENT…: after gc they are all there is.
leaves() {
	leaves=$1
	shift
	imgd gc "$@" || return 1
	[ "$(tags)" = "$leaves" ] || { echo "left: $(tags)"; return 1; }
}
size() {
	imgd df --json | jq .Store.Total
}
# A little less.  The database's log goes with the engine: it does not count.
less() {
	wait_for_engine
	echo $(($(size) - 1000))
}

ok "gc of an empty store" imgd gc --max-size 1G
pull_all 1 2 3 4 || exit 99
all=$(size)

# ---- the order ----

ok "nothing goes without a limit" leaves "1 2 3 4 " --json
ok "nor below one" leaves "1 2 3 4 " --max-size "$all" --min-free 1
imgd gc --dry-run --max-size $((all - 500000)) >"$dir/dry"
grep -q '^Would remove image app:1 ([0-9a-f]*), used .* ago, of 3' \
    "$dir/dry" && grep -q '^Total reclaimable space: 1.*MB' "$dir/dry"
result $? "a dry run tells"
ok "and does nothing" test "$(tags)" = "1 2 3 4 "
ok "the longest unused image goes" leaves "2 3 4 " \
    --max-size $((all - 500000))
grep -q '^Removed image app:1 ' "$dir/out" &&
    grep -q '^The store takes' "$dir/out"
result $? "which is told"
ok "as much as was said, and no more" sh -c \
    "[ $(size) -le $((all - 500000)) ] && [ $(size) -ge $((all - 1100000)) ]"

# Each of these is a use.
uses() { # TAG COMMAND…: another image is now the longest unused
	tag=$1
	shift
	"$@" || return 1
	imgd gc --dry-run --json --max-size "$(less)" |
	    jq -e --arg kept "app:$tag" \
		'.Removed[0].Names[0] | startswith("app:") and . != $kept'
}
ok "a pull of what is there is a use" uses 2 imgd pull -q app:2
ok "save is a use" uses 3 imgd save -o "$dir/saved.tar" app:3
ok "push is a use" sh -c "'$program' --root '$root' tag app:4 \
    127.0.0.1:$registry_port/pushed:4"
ok "of the image" uses 4 imgd push -q "127.0.0.1:$registry_port/pushed:4"
imgd rmi "127.0.0.1:$registry_port/pushed:4" >/dev/null
mounted() {
	imgd mount "$1" "$dir/mnt" && imgd umount "$dir/mnt"
}
ok "mount is a use" uses 2 mounted app:2
created() {
	imgd create box "$1" && imgd rm box
}
ok "create is a use" uses 3 created app:3
wait_for_engine
# A use by itself is not worth a write to stable storage.
before=$(stat -c %y "$root/imgd.db")
imgd pull -q app:2 >/dev/null
wait_for_engine
ok "noting a use makes no checkpoint, which would be synced" \
    test "$before" = "$(stat -c %y "$root/imgd.db")"
ok "and is there after the engine's end" uses 2 true

# ---- what is kept ----

pull_all 1 3 4
ok "the last used are kept" leaves "3 4 " --keep-last 2
pull_all 1 2
ok "also where a limit says otherwise" leaves "1 2 " --max-size 0 \
    --keep-last 2
grep -q 'still above the limits is in use, or kept' "$dir/out"
result $? "which is told, too"
sql "UPDATE image_uses SET used_at = used_at - 3600000;
    UPDATE images SET pulled_at = pulled_at - 3600"
pull_all 3
ok "what was used since is kept" leaves "3 " --keep-since 30m
pull_all 1 2 4
imgd create box app:1 >/dev/null
imgd mount app:2 "$dir/mnt" >/dev/null
ok "what is mounted or written to is kept" leaves "1 2 " --max-size 0
ok "and whole" imgd fsck --deep
ok "and readable" cmp "$dir/mnt/f2" "$dir/2/f2"
imgd umount "$dir/mnt"
imgd rm box >/dev/null
ok "and all goes when nobody does" leaves "" --max-size 0
ok "with every byte" sh -c "[ -z \"\$(ls '$root/recipes' '$root/spool' | \
    grep -v :)\" ] && '$program' --root '$root' fsck"
left() {
	for d in "$root"/drivers/*/layers "$root/drivers/overlay"; do
		ls "$d" 2>/dev/null | grep -E '^[0-9a-f]{64}$'
	done
}
ok "of every driver" test -z "$(left)"

# ---- partial blobs ----

partial() { # HEX-DIGIT AGE
	name=$(printf "%064d" 0 | tr 0 "$1")
	mkdir -p "$root/spool"
	head -c 100000 /dev/zero >"$root/spool/$name"
	sql "INSERT INTO partials VALUES('sha256:$name', 200000, 'x',
	    strftime('%s', 'now') - $2)"
}
partials() {
	ls "$root/spool" | cut -c1 | tr '\n' ' '
}
# The engine's start takes what is too old: one must be running.
aged() {
	for _ in 1 2 3 4 5; do
		rm -f "$root"/spool/*
		sql "DELETE FROM partials"
		imgd tag app:1 app:5 && imgd rmi app:5 >/dev/null
		partial a 2000000
		partial b 1000
		imgd gc >"$dir/out"
		[ "$(partials)" = "b " ] && grep -q '^Removed partial blob aaa' \
		    "$dir/out" && return
	done
	return 1
}
pull_all 1
ok "a partial blob that nobody wanted for long goes" aged
ok "one of late stays" test "$(partials)" = "b "
ok "unless space is short: then the longest unused of all goes" leaves \
    "1 " --max-size "$(less)"
ok "which it is" test "$(partials)" = ""
partial c 1000
flock "$root/spool/$(printf "%064d" 0 | tr 0 c)" sleep 3 &
locker=$!
sleep 0.2
ok "one that is being fetched stays" leaves "" --max-size 0
ok "as it is" test "$(partials)" = "c "
wait $locker
ok "a file that no row names goes" sh -c "echo >'$root/spool/x' &&
    '$program' --root '$root' gc --max-size 0 >/dev/null &&
    [ -z \"\$(ls '$root/spool')\" ]"

# ---- wrong usage ----

usage() { # PATTERN ARGUMENT…
	pattern=$1
	shift
	imgd "$@" >"$dir/out" 2>&1
	[ $? -eq 2 ] && grep -Eq -- "$pattern" "$dir/out"
}
ok "a size that is none" usage "--max-size: big: not a size" \
    gc --max-size big
ok "a duration that is none" usage "--keep-since: soon: not a duration" \
    gc --keep-since soon
ok "a number that is none" usage "--keep-last: x: not a number" \
    gc --keep-last x

# ---- by configuration ----

wait_for_engine

mirror="\"registry-mirrors\": [ \"http://127.0.0.1:$registry_port\" ]"
wrong() { # GC'S VALUE, PATTERN
	configure "\"gc\": $1"
	! imgd gc >"$dir/out" 2>&1 && grep -q "daemon.json: gc: $2" "$dir/out"
}
ok "a limit of the wrong kind" wrong '{ "max-size": true }' \
    'max-size: neither'
ok "one that is no size" wrong '{ "max-size": "big" }' 'max-size: big'
ok "an unknown one" wrong '{ "max-sise": 1 }' 'unknown key max-sise'
ok "an interval that is none" wrong '{ "interval": "often" }' \
    'interval: often'
ok "no limits at all" wrong '"8G"' 'not an object'

settles() { # TAGS
	for _ in $(seq 100); do
		[ "$(tags)" = "$1" ] && return
		sleep 0.1
	done
	tags
	return 1
}
configure "$mirror, \"gc\": { \"max-size\": $((all - 1500000)) }"
ok "pulls keep to the limit" pull_all 1 2 3 4
ok "the last ones stay" settles "3 4 "
wait_for_engine
configure "$mirror, \"gc\": { \"max-size\": 0 }"
ok "the image that was just pulled stays" pull_all 1
ok "alone" settles "1 "
configure "$mirror"
pull_all 2 3
configure "$mirror, \"gc\": { \"keep-last\": 1, \"interval\": \"1s\" }"
daemon_start --idle-exit 3
ok "a daemon collects when it starts" settles "3 "
configure "$mirror"
kill -HUP "$daemon_pid"
sleep 0.2
ok "not without limits" pull_all 1 2
sleep 1.2
ok "none of them" test "$(tags)" = "1 2 3 "
configure "$mirror, \"gc\": { \"keep-last\": 1, \"interval\": \"1s\" }"
kill -HUP "$daemon_pid"
ok "and again after each interval" settles "2 "
ok "and still ends when it idles" timeout 10 tail --pid="$daemon_pid" \
    -f /dev/null
daemon_stop
ok "it says what it did" grep -q 'gc: [12] images and 0 partial blobs' \
    "$dir/daemon.log"

# ---- what a pull relies on ----

# The name still means what the store has, which goes before the answer comes.
configure "$mirror"
imgd pull -q app:1 >/dev/null
kill -STOP "$registry_pid"
imgd pull -q app:1 >"$dir/pulled" 2>&1 &
puller=$!
for _ in $(seq 100); do
	! imgd jobs | grep -q pull || break
	sleep 0.05
done
imgd rmi app:1 >/dev/null
kill -CONT "$registry_pid"
wait $puller
result $? "a pull whose image goes meanwhile succeeds"
ok "and fetches it" test "$(tags)" = "1 2 "

cli_end
