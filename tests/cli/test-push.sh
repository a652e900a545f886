#!/bin/sh
# What is pushed is what others pull: the same config, the same layers; and
# nothing is sent that is there.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
there=127.0.0.1:$registry_port

python3 - "$dir" <<'EOT2'
import io, random, sys, tarfile
for n in range(2):
    r = random.Random(n)
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for i in range(40):
            info = tarfile.TarInfo("d%d/f%d" % (n, i))
            info.size = 20000 + i
            tar.addfile(info, io.BytesIO(r.randbytes(10000) +
                                         b"x" * (10000 + i)))
EOT2
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar"
registry_push "$dir/oci:1" library/source:1 || exit 99
imgd pull -q source:1 >/dev/null || exit 99

raw() { skopeo --insecure-policy inspect --tls-verify=false "$@" </dev/null; }
digest_of() { raw --raw "docker://$there/$1" | sha256sum | cut -d' ' -f1; }
# What skopeo gets has the image's config and the config's layers.
whole() { # NAME
	rm -rf "$dir/copy"
	skopeo --insecure-policy copy -q --src-tls-verify=false \
	    "docker://$there/$1" "oci:$dir/copy:x" </dev/null || return 1
	raw --config --raw "docker://$there/$1" >"$dir/config" || return 1
	[ "sha256:$(sha256sum <"$dir/config" | cut -d' ' -f1)" = \
	    "$(imgd images -q --no-trunc source:1)" ] || return 1
	umoci raw unpack --image "$dir/copy:x" "$dir/tree" || return 1
	[ "$(find "$dir/tree" -type f | wc -l)" -eq 80 ] || return 1
	rm -rf "$dir/tree"
}

imgd tag source:1 "$there/other/copy:1"
mounted() {
	imgd push "$there/other/copy:1" >"$dir/out1" || return 1
	# The pull came through a mirror, so the name there is another.
	cat "$dir/out1"
	grep -q '^1: digest: sha256:.* size: ' "$dir/out1" && whole other/copy:1
}
ok "an image arrives in another repository" mounted
same() {
	imgd push "$there/other/copy:1" >"$dir/out2" || return 1
	grep 'digest:' "$dir/out1" >"$dir/d1"
	grep 'digest:' "$dir/out2" >"$dir/d2"
	cmp "$dir/d1" "$dir/d2"
}
ok "twice gives the same digest" same

imgd tag source:1 "$there/library/source:2"
kept() {
	imgd push "$there/library/source:2" >"$dir/shown" || return 1
	cat "$dir/shown"
	! grep -q ': Pushed' "$dir/shown" || return 1
	[ "$(grep -c ': Layer already exists' "$dir/shown")" -eq 2 ] &&
	    [ "$(digest_of library/source:2)" = "$(digest_of library/source:1)" ]
}
ok "layers that are there are not sent, and the manifest is the same" kept

imgd tag source:1 "$there/other/mounts:1"
from_there() {
	imgd push "$there/other/mounts:1" >"$dir/shown" || return 1
	cat "$dir/shown"
	[ "$(grep -c ': Mounted from library/source' "$dir/shown")" -eq 2 ] &&
	    [ "$(digest_of other/mounts:1)" = "$(digest_of library/source:1)" ]
}
ok "layers of another repository are mounted from there" from_there

imgd tag source:1 "$there/zstd/image:1"
as_zstd() {
	sql 'DELETE FROM sources'
	imgd push -q --compression zstd "$there/zstd/image:1" || return 1
	raw --raw "docker://$there/zstd/image:1" >"$dir/manifest"
	[ "$(grep -o 'tar+zstd' "$dir/manifest" | wc -l)" -eq 2 ]
}
ok "zstd, too" as_zstd

back() {
	imgd rmi -f "$(imgd images -q source:1)" >/dev/null &&
	    imgd pull -q "$there/zstd/image:1" && imgd fsck --deep
}
ok "what was pushed is pulled again" back

ok "all tags" sh -c "
	'$program' --root '$root' --config '$dir/daemon.json' \
	    tag $there/zstd/image:1 $there/all/tags:a &&
	'$program' --root '$root' --config '$dir/daemon.json' \
	    tag $there/zstd/image:1 $there/all/tags:b &&
	'$program' --root '$root' --config '$dir/daemon.json' \
	    push -q -a $there/all/tags &&
	curl -fs http://$there/v2/all/tags/tags/list | grep '\"a\"' | grep '\"b\"'"

refused "an unknown name" "An image does not exist locally with the tag" \
    imgd push "$there/no/such:1"
refused "a digest" "cannot push a digest reference" \
    imgd push "$there/no/such@sha256:$(printf %064d 0)"

# A layer that is not what it was is no layer of the image.
damaged() {
	imgd tag "$there/zstd/image:1" "$there/damaged/image:1"
	file=$(find "$root/drivers" -type f -name f7 | head -n 1)
	printf y | dd of="$file" conv=notrunc 2>/dev/null
	! imgd push "$there/damaged/image:1" >"$dir/shown" 2>&1 || return 1
	cat "$dir/shown"
	! curl -fs "http://$there/v2/damaged/image/manifests/1" || return 1
	grep -Eq 'f7|diff_id' "$dir/shown" || return 1
	imgd rmi "$there/damaged/image:1" >/dev/null
}
sql 'DELETE FROM sources'
ok "a damaged layer is not pushed" damaged

cli_end
