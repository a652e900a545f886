# shellcheck shell=sh
# The Debian packages that imgd needs, and how they are installed without
# starting any service.  Source it as root.
# shellcheck disable=SC2034 # the lists are for those who source this

BUILD_PACKAGES="autoconf automake gcc libarchive-dev libbz2-dev libc6-dev
libcurl4-openssl-dev libdevmapper-dev libext2fs-dev libgnutls28-dev libisal-dev
libjson-c-dev liblzma-dev libmicrohttpd-dev libseccomp-dev libsqlite3-dev
libssl-dev libtool libzstd-dev make pkg-config zlib1g-dev"

# To serve an image to ourselves and look at it.
DEMO_PACKAGES="ca-certificates curl docker-registry procps python3 skopeo
util-linux"

# user-mode-linux and kmod: a kernel with a device-mapper, in a process.
TEST_PACKAGES="acl attr binutils bsdutils btrfs-progs clang-tidy cppcheck crun
cryptsetup-bin dmsetup docker.io e2fsprogs erofs-utils fuse-overlayfs g++
iproute2 jq kmod libcap2-bin libcmocka-dev libfaketime mandoc openssl
python3-docker sqlite3 squashfs-tools strace thin-provisioning-tools umoci
user-mode-linux valgrind xfsprogs"

# What imgd is measured against, and how.
BENCH_PACKAGES="containerd docker.io e2fsprogs podman skopeo strace umoci"

policy=/usr/sbin/policy-rc.d
policy_is_ours=

# A policy that was there before us stays as it is.
policy_deny() {
	if [ ! -e $policy ]; then
		policy_is_ours=yes
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
}

policy_restore() {
	if [ -n "$policy_is_ours" ]; then
		rm -f $policy
		policy_is_ours=
	fi
}

# install_packages NAME…: those that are missing, by name, from apt.
install_packages() {
	missing=
	for package in "$@"; do
		case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
		"install ok installed") ;;
		*) missing="$missing $package" ;;
		esac
	done
	[ -n "$missing" ] || return 0
	echo "installing:$missing"
	policy_deny
	trap policy_restore EXIT
	trap 'exit 1' HUP INT TERM
	status=0
	# shellcheck disable=SC2086 # a list of names
	{ apt-get -qq update &&
	    DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		--no-install-recommends install $missing; } </dev/null ||
	    status=$?
	policy_restore
	trap - EXIT HUP INT TERM
	if [ $status -ne 0 ]; then
		echo "apt-get could not install:$missing" >&2
	fi
	return $status
}
