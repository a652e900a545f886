#!/bin/sh
# In the user-mode kernel: work on a store until somebody kills the engine or
# cuts the power, and prove afterwards that nothing was lost.
#
#     crash-guest.sh kills DRIVER OPTIONS N SEED   TAP, one line for each kill
#     crash-guest.sh work DRIVER OPTIONS N SEED    for ever; says what it did
#     crash-guest.sh steps DRIVER OPTIONS N SEED   N of them
#     crash-guest.sh verify DRIVER OPTIONS N SEED  against DIR/state
#
# OPTIONS: "--driver-opt K=V …", may be empty.  CRASH_TOP is where the disk is
# mounted, if not at /run/disk; what is said goes into the log of the device
# CRASH_MARK, too, before anything else is done.  The run's directory holds
# "images", the blobs of a registry.  What it says:
#
#     PULLING X, PULLED X, REMOVING X, REMOVED X   of images
#     MAKING X, MADE X, UNMAKING X, UNMADE X       of containers, which hold a
#                                                  file with their name
# shellcheck disable=SC2154 # the harness sets srcdir and builddir
mode=$1
driver=$2
options=$3
count=$4
seed=$5
images="one two three four"
store=${CRASH_TOP:-/run/disk}/$driver
config=/run/daemon.json
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
. "$srcdir/tests/lib/registry.sh"

imgd() {
	# shellcheck disable=SC2086 # a list of options
	"$program" --root "$store/root" --config $config $options "$@" \
	    </dev/null
}

# A number below $1 that the seed decides.
random() {
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	echo $((seed / 65536 % $1))
}

pick() {
	# shellcheck disable=SC2086 # a list of names
	set -- $images
	shift "$(random 4)"
	echo "$1"
}

engine_pid() {
	sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$store/root/lock" 2>/dev/null
}

# Until the engine is gone, and with it whatever the driver had active.
engine_ended() {
	[ -e "$store/root/lock" ] || return 0
	flock -w 60 "$store/root/lock" true
}

say() { # WORD NAME
	[ -z "${CRASH_MARK:-}" ] ||
	    dmsetup message "$CRASH_MARK" 0 mark "$1:$2" || exit
	echo "$1 $2"
}

do_pull() {
	say PULLING "$1"
	imgd pull -q --driver="$driver" "$1:1" >/dev/null &&
	    say PULLED "$1"
}

do_remove() {
	say REMOVING "$1"
	imgd rmi "$1:1" >/dev/null && say REMOVED "$1"
}

do_make() {
	say MAKING "c$1"
	imgd create --driver="$driver" "c$1" "$1:1" >/dev/null || return
	dir=$(imgd mount "c$1") || return
	echo "$1" >"$dir/file-of-c$1" && sync "$dir/file-of-c$1" "$dir" &&
	    say MADE "c$1"
	imgd umount "c$1"
}

do_unmake() {
	say UNMAKING "c$1"
	imgd rm "c$1" >/dev/null && say UNMADE "c$1"
}

has_image() {
	imgd images -q "$1:1" | grep -q .
}

has_container() {
	imgd create | grep -q "^$1 "
}

# One random thing that is possible now.
step() {
	x=$(pick)
	if ! has_image "$x"; then
		do_pull "$x"
	elif has_container "c$x"; then
		do_unmake "$x"
	elif [ "$(random 2)" -eq 0 ]; then
		do_make "$x"
	else
		do_remove "$x"
	fi
} 2>/run/step-errors

# Devices of the pool: the base and one for each row, nothing else.
pool_is_clean() {
	metadata=$store/root/drivers/devmapper/metadata
	thin_check "$metadata" || return
	devices=$(thin_dump "$metadata" | grep -c '<device ')
	rows=$(sqlite3 "$store/root/imgd.db" 'SELECT
	    (SELECT COUNT(*) FROM layers) + (SELECT COUNT(*) FROM containers)')
	[ "$devices" -eq $((rows + 1)) ] || {
		echo "$devices devices in the pool for $rows rows"
		return 1
	}
}

# Nobody helps: the next verb must find everything in order.
is_sound() {
	imgd fsck --deep || return
	engine_ended || return
	if grep -F " $store" /proc/self/mountinfo; then
		echo "mounts are left"
		return 1
	fi
	if ls /sys/block | grep -E '^dm-'; then
		echo "devices are left"
		return 1
	fi
	[ "$driver" != devmapper ] || pool_is_clean
}

# The tree of an image is what every driver made of it.
tree_is_exact() {
	dir=$(imgd mount "$1:1") || return
	python3 "$srcdir/tests/lib/tree-list.py" "$dir" |
	    cmp - "$imgd_dir/images/$1.tree" || return
	imgd umount "$1:1"
}

image_is_exact() {
	has_image "$1" || { echo "image $1 is lost"; return 1; }
	tree_is_exact "$1"
}

container_is_whole() {
	has_container "$1" || { echo "container $1 is lost"; return 1; }
	dir=$(imgd mount "$1") || return
	grep -qx "${1#c}" "$dir/file-of-$1" || {
		echo "container $1 lost its file"
		return 1
	}
	imgd umount "$1"
}

is_gone() {
	case $1 in
	c*)	! has_container "$1" ;;
	*)	! has_image "$1" ;;
	esac || { echo "$1 is there again"; return 1; }
}

verify() {
	is_sound || return
	while read -r name must; do
		case $must:$name in
		yes:c*)	container_is_whole "$name" ;;
		yes:*)	image_is_exact "$name" ;;
		no:*)	is_gone "$name" ;;
		esac || return
	done <"$imgd_dir/state"
	engine_ended
}

# Kill the engine somewhere in a step, without which the step succeeds.
kill_once() {
	step >/run/step-log &
	pid=$!
	sleep "$(printf '0.%03d' "$(random 999)")"
	victim=$(engine_pid)
	[ -z "$victim" ] || kill -9 "$victim" 2>/dev/null
	wait $pid
	cat /run/step-log >>/run/all-steps
	awk -f "$srcdir/tests/uml/crash-state.awk" /run/all-steps \
	    >"$imgd_dir/state"
	verify
}

kills() {
	: >/run/all-steps
	i=0
	while [ $i -lt "$count" ]; do
		i=$((i + 1))
		before=$seed
		if kill_once >/run/why 2>&1; then
			echo "ok - $driver $options: kill $i"
		else
			echo "not ok - $driver $options: kill $i, seed $before"
			sed 's/^/# /' /run/step-log /run/step-errors /run/why
			return 1
		fi
	done
}

mkdir -p "$store"
mkdir -m 700 -p "$store/root"
if [ "$mode" != verify ]; then
	mkdir /run/registry
	cp -a "$imgd_dir/images/blobs" /run/registry/
	registry_start /run/registry || exit 99
	printf '{ "registry-mirrors": [ "http://127.0.0.1:%s" ] }\n' \
	    "$registry_port" >$config
else
	echo '{}' >$config
fi
case $mode in
kills)	kills ;;
verify)	verify ;;
work)
	while :; do
		step
	done ;;
steps)
	while [ "$count" -gt 0 ]; do
		count=$((count - 1))
		step
	done
	engine_ended ;;
esac
