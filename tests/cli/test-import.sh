#!/bin/sh
# Trees become images and come out again: the same files, the settings as
# Docker reads them, and nothing is left of what fails.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"

sh "$lib/make-image.sh" --small "$dir/oci" real
imgd load --driver="$driver" -q -i "$dir/oci" >"$dir/said" || exit 99
id=$(sed 's/.*ID: //' "$dir/said")
imgd tag "$id" real:1
mkdir "$dir/mnt"
tree() { # NAME
	imgd mount "$1" "$dir/mnt" >/dev/null || return 1
	"$lib/tree-list.py" "$dir/mnt"
	imgd umount "$dir/mnt"
}
image_id() {
	imgd inspect "$1" | jq -r '.[0].Id'
}
tree real:1 >"$dir/want"

# ---- export ----

unpacked() {
	imgd export real:1 >"$dir/tree.tar" || return 1
	mkdir "$dir/tree"
	tar -C "$dir/tree" --xattrs --xattrs-include='*' --numeric-owner \
	    -xpf "$dir/tree.tar" &&
	    "$lib/tree-list.py" "$dir/tree" | diff "$dir/want" -
}
ok "GNU tar makes the same tree of an image's" unpacked
sorted() {
	tar tf "$dir/tree.tar" >"$dir/list" && head -n 1 "$dir/list" |
	    grep -x ./ && ! grep -E '^/|\.\./' "$dir/list" &&
	    imgd export "$id" | cmp - "$dir/tree.tar"
}
ok "the same tree makes the same tar" sorted
imgd create work real:1 >/dev/null || exit 99
container() {
	imgd mount work "$dir/mnt" >/dev/null || return 1
	echo new >"$dir/mnt/new" && rm "$dir/mnt/etc/motd" &&
	    ln "$dir/mnt/new" "$dir/mnt/other" && ln -s nowhere "$dir/mnt/sym"
	imgd umount "$dir/mnt"
	imgd export -o "$dir/work.tar" work || return 1
	[ "$(tar xOf "$dir/work.tar" new)" = new ] &&
	    ! tar tf "$dir/work.tar" | grep -x etc/motd &&
	    tar tvf "$dir/work.tar" other | grep "link to new"
}
ok "a writable layer" container
imgd rm work
odd_attributes() {
	imgd create odd real:1 && imgd mount odd "$dir/mnt" >/dev/null ||
	    return 1
	ln -s nowhere "$dir/mnt/sym" && mknod "$dir/mnt/null" c 1 3 &&
	    mkfifo "$dir/mnt/fifo" &&
	    setfattr -h -n trusted.l -v link "$dir/mnt/sym" &&
	    setfattr -n trusted.d -v device "$dir/mnt/null" &&
	    setfattr -n trusted.f -v fifo "$dir/mnt/fifo" &&
	    imgd umount "$dir/mnt" && tree odd >"$dir/odd" || return 1
	imgd export -o "$dir/odd.tar" odd &&
	    imgd import --driver="$driver" "$dir/odd.tar" odd:1 &&
	    grep trusted.l "$dir/odd" && tree odd:1 | diff "$dir/odd" -
}
ok "attributes of links, devices and fifos" odd_attributes
imgd rm odd
imgd rmi odd:1
refused "an image that is not there" "[Nn]o such image: nothing" \
    imgd export nothing
kept() {
	echo old >"$dir/file.tar"
	ls -A "$dir" >"$dir/had"
	! imgd export -o "$dir/file.tar" nothing &&
	    [ "$(cat "$dir/file.tar")" = old ] &&
	    ls -A "$dir" | diff "$dir/had" -
}
ok "a file stays what it was when the verb fails" kept
stopped() {
	"$program" --root "$root" --config "$dir/daemon.json" export real:1 \
	    </dev/null 2>"$dir/err" | head -c 2000 >/dev/null
	grep -q "Broken pipe" "$dir/err" && wait_for_engine
}
ok "a reader that goes away ends it" stopped

# ---- import ----

back() {
	imgd import --driver="$driver" "$dir/tree.tar" flat:1 >"$dir/said" ||
	    return 1
	cat "$dir/said"
	[ "$(cat "$dir/said")" = "$(image_id flat:1)" ] &&
	    tree flat:1 | diff "$dir/want" - && imgd fsck --deep
}
ok "an exported tree is imported as it was" back
layer() {
	[ "$(imgd inspect flat:1 | jq -r '.[0].RootFS.Layers[]')" = \
	    "sha256:$(sha256sum <"$dir/tree.tar" | cut -c1-64)" ] &&
	    imgd save -o "$dir/save.tar" flat:1 &&
	    skopeo --insecure-policy copy --quiet \
		"docker-archive:$dir/save.tar" "dir:$dir/copied" </dev/null
}
ok "its layer is the very tar" layer
imgd rmi flat:1 >/dev/null
by_pipe() { # PROGRAM
	$1 <"$dir/tree.tar" | "$program" --root "$root" --config \
	    "$dir/daemon.json" import - flat >"$dir/said" &&
	    [ "$(cat "$dir/said")" = "$(image_id flat:latest)" ] &&
	    tree flat | diff "$dir/want" - && imgd rmi flat >/dev/null
}
for pack in cat gzip bzip2 xz zstd; do
	ok "through a pipe by $pack" by_pipe $pack
