#!/bin/sh
# Images as filesystems: mounted, each is the tree that the image is; the same
# each time; with a hash tree where one is wanted; and whole or not there.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"

sh "$lib/make-image.sh" --small "$dir/oci" real
imgd load --driver="$driver" -q -i "$dir/oci" >"$dir/said" || exit 99
imgd tag "$(sed 's/.*ID: //' "$dir/said")" real:1
mkdir "$dir/mnt" "$dir/files"
tree() { # OPTION… DIR
	"$lib/tree-list.py" "$@"
}
imgd create box real:1 >/dev/null || exit 99
imgd mount box "$dir/mnt" >/dev/null || exit 99
(
	cd "$dir/mnt" && rm srv/nnnnnnn* && mkdir odd && chmod 0751 . && chown 3:4 . &&
	    mknod odd/null c 1 3 && mknod odd/disk b 259 1048575 &&
	    mkfifo odd/fifo && ln -s nowhere odd/link &&
	    ln -s "$(printf %200s x | tr ' ' y)" odd/long &&
	    ln etc/hostname odd/hard 2>/dev/null
	echo 1 >odd/one && ln odd/one odd/two &&
	    chown 4000000000:3999999999 odd/one && chmod 6755 odd/one &&
	    touch -d 2001-02-03T04:05:06.789012345Z odd/one &&
	    touch -d 2300-01-01T00:00:00.5Z odd/late &&
	    touch -d 1960-01-01T00:00:00Z odd/early &&
	    touch "odd/$(printf 'line\nbreak "quote" \\ back \303\244')" &&
	    setfattr -n user.k -v "$(printf %3000s x)" odd/one &&
	    setfattr -n security.k -v device odd/null &&
	    setcap cap_net_raw+ep odd/two &&
	    truncate -s 3M odd/holes && mkdir odd/empty lost+found
)
imgd umount box >/dev/null
imgd mount box "$dir/mnt" >/dev/null
tree "$dir/mnt" >"$dir/want"
imgd umount box >/dev/null

# How a filesystem can tell it: squashfs has seconds of 32 bits and no ACLs,
# erofs nothing before 1970 and no lost+found, none has trusted attributes.
as_told() { # FORMAT
	sed -E 's/ trusted\.[^ ]*//g' | case $1 in
	squashfs)
		sed -E 's/^(([^ ]+ ){4}-?[0-9]+)[0-9]{9}/\1000000000/
		    s/ system.posix_acl[^ ]*//g; /^\/odd\/(late|early) /d'
		;;
	erofs) sed -E '/^\/(odd\/early|lost\+found) /d' ;;
	ext4) cat ;;
	esac
}
mounted() { # FORMAT FILE COMMAND…
	mount -t "$1" -o loop,ro "$2" "$dir/mnt" || return 1
	shift 2
	"$@"
	mounted_status=$?
	umount "$dir/mnt" && return $mounted_status
}
same_tree() { # FORMAT FILE
	mounted "$1" "$2" tree "$dir/mnt" >"$dir/got.raw" || return 1
	as_told "$1" <"$dir/want" >"$dir/want.now"
	as_told "$1" <"$dir/got.raw" | diff "$dir/want.now" -
}

for format in ext4 squashfs erofs; do
	file=$dir/files/box.$format
	ok "$format: it is made" imgd export --format=$format -o "$file" box
	ok "$format: mounted, it is the tree" same_tree $format "$file"
	again() {
		imgd export --format=$format -o "$dir/again" box &&
		    cmp "$file" "$dir/again"
	}
	ok "$format: the same tree makes the same file" again
	with_verity() {
		imgd export --format=$format --verity -o "$dir/verity" box \
		    >"$dir/said" && cat "$dir/said" || return 1
		hash=$(sed -n 's/^Root hash: //p' "$dir/said")
		offset=$(sed -n 's/^Hash offset: //p' "$dir/said")
		veritysetup verify "$dir/verity" "$dir/verity" "$hash" \
		    --hash-offset="$offset" || return 1
		! veritysetup verify "$dir/verity" "$dir/verity" \
		    "$(echo "$hash" | tr 0-9a-f 1-9a-f0)" \
		    --hash-offset="$offset" 2>/dev/null || return 1
		printf '\125\252' | dd of="$dir/verity" bs=1 seek=5000 \
		    conv=notrunc status=none
		! veritysetup verify "$dir/verity" "$dir/verity" "$hash" \
		    --hash-offset="$offset"
	}
	ok "$format: with a hash tree, which notices what is changed" with_verity
