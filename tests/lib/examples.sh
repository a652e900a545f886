# shellcheck shell=sh
# shellcheck disable=SC2154 # make check sets builddir
# Build the drivers below examples/ as others do: from what is installed in
# $(builddir)/stage.  Source it; then
#
#     build_example NAME DIR [VARIABLE=VALUE…]
#                             builds a copy of driver-NAME in DIR/driver-NAME
#                             with its own Makefile, and sets module to the
#                             path of its module
#
# A log of the build is in DIR/driver-NAME.log.

stage=$builddir/stage

build_example() {
	example=$2/driver-$1
	examples=$(find "$stage" -path '*/doc/*/examples/driver-minimal')
	pc=$(find "$stage" -name imgd-driver.pc)
	cp -R "${examples%/*}/driver-$1" "$2/" || return 1
	example_log=$example.log
	shift 2
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
	    PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$stage" \
	    make -C "$example" "$@" >"$example_log" 2>&1 || {
		cat "$example_log" >&2
		return 1
	}
	module=$(find "$example" -name 'imgd-*-driver.so')
	[ -n "$module" ]
}
