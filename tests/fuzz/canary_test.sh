#!/bin/sh
# The replay of a target that breaks must fail.
if tests/fuzz/canary_fuzz tests/fuzz/corpus/canary_fuzz 2>/dev/null; then
    echo "a broken target passed its replay"
    exit 1
fi
