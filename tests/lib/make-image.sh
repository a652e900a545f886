#!/bin/sh
# Make a real image out of the files of installed Debian packages, as an OCI
# layout: make-image.sh [--small] [--near] DIR TAG.  See make-image.py.
exec python3 "$(dirname "$0")/make-image.py" "$@"
