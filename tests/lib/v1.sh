# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # used by tests; set by cli.sh
# A registry of version 1 with an image of three layers, for tests that have
# sourced cli.sh:
#
#     make_tars               $dir/0.tar, 1.tar and 2.tar, base first
#     v1_start [OPTION…]      sets v1_port, and v1_other, v1_dead, v1_files;
#                             see tests/registry/v1-registry.py
#     v1_asked                what was asked since the last v1_forget: a line
#                             "PORT PATH HEADERS…" each
#     v1_forget

make_tars() {
	python3 - "$dir" <<-'EOT'
	import io, random, sys, tarfile
	for n in range(3):
	    r = random.Random(n)
	    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w",
	                      format=tarfile.USTAR_FORMAT) as tar:
	        for i in range(10):
	            info = tarfile.TarInfo("d%d/f%d" % (n, i))
	            info.size, info.mtime = 10000 + i, 1400000000 + i
	            info.mode, info.uid = 0o640, 7 * i
	            tar.addfile(info, io.BytesIO(r.randbytes(info.size)))
	        if n:
	            tar.addfile(tarfile.TarInfo("d0/.wh.f%d" % n))
	EOT
}

v1_start() {
	lying_script=v1-registry.py
	lying_start "$@" "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
	v1_port=$lying_port
	# shellcheck disable=SC2086
	set -- $lying_ports
	v1_other=$1 v1_dead=$2 v1_files=$3
}

v1_scheme=http # or https, with --tls

v1_asked() {
	curl -fsk --noproxy '*' "$v1_scheme://127.0.0.1:$v1_port/_requests" |
	    python3 -c 'import json, sys
for r in json.load(sys.stdin):
    print(r.pop("port"), r.pop("path"),
          *("%s: %s" % item for item in sorted(r.items())))'
}

v1_forget() {
	curl -fsk --noproxy '*' -X DELETE \
	    "$v1_scheme://127.0.0.1:$v1_port/_requests"
}
