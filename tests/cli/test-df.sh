#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/registry.sh sets registry_port
# What takes space, and prune: as dockerd does it, and as the disk has it.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/dockerd.sh"
trap 'docker_stop; cli_cleanup' EXIT

for n in 0 1 2; do
	mkdir "$dir/$n"
	head -c "$((n + 1))00000" /dev/urandom >"$dir/$n/f$n"
	ln "$dir/$n/f$n" "$dir/$n/again"
	tar -C "$dir/$n" -cf "$dir/$n.tar" .
done
"$lib/make-oci.py" --created 2014-01-01T00:00:00Z --label keep=1 \
    "$dir/oci" old "$dir/0.tar" "$dir/1.tar"
"$lib/make-oci.py" --created 2024-01-01T00:00:00Z "$dir/oci" new \
    "$dir/0.tar" "$dir/2.tar"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
for tag in old new; do
	registry_push "$dir/oci:$tag" "library/$tag:1" || exit 99
done
pull_all() {
	for tag in old new; do
		imgd pull -q "$tag:1" >/dev/null || return 1
	done
}

ok "df of no store" imgd df
pull_all || exit 99
ok "df" imgd df
cat >"$dir/want" <<'EOT'
TYPE TOTAL ACTIVE SIZE RECLAIMABLE
Images 2 0 600kB 600kB (100%)
Writable layers 0 0 0B 0B
Partial blobs 0 0 0B 0B
EOT
head -n 4 "$dir/out" | tr -s ' ' | diff "$dir/want" -
result $? "layers that are shared count once"
imgd create box old:1 >/dev/null
ok "what a writable layer needs is not reclaimable" [ "$(imgd df \
    --format '{{.Type}} {{.Active}} {{.Reclaimable}}' | head -n 1)" = \
    "Images 1 400kB (66%)" ]
ok "each image" imgd df -v
grep -E '^(old|new) ' "$dir/out" | tr -s ' ' | cut -d' ' -f1,7- >"$dir/is"
printf '%s\n' 'new 400kB 100kB 300kB 0' 'old 300kB 100kB 200kB 1' |
    diff - "$dir/is"
result $? "with what it shares"
imgd rm box >/dev/null
wait_for_engine

# The sum is the disk's, to the block.
agrees() {
	imgd df --json >"$dir/df" || return 1
	du -s -B1 --apparent-size "$root" >/dev/null
	on_disk=$(du -s -B1 "$root" | cut -f1)
	jq -e --argjson on_disk "$on_disk" '.Store | .Total == $on_disk and
	    .Total == ([.Drivers[].Bytes] | add) + .Recipes + .Spool +
		.Database + .Other' "$dir/df" >/dev/null ||
	    { jq .Store "$dir/df"; echo "du: $on_disk"; return 1; }
}
ok "the bytes on the disk are du's" agrees

# Each layer by itself, as du has its directory.
layers_agree() { # DRIVER PREFIX SUFFIX, around a key
	jq -r --arg d "$1" '.Store | (.Layers[], .WritableLayers[]) |
	    select(.Driver == $d) | "\(.Key // .Name) \(.Bytes)"' "$dir/df" \
	    >"$dir/layers"
	[ -s "$dir/layers" ] || return 1
	while read -r key bytes; do
		case $key in
		box*) key=$(sql "SELECT key FROM containers
		    WHERE name = '$key'") ;;
		esac
		on_disk=$(du -s -B1 "$root/drivers/$1/$2$key$3" | cut -f1)
		[ "$bytes" = "$on_disk" ] ||
		    { echo "$1: $key: $bytes, du: $on_disk"; return 1; }
	done <"$dir/layers"
}
imgd pull -q --driver=vfs old:1 >/dev/null
for driver in overlay vfs; do
	imgd create --driver=$driver box-$driver old:1 >/dev/null
	target=$(imgd mount box-$driver)
	head -c 50000 /dev/urandom >"$target/written"
	imgd umount box-$driver
done
wait_for_engine
ok "the sum is du's with two drivers and what was written" agrees
ok "each layer of overlay is what du says" layers_agree overlay "" /diff
ok "each layer of vfs is" layers_agree vfs layers/ /root
ok "how many images have a layer" jq -e '[.Store.Layers[] |
    select(.Driver == "overlay") | .Images] | sort == [1, 1, 2]' "$dir/df"
imgd df >"$dir/out"
bytes=$(jq '[.Store.WritableLayers[].Bytes] | add' "$dir/df")
[ "$bytes" -gt 100000 ] &&
    tr -s ' ' <"$dir/out" | grep -q '^Writable layers 2 2 [0-9.]*kB 0B'
result $? "writable layers have a size"
imgd df -v | tr -s ' ' |
    grep -Eq '^box-overlay [0-9a-f]{12} overlay [0-9]+ *$'
