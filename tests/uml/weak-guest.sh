#!/bin/sh
# In the user-mode kernel: pull 100 MB over a link that dies every 10 MB.
#
#     weak-guest.sh work DIR      killed three times; says "AT n" of what it
#                                 has, until somebody cuts the power
#     weak-guest.sh finish DIR    goes on; the image must be exact
#
# DIR has the layout; its own log is shown at the end, or as it grows.
# shellcheck disable=SC2154 # the harness sets srcdir and builddir
mode=$1
weak_dir=/run/weak
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)
root=/run/disk/root
config=/run/daemon.json
. "$srcdir/tests/lib/weak.sh"

mkdir -p $weak_dir
mkdir -m 700 -p $root
ln -s "$2/oci" $weak_dir/oci
echo '{}' >$config
blob=$(weak_blob hundred)
# Slow enough that whoever cuts the power is not late.
rate=1500000
[ "$mode" = work ] || rate=10000000
weak_start --cut 10000000 --rate $rate --port 5555 || exit 99
name=127.0.0.1:$weak_port/weak:hundred

pull() {
	"$program" --root $root --config $config pull -q --retry forever \
	    --driver=vfs $name </dev/null
}

case $mode in
work)
	for bytes in 7000000 14000000 21000000; do
		weak_killed_at "$blob" $bytes --retry forever --driver=vfs \
		    $name || exit
	done
	pull &
	while sleep 0.1; do
		echo "AT $(weak_size "$blob")"
		sed 's/^/LOG /' $weak_dir/log
	done ;;
finish)
	pull || exit
	sed 's/^/LOG /' $weak_dir/log
	"$program" --root $root --config $config fsck --deep || exit
	[ -z "$(ls $root/spool)" ] && echo "FINISHED" ;;
esac
weak_stop
