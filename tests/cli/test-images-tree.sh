#!/bin/sh
# Images as people look at them: the tree of what they share, and how one was
# made.
. "$srcdir/tests/lib/cli.sh"
configure '"storage-driver": "vfs"'

for n in 1 2 3 4 5; do
	mkdir "$dir/$n"
	head -c "${n}000" /dev/zero >"$dir/$n/f$n"
	tar -C "$dir/$n" -cf "$dir/$n.tar" "f$n"
done
image() { # NAMES YEAR LAYER…
	names=$1
	year=$2
	shift 2
	for n in "$@"; do
		set -- "$@" "$dir/$n.tar"
		shift
	done
	"$lib/make-oci.py" --created "$year-01-01T00:00:00Z" \
	    "$dir/oci-$year" "$year" "$@" || exit 99
	id=$(imgd load --json -i "$dir/oci-$year" |
	    sed -n 's/.*Loaded image ID: \(sha256:[0-9a-f]*\).*/\1/p')
	for name in $names; do
		imgd tag "$id" "$name" || exit 99
	done
}
image 'base:1' 2014 1
image 'app:1 app:2' 2020 1 2 3
image 'other:1' 2019 1 2 3
image 'db:1' 2018 1 4
image 'alone:1' 2021 5 2
image 'nothing:1' 2013

# Digests as words, and no blank at a line's end.
drawn() { # WANTED COMMAND…
	wanted=$1
	shift
	"$@" | tr -d '\r' | sed 's/[0-9a-f]\{12\}/DIGEST/g; s/ *$//' \
	    >"$dir/drawn"
	echo "$wanted" | diff - "$dir/drawn"
}
ok "shared layers are there once, names at their ends" drawn \
    "CHAIN             LAYERS   SIZE   TOTAL   IMAGE ID       NAMES
DIGEST      2        7kB    7kB     DIGEST   alone:1
DIGEST      1        1kB    1kB     DIGEST   base:1
|- DIGEST   2        5kB    6kB     DIGEST   app:1, app:2
|                                         DIGEST   other:1
\`- DIGEST   1        4kB    5kB     DIGEST   db:1
-                 0        0B     0B      DIGEST   nothing:1" \
    imgd images --tree
ok "of one name only its own layers" drawn \
    "CHAIN          LAYERS   SIZE   TOTAL   IMAGE ID       NAMES
DIGEST   2        5kB    5kB     DIGEST   db:1" \
    imgd images --tree db
on_terminal() { # LOCALE
	LC_ALL=$1 script -qec "'$program' --root '$root' --config \
	    '$dir/daemon.json' images --tree" /dev/null </dev/null
}
lines() { # LOCALE PATTERN
	on_terminal "$1" >"$dir/drawn"
	cat "$dir/drawn"
	grep -q "$2" "$dir/drawn"
}
ok "lines on a terminal that has them" lines en_US.UTF-8 '^└─ [0-9a-f]'
ok "ASCII on one that has not" lines C '^`- [0-9a-f]'
chain() {
	diff=$(imgd inspect base:1 | jq -r '.[0].RootFS.Layers[0]')
	imgd images --tree --no-trunc base | grep "^$diff .*sha256:"
}
ok "chain ids in full" chain
for option in -q --json --digests '--format {{.ID}}'; do
	# shellcheck disable=SC2086 # an option and its value
	imgd images --tree $option >"$dir/out" 2>&1
	[ $? -eq 2 ]
	result $? "--tree is not with $option"
done
ok "nothing to draw" drawn "CHAIN   LAYERS   SIZE   TOTAL   IMAGE ID   NAMES" \
    "$program" --root "$dir/none" images --tree

# ---- history ----

long='set -eux;\t\tapt-get   update;\n\tapt-get install -y one two three'
"$lib/make-oci.py" --history '[
    {"created": "2014-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
    {"created": "2014-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop)  CMD [\"bash\"]", "empty_layer": true},
    {"created": "2014-01-01T00:00:00Z", "created_by": "/bin/sh -c '"$long"'"},
    {"created": "2014-01-01T00:00:00Z", "created_by": "RUN /bin/sh -c make # buildkit", "empty_layer": true, "comment": "buildkit.v0"},
    {"created": "2014-01-01T00:00:00Z", "created_by": "ENV A=ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ", "empty_layer": true},
    {"created": "2014-01-01T00:00:00Z", "created_by": "LABEL A=ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ", "empty_layer": true}]' \
    "$dir/oci" history "$dir/1.tar" "$dir/2.tar"
id=$(imgd load --json -i "$dir/oci" |
    sed -n 's/.*Loaded image ID: \(sha256:[0-9a-f]*\).*/\1/p')
imgd tag "$id" told:1
steps='LABEL A=ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ…|0B|
ENV A=ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ|0B|
RUN make|0B|buildkit.v0
RUN set -eux; apt-get update; apt-get instal…|2kB|
CMD ["bash"]|0B|
ADD file:1 in /|1kB|'
told() {
	imgd history --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' told:1 |
	    tee "$dir/told"
	[ "$(cat "$dir/told")" = "$steps" ]
}
ok "each step in a few words" told
columns() {
	imgd history told:1 | tee "$dir/told"
	head -n 1 "$dir/told" | grep -q \
	    '^IMAGE  *CREATED  *CREATED BY  *SIZE  *COMMENT$' &&
	    sed -n 2p "$dir/told" | grep -q \
		"^$(echo "$id" | cut -c8-19)   1[0-9] years ago   LABEL" &&
	    [ "$(sed '1,2d' "$dir/told" | grep -c '^<missing>  ')" -eq 5 ]
}
ok "in columns" columns
recorded() {
	imgd history --no-trunc told:1 | tee "$dir/told"
	grep -F "$id" "$dir/told" && grep -qF \
	    '/bin/sh -c set -eux;\t\tapt-get   update;\n\tapt-get install' \
	    "$dir/told" && grep -q '#(nop)  CMD' "$dir/told"
}
ok "as recorded" recorded
objects() {
	imgd history --json told:1 | tee "$dir/told"
	[ "$(wc -l <"$dir/told")" -eq 6 ] && jq -es --arg id "$id" '
	    .[0].Id == $id and .[0].Tags == ["told:1"] and
	    .[5].Size == 1000 and .[5].Created == 1388534400 and
	    .[3].CreatedBy == "/bin/sh -c '"$long"'"' "$dir/told"
}
ok "one object for each step" objects
ids() { [ "$(imgd history -q told:1 | head -n 1)" = "$1" ]; }
ok "ids alone" ids "$(echo "$id" | cut -c8-19)"
refused "no such field" 'there is no .Colour' \
    imgd history --format '{{.Colour}}' told:1

cli_end
