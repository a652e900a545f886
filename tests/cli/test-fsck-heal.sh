#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# Damage of every kind is found, named, and mended by one command, which
# fetches no more than the layer that is damaged; or by the next pull.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"

# An image of three layers; the one in the middle is hurt.
mkdir "$dir/mnt" "$dir/0" "$dir/1" "$dir/1/etc" "$dir/2"
echo base >"$dir/0/base"
head -c 300000 /dev/urandom >"$dir/1/etc/data"
echo one >"$dir/1/etc/one"
: >"$dir/1/etc/empty"
ln -s one "$dir/1/etc/link"
echo top >"$dir/2/top"
for n in 0 1 2; do
	tar -C "$dir/$n" -cf "$dir/$n.tar" --sort=name .
done
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
# Its log tells what was fetched.
registry_start "$dir/registry" 'log: { level: info }' || exit 99
sed -i '/^log: { level: error }/d' "$dir/registry/config.yml"
registry_stop
docker-registry serve "$dir/registry/config.yml" >"$dir/registry/log" 2>&1 \
    </dev/null &
registry_pid=$!
for _ in $(seq 100); do
	curl -fs --noproxy '*' -o /dev/null \
	    "http://127.0.0.1:$registry_port/v2/" && break
	sleep 0.1
done
use_mirror "$registry_port"
registry_push "$dir/oci:1" library/app:1 || exit 99
registry_push "$dir/oci:1" library/same:1 || exit 99
wanted=$(skopeo inspect --raw --tls-verify=false \
    "docker://127.0.0.1:$registry_port/library/app:1" | jq -r '.layers[1].digest')

blobs() { # the layers that were fetched since the last call
	sed -n 's|.*"GET /v2/[^ ]*/blobs/\(sha256:[0-9a-f]*\)[? ].*|\1|p' \
	    "$dir/registry/log" >"$dir/fetched"
	: >"$dir/registry/log"
	config=$(imgd images -q --no-trunc app:1 2>/dev/null)
	grep -vxF "$config" "$dir/fetched" | sort -u
}
key=
find_layer() { # DRIVER
	key=$(sql "SELECT l.key FROM layers l JOIN image_layers il
	    ON il.chain_id = l.chain_id WHERE l.driver = '$1'
	    AND il.position = 1 AND l.state = 'ready'")
	case $1 in
	overlay) at=$root/drivers/overlay/$key/diff ;;
	vfs) at=$root/drivers/vfs/layers/$key/root ;;
	esac
}

# Each kind of damage, to the files at $at.
hurt() {
	case $1 in
	"a flipped byte") printf X | dd of="$at/etc/data" bs=1 seek=1000 \
	    conv=notrunc status=none ;;
	"a deleted file") rm "$at/etc/one" ;;
	"a deleted empty file") rm "$at/etc/empty" ;;
	"an added file") echo x >"$at/etc/new" ;;
	"a changed mode") chmod 4755 "$at/etc/one" ;;
	"a changed owner") chown 7 "$at/etc/one" ;;
	"another link's target") ln -sf base "$at/etc/link" ;;
	"a lost tree") rm -r "$at" ;;
	"a lost layer") rm -r "${at%/*}" ;;
	"a damaged recipe") printf XXXX | dd of="$root/recipes/$key" bs=1 \
	    seek=40 conv=notrunc status=none ;;
	"a lost recipe") rm "$root/recipes/$key" ;;
	esac
}
names() { # what fsck says of it
	case $1 in
	"a flipped byte") echo 'etc/data: content is not what it was' ;;
	"a deleted file") echo 'etc/one: missing from the tree' ;;
	"a deleted empty file") echo 'etc/empty: is missing' ;;
	"an added file") echo 'etc/new: is not in the layer' ;;
	"a changed mode") echo 'etc/one: is not what it was in the layer' ;;
	"a changed owner") echo 'etc/one: is not what it was in the layer' ;;
	"another link's target") echo 'etc/link: is not what it was' ;;
	"a lost tree") echo 'No such file|not there|damaged' ;;
	"a lost layer") echo 'in a row, but not there' ;;
	"a damaged recipe") echo 'recipe is damaged' ;;
	"a lost recipe") echo 'recipe .*: No such file' ;;
	esac
}
# No more and no less than the layer was fetched, or nothing.
fetched() {
	blobs >"$dir/blobs"
	cat "$dir/blobs"
	[ "$(cat "$dir/blobs")" = "$1" ]
}
is_whole() {
	imgd fsck --deep || return 1
	imgd mount --driver "$1" app:1 "$dir/mnt" || return 1
	diff -r "$dir/1/etc" "$dir/mnt/etc" && [ -e "$dir/mnt/top" ] &&
	    [ "$(stat -c '%u %a' "$dir/mnt/etc/one")" = "0 644" ]
	whole=$?
	imgd umount "$dir/mnt"
	return $whole
}
local_only="a deleted empty file|an added file|a changed mode|a changed owner|another link's target"

