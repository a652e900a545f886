#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# What bash offers after imgd comes from the program's own table of verbs.
set -u
n=0

offers() { # NAME WANTED WORD…: the last word is being typed
	n=$((n + 1))
	name=$1
	wanted=$2
	shift 2
	got=$(PATH=$builddir:$PATH bash -c '
		. "$0"
		COMP_WORDS=(imgd "$@")
		COMP_CWORD=$#
		_imgd
		printf "%s " "${COMPREPLY[@]}"' \
	    "$srcdir/contrib/completion/imgd.bash" "$@")
	case " $got" in
	*" $wanted "*) echo "ok $n - $name" ;;
	*)
		echo "not ok $n - $name"
		echo "# wanted $wanted, got: $got"
		;;
	esac
}

offers "verbs" pull ""
offers "verbs that begin so" pull pu
offers "verbs behind global options" push --root /x pu
offers "global options" --root --r
offers "a verb's options" --driver pull --dr
offers "short options, too" -q pull -
offers "values of some options" zstd push --compression ""
offers "verbs after help" inspect help ins
all=$("$builddir/imgd" help | sed -n 's/^  \([a-z]*\)  *.*/\1/p')
for verb in $all; do
	offers "$verb" "$verb" "$verb"
done
echo "1..$n"
