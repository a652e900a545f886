#!/bin/sh
# Many clients at once: one download, everybody's progress, the true end.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"

python3 - "$dir" <<'EOT'
import io, random, sys, tarfile
for n in range(4):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for i in range(10):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 400000
            tar.addfile(info, io.BytesIO(r.randbytes(400000)))
EOT
"$lib/make-oci.py" "$dir/oci" one "$dir/0.tar" "$dir/1.tar" "$dir/2.tar" &&
    "$lib/make-oci.py" "$dir/oci" two "$dir/0.tar" "$dir/1.tar" "$dir/3.tar" ||
    exit 99
registry_start "$dir/registry" || exit 99
for tag in one two; do
	registry_push "$dir/oci:$tag" "library/crowd:$tag" || exit 99
done
use_mirror "$registry_port"
daemon_level=debug daemon_start || exit 99

ok "a hundred clients pull one image" timeout 300 python3 \
    "$srcdir/tests/server/crowd.py" "$api" crowd one 100
one_download() {
	n=$(grep -c 'driver: [a-z]*: create ' "$dir/daemon.log")
	echo "$n layers were made"
	[ "$n" -eq 3 ]
}
ok "by one download" one_download
ok "the image is whole" imgd fsck --deep

docker rmi crowd:one >/dev/null
: >"$dir/daemon.log"
two_images() {
	timeout 100 python3 "$srcdir/tests/server/crowd.py" "$api" crowd one \
	    5 &
	first=$!
	timeout 100 python3 "$srcdir/tests/server/crowd.py" "$api" crowd two \
	    5 || return 1
	wait $first || return 1
	n=$(grep -c 'driver: [a-z]*: create ' "$dir/daemon.log")
	echo "$n layers were made"
	[ "$n" -eq 4 ]
}
ok "two images that share layers share the transfers" two_images
docker rmi crowd:one crowd:two >/dev/null

# Of those who want an image, all but one leave: it still arrives.
leavers() {
	for _ in 1 2 3 4 5; do
		timeout 0.3 curl -s --unix-socket "$api" -X POST -o /dev/null \
		    'http://imgd/images/create?fromImage=crowd&tag=one&limit-rate=4m' &
	done
	curl -s --unix-socket "$api" -X POST -o "$dir/stayed" \
	    'http://imgd/images/create?fromImage=crowd&tag=one&limit-rate=4m'
	cat "$dir/stayed"
	grep -q 'Status: Downloaded' "$dir/stayed"
}
ok "who leaves takes nothing from who stays" leavers
docker rmi crowd:one >/dev/null
all_leave() {
	timeout 0.5 curl -s --unix-socket "$api" -X POST -o /dev/null \
	    'http://imgd/images/create?fromImage=crowd&tag=one&limit-rate=100k'
	wait_for no_jobs && [ -z "$(docker images -q)" ] &&
	    [ "$(sql "SELECT COUNT(*) FROM layers")" -eq 0 ]
}
ok "when all leave, the download ends and nothing is kept" all_leave
is_loading() {
	puller=$(pgrep -P "$daemon_pid" -f imgd-puller | head -n 1)
	[ -n "$puller" ] && grep -q Downloading "$dir/told"
}
puller_dies() {
	curl -s --unix-socket "$api" -X POST -o "$dir/told" \
	    'http://imgd/images/create?fromImage=crowd&tag=one&limit-rate=1m' &
	asker=$!
	wait_for is_loading
	kill -KILL "$puller"
	wait $asker
	cat "$dir/told"
	tail -n 1 "$dir/told" | grep -q '"errorDetail".*puller' ||
	    grep -q 'Status: Downloaded' "$dir/told"
}
ok "a puller that is killed is told of" puller_dies
ok "and the next pull succeeds" docker pull -q crowd:one
ok "the store is sound" imgd fsck --deep
ok "the daemon ends when told" daemon_stop
registry_stop
cli_end
