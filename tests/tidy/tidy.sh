#!/bin/sh
# Checks the checkout that the runfiles' WORKSPACE file really lies in.
root=$(dirname "$(readlink -f WORKSPACE)")
exec python3 -B tests/tidy/tidy.py "$root"
