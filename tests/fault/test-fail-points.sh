#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# The engine dies at each named point of its source, in every step of a life of
# images and containers, with every driver: what was reported is there and
# exact, what was not is wholly there or wholly gone, and nothing else is left.
#
# A point is tried once, in the first step that passes it, and those of the
# database once in each step; with IMGD_TEST_SCALE=long in each step, as often as
# the step passes it.
# IMGD_TEST_DRIVERS are other drivers than vfs, overlay and aufs; btrfs gets a
# filesystem of its own, devmapper is in tests/uml/test-fail-points.sh.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
drivers=${IMGD_TEST_DRIVERS:-vfs overlay aufs btrfs}

points=$(grep -rhoE 'FAIL_POINT\("[a-z-]+"\)' "$srcdir/lib" "$srcdir/core" \
    "$srcdir/tagstore" "$srcdir/drivers" | sed 's/.*"\(.*\)".*/\1/' | sort)
test -n "$points" && [ -z "$(echo "$points" | uniq -d)" ]
result $? "$(echo "$points" | wc -l) points have names of their own"

for n in 0 1 2 3; do
	mkdir "$dir/$n"
	echo "$n" >"$dir/$n/f$n"
	echo "$n" >"$dir/$n/shared"
	mkfifo "$dir/$n/fifo$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" .
done
"$lib/make-oci.py" "$dir/oci" one "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
"$lib/make-oci.py" "$dir/oci" two "$dir/0.tar" "$dir/1.tar" "$dir/3.tar"
"$lib/make-oci.py" --wrong-diff-id 1 "$dir/oci" bad "$dir/2.tar" "$dir/3.tar"
registry_start "$dir/registry" || exit 99
for image in one two bad; do
	registry_push "$dir/oci:$image" library/$image:1 || exit 99
done
use_mirror "$registry_port"
mkdir "$dir/mnt"

# ---- what is there ----

has_image() {
	imgd images -q "$1:1" | grep -q .
}

has_container() {
	imgd create | grep -q "^$1 "
}

is_mounted() {
	grep -qF " $dir/mnt " /proc/self/mountinfo
}

is_only_in() { # DRIVER
	[ "$(imgd images --json | jq -r \
	    'select(.Repository == "two") | .Drivers | join(",")')" = "$1" ]
}

is_undamaged() {
	[ "$(sql 'SELECT COUNT(*) FROM damaged')" -eq 0 ]
}

# ---- the steps of a life: do it, is it done, undo it ----

steps="first pull join refuse create mount umount commit rm migrate repair rmi gc"

verb_of() { # STEP: the command, with the fault in it
	case $1 in
	first | pull)
		"$run" pull -q --driver="$driver" one:1 ;;
	join)	"$run" pull -q --driver="$driver" two:1 ;;
	refuse)	"$run" pull -q --driver="$driver" bad:1 ;;
	create)	"$run" create --driver="$driver" c1 one:1 ;;
	mount)	"$run" mount c1 "$dir/mnt" ;;
	umount)	"$run" umount c1 ;;
	commit)	"$run" commit c1 three:1 ;;
	rm)	"$run" rm c1 ;;
	migrate) "$run" migrate -q --from "$driver" --to "$other" two:1 ;;
	repair)	"$run" pull -q --driver="$driver" one:1 ;;
	rmi)	"$run" rmi two:1 ;;
	gc)	"$run" gc --max-size 0 ;;
	esac
}

is_done() {
	case $1 in
	first | pull)
		has_image one ;;
	join)	has_image two ;;
	refuse)	! has_image bad ;;
	create)	has_container c1 ;;
	mount)	is_mounted ;;
	umount)	! is_mounted ;;
	commit)	has_image three ;;
	rm)	! has_container c1 ;;
	migrate) is_only_in "$other" ;;
	repair)	is_undamaged ;;
	rmi)	! has_image two ;;
	gc)	! has_image one ;;
	esac
}

undo() {
	case $1 in
	first)	imgd rmi one:1
		engine_stop
		find "$root" -mindepth 1 -delete ;;
	pull)	imgd rmi one:1 ;;
	join)	imgd rmi two:1 ;;
	refuse)	: ;;
	create)	imgd rm c1 ;;
	mount)	imgd umount c1 ;;
	umount)	run=imgd verb_of mount ;;
	commit)	imgd rmi three:1 ;;
	rm)	run=imgd verb_of create ;;
	migrate) imgd migrate -q --from "$other" --to "$driver" two:1 ;;
	repair)	sql "INSERT OR REPLACE INTO damaged(key, problem, found_at)
		    SELECT key, 'a test', 0 FROM layers
		    WHERE driver = '$driver' ORDER BY key LIMIT 1" ;;
	rmi)	imgd pull -q --driver="$other" two:1 ;;
	gc)	run=imgd verb_of pull ;;
	esac >/dev/null
}

