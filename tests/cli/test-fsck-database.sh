#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# A damaged database is named, and made anew of what can be read and of what the
# drivers hold: after it a pull fetches no layer.
. "$srcdir/tests/lib/cli.sh"

for n in 0 1 2 3; do
	mkdir "$dir/$n"
	head -c 20000 /dev/urandom >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" .
done
for n in 1 2 3; do
	"$lib/make-oci.py" "$dir/oci" $n "$dir/0.tar" "$dir/$n.tar"
done
mkdir -p "$dir/registry"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
for n in 1 2 3; do
	registry_push "$dir/oci:$n" "library/app:$n" || exit 99
done
pull_all() {
	for n in 1 2 3; do
		imgd pull "app:$n" || return 1
	done
}
pull_all >/dev/null || exit 99
imgd pull -q --driver=vfs app:1 >/dev/null
imgd create box app:2 >/dev/null
target=$(imgd mount box)
echo mine >"$target/mine"
imgd umount box
wait_for_engine
cp -a "$root" "$dir/good"
size=$(stat -c %s "$root/imgd.db")

restore() {
	wait_for_engine
	rm -rf "$root"
	cp -a "$dir/good" "$root"
}
hurt() {
	case $1 in
	"a truncated database") truncate -s $((size / 2)) "$root/imgd.db" ;;
	"an emptied database") truncate -s 0 "$root/imgd.db" ;;
	"a file that is no database") head -c "$size" /dev/urandom \
	    >"$root/imgd.db" ;;
	"a page of garbage") head -c 4096 /dev/urandom | dd bs=4096 \
	    of="$root/imgd.db" seek=$((size / 8192)) conv=notrunc \
	    status=none ;;
	esac
}
names_it() { # ARGUMENT…
	imgd "$@" >"$dir/said" 2>&1
	[ $? -eq 1 ] && grep -q '^imgd: [a-z]*: imgd\.db: ' "$dir/said" &&
	    [ "$(wc -l <"$dir/said")" -eq 1 ] || { cat "$dir/said"; return 1; }
}
sum() {
	cksum <"$root/imgd.db"
}
mends() {
	imgd fsck --repair >"$dir/said" 2>&1
	cat "$dir/said"
	grep -q '^store: imgd.db: made anew of [0-9]* rows' "$dir/said" &&
	    [ -s "$root/imgd.db.damaged" ] || [ "$1" = "an emptied database" ]
}
# Every layer is used again: none comes over the network.
needs_no_layer() {
	pull_all >"$dir/pulled" || return 1
	cat "$dir/pulled"
	! grep -q 'Pull complete' "$dir/pulled"
}

while read -r kind; do
	restore
	hurt "$kind"
	before=$(sum)
	ok "$kind is named" names_it fsck --deep
	ok "$kind: nothing is changed by that" test "$before" = "$(sum)"
	ok "$kind is mended" mends "$kind"
	ok "$kind: what is left is whole" sh -c "
	    '$program' --root '$root' fsck --deep | grep -v 'in no row' |
	    grep ' 0 problems\$' || '$program' --root '$root' fsck --deep |
	    grep -v 'in no row' | tail -n 1 | grep -v '^[a-z]*: layer'"
	ok "$kind: no layer need be fetched again" needs_no_layer
	ok "$kind: all images are there" sh -c "
	    [ \$('$program' --root '$root' images -q | wc -l) -eq 3 ]"
	imgd fsck --repair >"$dir/said" 2>&1
	ok "$kind: what was written is not lost" test -n \
	    "$(find "$root/drivers" -name mine)"
	! [ -z "$(imgd create --json)" ] || grep -q \
	    'a writable layer that no row names' "$dir/said"
	result $? "$kind: which fsck tells"
	ok "$kind: the database is sound" test \
	    "$(sql 'PRAGMA integrity_check')" = ok
done <<EOT
a truncated database
an emptied database
a file that is no database
a page of garbage
EOT

# Not beside an engine.
restore
mkfifo "$dir/events"
"$program" --root "$root" --config "$dir/daemon.json" events >"$dir/events" \
    2>/dev/null </dev/null &
listener=$!
exec 7<"$dir/events"
for _ in $(seq 100); do
	! imgd jobs | grep -q events || break
	sleep 0.05
done
ok "a sound database needs no mending beside an engine" \
    imgd fsck --deep --repair
exec 7<&-
kill $listener
wait $listener 2>/dev/null
ok "all that was salvaged can go" sh -c "
    '$program' --root '$root' rm box && '$program' --root '$root' gc \
	--max-size 0 && [ -z \"\$(ls '$root/recipes')\" ]"
cli_end
