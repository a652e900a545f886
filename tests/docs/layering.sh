#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Includes follow the arrows of HACKING: nobody includes a header of a part
# that he may not know.
set -u
cd "$srcdir" || exit 99
n=0

# allow DIR PREFIX…: DIR's files include, in quotes, only headers whose path
# starts with one of the prefixes, or config.h.
allow() {
	dir=$1
	shift
	[ -d "$dir" ] || return 0
	pattern='config\.h$'
	for prefix in "$@"; do
		pattern="$pattern|$prefix"
	done
	n=$((n + 1))
	wrong=$(find "$dir" -name '*.[ch]' -exec \
	    grep -EH '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' {} + |
	    sed 's/:.*"\(.*\)".*/ \1/' | grep -Ev "^[^ ]+ ($pattern)")
	if [ -z "$wrong" ]; then
		echo "ok $n - $dir includes what it may"
	else
		echo "not ok $n - $dir includes what it may"
		echo "$wrong" | sed 's/^/# /'
	fi
}

allow include imgd/
allow lib imgd/ lib/
allow examples imgd/
allow registry imgd/ lib/ registry/
allow tagstore imgd/ lib/ tagstore/
allow adopt imgd/ lib/ registry/json-get registry/manifest adopt/
allow archive imgd/ lib/ registry/json-get registry/legacy.h \
    registry/manifest.h registry/reference registry/signature.h archive/
for driver in drivers/*/; do
	allow "${driver%/}" imgd/ lib/ "$driver"
done
allow core imgd/ lib/ registry/ tagstore/ adopt/adopt adopt/docker-pool.h \
    archive/archive.h archive/stream.h core/
allow server imgd/ lib/ core/ server/
allow cli imgd/ lib/ registry/reference registry/manifest core/ server/client server/server.h cli/
echo "1..$n"
