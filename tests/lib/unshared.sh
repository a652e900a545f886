# shellcheck shell=sh
# shellcheck disable=SC2154 # make check sets builddir
# A mount namespace of the test's own: what it mounts goes with it.  Source it
# before all else: the script is run once more, inside.  $unshare has further
# options of unshare(1).
if [ "${IMGD_TEST_UNSHARED:-}" != "$0" ]; then
	# shellcheck disable=SC2086 # a list of options
	IMGD_TEST_UNSHARED=$0 exec unshare -m ${unshare:-} sh "$0" "$@"
fi
# The new namespace has copies of what other tests have mounted just now, which
# would keep that in use after they have unmounted it.
cut -d' ' -f5 /proc/self/mountinfo | sort -r | while IFS= read -r copy; do
	case $copy in
	"${TMPDIR:-/tmp}"/imgd-* | "$builddir"/suite-*)
		umount -l "$copy" ;;
	esac
done