for driver in ${IMGD_TEST_DRIVERS:-overlay vfs}; do
	imgd pull -q --driver="$driver" app:1 >/dev/null || exit 99
	: >"$dir/registry/log"
	while read -r kind; do
		# Much of it has nothing to do with the driver.
		case $driver:$kind in
		overlay:* | *:*byte | *:*mode | *:*layer) ;;
		*) continue ;;
		esac
		wait_for_engine
		find_layer "$driver"
		hurt "$kind"
		ok "$driver: $kind is found and named" \
		    fsck_says 1 "layer ${key%"${key#????????????}"}: .*($(names "$kind"))" \
		    --deep
		ok "$driver: $kind is mended" fsck_says 0 "$(names "$kind").*repaired" \
		    --deep --repair
		if echo "$kind" | grep -Eqx "$local_only"; then
			ok "$driver: of what is there" fetched ""
		else
			ok "$driver: by fetching that layer alone" \
			    fetched "$wanted"
		fi
		ok "$driver: and the image is whole" is_whole "$driver"
	done <<-EOT
	a flipped byte
	a deleted file
	a deleted empty file
	an added file
	a changed mode
	a changed owner
	another link's target
	a lost tree
	a lost layer
	a damaged recipe
	a lost recipe
	EOT

	# ---- by the next pull ----

	find_layer "$driver"
	hurt "a flipped byte"
	ok "$driver: a layer is known to be damaged" fsck_says 1 etc/data --deep
	ok "$driver: which fsck remembers" fsck_says 1 etc/data
	ok "$driver: a pull mends it" imgd pull --driver="$driver" app:1
	ok "$driver: by fetching it alone" fetched "$wanted"
	ok "$driver: that is all" is_whole "$driver"
	find_layer "$driver"
	hurt "a lost layer"
	ok "$driver: a pull does not look" imgd pull -q --driver="$driver" app:1
	# A tree of directories hands out what it has; the packer looks.
	! imgd mount --driver="$driver" app:1 "$dir/mnt" >/dev/null 2>&1 ||
	    { imgd umount "$dir/mnt"; imgd save --driver="$driver" app:1 \
	    >/dev/null 2>&1; }
	ok "$driver: but who fails to read it remembers" \
	    fsck_says 1 "\"problem\":.*\"layer\":\"$key\"" --json
	ok "$driver: so that the next one mends it" \
	    imgd pull -q --driver="$driver" app:1
	ok "$driver: as before" fetched "$wanted"
	ok "$driver: and all is well" is_whole "$driver"

	# ---- by two at once ----

	find_layer "$driver"
	hurt "a flipped byte"
	imgd fsck --deep >/dev/null
	imgd pull -q --driver="$driver" app:1 >"$dir/one" 2>&1 &
	one=$!
	imgd pull -q --driver="$driver" same:1 >"$dir/other" 2>&1
	other=$?
	wait $one && [ $other -eq 0 ]
	result $? "$driver: two pulls that want the same layer mended succeed"
	ok "$driver: it was fetched once" test \
	    "$(grep -c "GET /v2/[^ ]*/blobs/$wanted" "$dir/registry/log")" -eq 1
	: >"$dir/registry/log"
	ok "$driver: and is whole" is_whole "$driver"
	imgd rmi same:1 >/dev/null

	# ---- killed meanwhile ----

	delays="0.06 0.1 0.14"
	[ "$driver" = overlay ] || delays=0.08
	for delay in $delays; do
		wait_for_engine
		find_layer "$driver"
		hurt "a lost tree"
		imgd fsck --deep --repair >"$dir/said" 2>&1 &
		mender=$!
		sleep $delay
		kill -KILL "$(engine_pid)" 2>/dev/null
		wait $mender
		ok "$driver: killed after $delay s (status $?): the next one mends" \
		    imgd fsck --deep --repair
		ok "$driver: all of it" is_whole "$driver"
		ok "$driver: and leaves nothing" test -z "$(sql "SELECT key FROM
		    layers WHERE state <> 'ready'; SELECT key FROM replaced;
		    SELECT key FROM damaged")"
	done
	: >"$dir/registry/log"

	# ---- in use ----

	imgd mount --driver="$driver" app:1 "$dir/mnt" >/dev/null
	find_layer "$driver"
	echo two >"$at/etc/one"
	ok "$driver: mended while it is mounted" fsck_says 0 repaired --deep --repair
	ok "$driver: the mount stays" test -s "$dir/mnt/etc/data"
	ok "$driver: what it shows is kept for it" test -n \
	    "$(sql "SELECT key FROM layers WHERE state = 'dying'")"
	wait_for_engine
	ok "$driver: also over an engine's start" imgd tag app:1 app:2
	imgd rmi app:2 >/dev/null
	ok "$driver: still" test -s "$dir/mnt/etc/data"
	imgd umount "$dir/mnt"
	ok "$driver: then it goes" test -z \
	    "$(sql "SELECT key FROM layers WHERE state = 'dying'")"
	ok "$driver: the new one is whole" is_whole "$driver"
	: >"$dir/registry/log"
	imgd rmi app:1 >/dev/null
	find "$root/drivers/$driver" -type f >"$dir/left"
	ok "$driver: of nothing a byte is left" test ! -s "$dir/left"
done

# ---- from elsewhere ----

imgd pull -q --driver=overlay app:1 >/dev/null
imgd save -o "$dir/saved.tar" app:1
skopeo --insecure-policy copy --quiet --src-tls-verify=false \
    "docker://127.0.0.1:$registry_port/library/app:1" \
    "docker-archive:$dir/docker.tar:app:1"
registry_push "$dir/oci:1" other/copy:1 || exit 99
: >"$dir/registry/log"
for from in "$dir/saved.tar" "$dir/docker.tar" "$dir/oci"; do
	find_layer overlay
	hurt "a flipped byte"
	ok "from ${from##*/}" fsck_says 0 "made again from the archive.*repaired" \
	    --deep --repair --from "$from"
	ok "nothing is fetched" fetched ""
	ok "it is whole" is_whole overlay
done
find_layer overlay
hurt "a flipped byte"
ok "from a repository that is named" \
    fsck_says 0 "made again from 127.0.0.1:$registry_port/other/copy .repaired" \
    --deep --repair --from "127.0.0.1:$registry_port/other/copy"
ok "the one layer" fetched "$wanted"
find_layer overlay
hurt "a flipped byte"
ok "from a registry that is named" \
    fsck_says 0 "made again from 127.0.0.1:$registry_port/.* .repaired" \
    --deep --repair --from "127.0.0.1:$registry_port"
imgd migrate -q --keep --from overlay --to vfs app:1 >/dev/null
: >"$dir/registry/log"
find_layer overlay
hurt "a flipped byte"
ok "from another driver's copy before all else" \
    fsck_says 0 "made again from its copy in vfs .repaired" --deep --repair
ok "which takes no network" fetched ""
imgd rmi --driver vfs app:1 >/dev/null
ok "an archive without the image is no help" sh -c "
	'$lib/make-oci.py' '$dir/oci2' 1 '$dir/0.tar'
	dd if=/dev/zero of='$root/drivers/overlay/$key/diff/etc/data' bs=1 \
	    count=10 conv=notrunc status=none
	'$program' --root '$root' --config '$dir/daemon.json' fsck --deep \
	    --repair --from '$dir/oci2' >'$dir/said'
	[ \$? -eq 1 ] && grep 'cannot be repaired: the archive does not have' \
	    '$dir/said'"
registry_stop
ok "nor is a registry that is away: nothing is made worse" \
    fsck_says 1 "etc/data.*cannot be repaired" --deep --repair
ok "the image is still there" imgd mount app:1 "$dir/mnt"
ok "and readable" test -e "$dir/mnt/top"
imgd umount "$dir/mnt"
ok "and goes" imgd rmi app:1
left() {
	ls "$root/recipes"
	sql "SELECT key FROM layers; SELECT key FROM damaged;
	    SELECT key FROM replaced"
}
ok "with all that was known of it" test -z "$(left)"
cli_end
