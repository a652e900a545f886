#!/bin/sh
# Bundles: an OCI runtime runs them as the image says, they come back after a
# boot, and go without a trace.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
# crun refuses a host that has cgroups of both versions.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi

# A shell, with what it needs to run.
root_tree() { # DIR
	mkdir -p "$1/etc" "$1/bin" "$1/tmp" "$1/srv" "$1/alt"
	for bin in dash id cat ls; do
		cp "$(command -v $bin)" "$1/bin/"
		ldd "$(command -v $bin)" | grep -o '/[^ ]*' | while read -r so; do
			mkdir -p "$1/${so%/*}"
			cp -L "$so" "$1/$so"
		done
	done
	mv "$1/bin/dash" "$1/bin/sh"
	cat >"$1/alt/passwd" <<-EOT
		root:x:0:0::/root:/bin/sh
		app:x:1234:4321::/srv:/bin/sh
		broken
		:::
	EOT
	ln -s ../../../../alt/passwd "$1/etc/passwd"
	cat >"$1/etc/group" <<-EOT
		root:x:0:
		app:x:4321:
		log:x:77:other,app
		disk:x:88:app
		none:x:99:apple
	EOT
}
root_tree "$dir/tree"
tar -C "$dir/tree" -cf "$dir/tree.tar" .
made() { # TAG [CHANGE…]: an image of the tree
	made_tag=$1
	shift
	for change; do
		set -- "$@" -c "$change"
		shift
	done
	imgd import --driver="$driver" "$@" "$dir/tree.tar" "app:$made_tag" \
	    >/dev/null || exit 99
}

crun_run() { # BUNDLE
	timeout 30 crun --cgroup-manager=disabled --root "$dir/crun" run \
	    -b "$1" "imgd-test-$$" </dev/null 2>&1
}
bundle=$dir/bundle

