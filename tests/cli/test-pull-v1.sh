#!/bin/sh
# shellcheck disable=SC2154 # tests/lib/v1.sh sets v1_*
# Images of registries of version 1: what Docker 1.2 could pull, from what it
# pulled from.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/v1.sh"
make_tars
v1_start || exit 99
here=127.0.0.1:$v1_port
registry_start "$dir/registry" || exit 99
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:1" t/two:1 || exit 99
two=127.0.0.1:$registry_port/t/two:1

n_dirs() { find "$root/drivers/$1" -mindepth 1 -maxdepth 1 -type d | wc -l; }
fetched() { v1_asked | grep -c '/layer'; }

ok "the same layers by version 2" imgd pull -q --driver vfs "$two"
by_content() {
	before=$(n_dirs vfs)
	imgd pull --driver vfs "$here/t/ok:1" >"$dir/shown" || return 1
	cat "$dir/shown"
	[ "$(fetched)" -eq 3 ] && [ "$(n_dirs vfs)" -eq "$before" ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq 3 ] &&
	    [ "$(grep -c 'Already exists' "$dir/shown")" -eq 3 ]
}
ok "layers that turn out to be there are not kept twice" by_content

no_op() {
	v1_forget
	imgd pull --driver vfs "$here/t/ok:1" >"$dir/shown" || return 1
	cat "$dir/shown"
	[ "$(fetched)" -eq 0 ] && grep -q 'Image is up to date' "$dir/shown"
}
ok "a second pull fetches no layer" no_op
shared() {
	v1_forget
	imgd pull -q --driver vfs "$here/t/same:1" && [ "$(fetched)" -eq 0 ]
}
ok "nor does another repository with the same images" shared

tree() { # IMAGE DRIVER FILE
	mkdir "$dir/m"
	imgd mount --driver "$2" "$1" "$dir/m" &&
	    "$lib/tree-list.py" "$dir/m" >"$3" && imgd umount "$dir/m" &&
	    rmdir "$dir/m"
}
same_tree() {
	imgd pull -q --driver "$driver" "$here/t/ok:1" &&
	    tree "$here/t/ok:1" "$driver" "$dir/tree1" &&
	    tree "$two" vfs "$dir/tree2" && [ -s "$dir/tree1" ] &&
	    cmp "$dir/tree1" "$dir/tree2"
}
ok "the tree is that of version 2, in another driver" same_tree

# What the registry said of each layer is kept as it was said.
kept_json() {
	sql 'SELECT v1_id FROM v1_layers' >"$dir/ids"
	[ "$(wc -l <"$dir/ids")" -eq 3 ] || return 1
	while read -r id; do
		curl -fs -o "$dir/json" -H 'Authorization: Token Token '\
'signature=ABC123,repository="t/ok"' "http://$here/v1/images/$id/json" ||
		    return 1
		sql "SELECT writefile('$dir/kept', json) FROM v1_layers
		    WHERE v1_id = '$id'" >/dev/null
		cmp "$dir/json" "$dir/kept" || return 1
	done <"$dir/ids"
}
ok "image JSON is kept byte for byte" kept_json
config() {
	imgd inspect "$here/t/ok:1" >"$dir/inspect" || return 1
	python3 - "$dir/inspect" <<-'EOT'
	import json, sys
	doc = json.load(open(sys.argv[1]))[0]
	assert doc["Config"]["Env"] == ["A=<2>"], doc["Config"]
	assert doc["DockerVersion"] == "1.2.0" and doc["RepoDigests"] == []
	assert len(doc["RootFS"]["Layers"]) == 3
	EOT
}
ok "and is what the image is made of" config

pulls() { # NAME…
	for name; do
		imgd pull -q --driver vfs "$here/t/$name:1" >/dev/null ||
		    return 1
	done
}
ok "tokens of the Hub's form, several" pulls tokens
ok "layers by xz, without compression, and empty ones" \
    pulls xz plain-tar zero
dead_first() {
	v1_forget
	pulls dead-first && v1_asked >"$dir/asked" && cat "$dir/asked" &&
	    grep -q "^$v1_other /v1/images/.*/layer" "$dir/asked" &&
	    ! grep -q "^$v1_port /v1/images" "$dir/asked"
}
ok "two endpoints, of which nobody is at the first" dead_first
both() {
	v1_forget
	pulls both && v1_asked >"$dir/asked" && cat "$dir/asked" &&
	    grep -q "^$v1_port /v1/images" "$dir/asked" &&
	    [ "$(grep -c "^$v1_other /v1/images/.*/layer" "$dir/asked")" -eq 3 ]
}
ok "two endpoints, of which the first is out of order" both
# Patience without end, but nobody is asked twice while another has not been.
patient() {
	v1_forget
	timeout 60 "$program" --root "$root" --config "$dir/daemon.json" pull \
	    -q --driver vfs --retry forever "$here/t/busy:1" </dev/null &&
	    v1_asked >"$dir/asked" && cat "$dir/asked" &&
	    [ "$(grep -c "^$v1_other /v1/images/.*/layer" "$dir/asked")" -eq 3 ]
}
ok "two endpoints, of which the first is busy for ever" patient
ok "a registry that knows its clients by a cookie" pulls cookie

