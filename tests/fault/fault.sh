# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # cli.sh sets builddir, program, root, dir
# One fault at a time in a command of imgd.  Source it after cli.sh; then
#
#     fault_begin, fault_end  before and after a command that gets $dir/fault as
#                             IMGD_FAULT_FILE by itself; end sets struck
#     strike ROLE WHAT N DO COMMAND…
#                             imgd COMMAND with that fault (fault.c), and an
#                             engine of its own; sets status, and struck to
#                             where it came, or to ""
#     said_well               what it said to that: one line, or success
#     engine_stop             the store's engine ends at once
#     scale SAMPLE LONG       the word that fits the scale of this run
#     is_sound                fsck --deep has nothing to say, nothing is half
#                             done (all images have names), and nothing lies
#                             about that has no row
#     find_orphans            what an empty store should not have, a line each
#
# Points pass by in "$dir/points" when $log_points is yes.

fault_lib=$builddir/tests/fault/.libs/imgd-fault.so
[ -e "$fault_lib" ] || exit 99
struck=
status=0
log_points=

strike() {
	fault_role=$1
	fault_what=$2
	fault_n=$3
	fault_do=$4
	shift 4
	fault_begin
	engine_stop
	timeout 120 env LD_PRELOAD="$fault_lib" IMGD_FAULT_ROLE="$fault_role" \
	    IMGD_FAULT_AT="$fault_what" IMGD_FAULT_N="$fault_n" \
	    IMGD_FAULT_DO="$fault_do" IMGD_FAULT_FILE="$dir/fault" \
	    ${log_points:+IMGD_FAULT_LOG=yes} \
	    "$program" --root "$root" --config "$dir/daemon.json" \
	    "$@" </dev/null >"$dir/said" 2>"$dir/said-badly"
	status=$?
	# Some faults come when the engine ends.
	engine_stop
	fault_end
}

fault_begin() {
	rm -f "$dir/fault"
	truncate -s 8M "$dir/fault"
}

fault_end() {
	struck=$(head -c 512 "$dir/fault" | tr -d '\0')
	[ -z "$log_points" ] || tail -c +1025 "$dir/fault" | tr -d '\0' \
	    >"$dir/points"
	rm "$dir/fault"
}

said_well() {
	case $status in
	0)	return 0 ;;
	1)	[ "$(wc -l <"$dir/said-badly")" -eq 1 ] &&
		    grep -q '^imgd: ' "$dir/said-badly" && return ;;
	esac
	echo "exit $status:"
	cat "$dir/said-badly"
	return 1
}

# Who owns the lock has written its pid there.
engine_stop() {
	[ -e "$root/lock" ] || return 0
	flock -n "$root/lock" true || kill "$(engine_pid)" 2>/dev/null
	wait_for_engine
}

scale() {
	if [ "${IMGD_TEST_SCALE:-}" = long ]; then
		echo "$2"
	else
		echo "$1"
	fi
}

is_sound() {
	imgd fsck --deep || return
	sql "SELECT 'pull', id FROM pulls;
	    SELECT id, 'has no name' FROM images
		WHERE id NOT IN (SELECT image FROM tags);
	    SELECT key, state FROM layers WHERE state <> 'ready';
	    SELECT key, state FROM containers WHERE state <> 'ready';
	    SELECT key FROM layers" | sort >"$dir/rows"
	{
		find "$root/recipes" -type f -printf '%f\n'
		find "$root/spool" -mindepth 1
	} | sort | diff "$dir/rows" -
}

find_orphans() {
	find "$root/recipes" "$root/spool" -mindepth 1
	find "$root/drivers" -mindepth 2 -regextype posix-egrep \
	    -regex '.*/([0-9a-f]{64}|l/.*)'
	sql 'SELECT key, state FROM layers; SELECT key FROM containers;
	    SELECT id FROM images; SELECT id FROM pulls;
	    SELECT target FROM mounts'
}
