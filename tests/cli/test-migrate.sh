#!/bin/sh
# Images move from any driver to any other and back without the network, and
# come out the same; killed at any moment, a migration loses nothing.
# IMGD_TEST_HUB=DRIVER takes the pairs with that driver alone, and
# IMGD_TEST_KILLS=N kills N of each pair's migrations.
. "$srcdir/tests/lib/cli.sh"
drivers=${IMGD_TEST_DRIVERS:-vfs overlay aufs}
kills=${IMGD_TEST_KILLS:-2}
[ "${IMGD_TEST_SCALE:-}" != long ] || kills=20
first=${drivers%% *}

registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
sh "$lib/make-image.sh" --small "$dir/real" real
registry_push "$dir/real:real" library/ubuntu:14.04 || exit 99
mkdir "$dir/tree"
echo more >"$dir/tree/more"
tar -C "$dir/tree" -cf "$dir/more.tar" .
"$lib/make-oci.py" "$dir/oci" 1 "$dir/more.tar"
registry_push "$dir/oci:1" library/other:1 || exit 99
imgd pull -q --driver="$first" ubuntu:14.04 >/dev/null || exit 99
imgd pull -q --driver="$first" other:1 >/dev/null || exit 99
registry_stop
configure
id=$(imgd inspect ubuntu:14.04 | jq -r '.[0].Id')
mkdir "$dir/mnt"

tree() { # DRIVER
	imgd mount --driver="$1" ubuntu:14.04 "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	imgd umount "$dir/mnt"
}
tree "$first" >"$dir/want" || exit 99
[ -s "$dir/want" ] || exit 99

held() {
	imgd images --json |
	    jq -r 'select(.Repository == "ubuntu") | .Drivers | join(",")'
}

move() { # FROM TO
	imgd migrate -q --from "$1" --to "$2" ubuntu:14.04 || return 1
	[ "$(held)" = "$2" ] || { held; return 1; }
	[ "$(imgd inspect ubuntu:14.04 | jq -r '.[0].Id')" = "$id" ] || return 1
	tree "$2" >"$dir/got" && diff "$dir/want" "$dir/got"
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

there_and_back() { # A B: sets took_ms, of the way there
	took_ms=$(now_ms)
	imgd migrate -q --keep --from "$1" --to "$2" ubuntu:14.04 || return 1
	took_ms=$(($(now_ms) - took_ms))
	imgd rmi --driver="$1" ubuntu:14.04 >/dev/null &&
	    tree "$2" >"$dir/got" && diff "$dir/want" "$dir/got" &&
	    imgd fsck --deep && move "$2" "$1"
}

# Only what rows name is there.
sound() {
	imgd fsck --deep || return 1
	[ "$(sql 'SELECT COUNT(*) FROM layers')" -eq \
	    "$(ls "$root/recipes" | wc -l)" ]
}

killed() { # FROM TO MS
	imgd migrate -q --from "$1" --to "$2" ubuntu:14.04 >/dev/null 2>&1 &
	pid=$!
	sleep "$3"
	kill -9 "$(engine_pid)" 2>/dev/null
	wait $pid 2>/dev/null
	sound || return 1
	case $(held) in
	"$1" | "$1,$2" | "$2,$1")
		move "$1" "$2" || return 1 ;;
	"$2")	;;
	*)	held
		return 1 ;;
	esac
	tree "$2" >"$dir/got" && diff "$dir/want" "$dir/got" || return 1
	sound && move "$2" "$1"
}

random_s() { # LIMIT-MS SEED
	python3 -c "import random
print('%.3f' % (random.Random($2 * 7919 + $$).randrange($1) / 1000))"
}

n=0
at=$first
for a in $drivers; do
	[ "$a" = "$at" ] || imgd migrate -q --from "$at" --to "$a" ubuntu:14.04
	at=$a
	for b in $drivers; do
		# Each pair once: there is there and back.
		case " $drivers " in
		*" $b "*" $a "* | *" $b $a "*) continue ;;
		esac
		[ "$a" != "$b" ] || continue
		case ${IMGD_TEST_HUB:-$a} in
		"$a" | "$b") ;;
		*) continue ;;
		esac
		ok "$a to $b and back: the same tree" there_and_back "$a" "$b"
		k=0
		while [ $k -lt $kills ]; do
			k=$((k + 1))
			n=$((n + 1))
			s=$(random_s $((took_ms + took_ms / 4)) $n)
			ok "$a to $b: killed after $s s" killed "$a" "$b" "$s"
		done
	done
done

second=${drivers#* }
second=${second%% *}
[ "$at" = "$first" ] ||
    imgd migrate -q --from "$at" --to "$first" ubuntu:14.04 || exit 99

both() {
	imgd migrate -q --keep --from "$first" --to "$second" ubuntu:14.04 &&
	    held | tr , '\n' | sort >"$dir/held" &&
	    printf '%s\n' "$first" "$second" | sort | diff - "$dir/held"
}
ok "--keep leaves both copies" both
ok "inspect tells of both" sh -c "
	'$program' --root '$root' inspect ubuntu:14.04 |
	    jq -e '[.. | .Drivers? // empty] | .[0] | length == 2'"
imgd tag ubuntu:14.04 ubuntu:too
ok "so does each name of an image in the list" sh -c "
	'$program' --root '$root' images --json |
	    jq -e -s 'map(select(.Repository == \"ubuntu\").Drivers | length)
		== [2, 2]'"
imgd rmi ubuntu:too >/dev/null
ok "rmi --driver drops one" imgd rmi --driver="$second" ubuntu:14.04
only() {
	[ "$(held)" = "$1" ]
}
ok "the other is there" only "$first"

in_use() {
	imgd mount --driver="$first" ubuntu:14.04 "$dir/mnt" >/dev/null || return 1
	imgd migrate --from "$first" --to "$second" ubuntu:14.04 >"$dir/said"
	status=$?
	cat "$dir/said"
	imgd umount "$dir/mnt"
	[ $status -eq 0 ] && grep -q "Kept in $first, too: .*used by mount" "$dir/said" &&
	    imgd rmi --driver="$second" ubuntu:14.04
}
ok "a copy in use is kept, and that is said" in_use

refused "the same driver twice" "the same driver" \
    imgd migrate --from "$first" --to "$first" ubuntu:14.04
refused "an image that is not there" "No such image" \
    imgd migrate --from "$first" --to "$second" nothing:1
refused "an image that is not in that driver" "is not in driver $second" \
    imgd migrate --from "$second" --to "$first" ubuntu:14.04
usage() {
	"$program" --root "$root" "$@" >/dev/null 2>&1
	[ $? -eq 2 ]
}
ok "no target is wrong usage" usage migrate --from vfs ubuntu:14.04
ok "neither image nor --all is wrong usage" usage migrate --from vfs --to aufs

all() {
	imgd migrate -q --all --from "$first" --to "$second" || return 1
	[ "$(imgd images --json | jq -r '.Drivers | join(",")' |
	    sort -u)" = "$second" ] &&
	    sound
}
ok "--all moves every image" all

# A damaged copy is not moved on.
if [ "$second" = overlay ]; then
	file=$(find "$root/drivers/overlay" -name more -type f | head -n 1)
	echo less >"$file"
	refused "a damaged copy" "more" \
	    imgd migrate --from "$second" --to "$first" other:1
fi
cli_end