done
tar -C "$dir" -cf "$dir/one.tar" list
unnamed() {
	imgd import "$dir/one.tar" >"$dir/said" &&
	    imgd inspect "$(cat "$dir/said")" |
	    jq -e '.[0] | .RepoTags == [] and .Comment == "Imported from -"' &&
	    imgd history --json "$(cat "$dir/said")" &&
	    imgd rmi "$(cat "$dir/said")"
}
ok "without a name" unnamed
changed() {
	imgd import -m "made by hand" --platform linux/arm64 \
	    -c 'CMD ["sh", "-c", "a b"]' -c 'entrypoint run it' \
	    -c 'ENV A=1 B="two words" C=a\ b' -c 'env A the rest of it' \
	    -c 'EXPOSE 80 53/udp 8000-8002/tcp' -c 'USER 1000:50' \
	    -c 'WORKDIR /srv' -c 'WORKDIR a/../b' \
	    -c 'VOLUME /data "/a b"' -c 'VOLUME ["/c"]' \
	    -c 'LABEL k=v "long name"="x y"' -c 'STOPSIGNAL SIGKILL' \
	    -c 'ONBUILD RUN echo hi' \
	    -c 'HEALTHCHECK --interval=1m30s --retries=3 CMD test -f /x' \
	    "$dir/one.tar" changed:1 &&
	    imgd inspect changed:1 >"$dir/said" && cat "$dir/said" || return 1
	jq -e '.[0] | .Architecture == "arm64" and .Os == "linux" and
	    .Comment == "made by hand" and (.Config |
		.Cmd == ["sh", "-c", "a b"] and
		.Entrypoint == ["/bin/sh", "-c", "run it"] and
		.Env == ["A=the rest of it", "B=two words", "C=a b"] and
		(.ExposedPorts | keys) == ["53/udp", "80/tcp", "8000/tcp",
		    "8001/tcp", "8002/tcp"] and
		.User == "1000:50" and .WorkingDir == "/srv/b" and
		(.Volumes | keys) == ["/a b", "/c", "/data"] and
		.Labels == {"k": "v", "long name": "x y"} and
		.StopSignal == "SIGKILL" and .OnBuild == ["RUN echo hi"] and
		.Healthcheck == {"Interval": 90000000000, "Retries": 3,
		    "Test": ["CMD-SHELL", "test -f /x"]})' "$dir/said"
}
ok "changes and what else is asked for" changed
imgd rmi changed:1 >/dev/null
bad() { # CHANGE WORDS
	refused "change: $1" "$2" imgd import -c "$1" "$dir/one.tar" bad:1
}
bad "RUN true" "RUN is not a valid change command"
bad "ENV" "ENV: it needs an argument"
bad "ENV a" "ENV: it needs two arguments"
bad "ENV =b" "ENV: .*KEY=VALUE"
bad "LABEL a=\"b" "LABEL: a quote is not closed"
bad "EXPOSE 70000" "invalid containerPort: 70000"
bad "EXPOSE 80/xyz" "invalid containerPort"
bad "EXPOSE 9-8" "invalid containerPort"
bad "VOLUME [\"\"]" "a volume cannot be an empty string"
bad "STOPSIGNAL -9" "invalid signal"
bad "ONBUILD ONBUILD RUN x" "isn't allowed as an ONBUILD trigger"
bad "HEALTHCHECK --interval=x CMD y" "bad option"
bad "HEALTHCHECK RUN y" "neither NONE nor CMD"

printf 'noise, and no tar at all\n' >"$dir/noise"
refused "no tar" "tar" imgd import "$dir/noise" bad:1
: >"$dir/nothing"
refused "nothing" "there is nothing in it" imgd import "$dir/nothing" bad:1
gzip <"$dir/tree.tar" | head -c 20000 >"$dir/cut"
refused "a tar that is cut short" "cut short" imgd import "$dir/cut" bad:1
head -c 100000 <"$dir/tree.tar" >"$dir/body"
tar -C "$dir" -c body | head -c 50000 >"$dir/cut"
refused "a tar that is cut short, uncompressed" "tar|cut short" \
    imgd import "$dir/cut" bad:1
refused "a name that is none" "BAD" imgd import "$dir/one.tar" BAD:1
refused "a name by digest" "cannot import digest reference" \
    imgd import "$dir/one.tar" "a@$id"
refused "a platform that is none" "platform|x/y" \
    imgd import --platform x/y/z/w "$dir/one.tar" bad:1
refused "a file that is not there" "No such file" \
    imgd import "$dir/not-there" bad:1

# ---- a client that goes ----

has_begun() { [ "$(sql 'SELECT COUNT(*) FROM pulls')" = 1 ]; }
killed() {
	mkfifo "$dir/slow"
	"$program" --root "$root" --config "$dir/daemon.json" import - bad:1 \
	    <"$dir/slow" >/dev/null 2>&1 &
	pid=$!
	exec 7>"$dir/slow"
	head -c 20000 "$dir/tree.tar" >&7
	wait_for has_begun
	kill -9 $pid
	wait $pid 2>/dev/null
	wait_for_engine
	status=$?
	exec 7>&-
	rm "$dir/slow"
	imgd fsck --deep && [ $status -eq 0 ] &&
	    [ "$(sql 'SELECT COUNT(*) FROM pulls')" = 0 ] &&
	    ! imgd inspect bad:1
}
ok "an upload that stops holds up nobody once the verb is gone" killed
cli_end
