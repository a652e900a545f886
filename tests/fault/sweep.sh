# shellcheck shell=sh
# shellcheck disable=SC2034 # drivers and log_points are for others
# shellcheck disable=SC2154 # cli.sh and fault.sh set the others
# Faults swept over a pull, a removal and a migration.  Source it after fault.sh;
# then
#
#     sweep_begin             with $driver
#     sweep ROLE WHAT DO      the n-th of WHAT in such a process strikes: the
#                             first and the last from each place in a program
#                             (IMGD_TEST_SCALE=long), each n (=all), or
#                             $sweep_sample or IMGD_TEST_SAMPLE of them
#     sweep_calls ROLE WHAT DO VERB N…
#                             these
#     sweep_end               nothing is left
#
# $n_faults counts those that struck.

drivers=${IMGD_TEST_DRIVERS:-vfs overlay aufs}
n_faults=0
other=
mkdir "$dir/0" "$dir/1" "$dir/2"
for n in 0 1 2; do
	echo "$n" >"$dir/$n/f$n"
	head -c 100000 /dev/urandom >"$dir/$n/shared"
	ln "$dir/$n/f$n" "$dir/$n/hard$n"
	ln -s "f$n" "$dir/$n/soft$n"
	mkdir "$dir/$n/d$n"
	mkfifo "$dir/$n/d$n/fifo"
	mknod "$dir/$n/null" c 1 3
	setfattr -n user.test -v "$n" "$dir/$n/shared"
	tar -C "$dir/$n" --xattrs -cf "$dir/$n.tar" .
done
"$lib/make-oci.py" "$dir/oci" one "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:one" library/one:1 || exit 99
use_mirror "$registry_port"

has_image() {
	imgd images -q "$1:1" | grep -q .
}

# Each verb with its end, whatever came of it: no image is there.
sweep_verbs="pull rmi migrate"

verb_of() {
	case $1 in
	pull)	set -- pull -q --driver="$driver" one:1 ;;
	rmi)	set -- rmi one:1 ;;
	migrate) set -- migrate -q --from "$driver" --to "$other" one:1 ;;
	esac
	"$run" "$@"
}

is_done() {
	case $1 in
	pull)	has_image one ;;
	rmi)	! has_image one ;;
	migrate) imgd images --format '{{.Driver}}' | grep -qx "$other" ;;
	esac
}

with_fault() {
	strike "$role" "$what" "$n" "$action" "$@"
}

use_drivers() {
	engine_stop
	for user in "$driver" "$other"; do
		imgd pull -q --driver="$user" one:1 >/dev/null &&
		    imgd rmi one:1 >/dev/null || return
	done
}

# Where it stands before the verb.  What a removal could not delete is deleted
# when the driver is used next.
reset_store() { # VERB
	! has_image one || imgd rmi one:1 >/dev/null || return
	find_orphans >"$dir/orphans"
	if [ -s "$dir/orphans" ] || grep -qF " $root" /proc/self/mountinfo; then
		use_drivers || return
		find_orphans >"$dir/orphans"
	fi
	cat "$dir/orphans"
	grep -F " $root" /proc/self/mountinfo
	[ ! -s "$dir/orphans" ] && ! grep -qF " $root" /proc/self/mountinfo ||
	    return
	[ "$1" = pull ] || run=imgd verb_of pull >/dev/null
}

# After a failure, so that the next one is another.
begin_anew() {
	engine_stop
	grep -F " $root" /proc/self/mountinfo | cut -d' ' -f5 | sort -r |
	    while IFS= read -r target; do
		umount "$target"
	    done
	find "$root" -mindepth 1 -delete
}

withstands() { # VERB: with $role, $what, $n, $action
	run=with_fault verb_of "$1"
	[ -n "$struck" ] || return 0
	echo "$struck"
	said_well || return
	sed 's/^/said: /' "$dir/said-badly"
	is_sound || return
	[ "$status" -ne 0 ] || is_done "$1" || {
		echo "reported, but not done"
		return 1
	}
	# Not only sound: it works.
	is_done "$1" || run=imgd verb_of "$1" || return
	is_done "$1" && reset_store "$1"
}

try_n() { # VERB
	ok_name="$driver: $1: $role: $action, call $n"
	if withstands "$1" >"$dir/why" 2>&1; then
		[ -z "$struck" ] || result 0 "$ok_name"
	else
		result 1 "$ok_name"
		sed 's/^/# /' "$dir/why"
		begin_anew
		reset_store "$1" >/dev/null
	fi
	[ -z "$struck" ] || n_faults=$((n_faults + 1))
}

count_calls() { # VERB: into "$dir/points"
	log_points=yes
	n=0
	run=with_fault verb_of "$1"
	log_points=
	[ "$status" -eq 0 ] && is_done "$1" && reset_store "$1"
}

# Which n are tried; "$dir/points" has a line with its place and number for each
# call, and other lines for points.  A sample is the same in each run.
choose() {
	case ${IMGD_TEST_SCALE:-} in
	all)	awk 'NF == 3 { print $3 }' "$dir/points" | sort -nu ;;
	long)	awk 'NF == 3 {
			at = $1 " " $2
			if (!(at in first)) first[at] = $3
			last[at] = $3
		    }
		    END { for (at in first) print first[at] "\n" last[at] }' \
		    "$dir/points" | sort -nu ;;
	*)	seed=$(echo "$role$what$action$verb" | cksum | cut -d' ' -f1)
		awk 'NF == 3 { print $3 }' "$dir/points" | sort -nu |
		    awk -v seed="$seed" \
			-v n="${sweep_sample:-${IMGD_TEST_SAMPLE:-1}}" '
			{ number[NR] = $0 }
			END {
				x = seed % 2147483646 + 1
				while (NR > 0 && n-- > 0) {
					x = x * 16807 % 2147483647
					print number[x % NR + 1]
				}
			}' | sort -nu ;;
	esac
}

sweep_calls() {
	role=$1
	what=$2
	action=$3
	verb=$4
	shift 4
	reset_store "$verb" >/dev/null
	for n; do
		try_n "$verb"
	done
}

sweep() {
	role=$1
	what=$2
	action=$3
	for verb in $sweep_verbs; do
		reset_store $verb >/dev/null
		count_calls $verb >"$dir/why" 2>&1 || {
			result 1 "$driver: $verb without a fault"
			sed 's/^/# /' "$dir/why"
			continue
		}
		for n in $(choose); do
			try_n $verb
		done
	done
}

sweep_begin() {
	other=vfs
	[ "$driver" != vfs ] || other=overlay
	ok "$driver: a pull without a fault" imgd pull -q --driver="$driver" one:1
	ok "$driver: a removal without a fault" reset_store pull
}

sweep_end() {
	reset_store pull >"$dir/why" 2>&1
	result $? "$driver: nothing is left in the end"
	sed 's/^/# /' "$dir/why"
}
