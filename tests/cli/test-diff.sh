#!/bin/sh
# diff gives one answer, whatever driver the container is in.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
mkdir -p "$dir/mnt" "$dir/b/same" "$dir/b/opaque/sub" "$dir/b/moved/sub" \
    "$dir/b/mode" "$dir/b/touched"
(
	cd "$dir/b" || exit 99
	for name in same/a same/second same/restored opaque/old opaque/again \
	    opaque/sub/deep moved/f moved/sub/f mode/f touched/f owner attr \
	    cap to-dir linked exec; do
		echo "text of it" >"$name"
	done
	ln -s a link && ln -s a link2
	mkdir to-file && echo x >to-file/in
	mkfifo fifo && mknod null c 1 3 && mknod disk b 7 200
	ln linked hard
	find . -exec touch -h -d @1400000000 {} +
)
tar -C "$dir/b" -cf "$dir/b.tar" .
"$lib/make-oci.py" "$dir/oci" 1 "$dir/b.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99

change() {
	cd "$1" &&
	    # Same size, at once; and with the time put back.
	    echo "TEXT of it" >same/second &&
	    echo "text OF it" >same/restored &&
	    touch -d @1400000000 same/restored &&
	    rm -r opaque && mkdir opaque && echo new >opaque/new &&
	    echo "text of it" >opaque/again &&
	    touch -d @1400000000 opaque/again &&
	    cp -a moved renamed && rm -r moved &&
	    chmod 700 mode && touch touched &&
	    chown 1:2 owner && setfattr -n user.x -v y attr &&
	    setcap cap_net_raw+ep cap && chmod u+s exec &&
	    ln -sfn b link && touch -h -d @1400000000 link &&
	    rm to-dir && mkdir to-dir && echo x >to-dir/in &&
	    rm -r to-file && echo x >to-file &&
	    ln link2 link3 && ln same/a hard2 &&
	    rm disk && mknod disk b 7 201 && touch -d @1400000000 disk &&
	    mknod zero c 1 5 && rm fifo &&
	    mkdir -p "$(printf 'deep/%.0s' $(seq 150))" &&
	    mkdir "with
newline" &&
	    chmod 711 . && cd /
}

cat >"$dir/want" <<'EOF'
C /
C /attr
C /cap
EOF
# Every level of the deep directory.
path=
for _ in $(seq 150); do
	path=$path/deep
	echo "A $path"
done >>"$dir/want"
cat >>"$dir/want" <<'EOF'
C /disk
C /exec
D /fifo
A /hard2
C /link
A /link3
C /mode
D /moved
C /opaque
A /opaque/new
D /opaque/old
D /opaque/sub
C /owner
A /renamed
A /renamed/f
A /renamed/sub
A /renamed/sub/f
C /same
C /same/restored
C /same/second
C /to-dir
A /to-dir/in
C /to-file
A /with\nnewline
A /zero
EOF

for driver in $drivers; do
	imgd pull -q --driver=$driver app:1 >/dev/null
	imgd create --driver=$driver $driver app:1 >/dev/null
	ok "$driver: nothing yet" test -z "$(imgd diff $driver)"
	imgd mount $driver "$dir/mnt" >/dev/null
	(change "$dir/mnt") 2>"$dir/change-err"
	ok "$driver: the changes are made" test ! -s "$dir/change-err"
	sed 's/^/# /' "$dir/change-err"
	# fuse-overlayfs does not keep a link's time when it copies it up.
	cp "$dir/want" "$dir/$driver-want"
	[ "$(stat -c %Y "$dir/mnt/link2")" = 1400000000 ] ||
	    sed -i 's|^A /link3|C /link2\n&|' "$dir/$driver-want"
	imgd diff $driver >"$dir/$driver"
	ok "$driver: exactly they are told, while it is mounted" \
	    diff "$dir/$driver-want" "$dir/$driver"
	imgd umount $driver
	imgd diff $driver >"$dir/$driver"
	ok "$driver: and when it is not" \
	    diff "$dir/$driver-want" "$dir/$driver"
	imgd diff --json $driver | jq -r \
	    'select(.Kind == 2).Path' >"$dir/json"
	printf '/fifo\n/moved\n/opaque/old\n/opaque/sub\n' >"$dir/json-want"
	ok "$driver: as JSON" diff "$dir/json-want" "$dir/json"
done
refused "of what is no container" "no such container: app:1" imgd diff app:1

cli_end
