#!/bin/sh
# Recipes that lie in a store: whoever needs the tar is told, with one line, and
# nothing outside of the layer is read; fsck finds each.
. "$srcdir/tests/lib/cli.sh"
unset IMGD_LEAKS # so that workers are confined
evil=$srcdir/tests/evil
mkdir "$dir/tree" "$dir/tree/dir"
head -c 100 /dev/zero >"$dir/tree/file"
mkfifo "$dir/tree/pipe"
mknod "$dir/tree/null" c 1 3
ln -s /etc/passwd "$dir/tree/host"
ln -s /etc "$dir/tree/etc"
tar -C "$dir/tree" -cf "$dir/layer.tar" .
"$lib/make-oci.py" "$dir/oci" 1 "$dir/layer.tar"
skopeo --insecure-policy copy --quiet "oci:$dir/oci:1" \
    "docker-archive:$dir/image.tar:evil:1" </dev/null || exit 99
diff_id=sha256:$(sha256sum <"$dir/layer.tar" | cut -c1-64)
"$evil/evil_recipes.py" "$dir/recipes" "$diff_id" \
    "$(stat -c %s "$dir/layer.tar")" || exit 99
imgd load -q --driver="$driver" -i "$dir/image.tar" >/dev/null || exit 99
recipe=$(find "$root/recipes" -type f)
[ -f "$recipe" ] || exit 99
cp "$recipe" "$dir/sound"

# Limits of a quiet machine several times over: a fifo must hold nobody up.
slow() {
	timeout 60 "$program" --root "$root" --config "$dir/daemon.json" "$@" \
	    </dev/null
}
for file in "$dir"/recipes/*; do
	name=${file##*/}
	cp "$file" "$recipe"
	refused "$name: save" "layer [0-9a-f]{12}: " \
	    slow save -o "$dir/saved" evil:1
	[ ! -e "$dir/saved" ]
	result $? "$name: no archive is left"
done
for name in path-up path-is-a-fifo region-endless chunk-bomb; do
	cp "$dir/recipes/$name" "$recipe"
	ok "$name: fsck --deep" fsck_says 1 "." --deep
done
cp "$dir/sound" "$recipe"
ok "the sound recipe does it" imgd save -o "$dir/saved" evil:1
cli_end