done
ok "ext4: e2fsck finds nothing" e2fsck -fn "$dir/files/box.ext4"
json() {
	imgd export --format=erofs --verity --json -o "$dir/verity" box \
	    >"$dir/said" && cat "$dir/said" && jq -e --arg size \
	    "$(stat -c %s "$dir/verity")" '.Format == "erofs" and
		(.Size | tostring) == $size and (.RootHash | length) == 64 and
		.HashOffset > 0 and .UUID != ""' "$dir/said"
}
ok "as JSON" json
sized() {
	imgd export --format=ext4 --size 70m -o "$dir/again" box &&
	    [ "$(stat -c %s "$dir/again")" -eq $((70 << 20)) ] &&
	    same_tree ext4 "$dir/again"
}
ok "ext4: of a size that was asked for" sized
own_lost_found() {
	mounted ext4 "$dir/files/box.ext4" [ -d "$dir/mnt/lost+found" ] &&
	    imgd export --format=ext4 -o "$dir/again" real:1 &&
	    ! mounted ext4 "$dir/again" [ -e "$dir/mnt/lost+found" ] &&
	    e2fsck -fn "$dir/again"
}
ok "ext4: lost+found is there if it is the tree's" own_lost_found

# ---- what fails ----

small() {
	echo old >"$dir/files/old"
	ls -A "$dir/files" >"$dir/had"
	! imgd export --format=ext4 --size 64k -o "$dir/files/old" box \
	    2>"$dir/err" && cat "$dir/err" && grep "mke2fs: exit status" \
	    "$dir/err" && [ "$(cat "$dir/files/old")" = old ] &&
	    ls -A "$dir/files" | diff "$dir/had" -
}
ok "a filesystem that is too small leaves what was there" small
long_name() {
	imgd export --format=erofs -o "$dir/again" real:1 2>"$dir/err" ||
	    { cat "$dir/err" && grep "a name of 255 bytes" "$dir/err"; }
}
ok "erofs: a name too long for its program, and told so" long_name
refused "a format that is none" "no such format: vfat" \
    imgd export --format=vfat -o "$dir/files/x" box
refused "a size for what has none" "only ext4 can have a size" \
    imgd export --format=erofs --size 1g -o "$dir/files/x" box
refused "an image that is not there" "[Nn]o such image: nothing" \
    imgd export --format=erofs -o "$dir/files/x" nothing
usage() {
	imgd export --format=erofs box 2>"$dir/err" | cat
	grep "use -o" "$dir/err"
}
ok "standard output will not do" usage

# In the place of a program, something that tells what it could do.
confined() {
	cat >"$dir/spy" <<-'EOT'
		#!/bin/sh
		caps=$(sed -n 's/^CapBnd:[^0-9a-f]*//p' /proc/self/status)
		for place in /usr /tree /proc/sys/kernel; do
			why=$(touch $place/imgd-spied 2>&1) &&
			    wrote="$wrote $place" && rm $place/imgd-spied
		done
		for name in /etc/shadow /root /home /dev /sys "$(dirname "$0")"/spy; do
			[ ! -e "$name" ] || seen="$seen $name"
		done
		others=$(echo /proc/[0-9]* | wc -w)
		links=$(grep -c : /proc/self/net/dev)
		echo "caps=$caps wrote=$wrote seen=$seen others=$others links=$links"
		exit 1
	EOT
	chmod 755 "$dir/spy"
	program_file=$(command -v mkfs.erofs)
	mount --bind "$dir/spy" "$program_file" || return 1
	(
		unset IMGD_LEAKS
		wait_for_engine
		imgd export --format=erofs -o "$dir/files/x" box 2>"$dir/err"
	)
	umount "$program_file"
	cat "$dir/err"
	grep -E 'caps=0{15}4 wrote= seen= others=[1-6] links=1$' "$dir/err"
}
ok "a program can read the tree, and that is all" confined
killed() { # WHO S
	imgd export --format=squashfs -o "$dir/files/killed" box \
	    >"$dir/said" 2>&1 &
	pid=$!
	sleep "$2"
	case $1 in
	command) kill -9 "$(pgrep -P $pid -x imgd || echo $pid)" ;;
	engine) kill -9 "$(engine_pid)" ;;
	maker) kill -9 "$(pgrep -P "$(engine_pid)" -f '^imgd-maker')" ;;
	esac 2>/dev/null
	wait $pid 2>/dev/null
	cat "$dir/said"
	wait_for_engine
	if [ -e "$dir/files/killed" ]; then
		cmp "$dir/files/box.squashfs" "$dir/files/killed" || return 1
		rm "$dir/files/killed"
	fi
	ls -A "$dir/files" | diff "$dir/had" - && imgd fsck &&
	    ! pgrep -f "mksquashfs /tree"
}
for who in command engine maker; do
	for s in 0.03 0.1; do
		ok "the $who is killed after $s s" killed $who $s
	done
done
imgd rm box >/dev/null

cli_end