result $? "each of them"
for driver in overlay vfs; do
	imgd rm box-$driver >/dev/null
done
imgd rmi --driver vfs old:1 >/dev/null

# ---- prune ----

prunes() { # WANTED ARGUMENT…
	wanted=$1
	shift
	imgd prune -f --json "$@" >"$dir/said" || return 1
	got=$(jq -r '[.ImagesDeleted // [] | .[] | .Untagged // empty] |
	    join(" ")' "$dir/said")
	[ "$got" = "$wanted" ] || { cat "$dir/said"; return 1; }
}
ok "asks first" sh -c "echo n | '$program' --root '$root' prune -a |
    grep 'continue.*y/N' && '$program' --root '$root' inspect old:1"
ok "nothing without a name, nothing to do" prunes ""
sql "DELETE FROM digests"
ok "not the labelled one" prunes "new:1" -a --filter 'label!=keep'
ok "bytes are those of its own layer" jq -e '.SpaceReclaimed == 300000' \
    "$dir/said"
pull_all
sql "DELETE FROM digests"
ok "only what is old enough" prunes "old:1" -a --filter until=2020-01-01
pull_all
sql "DELETE FROM digests"
imgd create box old:1 >/dev/null
mkdir "$dir/mnt"
imgd mount new:1 "$dir/mnt" >/dev/null
ok "nothing that is used" prunes "" -a
imgd umount "$dir/mnt"
sql "DELETE FROM tags WHERE repository LIKE '%/new'"
ok "what lost its name" prunes ""
ok "is deleted" jq -e '.SpaceReclaimed == 300000' "$dir/said"
imgd rm box >/dev/null
refused "a filter that is none of its" "invalid filter 'reference'" \
    imgd prune -f --filter reference=x
ok "as people read it" imgd prune -a -f
grep -q '^untagged: old:1$' "$dir/out" &&
    grep -q '^deleted: sha256:' "$dir/out" &&
    grep -q '^Total reclaimed space: 300kB$' "$dir/out"
result $? "in docker's words"

# Only one at a time: the first waits for a writer to let go.
pull_all
wait_for_engine
mkfifo "$dir/writer-in"
sqlite3 "$root/imgd.db" <"$dir/writer-in" >"$dir/writer-out" &
writer=$!
exec 7>"$dir/writer-in"
"$program" --root "$root" --config "$dir/daemon.json" events --json \
    >"$dir/events" 2>&1 </dev/null &
listener=$!
wait_for is_job events
echo "BEGIN IMMEDIATE; SELECT 'begun';" >&7
wait_for grep -q begun "$dir/writer-out"
imgd prune -a -f >"$dir/first" 2>&1 &
first=$!
wait_for is_job prune
ok "a second prune is refused" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' prune -a -f 2>&1 |
	    grep 'a prune operation is already running'"
printf 'COMMIT;\n.quit\n' >&7
exec 7>&-
wait $writer
wait $first
result $? "the first one goes on"
ok "and told of itself" wait_for grep -q '"prune"' "$dir/events"
kill $listener
wait $listener 2>/dev/null

# ---- dockerd's df and prune ----

docker_start || exit 99
# The listener's had no mirror.
wait_for_engine
pull_all
for tag in old new; do
	docker_load "$dir/oci:$tag" "$tag:1" || exit 99
done
sql "DELETE FROM digests"
normal_df() {
	jq -S '.Images |= (map({Id, RepoTags, SharedSize, Size, Containers}) |
	    sort_by(.Id)) | del(.Store) | .BuildCache = [] | .Volumes = []'
}
same_df() {
	docker_api GET /v1.41/system/df | normal_df >"$dir/want"
	job df | normal_df | diff "$dir/want" -
}
same_prune() { # FILTERS
	normal='.message? // .error? // (.ImagesDeleted |= (. // [] |
	    map(tostring) | sort)) | if type == "string"
	    then ascii_downcase else . end'
	docker_api POST "/v1.41/images/prune?filters=$1" | jq -S "$normal" \
	    >"$dir/want"
	job prune -- "filters=$1" | tail -n 1 | jq -S "$normal" |
	    diff "$dir/want" -
}
ok "df is dockerd's" same_df
for f in '{"dangling":["x"]}' '{"x":["y"]}' '{"until":["soon"]}' \
    '{"until":["1h","2h"]}' '' '{"dangling":["true"]}' \
    '{"dangling":{"false":true},"label":{"keep=2":true}}' \
    '{"dangling":["false"],"until":["2020-01-01T00:00:00Z"]}' \
    '{"dangling":["0"],"label!":["keep"]}'; do
	ok "prune is dockerd's: $f" same_prune "$f"
done
docker_stop
cli_end
