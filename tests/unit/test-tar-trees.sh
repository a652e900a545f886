#!/bin/sh
# Layer tars as trees: against GNU tar, between the three forms of whiteouts,
# and back as the same bytes; evil tars are refused.
set -u
lib=$srcdir/tests/lib
tool=$builddir/tests/lib/tar-tool
python=$(command -v python3) || { echo "1..0 # SKIP no python3"; exit 0; }
for tool_needed in unshare setfattr mknod tar; do
	command -v $tool_needed >/dev/null || {
		echo "1..0 # SKIP no $tool_needed"
		exit 0
	}
done
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
. "$srcdir/tests/lib/unshared.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/imgd-tar-trees.XXXXXX") || exit 1
n=0
cleanup() {
	cd / && umount -l "$work"/m/* 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
cd "$work" || exit 1
mkdir m out
echo untouched >out/witness

ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		[ ! -s log ] || sed 's/^/# /' log
	fi
}
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}
list() {
	"$python" "$lib/tree-list.py" "$@"
}

# roundtrip TREE RECIPE TAR
roundtrip() {
	"$tool" pack "$1" "$2" 2>>log | cmp -s - "$3" || {
		echo "recipe does not give the tar back" >>log
		return 1
	}
}

"$python" "$lib/make-tar.py" "$work/t" || exit 1

# ---- one layer: the three forms, and GNU tar ----

# GNU tar reads these in another way: it knows no whiteouts, keeps inherited
# ACLs, stops at what we accept, or makes implied directories "now".
gnu_differs="empty only-zeros no-final-padding odd-zeros-at-end whiteouts-in-a-base plnk
	implied-directories through-links link-replaced-by-directory names
	long-names hard-link-with-data duplicates xattrs deep v7
	hard-link-to-itself no-end-marker one-zero-block pax-times
	hard-link-size-but-no-data types second-tar-after-end gnu-sparse-only-hole"

single() {
	name=$1 tar=t/single/$1.tar
	: >log
	for form in delete aufs overlay; do
		rm -rf "s-$form" && mkdir "s-$form"
		"$tool" unpack --form=$form --base "s-$form" "r-$form" \
			<"$tar" >res 2>>log || return 1
		[ "sha256:$(sha256sum <"$tar" | cut -d' ' -f1)" = \
			"$(cut -d' ' -f1 res)" ] || {
			echo "wrong digest" >>log
			return 1
		}
		roundtrip "s-$form" "r-$form" "$tar" || return 1
		list "s-$form" >"l-$form" || return 1
		cmp -s l-delete "l-$form" || {
			diff l-delete "l-$form" >>log
			return 1
		}
	done
	case " $(echo $gnu_differs) " in *" $name "*) return 0 ;; esac
	rm -rf gnu && mkdir gnu
	tar -C gnu --numeric-owner --xattrs --xattrs-include='*' -xpf "$tar" \
		>>log 2>&1 || return 1
	list --no-root-mtime gnu >l-gnu
	list --no-root-mtime s-delete | diff l-gnu - >>log
}

for f in t/single/*.tar; do
	name=${f#t/single/}
	name=${name%.tar}
	single "$name"
	ok $? "single: $name"
done

# ---- what GNU tar writes ----

mkdir -p src/dir/sub
printf 'hello' >src/dir/file
head -c 300000 /dev/urandom >src/dir/big
ln -s ../file src/dir/sub/link
ln src/dir/file src/dir/sub/hard
mkfifo src/pipe
mknod src/zero c 1 5
touch -d '2001-02-03 04:05:06.123456789' src/dir/sub
truncate -s 3000000 src/sparse
for at in 0 100000 1000000 2999990; do
	printf 'data%d' $at | dd of=src/sparse bs=1 seek=$at conv=notrunc 2>/dev/null
done
truncate -s 1000000 src/hole
setfattr -n user.x -v y src/dir/file
chown 12:34 src/dir/file
chmod 4711 src/dir/file
mkdir "src/$(printf '%0200d' 7)"
printf x >"src/$(printf '%0200d' 7)/$(printf '%0150d' 8)"

gnu() {
	what=$1
	shift
	: >log
	tar -C src "$@" -cf t/single/gnu.tar . 2>>log || return 1
	single gnu || return 1
	if ! list src >l-src || ! cmp -s l-src l-delete; then
		case $what in *ns-lost*) ;; *)
			diff l-src l-delete >>log
			return 1 ;;
		esac
	fi
}
gnu ns-lost-gnu --format=gnu
ok $? "GNU tar: gnu"
gnu ns-lost-gnu-sparse --format=gnu -S
ok $? "GNU tar: gnu, sparse"
gnu ns-lost-v7ish --format=ustar --exclude='0*'
ok $? "GNU tar: ustar"
gnu posix --format=posix --xattrs --xattrs-include='user.*'
ok $? "GNU tar: posix with xattrs"
for v in 0.0 0.1 1.0; do
	gnu posix-sparse --format=posix -S --sparse-version=$v --xattrs
	ok $? "GNU tar: posix, sparse $v"
	[ "$(stat -c %b s-delete/sparse)" -lt 1000 ]
	ok $? "holes stay holes, sparse $v"
done

# ---- images of several layers: the three forms give one tree ----

# lowers PREFIX LAST: own directories, topmost first, and an empty one below
lowers() {
	i=$2 out=
	while [ "$i" -ge 0 ]; do
		out=$out$work/$1-$i:
		i=$((i - 1))
	done
	echo "$out$work/$1-none"
}
mount_layers() {
	mkdir -p "m/$1"
	if [ "$1" = aufs ]; then
		fuse-overlayfs -o "lowerdir=$(lowers "$1" "$2")" "m/$1" >>log 2>&1
	else
		mount -t overlay overlay -o "lowerdir=$(lowers "$1" "$2")" \
			"m/$1" >>log 2>&1
	fi
}

# own_form FORM NAME: unpack all layers into own directories, leave the merged
# tree mounted
own_form() {
	rm -rf "$1"-*
	mkdir "$1-none"
	layer=0 base=--base
	while [ -f "t/multi/$2/$layer.tar" ]; do
		mkdir "$1-$layer"
		"$tool" unpack --form="$1" $base "$1-$layer" "r-$1-$layer" \
			<"t/multi/$2/$layer.tar" >>log 2>&1 || return 1
		umount "m/$1" 2>/dev/null
		mount_layers "$1" $layer || return 1
		roundtrip "m/$1" "r-$1-$layer" "t/multi/$2/$layer.tar" || return 1
		base="--parent m/$1"
		layer=$((layer + 1))
	done
}

multi() {
	: >log
	rm -rf full && mkdir full
	layer=0 base=--base
	while [ -f "t/multi/$1/$layer.tar" ]; do
		"$tool" unpack --form=delete $base full "r-delete" \
			<"t/multi/$1/$layer.tar" >>log 2>&1 || return 1
		roundtrip full r-delete "t/multi/$1/$layer.tar" || return 1
		base=
		layer=$((layer + 1))
	done
	# Copies would not be seen to work otherwise.
	list full >l-full || return 1
	own_form overlay "$1" || return 1
	list m/overlay >l-overlay || return 1
	umount m/overlay
	diff l-full l-overlay >>log
}

multi_aufs() {
	: >log
	own_form aufs "$1" || return 1
	list --no-xattr m/aufs >l-aufs || return 1
	umount m/aufs
	list --no-xattr full | diff - l-aufs >>log
}

mkdir -p overlay-none m/overlay
mount -t overlay overlay -o lowerdir=overlay-none:out m/overlay 2>/dev/null
has_overlay=$?
umount m/overlay 2>/dev/null
for dir in t/multi/*; do
	name=${dir#t/multi/}
	if [ $has_overlay = 0 ]; then
		multi "$name"
		ok $? "layers: $name"
	else
		skip "layers: $name" "no overlayfs"
		continue
	fi
	umount m/overlay 2>/dev/null
	if [ -c /dev/fuse ] && command -v fuse-overlayfs >/dev/null; then
		multi_aufs "$name"
		ok $? "layers in aufs form: $name"
		umount m/aufs 2>/dev/null
	else
		skip "layers in aufs form: $name" "no fuse-overlayfs"
	fi
done

# ---- evil tars ----

"$python" "$lib/../evil/make-evil.py" --layers "$work/t/evil" || exit 1

evil() {
	: >log
	expect=$(cat "t/evil/$1.expect")
	for form in overlay aufs delete; do
		rm -rf evil && mkdir evil
		if "$tool" unpack --form=$form --base evil evil-recipe \
			<"t/evil/$1.tar" >log 2>&1; then
			echo "it was accepted" >>log
			return 1
		fi
		[ "$(wc -l <log)" = 1 ] && grep -Eq -e "$expect" log || return 1
		grep -q '^tar-tool: ' log || return 1
	done
	[ "$(ls out)" = witness ] && [ "$(cat out/witness)" = untouched ] &&
		[ ! -e x ]
}
before=$(ls -ld --time-style=full-iso /etc /etc/passwd)
for f in t/evil/*.tar; do
	name=${f#t/evil/}
	name=${name%.tar}
	evil "$name"
	ok $? "refused: $name"
done
[ "$before" = "$(ls -ld --time-style=full-iso /etc /etc/passwd)" ]
ok $? "nothing outside was touched"

# ---- damaged trees and recipes ----

damaged() {
	: >log
	! "$tool" pack s-delete r-delete >out.tar 2>log &&
		[ "$(wc -l <log)" = 1 ] && grep -q "$1" log
}
single base
printf X | dd of=s-delete/usr/lib/libc bs=1 conv=notrunc 2>/dev/null
damaged 'usr/lib/libc: content is not'
ok $? "a changed file is named"
truncate -s 10 s-delete/usr/lib/libc
damaged 'usr/lib/libc: shorter'
ok $? "a short file is named"
rm s-delete/usr/lib/libc && ln -s /etc/passwd s-delete/usr/lib/libc
damaged 'usr/lib/libc: missing'
ok $? "a link in a file's place is not followed"
rm -rf s-delete/usr/lib && ln -s /lib s-delete/usr/lib
damaged 'usr/lib/libc: missing'
ok $? "a link on the way is not followed"
truncate -s -1 r-delete
damaged 'recipe is damaged'
ok $? "a recipe cut short is refused"

echo "1..$n"
