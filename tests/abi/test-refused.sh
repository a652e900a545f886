#!/bin/sh
# shellcheck disable=SC2154 # cli.sh sets dir
# Modules that are not what they should be are refused by name in one clear
# line, and the engine lives.
. "$srcdir/tests/lib/cli.sh"
so=imgd-bad-driver.so
include=$(dirname "$(dirname "$(find "$builddir/stage" \
    -path '*/imgd/driver.h')")")

registry_start "$dir/registry" || exit 99
printf x >"$dir/x"
tar -C "$dir" -cf "$dir/x.tar" x
"$lib/make-oci.py" "$dir/oci" 0 "$dir/x.tar"
registry_push "$dir/oci:0" t/one:1 || exit 99
image=127.0.0.1:$registry_port/t/one:1
ok "a store to begin with" imgd pull -q --driver=vfs "$image"

# build DIR [MACRO]: sets module.
build() {
	mkdir -p "$dir/$1"
	module=$dir/$1/$so
	${CC:-cc} -Wall -Wextra -Werror -fPIC -shared ${2:+-D$2} \
	    -I"$include" -o "$module" "$srcdir/tests/abi/refused.c" || exit 99
}

refused_module() { # NAME PATTERN
	refused "$1" "imgd-bad-driver.*$2" imgd pull -q \
	    --driver="$module" "$image"
}

build whole
refused "a sound module gets as far as its probe" \
    "driver bad: probe was called" imgd pull -q --driver="$module" "$image"
build api OTHER_API
refused_module "another api number" "api 2, this imgd has 1"
build name OTHER_NAME
refused_module "another name than the file's" "calls itself driver good"
build symbol WITHOUT_SYMBOL
refused_module "without the symbol" "has no imgd_driver_init"
build small TOO_SMALL
refused_module "a table that is too small" "table is too small"
build table NO_TABLE
refused_module "no table" "table is too small"
build get NO_GET
refused_module "a required operation missing" "required operation is missing"

build file
chmod o+w "$module"
refused_module "a file that others may write" "others may write"
build group
chmod g+w "$module"
refused_module "a file that a group may write" "others may write"
build directory
chmod o+w "$dir/directory"
refused "a directory that others may write" \
    "$dir/directory: not loaded, others may write" \
    imgd pull -q --driver="$module" "$image"
build owner
chown 12345 "$module"
refused_module "a file that is not root's" "others may write"
build no-module
printf 'not a module' >"$module"
refused_module "no module at all" "imgd-bad-driver"
refused "a file that is not there" "no such driver: $dir/nowhere/$so" \
    imgd pull -q --driver="$dir/nowhere/$so" "$image"

# It is to die of it, whatever else would like to tell of that.
wait_for_engine
ASAN_OPTIONS=$ASAN_OPTIONS:handle_segv=0
build crash CRASHES
refused "one that crashes in probe" \
    "driver bad: crashes: Segmentation fault" \
    imgd pull -q --driver="$module" "$image"
ok "the store is as good as before" imgd fsck --deep

# In an engine that somebody else is using.
crash_beside() {
	"$program" --root "$root" --config "$dir/daemon.json" pull -q \
	    --driver="$module" "$image" </dev/null 2>"$dir/err" &
	crashing=$!
	imgd pull -q --driver=vfs "$image" || return 1
	wait $crashing
	status=$?
	cat "$dir/err"
	[ $status -eq 1 ] && grep -q "crashes: " "$dir/err"
}
# An engine once took the status of the process that crashed, now and then.
often() {
	for _ in 1 2 3 4 5 6 7 8; do
		crash_beside || return 1
	done
}
ok "another pull at the same time succeeds" often
cli_end
