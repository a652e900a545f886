#!/bin/sh
# shellcheck disable=SC2154 # make check sets srcdir and builddir
# Driver modules export imgd_driver_init and nothing else, and take the error
# object from the program.
set -u
n=0
for so in "$builddir"/drivers/*/.libs/imgd-*-driver.so; do
	name=${so##*/}
	n=$((n + 1))
	if [ "$(nm -D --defined-only "$so" | awk '{ print $3 }')" = \
	    imgd_driver_init ]; then
		echo "ok $n - $name exports imgd_driver_init alone"
	else
		echo "not ok $n - $name exports imgd_driver_init alone"
	fi
	n=$((n + 1))
	if nm "$so" | grep -Eq ' [TtDdBb] (imgd_error_|log_)'; then
		echo "not ok $n - $name has no error object or log of its own"
	else
		echo "ok $n - $name has no error object or log of its own"
	fi
done
echo "1..$n"
