#!/bin/sh
# Verbs that run at once, and engines that end or are killed under them, leave
# what some order of them would: tests/model/model.py.  All pairs of operations;
# IMGD_TEST_SCALE=long adds ten minutes of groups of three.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"

layer() { # NAME SIZE
	mkdir -p "$dir/$1/usr/$1/deep"
	head -c "$2" /dev/urandom >"$dir/$1/usr/$1/data"
	ln -s ../data "$dir/$1/usr/$1/deep/link"
	chmod 4711 "$dir/$1/usr/$1/data"
	tar -C "$dir/$1" -cf "$dir/$1.tar" usr
}
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
layer shared 400000
layer more 300000
for name in a b c; do
	layer "$name" 500000
done
image() { # NAME TAR…
	name=$1
	shift
	"$lib/make-oci.py" "$dir/oci" "$name" "$@" &&
	    registry_push "$dir/oci:$name" "library/$name:1" &&
	    imgd pull -q "$name:1" >/dev/null &&
	    imgd save -o "$dir/$name.tar" "$name:1" &&
	    imgd mount "$name:1" "$dir/m" >/dev/null &&
	    "$lib/tree-list.py" "$dir/m" >"$dir/$name.tree" &&
	    imgd umount "$dir/m" && imgd rmi "$name:1" >/dev/null
}
mkdir "$dir/m"
image a "$dir/shared.tar" "$dir/more.tar" "$dir/a.tar" || exit 99
image b "$dir/shared.tar" "$dir/more.tar" "$dir/b.tar" || exit 99
image c "$dir/c.tar" || exit 99

model() { # OPTION…
	# shellcheck disable=SC2086 # a list of names
	"$srcdir/tests/model/model.py" "$program" --root "$root" --config \
	    "$dir/daemon.json" -- "$dir" $drivers "$@"
}
model pairs=136 >"$dir/tap"
taken() { # LABEL: the results of a run of the model's
	while IFS= read -r line; do
		case $line in
		"ok "*) true ;;
		"not ok "*) false ;;
		"#"*) echo "$line" && continue ;;
		*) continue ;;
		esac
		result $? "$1: ${line#* - }"
	done <"$dir/tap"
	[ -n "$(grep '^1\.\.' "$dir/tap")" ]
	result $? "$1: it came to its end"
}
taken "pairs"
if [ "${IMGD_TEST_SCALE:-}" = long ]; then
	model pairs=1500 width=3 >"$dir/tap"
	taken "groups of three"
fi

cli_end
