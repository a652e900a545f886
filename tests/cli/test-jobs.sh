#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/registry.sh sets registry_port
# What the engine is at is listed, and cancelled for one without the others.
. "$srcdir/tests/lib/cli.sh"
mkdir "$dir/0"
head -c 900000 /dev/urandom >"$dir/0/f"
tar -C "$dir/0" -cf "$dir/0.tar" f
"$lib/make-oci.py" "$dir/oci" app "$dir/0.tar"
registry_start "$dir/registry" || exit 99
registry_push "$dir/oci:app" library/app:1 || exit 99
use_mirror "$registry_port"

slow() { # NAME [RATE]
	"$program" --root "$root" --config "$dir/daemon.json" pull -q \
	    --limit-rate "${2:-150k}" app:1 >"$dir/$1" 2>&1 </dev/null &
}
# The pulls listed are N, each with that many watchers.
are_pulls() { # N
	imgd jobs --json | jq -c 'select(.Name == "pull")' >"$dir/jobs"
	[ "$(jq -s "map(select(.Watchers == $1)) | length" \
	    "$dir/jobs")" -eq "$1" ]
}
id_of() { # PID
	jq ".ID | select(. > 0)" "$dir/jobs" >/dev/null &&
	    jq "select(.Pid == $1) | .ID" "$dir/jobs"
}

ok "without an engine nothing is listed" [ -z "$(imgd jobs)" ]
ok "and none is started" [ ! -e "$root/sock" ]
refused "nor for a cancel" "no engine runs" imgd jobs cancel 1

slow one
one=$!
slow two
two=$!
ok "two pulls of one image are two jobs" wait_for are_pulls 2
ok "each tells who asked for what" jq -se --argjson a $one --argjson b $two \
    '(map(.Pid) | sort) == ([$a, $b] | sort) and
     all(.Uid == 0 and .Door == "sock" and .Args == ["app:1"])' "$dir/jobs"
ok "as a table, too" sh -c "
	'$program' --root '$root' jobs | grep -Eq \
	    '^[0-9]+ +pull app:1 +.* ago +2 +$one +0 +sock$'"
ok "one is cancelled" imgd jobs cancel "$(id_of $one)"
wait $one
status=$?
[ $status -eq 1 ] && grep -q 'was cancelled by somebody else' "$dir/one"
result $? "its client is told"
ok "the other one goes on" wait_for are_pulls 1
wait $two
result $? "to its end"
ok "the image is there" imgd inspect app:1
imgd rmi app:1 >/dev/null

slow alone 50k
alone=$!
ok "one alone" wait_for are_pulls 1
ok "is cancelled" imgd jobs cancel "$(id_of $alone)"
wait $alone
[ $? -eq 1 ]
result $? "and ends"
ok "its download, too" [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq 0 ]
"$program" --root "$root" events >"$dir/events" 2>&1 </dev/null &
events=$!
wait_for is_job events
refused "what was cancelled is no job any more" "no such job" \
    imgd jobs cancel 999999
refused "a word is no job" "no number of a job" imgd jobs cancel pull
kill $events
wait $events 2>/dev/null
ok "wrong usage" sh -c "'$program' --root '$root' jobs cancel; [ \$? -eq 2 ]"
cli_end
