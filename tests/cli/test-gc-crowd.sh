#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# gc each second beside twenty pulls of eight images: no pull fails, what is
# above the limit is in use, and nothing is left over.
# IMGD_TEST_SCALE=long does it for two minutes.
. "$srcdir/tests/lib/cli.sh"

seconds=15
[ "${IMGD_TEST_SCALE:-}" != long ] || seconds=120
limit=8000000

registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir "$dir/base"
head -c 1000000 /dev/urandom >"$dir/base/base"
tar -C "$dir/base" -cf "$dir/base.tar" base
for n in 0 1 2 3 4 5 6 7; do
	mkdir "$dir/$n"
	head -c 2000000 /dev/urandom >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" "f$n"
	"$lib/make-oci.py" "$dir/oci" "$n" "$dir/base.tar" "$dir/$n.tar"
	registry_push "$dir/oci:$n" "library/app:$n" || exit 99
done

# One of those who pull: each takes its turn through all eight.
puller() {
	at=$1
	while [ ! -e "$dir/stop" ]; do
		imgd pull -q "app:$((at % 8))" >/dev/null 2>"$dir/err-$1" ||
		    cat "$dir/err-$1" >>"$dir/failed"
		echo pulled >>"$dir/pulled-$1"
		at=$((at + 3))
	done
}
pullers=
for n in $(seq 20); do
	puller "$n" &
	pullers="$pullers $!"
done
for _ in $(seq $seconds); do
	imgd gc --max-size $limit --json >>"$dir/gc" 2>>"$dir/gc-failed" ||
	    echo "exit $?" >>"$dir/gc-failed"
	sleep 1
done
: >"$dir/stop"
for pid in $pullers; do
	wait "$pid"
done
echo "# $(cat "$dir"/pulled-* | wc -l) pulls," \
    "$(jq -s 'map(.Removed | length) | add' "$dir/gc") removals in" \
    "$(wc -l <"$dir/gc") collections"

test ! -s "$dir/failed"
result $? "no pull failed"
[ ! -e "$dir/failed" ] || sort "$dir/failed" | uniq -c | sed 's/^/# /'
test ! -s "$dir/gc-failed"
result $? "no collection failed"
sed 's/^/# /' "$dir/gc-failed"
ok "images went" jq -se 'map(.Removed | length) | add > 0' "$dir/gc"
ok "what is above the limit is in use" jq -se \
    "all(.IsMet or .Size <= .InUse)" "$dir/gc"
jq -c 'select((.IsMet or .Size <= .InUse) | not) | del(.Removed)' "$dir/gc" |
    sed 's/^/# /'

# ---- afterwards ----

ok "what is left is whole" imgd fsck --deep
ok "and comes below the limit" sh -c "'$program' --root '$root' gc --json \
    --max-size $limit | jq -e '.IsMet and .Size <= $limit'"
wait_for_engine
ok "as du has it" test "$(du -s -B1 "$root" | cut -f1)" -le $limit
ok "all of it can go" imgd gc --max-size 0
wait_for_engine
orphans() {
	find "$root/recipes" "$root/spool" -mindepth 1
	find "$root/drivers" -mindepth 2 \( -type f -o \
	    -name '????????????????????????????????*' \)
	sql "SELECT key, state FROM layers; SELECT id FROM images;
	    SELECT image FROM image_uses; SELECT id FROM pulls"
}
orphans >"$dir/orphans"
test ! -s "$dir/orphans"
result $? "with every byte and every row"
sed 's/^/# /' "$dir/orphans"
ok "and fsck agrees" imgd fsck
cli_end