resumed() { # NAME RANGE
	v1_forget
	pulls "$1" && v1_asked >"$dir/asked" && cat "$dir/asked" &&
	    grep -q "Range: $2" "$dir/asked"
}
ok "a layer is resumed, as docker-registry resumes it" \
    resumed cut-range 'bytes=70000-$'
ok "also if a cut looks like an end" resumed cut-clean 'bytes=70000-$'
ok "one that is resumed at another place is begun anew" \
    resumed cut-lie 'bytes=70000-$'
ok "so is one that is not resumed at all" pulls cut-no-range

elsewhere() {
	v1_forget
	pulls redirect && v1_asked >"$dir/asked" && cat "$dir/asked" || return 1
	[ "$(grep -c "^$v1_files /v1/images/.*/layer" "$dir/asked")" -eq 3 ] &&
	    ! grep "^$v1_files " "$dir/asked" | grep -q 'Authorization\|Cookie'
}
ok "where a redirect leads to, no token goes" elsewhere

all_tags() {
	imgd pull -q -a --driver vfs "$here/t/ok" || return 1
	[ "$(sql "SELECT GROUP_CONCAT(tag) FROM (SELECT tag FROM tags
	    WHERE repository LIKE '%/t/ok' ORDER BY tag)")" = 1,latest ]
}
ok "all tags" all_tags

use_mirror "$v1_port"
wait_for_engine
mirror() {
	v1_forget
	imgd pull -q --registry-v1 --driver vfs ok >"$dir/shown" &&
	    v1_asked >"$dir/asked" && cat "$dir/shown" "$dir/asked" &&
	    grep -qx 'docker.io/library/ok:latest' "$dir/shown" &&
	    grep -q '/v1/repositories/ok/images' "$dir/asked" &&
	    grep -q '/v1/repositories/library/ok/tags' "$dir/asked" &&
	    ! grep -q '/v2/' "$dir/asked"
}
ok "a mirror of Docker Hub" mirror
configure "\"v1-registries\": [ \"$here\" ]"
wait_for_engine
by_key() {
	v1_forget
	pulls ok && v1_asked >"$dir/asked" && ! grep '/v2/' "$dir/asked"
}
ok "a registry that the configuration calls so" by_key

push() {
	there=127.0.0.1:$registry_port/t/again:1
	imgd tag "$here/t/ok:1" "$there" && imgd push -q "$there" || return 1
	skopeo --insecure-policy copy -q --src-tls-verify=false \
	    "docker://$there" "dir:$dir/copy" </dev/null || return 1
	id=$(imgd images -q --no-trunc "$here/t/ok:1")
	[ "sha256:$(sha256sum <"$dir/copy/${id#*:}" | cut -d' ' -f1)" = "$id" ]
}
ok "such an image is pushed to a registry of version 2" push

ok "whatever the way, there are the same three layers, and an empty one" \
    test "$(sql 'SELECT COUNT(DISTINCT chain_id) FROM layers')" -eq 4
ok "which are whole" imgd fsck --deep
gone() {
	imgd images -q --no-trunc | sort -u >"$dir/ids"
	while read -r id; do
		imgd rmi -f "$id" >/dev/null || return 1
	done <"$dir/ids"
	[ "$(sql 'SELECT (SELECT COUNT(*) FROM v1_layers) +
	    (SELECT COUNT(*) FROM layers)')" -eq 0 ]
}
ok "with the layers goes what was remembered of them" gone

# Both begin with the same bytes under other names.
together() {
	imgd pull -q --driver vfs "$here/t/xz:1" >"$dir/out1" 2>&1 &
	one=$!
	imgd pull -q --driver vfs "$here/t/plain-tar:1" >"$dir/out2" 2>&1 &
	wait "$one" && wait $! &&
	    [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq 3 ] &&
	    [ "$(n_dirs vfs)" -eq "$before" ] && return
	cat "$dir/out1" "$dir/out2"
	sql 'SELECT * FROM layers'
	return 1
}
ok "two at once make each layer once" together
has_begun() { [ "$(sql 'SELECT COUNT(*) FROM pulls')" -gt 0 ]; }
killed() {
	imgd pull -q --driver "$driver" "$here/t/dead-first:1" >/dev/null 2>&1 &
	wait_for has_begun
	kill -9 "$(engine_pid)"
	wait $!
	imgd pull -q --driver "$driver" "$here/t/dead-first:1" &&
	    imgd fsck --deep &&
	    [ "$(find "$root/recipes" -type f | wc -l)" -eq 6 ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM layers')" -eq 6 ]
}
ok "after a kill nothing is left but what the next one makes" killed

cli_end
