#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/registry.sh sets registry_port
# Events: what happened and what happens, for whoever listens.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
listener=
stop_listener() {
	[ -z "$listener" ] || kill "$listener" 2>/dev/null
	[ -z "$listener" ] || wait "$listener" 2>/dev/null
	listener=
}
trap 'stop_listener; cli_cleanup' EXIT

mkdir "$dir/0"
echo 0 >"$dir/0/f"
tar -C "$dir/0" -cf "$dir/0.tar" f
"$lib/make-oci.py" --label who=me --label 'odd="\' "$dir/oci" app "$dir/0.tar"
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:app" library/app:1 || exit 99
use_mirror "$registry_port"

listen() { # FILE ARGUMENT…
	file=$1
	shift
	"$program" --root "$root" --config "$dir/daemon.json" events "$@" \
	    >"$dir/$file" 2>&1 </dev/null &
	listener=$!
	# It listens when it hears something.
	for _ in $(seq 100); do
		[ ! -s "$dir/$file" ] || return 0
		imgd create heard app:1 >/dev/null
		imgd rm heard >/dev/null
	done
	return 1
}
hears() { # FILE PATTERN
	wait_for grep -Eq -- "$2" "$dir/$1" && return
	cat "$dir/$1"
	return 1
}

imgd pull -q app:1 >/dev/null || exit 99
id=$(imgd inspect app:1 | jq -r '.[0].Id')
ok "somebody listens" listen all --json
imgd pull -q app:1 >/dev/null
imgd tag app:1 app:2
mkdir "$dir/mnt"
imgd mount app:1 "$dir/mnt" >/dev/null
imgd umount "$dir/mnt"
imgd create box app:1 >/dev/null
imgd rm box >/dev/null
imgd tag app:1 "127.0.0.1:$registry_port/up/app:1"
imgd push -q "127.0.0.1:$registry_port/up/app:1" >/dev/null
imgd save -o "$dir/saved.tar" app:1
imgd load -q -i "$dir/saved.tar" >/dev/null
imgd rmi app:2 >/dev/null
imgd rmi -f "$id" >/dev/null
ok "and hears the last" hears all '"delete"'
grep -v heard "$dir/all" | jq -r '[.Type, .Action, .Actor.ID,
    .Actor.Attributes.name, .Actor.Attributes.who] | join(" ")' |
    sed "s/$id/ID/g; s/[0-9a-f]\{64\}/KEY/g; s/$registry_port/PORT/g" \
    >"$dir/is"
cat >"$dir/want" <<'EOT'
image pull app:1 app me
image tag ID app:2 me
image mount ID app:1 me
image unmount ID app:1 me
container create KEY box me
container destroy KEY box me
image tag ID 127.0.0.1:PORT/up/app:1 me
image push 127.0.0.1:PORT/up/app:1 127.0.0.1:PORT/up/app me
image save ID ID me
image load ID ID me
image untag ID ID me
image untag ID ID me
image untag ID ID me
image untag ID ID me
image delete ID ID me
EOT
diff "$dir/want" "$dir/is" >"$dir/diff"
result $? "each with its actor, name and labels"
sed 's/^/# /' "$dir/diff"
ok "a label is what it was" [ "$(tail -n 1 "$dir/all" |
    jq -r .Actor.Attributes.odd)" = '"\' ]
ok "times rise" sh -c "jq .timeNano '$dir/all' | sort -nc"

# ---- what was, while the engine lives ----

ok "what was is told from a time on" imgd events --since 1 \
    --until "$(date +%s.%N)"
cp "$dir/out" "$dir/past"
ok "in docker's form" grep -Eq "^[0-9-]{10}T[0-9:]{8}\.[0-9]{9}(Z|[+-][0-9:]{5}) \
image tag $id \(name=app:2, odd=.*, who=me\)$" "$dir/past"
now=$(date +%s.%N)
told() { # WANTED ARGUMENT…
	wanted=$1
	shift
	got=$(imgd events --since 1 --until "$now" \
	    --format '{{.Type}} {{.Action}}' "$@" | grep -v heard | sort -u |
	    tr '\n' ',')
	[ "$got" = "$wanted" ] || { echo "got $got"; return 1; }
}
ok "of one kind" told "container create,container destroy," \
    -f type=container
ok "of two actions" told "image pull,image tag," -f event=pull -f event=tag
ok "of one image" told "container create,container destroy,image mount,\
image pull,image tag,image unmount," -f image=app
ok "by a label" told "image push," -f label=who=me -f event=push
ok "by another label" told "" -f label=who=you
ok "of a container" told "container create,container destroy," \
    -f container=box
ok "later than all" [ -z "$(imgd events --since "$now" --until "$now")" ]
refused "an end before the beginning" "cannot be after" \
    imgd events --since 20 --until 10
refused "no such time" "failed to parse value as time" \
    imgd events --since soon
refused "a filter that is none" "KEY=VALUE" imgd events -f type

# ---- slow readers ----

imgd pull -q app:1 >/dev/null
many() {
	kill -STOP "$listener"
	for _ in $(seq 300); do
		job tag app:1 app:again || return 1
	done
	kill -CONT "$listener"
	imgd tag app:1 app:last
	hears all app:last
}
ok "a reader that stands still holds nobody up" many
stop_listener
cli_end
