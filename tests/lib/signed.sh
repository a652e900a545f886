# shellcheck shell=sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Keys, and signed images at a registry, for tests that have sourced cli.sh:
#
#     make_keys                  KEY.key and KEY.pub in $dir: ec, other, ec384,
#                                ec521, ed, rsa
#     push_image REPOSITORY TAG  a small image of its own, to t/REPOSITORY
#     push_index REPOSITORY NAME:TAG
#                                a small image that only an index at
#                                t/REPOSITORY:1 names; the first is amd64's
#     digest_of REPOSITORY       what was pushed there
#     sign [OPTION…] REPOSITORY DIGEST [KEY…]
#                                as tests/lib/sign.py

make_keys() {
	for curve in ec:P-256 other:P-256 ec384:P-384 ec521:P-521; do
		openssl genpkey -algorithm EC \
		    -pkeyopt "ec_paramgen_curve:${curve#*:}" \
		    -out "$dir/${curve%:*}.key"
	done
	openssl genpkey -algorithm ED25519 -out "$dir/ed.key"
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
	    -out "$dir/rsa.key" 2>/dev/null
	for key in ec other ec384 ec521 ed rsa; do
		openssl pkey -in "$dir/$key.key" -pubout -out "$dir/$key.pub"
	done
}

make_layout() { # TAG [OPTION…]
	printf '%s' "$1" >"$dir/$1"
	tar -C "$dir" -cf "$dir/$1.tar" "$1"
	layout_tag=$1
	shift
	"$lib/make-oci.py" "$@" "$dir/oci" "$layout_tag" "$dir/$layout_tag.tar"
}

# DIGEST of a manifest at t/REPOSITORY:TAG
manifest_digest() {
	curl -s --noproxy '*' "http://127.0.0.1:$registry_port/v2/t/$1/manifests/$2" \
	    -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
	    -H 'Accept: application/vnd.oci.image.index.v1+json' | sha256sum |
	    sed 's/\([0-9a-f]*\).*/sha256:\1/'
}

push_image() {
	make_layout "$1"
	registry_push "$dir/oci:$1" "t/$1:$2"
	manifest_digest "$1" "$2" >"$dir/digest-$1"
}

push_index() {
	arch=amd64
	[ ! -e "$dir/index-$1" ] || arch=s390x
	make_layout "${2%:*}" --arch $arch
	registry_push "$dir/oci:${2%:*}" "t/$1:${2%:*}"
	manifest_digest "$1" "${2%:*}" >"$dir/digest-${2%:*}"
	printf '%s{"mediaType":"application/vnd.oci.image.manifest.v1+json",' \
	    "$(sed 's/$/,/' "$dir/index-$1" 2>/dev/null)" >"$dir/entry"
	printf '"digest":"%s","size":%s,' "$(digest_of "${2%:*}")" \
	    "$(curl -s --noproxy '*' -H \
	    'Accept: application/vnd.oci.image.manifest.v1+json' \
	    "http://127.0.0.1:$registry_port/v2/t/$1/manifests/${2%:*}" |
	    wc -c)" >>"$dir/entry"
	printf '"platform":{"os":"linux","architecture":"%s"}}' $arch \
	    >>"$dir/entry"
	mv "$dir/entry" "$dir/index-$1"
	printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' \
	    application/vnd.oci.image.index.v1+json "$(cat "$dir/index-$1")" \
	    >"$dir/index.json"
	curl -sf --noproxy '*' -X PUT --data-binary "@$dir/index.json" \
	    -H 'Content-Type: application/vnd.oci.image.index.v1+json' \
	    "http://127.0.0.1:$registry_port/v2/t/$1/manifests/1"
	manifest_digest "$1" 1 >"$dir/digest-$1"
}

digest_of() {
	cat "$dir/digest-$1"
}

sign() {
	sign_options=
	while :; do
		case $1 in
		--append | --referrers) sign_options="$sign_options $1" ;;
		*) break ;;
		esac
		shift
	done
	sign_value=
	case $1 in
	--*)
		sign_flag=$1 sign_value=$2
		shift 2
		;;
	esac
	sign_repository=$1 sign_digest=$2
	shift 2
	for key; do
		shift
		set -- "$@" "$dir/$key.key"
	done
	# shellcheck disable=SC2086 # a list of options
	"$lib/sign.py" $sign_options \
	    ${sign_value:+"$sign_flag" "$sign_value"} \
	    "http://127.0.0.1:$registry_port/t/$sign_repository" \
	    "$sign_digest" "$@"
}
