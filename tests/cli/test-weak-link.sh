#!/bin/sh
# Downloads over links that break: what came is kept, across kills, and nothing
# wrong is ever taken for it.
. "$srcdir/tests/lib/cli.sh"

weak_dir=$dir
config=$dir/daemon.json
. "$srcdir/tests/lib/weak.sh"
trap 'weak_stop; cli_cleanup' EXIT

# Names change with the port.
start() { # OPTION…
	weak_start "$@" || exit 99
	name=127.0.0.1:$weak_port/weak
}

is_exact() { # IMAGE
	imgd fsck --deep || return
	imgd images -q "$1" | grep -q . || return
	[ -z "$(ls "$root/spool")" ] || { ls "$root/spool"; return 1; }
	[ "$(sql 'SELECT COUNT(*) FROM partials')" = 0 ]
}

weak_make_image hundred 100
weak_make_image ten 10
weak_make_image four 4
hundred=$(weak_blob hundred)
ten=$(weak_blob ten)
four=$(weak_blob four)

# ---- a layer of 100 MB, a link that dies every 10 MB, three kills ----

start --cut 10000000 --rate 30000000
for bytes in 24000000 48000000 75000000; do
	ok "killed at $bytes bytes" weak_killed_at "$hundred" $bytes \
	    --retry forever "$name:hundred"
	ok "info counts the partial blob" sh -c "$(printf '%s ' "$program" \
	    --root "$root" --config "$dir/daemon.json" info --json) |
	    grep -q '\"PartialBlobs\":1'"
	ok "a partial blob is no problem" imgd fsck
done
ok "pulled over a link that dies every 10 MB" \
    imgd pull --retry forever "$name:hundred"
grep -q '^Retrying in [0-9]* s: ' "$dir/out"
result $? "each pause is told"
size=$(stat -c %s "$dir/oci/blobs/sha256/${hundred#sha256:}")
sent=$(weak_sent "$hundred")
echo "# $sent bytes were sent for $size"
[ "$sent" -ge "$size" ] && [ "$sent" -lt $((size / 100 * 105)) ]
result $? "less than 5 % came twice, over cuts and three kills"
ok "the image is exact, and nothing is kept of it" is_exact "$name:hundred"
imgd rmi "$name:hundred" >/dev/null

# ---- what is wrong is not taken ----

# Damage so many bytes at an offset of the file.
damage() { # BLOB OFFSET COUNT
	tr '\0' '\377' </dev/zero | dd of="$root/spool/${1#sha256:}" bs=1 \
	    seek="$2" count="$3" conv=notrunc status=none iflag=fullblock
}

start --rate 2500000
ok "killed with most of it there" weak_killed_at "$ten" 5000000 --retry 3 \
    "$name:ten"
damage "$ten" 1000000 100
# Nothing says that the file is another than it was: only the digest does.
"$program" --root "$root" --config "$dir/daemon.json" pull -q --retry 3 \
    "$name:ten" >"$dir/out" 2>"$dir/err" </dev/null
[ $? -eq 1 ] && grep -q "verification failed for digest $ten" "$dir/err"
result $? "a changed partial blob is noticed"
[ -z "$(ls "$root/spool")" ] && [ "$(sql 'SELECT COUNT(*) FROM partials')" = 0 ]
result $? "and dropped"
ok "so that the next pull succeeds" imgd pull -q --retry 3 "$name:ten"
ok "with an exact image" is_exact "$name:ten"
imgd rmi "$name:ten" >/dev/null

start --rate 2500000
ok "killed behind the first mark" weak_killed_at "$ten" 5000000 --retry 3 \
    "$name:ten"
mark=$(sql 'SELECT MAX(bytes) FROM partial_marks')
[ "${mark:-0}" -ge 4194304 ]
result $? "4 MiB have a mark"
# As after a power cut: another boot, and the end of the file is not what it
# was.
sql "UPDATE partials SET boot_id = 'another'"
damage "$ten" "$mark" 4096
ok "after a reboot the marks decide" imgd pull -q --retry 3 "$name:ten"
ok "and the image is exact" is_exact "$name:ten"
wait_for weak_resumed "$ten" "$mark" "$mark"
result $? "it went on at the mark"
imgd rmi "$name:ten" >/dev/null

ok "killed once more" weak_killed_at "$ten" 5000000 --retry 3 "$name:ten"
sql "UPDATE partials SET boot_id = 'another'"
damage "$ten" 5 1
ok "a damage before every mark costs the whole" imgd pull -q --retry 3 \
    "$name:ten"
