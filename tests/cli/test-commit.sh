#!/bin/sh
# Writable layers become images: the same tree, one more layer, the settings
# and the history as Docker has them, and nothing of what fails or is killed.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir -p "$dir/mnt" "$dir/0/etc" "$dir/0/gone/deep" "$dir/0/swap" "$dir/1/lib"
for name in same changed gone/a gone/deep/b swap/x; do
	echo "$name" >"$dir/0/$name"
done
ln "$dir/0/same" "$dir/0/same2"
# ".wh." and a byte more than a name has room for.
long=$(printf %252s n | tr ' ' n)
echo long >"$dir/0/$long"
ln -s same "$dir/0/link"
ln -s same "$dir/0/notdir"
echo 1 >"$dir/1/lib/so"
tar -C "$dir/0" -cf "$dir/0.tar" .
tar -C "$dir/1" -cf "$dir/1.tar" lib
"$lib/make-oci.py" --label a=b "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99

in_box() { # COMMAND…
	imgd mount box "$dir/mnt" >/dev/null || return 1
	(cd "$dir/mnt" && "$@")
	in_box_status=$?
	imgd umount "$dir/mnt" && return $in_box_status
}

tree() { # NAME
	imgd mount "$1" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	imgd umount "$dir/mnt"
}

# Everything that a layer can say.
change() {
	echo more >>changed && chmod 4711 changed && rm -r gone &&
	    rm -r swap && echo file >swap && rm notdir && mkdir notdir &&
	    echo in >notdir/in && ln -sf other link &&
	    mkdir -p new/a/b && echo x >new/a/b/one && ln new/a/b/one new/two &&
	    mkfifo new/fifo && ln -s nowhere new/sym &&
	    chown -h 7:8 new/sym && mknod new/null c 1 3 &&
	    chown 1234:4321 new/a && chmod 1777 new &&
	    setfattr -n user.k -v "a b" new/a/b/one &&
	    setfattr -n user.d -v dir new/a &&
	    { setfattr -h -n trusted.l -v link new/sym ||
		[ $driver = aufs ]; } &&
	    setfattr -n trusted.n -v null new/null &&
	    setcap cap_net_raw+ep new/two &&
	    rm lib/so && touch -d 2001-02-03T04:05:06.789Z new/a &&
	    touch -d '1999-01-01' "new/$(printf 'odd\303name\n and space')" &&
	    chmod 0750 . && chown 0:5 . &&
	    python3 "$dir/listen.py" new/sock
}
cat >"$dir/listen.py" <<'EOT'
import socket, sys
socket.socket(socket.AF_UNIX).bind(sys.argv[1])
EOT

image() { # NAME FILTER
	imgd inspect "$1" | jq -r ".[0] | $2"
}

same_tree() { # IMAGE
	tree box >"$dir/want" && tree "$1" >"$dir/got" || return 1
	# What no tar holds, and how many names there are at the driver's own.
	grep -v ' sock ' "$dir/want" | diff - "$dir/got"
}

for driver in $drivers; do
	imgd pull -q --driver=$driver app:1 >/dev/null || exit 99
	imgd create --driver=$driver box app:1 >/dev/null || exit 99
	ok "$driver: all kinds of changes" in_box change
	committed() {
		imgd commit -a "A <a@b>" -m "what was done" -c 'ENV X=1' \
		    -c 'CMD ["run"]' box made:1 >"$dir/said" || return 1
		cat "$dir/said"
		[ "$(cat "$dir/said")" = "$(image made:1 .Id)" ]
	}
	ok "$driver: are committed, and the id is told" committed
	ok "$driver: its tree is the one that was committed" same_tree made:1
	layers() {
		image made:1 '.RootFS.Layers[]' >"$dir/got"
		image app:1 '.RootFS.Layers[]' >"$dir/want"
		head -n 2 "$dir/got" | diff "$dir/want" - &&
		    [ "$(wc -l <"$dir/got")" -eq 3 ]
	}
	ok "$driver: one layer more than the image had" layers
	ok "$driver: the store is sound, and gives the layer back" \
	    imgd fsck --deep
	ok "$driver: the writable layer is as it was" sh -c "
	    '$program' --root '$root' --config '$dir/daemon.json' diff box |
		grep -x 'A /new/two'"
	again() {
		imgd commit box made:2 >"$dir/said" &&
		    [ "$(image made:2 '.RootFS.Layers[2]')" = \
			"$(image made:1 '.RootFS.Layers[2]')" ] &&
		    imgd fsck && imgd rmi made:2
	}
	ok "$driver: the same changes are the same layer" again
	on_top() {
		imgd rm box && imgd create --driver=$driver box made:1 &&
		    in_box rm new/two changed && imgd commit box made:3 &&
		    same_tree made:3 &&
		    [ "$(image made:3 '.RootFS.Layers | length')" -eq 4 ]
	}
	ok "$driver: an image of what was made is committed upon" on_top
	pushed() {
		imgd push -q "localhost:$registry_port/made:3" || return 1
		skopeo --insecure-policy inspect --config --tls-verify=false \
		    "docker://localhost:$registry_port/made:3" </dev/null |
		    jq -e '.history | length == 4'
	}
	imgd tag made:3 "localhost:$registry_port/made:3"
	ok "$driver: it is pushed" pushed
	imgd rm box >/dev/null
	imgd rmi "localhost:$registry_port/made:3" made:3 made:1 app:1 >/dev/null
	ok "$driver: all of it goes" sh -c \
	    "! find '$root/drivers/$driver' -name '??????????????????????????*' \
	    | grep ."