for driver in $drivers; do
	made 1 'ENTRYPOINT ["/bin/sh", "-c"]' \
	    'CMD ["id; cat /etc/kept; pwd; echo $A; echo x >/tmp/x"]' \
	    'ENV A=1' 'USER app' 'WORKDIR /srv'
	made_bundle() {
		[ "$(imgd bundle --driver=$driver --name box app:1 \
		    "$bundle")" = box ] || return 1
		jq . "$bundle/config.json" &&
		    [ -x "$bundle/rootfs/bin/sh" ] && imgd create | grep box
	}
	ok "$driver: it is made and mounted" made_bundle
	echo kept >"$bundle/rootfs/etc/kept"
	chmod 1777 "$bundle/rootfs/tmp"
	runs() {
		crun_run "$bundle" >"$dir/said"
		cat "$dir/said"
		diff - "$dir/said" <<-'EOT'
			uid=1234(app) gid=4321(app) groups=4321(app),77(log),88(disk)
			kept
			/srv
			1
		EOT
	}
	ok "$driver: crun runs it as the image says" runs
	ok "$driver: what ran has written to the writable layer" sh -c "
	    '$program' --root '$root' --config '$dir/daemon.json' diff box |
		grep -x 'A /tmp/x'"
	refused "$driver: a directory that is one already" \
	    "it is the bundle of box already" imgd bundle app:1 "$bundle"
	remounted() {
		imgd umount "$bundle/rootfs" && [ ! -e "$bundle/rootfs/bin" ] &&
		    imgd bundle --mount "$bundle" && imgd bundle --mount "$bundle" &&
		    grep kept "$bundle/rootfs/etc/kept"
	}
	ok "$driver: mounted again, and once more, with what was written" \
	    remounted
	forgotten() {
		umount "$bundle/rootfs" && imgd bundle --mount "$bundle" &&
		    grep kept "$bundle/rootfs/etc/kept"
	}
	ok "$driver: mounted again after somebody else unmounted it" forgotten
	rebooted() {
		imgd tag app:1 app:2
		kill -9 "$(engine_pid)" 2>/dev/null
		umount "$bundle/rootfs"
		umount "$root/drivers/$driver/"*/* 2>/dev/null
		sql "UPDATE mounts SET boot_id = 'an-earlier-one'"
		imgd bundle --mount "$bundle" &&
		    grep kept "$bundle/rootfs/etc/kept" && imgd rmi app:2
	}
	ok "$driver: mounted again after a boot" rebooted
	gone() {
		imgd bundle --rm "$bundle" && [ ! -e "$bundle" ] &&
		    [ -z "$(imgd create | sed 1d)" ] && imgd fsck
	}
	ok "$driver: it goes, with all that was made" gone
	imgd rmi app:1 >/dev/null
done

# ---- what a directory may be ----

made 1 'CMD ["/bin/sh"]'
mkdir "$bundle"
empty_dir() {
	imgd bundle app:1 "$bundle" >"$dir/said" &&
	    grep -Ex 'bundle-[0-9a-f]{12}' "$dir/said" || return 1
	echo mine >"$bundle/mine"
	imgd bundle --rm "$bundle" && [ "$(ls -A "$bundle")" = mine ]
}
ok "an empty directory serves, and stays with what was put there" empty_dir
refused "a directory with something in it" "bundle: not empty" \
    imgd bundle app:1 "$bundle"
refused "one that imgd did not make is not removed" \
    "not a bundle that imgd made" imgd bundle --rm "$bundle"
rm "$bundle/mine"
ln -s / "$bundle/rootfs"
refused "a link in its place" "not empty" imgd bundle app:1 "$bundle"
rm -r "$bundle"
forged() { # SED
	imgd bundle --name box app:1 "$bundle" >/dev/null || return 1
	mkdir "$dir/other" && sed "$1" "$bundle/.imgd-bundle" \
	    >"$dir/other/.imgd-bundle"
	! imgd bundle --rm "$dir/other" 2>"$dir/err" && cat "$dir/err" &&
	    grep -E "$2" "$dir/err" && imgd create | grep box &&
	    rm -r "$dir/other" && imgd bundle --rm "$bundle"
}
ok "a copied marker removes nobody's layer" forged '' "and moved since"
ok "nor does one that says too little" forged 's/"key/"yek/' "says too little"
foreign() {
	imgd bundle --name box app:1 "$bundle" >/dev/null || return 1
	chmod 666 "$bundle/.imgd-bundle"
	! imgd bundle --rm "$bundle" 2>"$dir/err" && cat "$dir/err" &&
	    grep "others may write" "$dir/err" &&
	    chmod 600 "$bundle/.imgd-bundle" && imgd bundle --rm "$bundle"
}
ok "nor one that others may write" foreign
long_marker() {
	imgd bundle --name box app:1 "$bundle" >/dev/null || return 1
	cp -p "$bundle/.imgd-bundle" "$dir/marker"
	head -c $((65537 - $(stat -c %s "$dir/marker"))) /dev/zero |
	    tr '\0' ' ' >>"$bundle/.imgd-bundle"
	! imgd bundle --rm "$bundle" 2>"$dir/err" && cat "$dir/err" &&
	    grep "longer than 65536 bytes" "$dir/err" || return 1
	truncate -s 65536 "$bundle/.imgd-bundle" && imgd bundle --rm "$bundle"
}
ok "nor one that is longer than any" long_marker
left() {
	imgd bundle --name box app:1 "$bundle" >/dev/null &&
	    imgd umount box && imgd rm box && imgd create box app:1 &&
	    ! imgd bundle --mount "$bundle" 2>"$dir/err" && cat "$dir/err" &&
	    grep "its writable layer box was removed" "$dir/err" &&
	    imgd bundle --rm "$bundle" && [ ! -e "$bundle" ] && imgd rm box
}
ok "its layer was removed: another of that name stays" left
refused "a name that is taken leaves no directory" "container named box" \
    sh -c "'$program' --root '$root' --config '$dir/daemon.json' create box \
	app:1 >/dev/null; '$program' --root '$root' --config \
	'$dir/daemon.json' bundle --name box app:1 '$bundle'; status=\$?
	'$program' --root '$root' --config '$dir/daemon.json' rm box \
	    >/dev/null; [ ! -e '$bundle' ] || exit 0; exit \$status"

# ---- what an image may say ----

says() { # FILTER IMAGE [COMMAND…]
	filter=$1
	shift
	image=$1
	shift
	imgd bundle "$image" "$bundle" -- "$@" >/dev/null || return 1
	jq . "$bundle/config.json"
	jq -e "$filter" "$bundle/config.json"
	says_status=$?
	imgd bundle --rm "$bundle" && return $says_status
}
made none
ok "nothing: a shell as root, in /" says '.process.args == ["sh"] and
    .process.cwd == "/" and .process.user == { "uid": 0, "gid": 0,
	"additionalGids": [0] } and .process.terminal == false and
    any(.process.env[]; startswith("PATH=/usr/local/sbin:"))' app:none
ok "a command instead of the image's" says \
    '.process.args == ["ls", "-l"]' app:1 ls -l
made all 'ENTRYPOINT ["/e"]' 'CMD ["c"]' 'EXPOSE 90 80/udp' \
    'LABEL org.opencontainers.image.author=label k=v' 'STOPSIGNAL SIGINT' \
    'USER 5:log' 'WORKDIR x'
ok "everything" says '.process.args == ["/e", "c"] and .process.cwd == "/x" and
    .process.user == { "uid": 5, "gid": 77, "additionalGids": [77] } and
    (.annotations | .k == "v" and
	."org.opencontainers.image.author" == "label" and
	."org.opencontainers.image.stopSignal" == "SIGINT" and
	."org.opencontainers.image.exposedPorts" == "80/udp,90/tcp" and
	."org.opencontainers.image.os" == "linux")' app:all
imgd import -c 'USER nobody' "$dir/tree.tar" app:nobody >/dev/null
refused "a user that the image does not know" \
    "user nobody: not in the image's /etc/passwd" \
    imgd bundle app:nobody "$bundle"
rm "$dir/tree/etc/passwd" && mkfifo "$dir/tree/etc/passwd"
tar -C "$dir/tree" -cf "$dir/tree.tar" .
made fifo 'USER app'
refused "a fifo for /etc/passwd" "/etc/passwd: not a regular file" \
    imgd bundle app:fifo "$bundle"

# ---- whoever is killed ----

killed() { # S
	imgd bundle --name box app:1 "$bundle" >"$dir/said" 2>&1 &
	pid=$!
	sleep "$1"
	kill -9 "$(engine_pid)" 2>/dev/null
	wait $pid
	cat "$dir/said"
	wait_for_engine
	# All of it or none, and what is left of none is in nobody's way.
	if imgd create | grep box; then
		imgd bundle --mount "$bundle" && [ -x "$bundle/rootfs/bin/sh" ]
	else
		imgd bundle --name box app:1 "$bundle"
	fi && imgd bundle --rm "$bundle" || return 1
	# An engine that died right after it had made the directory has told
	# nobody that it was its own.
	[ ! -e "$bundle" ] || rmdir "$bundle" && imgd fsck
}
for s in 0.01 0.03 0.06 0.1; do
	ok "an engine that is killed after $s s" killed $s
done

cli_end
