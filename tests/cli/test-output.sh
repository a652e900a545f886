#!/bin/sh
# What people and programs see: bars, lines, JSON, usage and exit status.
. "$srcdir/tests/lib/cli.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"
head -c 3000000 /dev/urandom >"$dir/f"
tar -C "$dir" -cf "$dir/0.tar" f
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar"
registry_push "$dir/oci:1" library/app:1 || exit 99
command_line="'$program' --root '$root' --config '$dir/daemon.json'"

status() { # WANTED PATTERN COMMAND…
	wanted=$1
	pattern=$2
	shift 2
	"$@" >"$dir/said" 2>&1
	got=$?
	[ $got -eq "$wanted" ] && grep -Eq -- "$pattern" "$dir/said" || {
		echo "exit $got"
		cat "$dir/said"
		return 1
	}
}

ok "images of no store" status 0 '^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE' \
    "$program" --root "$dir/none" images
ok "info of no store" status 0 "^Root: $dir/none$" \
    "$program" --root "$dir/none" info
ok "and none was made" test ! -e "$dir/none"
ok "plain lines where there is no terminal" \
    status 0 '^1: Pulling from library/app$' imgd pull app:1
ok "docker's closing lines" \
    grep -q '^Status: Downloaded newer image for app:1$' "$dir/said"
ok "no control characters in plain lines" \
    sh -c "! grep -q '[[:cntrl:]]' '$dir/said'"
imgd rmi app:1 >/dev/null
ok "bars on a terminal" sh -c "
	script -qec \"$command_line pull app:1\" /dev/null </dev/null >'$dir/tty' &&
	    grep -q '\\[=*>* *\\]' '$dir/tty' && grep -q 'Pull complete' '$dir/tty'"
imgd rmi app:1 >/dev/null
ok "--json is a stream of objects" sh -c "
	$command_line pull --json app:1 </dev/null |
	    jq -es 'length > 3 and all(has(\"status\"))' >/dev/null"
ok "-q prints the name alone" status 0 '^docker.io/library/app:1$' \
    imgd pull -q app:1
ok "no more than it" test "$(wc -l <"$dir/said")" -eq 1
for verb in 'images' 'history app:1' 'info' 'version' 'driver ls'; do
	ok "$verb --json" sh -c "
		$command_line $verb --json </dev/null | jq -e . >/dev/null"
done
ok "inspect is JSON" sh -c "
	$command_line inspect app:1 | jq -e '.[0].RootFS.Layers | length == 1'"
ok "inspect of two, one missing" status 1 'No such image: nope' \
    imgd inspect app:1 nope
ok "info tells root and drivers" status 0 '^Root: ' imgd info
ok "driver info" status 0 '^api=1$' imgd driver info vfs
ok "driver info by path" status 0 '^name=vfs$' \
    imgd driver info "$(find "$builddir/stage" -name imgd-vfs-driver.so)"
ok "no such driver" status 1 'no such driver: nope' \
    imgd pull --driver=nope app:1

ok "libraries of workers and drivers are not in the program" sh -c "
	! ldd '$program' | grep -E 'devmapper|curl|archive|zstd|isal'"
ok "who is not root is told what to run" status 1 'needs root' \
    setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$program" --root "$root/../elsewhere" tag a b
ok "no verb" status 2 'no verb' imgd
ok "unknown verb" status 2 'no such verb: frob' imgd frob
ok "unknown option" status 2 'unknown option --frob' imgd images --frob
ok "too few arguments" status 2 '^usage: imgd pull ' imgd pull
ok "too many arguments" status 2 'too many' imgd tag a b c
ok "help" status 0 '^  pull ' imgd help
ok "help is at most 80 columns wide" sh -c "
	$command_line help | awk 'length > 80 { exit 1 }'"

echo '{ "storage-drivr": "vfs" }' >"$dir/daemon.json"
ok "an unknown key is named" status 1 'unknown key storage-drivr' imgd images
echo '{ "data-root": "none/at/all" }' >"$dir/daemon.json"
ok "a relative data-root is below the working directory" sh -c "
	cd '$dir' && '$program' --config '$dir/daemon.json' info |
	    grep -qx 'Root: $dir/none/at/all'"
echo '{ "data-root": 7 }' >"$dir/daemon.json"
ok "a value of the wrong type is named" status 1 'data-root: not a string' \
    imgd images
echo '{ "data-root": "/x",' >"$dir/daemon.json"
ok "a file that is no JSON is named" status 1 'daemon.json: ' imgd images
echo '{}' >"$dir/daemon.json"
chmod 777 "$root"
ok "a store that others may write is refused" status 1 'others may write' \
    imgd images
chmod 700 "$root"
wait_for_engine
sql 'PRAGMA user_version = 99'
ok "a newer store is refused by name" status 1 'newer imgd' imgd images
ok "also by an engine" status 1 'newer imgd' imgd tag a b
# A store of the first version is brought up to date.
sql 'DROP TABLE containers; DROP TABLE partial_marks;
    DROP TABLE layer_blobs; DROP TABLE uploads; DROP TABLE image_uses;
    DROP TABLE damaged; DROP TABLE replaced;
    DROP TABLE signatures; DROP TABLE signed_documents;
    DROP TABLE partials; DROP TABLE rates; DROP TABLE v1_layers;
    DROP INDEX image_layers_blob; ALTER TABLE mounts DROP COLUMN kind; PRAGMA user_version = 1'
refused_older() {
	! imgd images 2>"$dir/err" && grep 'version 1 is older than' "$dir/err"
}
ok "reading verbs refuse an older store" refused_older
ok "a verb that changes something migrates it" imgd fsck
ok "then it can be read" imgd images

cli_end
