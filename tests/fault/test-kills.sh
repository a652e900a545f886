#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# SIGKILL at any moment of an engine that runs four pulls, two removals and a
# collection: what was reported is so, what was not is wholly there or wholly
# gone, and everything that is there is exact.
#
# 20 kills; with IMGD_TEST_SCALE=long 1000.  IMGD_TEST_DRIVERS are other drivers
# than vfs, overlay and aufs.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
drivers=${IMGD_TEST_DRIVERS:-vfs overlay aufs}
n_wanted=$(scale 20 1000)

head -c 500000 /dev/urandom >"$dir/base"
tar -C "$dir" -cf "$dir/base.tar" base
for image in a b c d e f g h; do
	mkdir "$dir/$image"
	head -c 300000 /dev/urandom >"$dir/$image/$image"
	mkfifo "$dir/$image/fifo"
	seq 200 | (cd "$dir/$image" && xargs touch)
	tar -C "$dir/$image" -cf "$dir/$image.tar" .
	"$lib/make-oci.py" "$dir/oci" $image "$dir/base.tar" "$dir/$image.tar"
done
registry_start "$dir/registry" || exit 99
for image in a b c d e f g h; do
	registry_push "$dir/oci:$image" library/$image:1 || exit 99
done
use_mirror "$registry_port"

now_ms() {
	echo $(($(date +%s%N) / 1000000))
}

# a to d are to be pulled, e and f removed, g and h collected: long unused.
prepare() {
	imgd rmi a:1 b:1 c:1 d:1 >/dev/null 2>&1
	for image in e f g h; do
		imgd pull -q --driver="$driver" $image:1 >/dev/null || return
	done
	sql "CREATE TEMP TABLE old AS SELECT image FROM tags
		WHERE repository LIKE '%/g' OR repository LIKE '%/h';
	    UPDATE image_uses SET used_at = 0 WHERE image IN old;
	    UPDATE images SET pulled_at = 0 WHERE id IN old"
}

# A verb in the background; its status goes to a file.
begin() { # NAME VERB…
	name=$1
	shift
	{
		imgd "$@" >"$dir/said-$name" 2>&1
		echo $? >"$dir/did-$name"
	} &
	pids="$pids $!"
}

work() {
	rm -f "$dir"/did-*
	pids=
	for image in a b c d; do
		begin $image pull -q --driver="$driver" $image:1
	done
	begin e rmi e:1
	begin f rmi f:1
	begin gc gc --max-size 0 --keep-since 1h
}

ended() {
	for pid in $pids; do
		wait "$pid"
	done
}

did() { # NAME
	[ "$(cat "$dir/did-$1")" -eq 0 ]
}

is_kept() {
	imgd images --format '{{.Repository}}' >"$dir/names" || return
	for image in a b c d; do
		! did $image || grep -qx $image "$dir/names" || {
			echo "$image was pulled and is lost"
			return 1
		}
	done
	for image in e f; do
		! did $image || ! grep -qx $image "$dir/names" || {
			echo "$image was removed and is there"
			return 1
		}
	done
	! did gc || ! grep -qx '[gh]' "$dir/names" || {
		echo "what was collected is there"
		return 1
	}
}

# Killed after that many ms.  Most of its clients learn it; one whose job had
# not begun starts another engine.
survives() { # MS
	prepare || return
	work
	sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
	kill -9 "$(engine_pid)" 2>/dev/null && n_kills=$((n_kills + 1))
	ended
	is_sound && is_kept
}

n_kills=0
round=0
driver=${drivers%% *}
ok "$driver: images to remove" prepare
begin_ms=$(now_ms)
work
ended
took_ms=$(($(now_ms) - begin_ms))
cat "$dir"/said-* >"$dir/said"
ok "all of it succeeds without a kill" sh -c "! grep -v '^0$' '$dir'/did-*"
ok "and is sound" is_sound
ok "and as it was reported" is_kept
while [ $round -lt "$n_wanted" ]; do
	for driver in $drivers; do
		round=$((round + 1))
		ms=$(shuf -i "0-$took_ms" -n 1)
		survives "$ms" >"$dir/why" 2>&1
		result $? "$driver: kill $round, after $ms ms"
		[ $n_bad -eq 0 ] || sed 's/^/# /' "$dir/why"
		[ $n_bad -eq 0 ] || break 2
	done
done
ok "all of it can go" imgd gc --max-size 0
engine_stop
find_orphans >"$dir/orphans"
test ! -s "$dir/orphans"
result $? "and nothing is left"
sed 's/^/# /' "$dir/orphans"
echo "# $n_kills kills in $took_ms ms of work"
cli_end
