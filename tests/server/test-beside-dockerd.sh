#!/bin/sh
# Screen for screen: the docker command shows the same with a daemon of imgd's
# and with Docker's own.
unshare=-n
. "$srcdir/tests/lib/unshared.sh"
ip link set lo up || exit 99
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/daemon.sh"
. "$srcdir/tests/lib/dockerd.sh"

clean_all() {
	docker_stop
	daemon_cleanup
}
trap clean_all EXIT

registry_start "$dir/registry" || exit 99
here=127.0.0.1:$registry_port
"$lib/make-image.sh" --small "$dir/oci" 14.04 >/dev/null || exit 99
registry_push "$dir/oci:14.04" library/ubuntu:14.04 || exit 99
registry_push "$dir/oci:14.04" other:1 || exit 99
use_mirror "$registry_port"
daemon_start || exit 99
docker_mirror=http://127.0.0.1:$registry_port
docker_namespace=same
docker_start || exit 99
theirs=unix://$dir/docker-sock

# What differs by nature: times, sizes as a driver counts them, and the order
# in which layers come.
level() {
	sed -E -e 's/ [0-9.]+ ?[kMG]?B( |$)/ SIZE\1/g' \
	    -e 's/[0-9]+ (second|minute|hour|day|week|month|year)s? ago/AGO/' \
	    -e 's/(About an?|Less than a) (second|minute|hour) ago/AGO/' \
	    -e 's/^[0-9T:.-]+Z? image/TIME image/' \
	    -e "s/: Invalid filter '/: invalid filter '/" \
	    -e '/: (Waiting|Verifying Checksum|Download complete)/d' \
	    -e 's/  +/  /g' "$1"
}
# same NAME [sort] COMMAND…: both say the same and end the same.
same() {
	name=$1
	shift
	filter=cat
	if [ "$1" = sort ]; then
		filter=sort
		shift
	fi
	DOCKER_HOST=$theirs "$@" >"$dir/theirs" 2>&1 </dev/null
	echo "exit $?" >>"$dir/theirs"
	"$@" >"$dir/ours" 2>&1 </dev/null
	echo "exit $?" >>"$dir/ours"
	level "$dir/theirs" | $filter >"$dir/theirs-level"
	level "$dir/ours" | $filter >"$dir/ours-level"
	ok "$name" diff "$dir/theirs-level" "$dir/ours-level"
}

same "pull" sort docker pull ubuntu:14.04
same "pull again" docker pull ubuntu:14.04
same "pull of a tag that is not there" docker pull "$here/library/ubuntu:nope"
same "pull of what is no name" docker pull 'ubuntu:'
same "pull from another registry" sort docker pull "$here/other:1"
same "images" sort docker images
same "images --no-trunc" sort docker images --no-trunc
same "images --digests" sort docker images --digests
same "images of one repository" docker images ubuntu
same "images by filter" docker images -f reference='*:14.04'
same "images of nothing" docker images nosuch
same "images by a filter that is none" docker images -f nonsense=1
same "inspect of what no driver has a say in" docker inspect -f \
    '{{.Id}} {{.RepoTags}} {{.RepoDigests}} {{.Parent}} {{.Comment}}
{{.Created}} {{.Author}} {{.Config}} {{.Architecture}} {{.Os}} {{.RootFS}}' \
    ubuntu:14.04
same "inspect of nothing" docker inspect nosuch
same "image inspect of nothing" docker image inspect nosuch:1
same "history" docker history --no-trunc ubuntu:14.04
same "history of nothing" docker history nosuch
same "tag" docker tag ubuntu:14.04 foo/bar:x
same "tag of nothing" docker tag nosuch foo:1
same "tag with what is no name" docker tag ubuntu:14.04 FOO:1
id=$(docker images -q ubuntu:14.04)
same "rmi by an id of several repositories" docker rmi "$id"
same "rmi untags" docker rmi foo/bar:x
same "rmi of nothing" docker rmi nosuch
same "rmi -f of nothing" docker rmi -f nosuch
same "push of nothing" docker push "$here/no/thing"
docker save ubuntu:14.04 -o "$dir/our.tar" &&
    DOCKER_HOST=$theirs docker save ubuntu:14.04 -o "$dir/their.tar"
result $? "both save"
same "rmi of an image" docker rmi ubuntu:14.04 "$here/other:1"
same "load of what dockerd saved" docker load -i "$dir/their.tar"
same "load of what imgd saved" docker load -i "$dir/our.tar"
same "images once loaded" sort docker images --digests
same "save into load" sh -c 'docker save ubuntu:14.04 | docker load'
same "push" sh -c "docker tag ubuntu:14.04 $here/pushed:1 &&
    docker push -q $here/pushed:1"
mkdir "$dir/file"
echo x >"$dir/file/x"
tar -C "$dir/file" -cf "$dir/file.tar" x
# What is imported has the time of the import in its id.
imported() {
	docker import -c 'ENV A=b D=d' -c 'ENV C=$A E="$A ${D}" A=z' \
	    -c "ENV Q='\$A' \"R S\"=\\\$A T=a\\ b" \
	    -c 'ENV U=${NO:-x$A} V=${NO:+x} W=${A:+y${C}} X=$NO-$ Y=${A}${D}' \
	    -c 'ENV old the "rest of $A"' -c 'LABEL "l $A"="$A" m=${A}m n="\n"' \
	    -c 'WORKDIR /w/$A' -c 'USER ${A}' -c 'EXPOSE 8$NO0 90/$NO"tcp"' \
	    -c 'VOLUME ["/v$A"]' -c 'VOLUME /u${A} /t"$A"' \
	    -c 'CMD echo $A' \
	    -c 'ENTRYPOINT ["$A"]' "$dir/file.tar" changed:1 >/dev/null &&
	    docker inspect -f '{{json .Config}}' changed:1 | jq -S '{ Env,
		Labels, WorkingDir, User, ExposedPorts, Volumes,
		Cmd, Entrypoint }'
}
same "import with variables in changes" imported
for change in 'ENV A=${A' 'ENV A=${A:?gone}' 'ENV A=${A:*x}' 'ENV A="$B' \
    'ENV A=b c' 'ENV A=${}'; do
	same "import with $change" sh -c '! docker import -c "$1" "$2" \
	    >/dev/null 2>&1' sh "$change" "$dir/file.tar"
done
same "image prune" docker image prune -f
same "ps" docker ps -a
same "volume ls" docker volume ls

ok "the daemon ends when told" daemon_stop
docker_stop
registry_stop
cli_end