done

# ---- the config ----

imgd pull -q --driver=$driver app:1 >/dev/null
imgd create box app:1 >/dev/null
empty() {
	imgd commit box empty:1 >"$dir/said" || return 1
	[ "$(image empty:1 '.RootFS.Layers | length')" -eq 2 ] &&
	    imgd save empty:1 | tar -xO "$(cut -c8- "$dir/said").json" |
	    jq -e '.history[-1].empty_layer and (.history | length == 3)'
}
ok "nothing changed: no layer, and a history that says so" empty
imgd rmi empty:1 >/dev/null
in_box touch new
config() {
	before=$(date -u +%Y-%m-%dT%H:%M:%S)
	imgd commit --author me --message "the words" --change 'WORKDIR /x' \
	    box conf:1 >"$dir/said" || return 1
	after=$(date -u +%Y-%m-%dT%H:%M:%S.999999999Z)
	imgd save conf:1 | tar -xO "$(cut -c8- "$dir/said").json" \
	    >"$dir/config"
	jq . "$dir/config"
	jq -e --arg before "$before" --arg after "$after" '
	    .author == "me" and .created >= $before and .created <= $after and
	    .config.WorkingDir == "/x" and .config.Labels.a == "b" and
	    (.history | length == 3) and
	    .history[-1] == { "created": .created, "author": "me",
		"comment": "the words" } and
	    (.rootfs.diff_ids | length == 3)' "$dir/config"
}
ok "author, message, time, and the settings of the image below" config
unnamed() {
	imgd commit box >"$dir/said" && [ "$(wc -l <"$dir/said")" -eq 1 ] &&
	    image "$(cat "$dir/said")" '.RepoTags == []' | grep true &&
	    imgd rmi "$(cat "$dir/said")"
}
ok "without a name" unnamed
moved() {
	old=$(image conf:1 .Id)
	imgd commit box conf:1 && [ "$(image conf:1 .Id)" != "$old" ] &&
	    image "$old" .Id && imgd rmi conf:1 "$old"
}
ok "a name that is another image moves" moved

# ---- what is refused ----

refused "a writable layer that is not there" "no such container: nobody" \
    imgd commit nobody
refused "a change that is none" "RUN is not a valid change command" \
    imgd commit -c 'RUN true' box bad:1
refused "a name that is none" "BAD" imgd commit box BAD:1
refused "a name by digest" "digest reference" \
    imgd commit box "a@$(image app:1 .Id)"
refused "a message that is no text" "message is no UTF-8" \
    imgd commit -m "$(printf 'a\377')" box bad:1
# aufs has no such names either.
if in_box sh -c 'mkdir odd && touch odd/.wh.so' 2>/dev/null; then
	refused "a file that would read as another's whiteout" \
	    "odd/.wh.so: a name that begins with .wh." imgd commit box bad:1
fi
in_box rm -r odd

imgd create box2 app:1 >/dev/null
imgd mount box2 "$dir/mnt" >/dev/null
# aufs itself cannot remove it.
rm "$dir/mnt/$long" 2>/dev/null
status=$?
imgd umount box2 >/dev/null
# overlayfs tidies up its own when it is mounted next.
imgd diff box2 >/dev/null
if [ $status -eq 0 ]; then
	refused "a name that is too long for its whiteout" \
	    "nn: the name is too long for a whiteout" imgd commit box2 bad:1
fi
imgd rm box2 >/dev/null

# ---- whoever is killed ----

in_box sh -c 'mkdir many && cd many && for i in $(seq 400); do
    head -c 9000 /dev/urandom >f$i; done'
sound() {
	wait_for_engine
	imgd fsck --deep && [ "$(sql 'SELECT COUNT(*) FROM pulls')" -eq 0 ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq \
		"$(ls "$root/recipes" | wc -l)" ] && [ -z "$(ls "$root/spool")" ]
}
killed() { # WHO S
	"$program" --root "$root" --config "$dir/daemon.json" commit box big:1 \
	    </dev/null >"$dir/said" 2>&1 &
	pid=$!
	sleep "$2"
	case $1 in
	command) kill -9 $pid ;;
	engine) kill -9 "$(engine_pid)" ;;
	esac 2>/dev/null
	wait $pid 2>/dev/null
	cat "$dir/said"
	sound || return 1
	# Named means whole.
	if imgd inspect big:1 >/dev/null 2>&1; then
		same_tree big:1 && imgd rmi big:1
	fi
}
for who in command engine; do
	for s in 0.02 0.08 0.15 0.3; do
		ok "the $who is killed after $s s" killed $who $s
	done
done
last() {
	imgd commit box big:1 && same_tree big:1 && sound
}
ok "and then it is made" last

cli_end
