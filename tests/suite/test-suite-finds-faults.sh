#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Each fault of a driver is found by a case of the suite, and a driver that
# tells changes itself gives the answer that all others give.
. "$srcdir/tests/lib/subtests.sh"
dir=$(mktemp -d "$builddir/faults-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
# A program of our own: it finds its drivers beside itself.
cp -a "$builddir/stage" "$dir/stage" || exit 99
program=$(find "$dir/stage" -path '*/bin/imgd' | head -n 1)
drivers=$(dirname "$(find "$dir/stage" -name imgd-vfs-driver.so)")
cp "$builddir/tests/driver/.libs/imgd-wrapped-driver.so" "$drivers/" ||
    exit 99

found() { # FAULT CASE
	"$program" driver test --root "$dir" --driver-opt "wrapped.fault=$1" \
	    --case "$2" wrapped >"$dir/out" 2>&1
	status=$?
	if [ $status -eq 1 ] && grep -q "^not ok [0-9]* - $2$" "$dir/out"; then
		subtest_line ok "$1 is found by $2"
	else
		subtest_line "not ok" "$1 is found by $2"
		sed 's/^/# /' "$dir/out"
	fi
}

"$program" driver test --root "$dir" wrapped >"$dir/out" 2>/dev/null
subtest "without a fault" $? <"$dir/out"
found adds-a-file child_shows_its_parent
found all-is-new changes_are_told_exactly
found all-is-new changes_equal_the_generic_ones
found all-is-new changes_of_a_writable_layer
found all-is-new deletions_and_returns_at_each_depth
found all-is-new unchanged_layers_have_no_changes
found brings-back changes_make_the_layer_again
found brings-back deletions_last
found crashes check_finds_nothing_in_a_sound_store
found cries-wolf check_finds_nothing_in_a_sound_store
found fills-holes holes_stay_holes
found finds-too-much empty_base_has_a_plain_root
found forgets-mode root_attributes_are_inherited
found forgets-seal sealed_is_final
found gives-up-badly cancelled_creation_can_be_removed
found half-made killed_in_create
found leaks-descriptor base_keeps_modes_and_owners
found leaks-process child_shows_its_parent
found leaves-files removed_layers_leave_no_files
found leaves-mount base_keeps_modes_and_owners
found loses-links hard_links_come_back
found loses-xattrs special_files
found one-at-a-time threads_work_on_different_layers
found overwrites taken_id_is_eexist_and_nothing_changes
found parents-first children_are_listed_first
found put-fails base_keeps_modes_and_owners
found removes-nothing removed_id_can_be_used_again
found replaces-nothing replace_exchanges_contents
found resets-root writable_layers_are_like_a_plain_directory
found rw-is-staged writes_survive_a_restart
found says-nothing taken_id_is_eexist_and_nothing_changes
found sets-error-on-success base_keeps_modes_and_owners
found writes-when-read-only read_only_open_makes_nothing
found writes-to-parent child_shows_its_parent
found wrong-code unknown_ids_have_their_codes

builddir=$dir IMGD_TEST_DRIVERS=wrapped sh "$srcdir/tests/cli/test-diff.sh" \
    >"$dir/out" 2>&1
subtest "changes of its own" $? <"$dir/out"
subtests_end
