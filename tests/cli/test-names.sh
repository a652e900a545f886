#!/bin/sh
# Names: tag, rmi, digests, all tags, and images that share layers.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
for n in 0 1 2; do
	mkdir "$dir/$n"
	echo "$n" >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" "f$n"
done
"$lib/make-oci.py" "$dir/oci" one "$dir/0.tar" "$dir/1.tar"
"$lib/make-oci.py" "$dir/oci" two "$dir/0.tar" "$dir/2.tar"
registry_push "$dir/oci:one" library/app:one || exit 99
registry_push "$dir/oci:two" library/app:two || exit 99

has() { # PATTERN COMMAND…
	pattern=$1
	shift
	"$@" >"$dir/said" 2>&1
	grep -Eq -- "$pattern" "$dir/said" || { cat "$dir/said"; return 1; }
}
layers() {
	[ "$(sql 'SELECT COUNT(*) FROM layers')" -eq "$1" ]
}

ok "all tags" imgd pull -q -a app
ok "two images of two layers share one" layers 3
ok "both are listed" has '^app +two ' imgd images app
ok "one tag alone" has '^app +one ' imgd images app:one
ok "-q prints the id" has '^[0-9a-f]{12}$' imgd images -q app:one
ok "--digests adds a column" has 'sha256:[0-9a-f]{64}' imgd images --digests
ok "a digest is pulled and named by it" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' pull \
	    app@\$('$program' --root '$root' images --digests app:one |
	    grep -o 'sha256:[0-9a-f]*') | grep -q 'up to date for app@sha256:'"
digest=$(imgd images --digests app:two | grep -o 'sha256:[0-9a-f]*')
decorated() {
	imgd rmi app:two >/dev/null && imgd pull "app:never@$digest" >"$dir/told" ||
	    return 1
	! imgd images app | grep -E '(two|never) ' &&
	    imgd inspect "app@$digest" | jq -e --arg d "app@$digest" \
		'.[0] | .RepoTags == [] and .RepoDigests == [$d]'
}
ok "a digest with a tag is the digest, and makes no tag" decorated
ok "both are told" grep -qx \
    "Status: Downloaded newer image for app:never@$digest" "$dir/told"
imgd pull -q app:two >/dev/null

ok "tag" imgd tag app:one mine/copy:x
ok "the copy is listed" has '^mine/copy +x ' imgd images
ok "rmi of one of two names only untags" has '^Untagged: app:one$' \
    imgd rmi app:one
ok "the image is still there" has '^mine/copy +x ' imgd images
ok "its layers are too" layers 3
ok "tag again, elsewhere" imgd tag mine/copy:x other:y
id=$(imgd images -q mine/copy)
refused "an id with names in two repositories needs -f" "must be forced" \
    imgd rmi "$id"
ok "a shared layer survives the removal of one image" imgd rmi -f "$id"
ok "two layers are left" layers 2
ok "inspect" has '"app:two"' imgd inspect app:two
ok "history" has 'layer 1' imgd history app:two
refused "no such image" "No such image: nothing" imgd rmi nothing
refused "scratch is reserved" "reserved" imgd pull scratch
refused "a name that tag cannot give" "digest algorithm" imgd tag app:two sha256:abc
ok "rmi of the last name" has '^Deleted: sha256:' imgd rmi app:two
ok "nothing is left" layers 0
ok "and nothing in the drivers" test -z "$(find "$root/drivers" -type f)"

ok "two drivers hold one image" sh -c "
	for d in vfs overlay; do
		'$program' --root '$root' --config '$dir/daemon.json' \
		    pull -q --driver=\$d app:one || exit 1
	done"
ok "images says so" has 'overlay,vfs$' imgd images
ok "rmi --driver drops one copy" has '^Dropped: vfs$' \
    imgd rmi --driver=vfs app:one
ok "the other stays" has ' overlay$' imgd images

# Twenty at once: one download, all succeed.
many() {
	imgd rmi app:one >/dev/null
	pids=
	for n in $(seq 20); do
		imgd pull -q app:one >"$dir/many-$n" 2>&1 &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid" || { cat "$dir"/many-*; return 1; }
	done
	layers 2
}
ok "twenty pulls of one image at once" many

cli_end
