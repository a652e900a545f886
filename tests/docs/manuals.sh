#!/bin/sh
# shellcheck disable=SC2154,SC2013 # make check sets srcdir and builddir
# Every verb has a manual page, every page is clean mdoc, and every page of
# ours that another names exists.
set -u
n=0

ok() {
	n=$((n + 1))
	echo "ok $n - $1"
}

not_ok() {
	n=$((n + 1))
	echo "not ok $n - $1"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

verbs=$("$builddir/imgd" help 2>/dev/null | awk '/^ +[a-z]+ / { print $1 }' |
    sort -u)
if [ -z "$verbs" ]; then
	not_ok "imgd help lists verbs"
fi
for verb in $verbs; do
	# help describes itself.
	[ "$verb" != help ] || continue
	if [ -f "$srcdir/man/imgd-$verb.1" ]; then
		ok "imgd $verb has a manual page"
	else
		not_ok "imgd $verb has a manual page"
	fi
done

# Options that a verb's usage shows.
for verb in $verbs; do
	page=$srcdir/man/imgd-$verb.1
	[ -f "$page" ] || continue
	missing=
	for option in $("$builddir/imgd" help "$verb" | sed -n 1p |
	    grep -Eo -- '-[a-z-]+[]  ]' | tr -d '] '); do
		case $option in
		--*) pattern="Fl Fl ${option#--}" ;;
		*) pattern="Fl ${option#-}" ;;
		esac
		grep -Eq "$pattern( |\$)" "$page" ||
		    missing="$missing $option"
	done
	if [ -z "$missing" ]; then
		ok "imgd-$verb.1 has every option"
	else
		not_ok "imgd-$verb.1 has every option" "missing:$missing"
	fi
done

# Keys of the configuration, and variables of the environment.
missing=
for key in $(sed -n 's/^.*\[KEY_[A-Z_]*\] = "\(.*\)".*/\1/p' \
    "$srcdir/core/daemon-config.c"); do
	grep -Fqx ".It Cm $key" "$srcdir/man/imgd-daemon.json.5" ||
	    missing="$missing $key"
done
if [ -z "$missing" ]; then
	ok "imgd-daemon.json.5 has every key"
else
	not_ok "imgd-daemon.json.5 has every key" "missing:$missing"
fi
missing=
for name in $(cd "$srcdir" && find cli core lib registry server tagstore drivers \
    -name '*.c' -exec grep -Eho '[^_]getenv\("[A-Za-z_]*"' {} + |
    sed 's/.*"\(.*\)"/\1/' | sort -u); do
	grep -Eq "(Ev|It Ev)( [A-Z_]+ ,)* $name( |\$)" "$srcdir/man/imgd.8" ||
	    missing="$missing $name"
done
if [ -z "$missing" ]; then
	ok "imgd.8 has every variable of the environment"
else
	not_ok "imgd.8 has every variable of the environment" \
	    "missing:$missing"
fi

if command -v mandoc >/dev/null; then
	for page in "$srcdir"/man/*.[1-8]; do
		# Whether other pages are found depends on what is installed.
		lint=$(mandoc -Tlint "$page" 2>&1 |
		    grep -Ev 'referenced manual not found|mandoc\.db')
		if [ -z "$lint" ]; then
			ok "${page##*/} is clean mdoc"
		else
			not_ok "${page##*/} is clean mdoc" "$lint"
		fi
	done
else
	n=$((n + 1))
	echo "ok $n - manual pages are clean mdoc # SKIP mandoc is missing"
fi

for ref in $(cat "$srcdir"/man/*.[1-8] | sed -n \
    's/^\.Xr \(imgd[a-z.-]*\) \([1-8]\).*/\1.\2/p' | sort -u); do
	if [ -f "$srcdir/man/$ref" ]; then
		ok "$ref, which others name, exists"
	else
		not_ok "$ref, which others name, exists"
	fi
done
echo "1..$n"
