# shellcheck shell=sh
# shellcheck disable=SC2154 # who sources it has srcdir, builddir and dir
# What crash-guest.sh works on.  Source it after registry.sh and tap.sh; then
#
#     make_images     into "$dir/images": a registry's blobs, and each image's
#                     tree as vfs makes it
#     renumber        pass the guest's own test lines on, from standard input

lib=$srcdir/tests/lib
program=$(find "$builddir/stage" -path '*/bin/imgd' | head -n 1)

# Four images that share layers, with all that a filesystem has, as a
# registry's blobs; and the tree of each.
make_blobs() {
	python3 - "$dir" <<-'EOT' || return
	import io, random, sys, tarfile
	for n in range(6):
	    r = random.Random(n)
	    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
	        def add(name, kind=tarfile.REGTYPE, data=b"", **more):
	            info = tarfile.TarInfo(name)
	            info.type, info.size, info.mtime = kind, len(data), 1e9 + n
	            for k, v in more.items():
	                setattr(info, k, v)
	            tar.addfile(info, io.BytesIO(data))
	        add("d%d" % n, tarfile.DIRTYPE, mode=0o755)
	        for i in range(60):
	            add("d%d/f%d" % (n, i), data=r.randbytes(r.randrange(9000)))
	        add("d%d/big" % n, data=r.randbytes(700000))
	        add("d%d/hard" % n, tarfile.LNKTYPE, linkname="d%d/big" % n)
	        add("d%d/soft" % n, tarfile.SYMTYPE, linkname="../f")
	        add("d%d/fifo" % n, tarfile.FIFOTYPE, mode=0o600)
	        add("d%d/null" % n, tarfile.CHRTYPE, devmajor=1, devminor=3)
	        add("d%d/set" % n, data=b"x", mode=0o6755, uid=n, gid=n)
	        add("shared", data=b"%d" % n)
	        if n > 0:
	            add("d%d/.wh.f1" % (n - 1))
	EOT
	registry_start "$dir/images" || return
	set -- one "0 1 2" two "0 1 3" three "0" four "4 5"
	while [ $# -gt 0 ]; do
		tars=
		for i in $2; do
			tars="$tars $dir/$i.tar"
		done
		# shellcheck disable=SC2086 # a list of files
		"$lib/make-oci.py" "$dir/oci" "$1" $tars &&
		    registry_push "$dir/oci:$1" "library/$1:1" || return
		shift 2
	done
}

make_trees() {
	mkdir -m 700 "$dir/root"
	printf '{ "registry-mirrors": [ "http://127.0.0.1:%s" ] }\n' \
	    "$registry_port" >"$dir/daemon.json"
	for image in one two three four; do
		"$program" --root "$dir/root" --config "$dir/daemon.json" \
		    pull -q --driver=vfs $image:1 >/dev/null || return
		path=$("$program" --root "$dir/root" \
		    --config "$dir/daemon.json" mount $image:1) || return
		python3 "$lib/tree-list.py" "$path" >"$dir/images/$image.tree"
		"$program" --root "$dir/root" --config "$dir/daemon.json" \
		    umount $image:1 || return
	done
	flock -w 20 "$dir/root/lock" true
	rm -rf "$dir/root"
}

make_images() {
	make_blobs && make_trees
	set -- $?
	registry_stop
	return "$1"
}

renumber() {
	while IFS= read -r line; do
		case $line in
		'ok - '*) result 0 "${line#ok - }" ;;
		'not ok - '*) result 1 "${line#not ok - }" ;;
		*) echo "# $line" ;;
		esac
	done
}