# What steps before this one have made, and this one does not touch.
kept() {
	case $1 in
	join | refuse | rm)	has_image one ;;
	create | repair)	has_image one && has_image two ;;
	mount | umount | commit)
		has_image one && has_image two && has_container c1 ;;
	migrate | rmi)		has_image one && has_image three ;;
	esac || { echo "$1: something else is lost"; return 1; }
}

# ---- one death ----

with_fault() {
	strike engine "$point" "$n" kill "$@"
}

# With $point and $n; sets missed if the step did not pass it so often: how
# threads take their turns decides some.
survives() { # STEP
	run=with_fault verb_of "$1"
	missed=
	if [ -z "$struck" ]; then
		missed=yes
		undo "$1"
		return
	fi
	said_well && is_sound && kept "$1" || return
	if ! is_done "$1"; then
		[ "$status" -ne 0 ] || { echo "$1: reported, but not there"
		    return 1; }
		# Half-done things are gone, so that it can be done now.
		run=imgd verb_of "$1" >/dev/null && is_done "$1" || return
	fi
	undo "$1"
}

# Which points the step passes, into "$dir/points".
watch() { # STEP
	log_points=yes
	point=none
	n=1
	run=with_fault verb_of "$1"
	log_points=
	[ "$1" = refuse ] || [ "$status" -eq 0 ] || {
		cat "$dir/said-badly"
		return 1
	}
	is_done "$1"
}

# What no driver but another passes, or an engine whose pulls are all well.
is_elsewhere() { # POINT
	case $1 in
	vfs-* | overlay-* | aufs-* | btrfs-* | devmapper-*)
		[ "${1%%-*}" != "$driver" ] ;;
	layer-exchanged)
		[ "$driver" = aufs ] || [ "$driver" = devmapper ] ;;
	layer-*)
		[ "$driver" = devmapper ] ;;
	*)	false ;;
	esac
}

# The step passes it so often; at which of these times to die?
which_times() { # POINT TIMES
	case ${IMGD_TEST_SCALE:-}:$1 in
	long:*)	seq "$2" ;;
	:database-*)
		shuf -i "1-$2" -n 1 ;;
	*)	grep -qx "$1" "$dir/tried" || echo 1 ;;
	esac
}

n_deaths=0
try_step() { # STEP
	case $1 in
	repair)	undo repair ;;
	gc)	imgd rmi three:1 >/dev/null ;;
	esac
	ok "$driver: $1 without a death" watch "$1"
	sort "$dir/points" | uniq -c | awk '{ print $2, $1 }' >"$dir/passed"
	undo "$1" >"$dir/out" 2>&1 || sed 's/^/# /' "$dir/out"
	while read -r point times <&3; do
		! is_elsewhere "$point" || continue
		for n in $(which_times "$point" "$times"); do
			survives "$1" >"$dir/why" 2>&1
			status=$?
			[ -z "$missed" ] || break
			result $status "$driver: $1, dead at $point, time $n"
			[ "$status" -eq 0 ] || sed 's/^/# /' "$dir/why"
			echo "$point" >>"$dir/tried"
			n_deaths=$((n_deaths + 1))
		done
	done 3<"$dir/passed"
	run=imgd verb_of "$1" >/dev/null 2>&1
	is_done "$1" || result 1 "$driver: $1 is done in the end"
}

unpassed() {
	for point in $points; do
		is_elsewhere "$point" || grep -qx "$point" "$dir/tried" ||
		    echo "$point"
	done
}

life() {
	other=vfs
	[ "$driver" != vfs ] || other=overlay
	: >"$dir/tried"
	for step in $steps; do
		try_step $step
	done
	engine_stop
	imgd gc --max-size 0 >/dev/null
	engine_stop
	find_orphans >"$dir/orphans"
	test ! -s "$dir/orphans"
	result $? "$driver: nothing is left in the end"
	sed 's/^/# /' "$dir/orphans"
	unpassed >"$dir/orphans"
	test ! -s "$dir/orphans"
	result $? "$driver: every point was passed"
	sed 's/^/# /' "$dir/orphans"
}

for driver in $drivers; do
	[ -n "$(find "$builddir/stage" -name "imgd-$driver-driver.so")" ] ||
	    continue
	if [ "$driver" = btrfs ] && [ -z "${IMGD_TEST_DRIVERS:-}" ]; then
		truncate -s 1G "$dir/disk"
		mkfs.btrfs -q "$dir/disk" >/dev/null &&
		    mount -o loop "$dir/disk" "$root" || {
			result 0 "$driver # SKIP no btrfs can be mounted"
			continue
		}
		chmod 700 "$root"
	fi
	life
done
echo "# $n_deaths deaths at named points"
engine_stop
! mountpoint -q "$root" || umount "$root"
cli_end