ok "but no more" is_exact "$name:ten"
wait_for grep -qx "$ten 0 $(stat -c %s "$dir/oci/blobs/sha256/${ten#sha256:}")" \
    "$dir/log"
result $? "it began anew"
imgd rmi "$name:ten" >/dev/null

# ---- when it is kept at all ----

start --rate 1000000
ok "a slow registry is streamed the first time" imgd pull -q "$name:four"
imgd rmi "$name:four" >/dev/null
rate=$(sql "SELECT bytes_per_s FROM rates WHERE registry LIKE '%:$weak_port'")
[ "${rate:-0}" -gt 100000 ] && [ "$rate" -lt 2097152 ]
result $? "and remembered as slow"
ok "so it is kept the second time" weak_killed_at "$four" 1500000 "$name:four"
ok "and resumed the third" imgd pull -q "$name:four"
wait_for weak_resumed "$four" 1400000 4000000
result $? "without what was there"
imgd rmi "$name:four" >/dev/null
wait_for_engine
configure '"resume-downloads": "never"'
ok "never means never" imgd pull -q "$name:four"
[ "$(sql 'SELECT COUNT(*) FROM partials')" = 0 ]
result $? "nothing was kept"
imgd rmi "$name:four" >/dev/null

start --cut 3000000
wait_for_engine
configure '"resume-downloads": "always", "max-partial-size": "5M"'
ok "what is larger than allowed is streamed" imgd pull -q "$name:ten"
imgd rmi "$name:ten" >/dev/null
wait_for_engine
configure '"resume-downloads": "always", "max-partial-size": "14M",
    "max-download-attempts": 1'
ok "a pull that gives up keeps what came" sh -c "
    ! $program --root $root --config $dir/daemon.json pull -q $name:ten"
ok "and shows it" weak_has "$ten" 2900000
start --cut 3000000
imgd pull -q "$name:four" >/dev/null 2>&1
[ "$(weak_size "$ten")" -ge 2900000 ] && weak_has "$four" 2900000
result $? "two have room"
start --cut 1000000
weak_make_image eleven 11
imgd pull -q "$name:eleven" >/dev/null 2>&1
[ "$(sql 'SELECT COUNT(*) FROM partials')" = 2 ] && [ "$(weak_size "$ten")" = 0 ]
result $? "the longest unused goes when three have not"

# ---- old ones, strays ----

wait_for_engine
sql "UPDATE partials SET used_at = used_at - 15 * 86400
    WHERE blob_digest = '$four'"
touch "$root/spool/stray"
ok "an engine starts" imgd fsck
[ "$(weak_size "$four")" = 0 ] && [ ! -e "$root/spool/stray" ]
result $? "what is old or nobody's is gone"
imgd rmi none >/dev/null 2>&1
rm "$root/spool/$(ls "$root/spool")"
: >"$root/spool/stray"
# The engine is still there: it looks at its start alone.
"$program" --root "$root" --config "$dir/daemon.json" fsck >"$dir/out" \
    </dev/null
grep -q 'store: spool/stray: a file that no row names' "$dir/out" &&
    grep -q 'a partial blob.s file is missing' "$dir/out" ||
    [ -z "$(ls "$root/spool")" ]
result $? "fsck tells of strays"
ok "and repairs" imgd fsck --repair
[ -z "$(ls "$root/spool")" ] && [ "$(sql 'SELECT COUNT(*) FROM partials')" = 0 ]
result $? "all of them"

# ---- patience and modesty ----

wait_for_engine
configure
start
port=$weak_port
weak_stop
"$program" --root "$root" --config "$dir/daemon.json" pull --retry forever \
    "127.0.0.1:$port/weak:four" >"$dir/out" 2>&1 </dev/null &
pid=$!
wait_for grep -q '^Retrying in' "$dir/out"
result $? "a registry that is not there is waited for"
start --port "$port"
wait $pid
result $? "until it is"
imgd rmi "$name:four" >/dev/null
start --cut 1000000
"$program" --root "$root" --config "$dir/daemon.json" pull -q --retry 1 \
    "$name:ten" >"$dir/out" 2>"$dir/err" </dev/null
[ $? -eq 1 ] && [ "$(grep -c "^$ten" "$dir/log")" = 1 ]
result $? "--retry 1 tries once"
start
before=$(date +%s%N)
ok "a limited pull succeeds" imgd pull -q --limit-rate 2M "$name:four"
[ $(($(date +%s%N) - before)) -ge 1700000000 ]
result $? "and is as slow as it should be"
[ "$(sql "SELECT COUNT(*) FROM rates WHERE registry LIKE '%:$weak_port'")" = 0 ]
result $? "which says nothing of the registry"
for bad in "--retry 0" "--retry often" "--limit-rate fast" "--limit-rate 0"; do
	# shellcheck disable=SC2086 # option and value
	imgd pull $bad "$name:four" >"$dir/out" 2>&1
	[ $? -eq 2 ]
	result $? "$bad is a wrong use"
done
# Neither the registry nor its mirror is there; the mirror comes first.
weak_stop
port=$(free_port)
wait_for_engine
configure "\"registry-mirrors\": [
    { \"url\": \"http://127.0.0.1:$port\", \"registry\": \"*\" } ]"
"$program" --root "$root" --config "$dir/daemon.json" pull --retry forever \
    127.0.0.1:1/weak:four >"$dir/out" 2>&1 </dev/null &
pid=$!
wait_for grep -q '^Retrying in' "$dir/out"
result $? "a registry and a mirror that are not there are waited for"
start --port "$port"
wait $pid
result $? "until one of them is"
weak_stop
"$program" --root "$root" --config "$dir/daemon.json" pull -a \
    --retry forever 127.0.0.1:1/weak >"$dir/out" 2>&1 </dev/null &
pid=$!
wait_for grep -q '^Retrying in' "$dir/out"
result $? "so they are for the list of all tags"
start --port "$port"
wait $pid && grep -q 'weak:four$' "$dir/out" && grep -q 'weak:ten$' "$dir/out"
result $? "and for all of them"
weak_stop
cli_end
