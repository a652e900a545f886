#!/bin/sh
# shellcheck disable=SC2154 # cli.sh sets dir, examples.sh sets module
# Drivers built by others are used by path: what is pulled is as with vfs, can
# be checked, and goes again.
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/lib/examples.sh"
registry_start "$dir/registry" || exit 99
use_mirror "$registry_port"

python3 - "$dir" <<'EOT'
import io, sys, tarfile
def layer(n, entries):
    with tarfile.open("%s/%d.tar" % (sys.argv[1], n), "w") as tar:
        for name, mode, text in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, 1000000000
            if text is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif mode == 0:
                info.type, info.linkname, info.mode = tarfile.LNKTYPE, text, 0o644
                tar.addfile(info)
            else:
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
layer(0, [("d", 0o755, None), ("d/kept", 0o644, "kept"),
    ("d/mode", 0o644, "mode"), ("d/text", 0o644, "text"),
    ("d/one", 0o644, "names"), ("d/two", 0, "d/one"),
    ("d/twin", 0o644, "twin"), ("d/gone", 0o644, "gone")])
layer(1, [("d/mode", 0o600, "mode"), ("d/text", 0o644, "TEXT"),
    ("d/.wh.gone", 0o644, ""), ("d/new", 0o644, "new")])
layer(2, [("d/third", 0, "d/kept")])
EOT
"$lib/make-oci.py" "$dir/oci" 1 "$dir/0.tar" "$dir/1.tar" "$dir/2.tar"
registry_push "$dir/oci:1" library/one:1 || exit 99

# The tree of one:1 as the driver shows it.
tree() { # DRIVER
	mkdir -p "$dir/mnt"
	imgd mount --driver="$1" one:1 "$dir/mnt" || return 1
	"$lib/tree-list.py" "$dir/mnt"
	status=$?
	imgd umount "$dir/mnt" || return 1
	return $status
}

same_tree() { # DRIVER
	tree "$1" >"$dir/tree" && diff "$dir/vfs-tree" "$dir/tree"
}

ok "vfs to compare with" imgd pull -q --driver=vfs one:1
tree vfs >"$dir/vfs-tree" || exit 99

for name in minimal hardlink; do
	build_example $name "$dir" || exit 99
	ok "$name: pulled by path" imgd pull -q --driver="$module" one:1
	ok "$name: the tree is that of vfs" same_tree "$module"
	ok "$name: again" imgd pull -q --driver="$module" one:1
done

# Inode numbers that are in the trees of two layers or more.
n_shared() {
	for layer in "$root"/drivers/hardlink/*/tree; do
		find "$layer" -type f -name "$1" -printf '%i\n' | sort -u
	done | sort | uniq -d | wc -l
}
shared() { [ "$(n_shared "$1")" -eq "$2" ]; }
ok "an unchanged file is one for all layers" shared kept 1
ok "a changed one is shared by those that have the change" shared text 1
ok "a mode of its own does not reach the parent" shared mode 1
ok "files with several names stay copies" shared one 0
cli_end
