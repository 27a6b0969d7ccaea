#!/bin/sh
# canary_test.sh PROGRAM CORPUS PLACES: the replay must find each of the bugs 1 to PLACES (tests/fuzz/fuzz.h), and no
# other.
set -u
program=$1 corpus=$2 places=$3
place=1
CANARY=0 "$program" "$corpus" >/dev/null 2>&1 || { echo "breaks without a bug"; exit 1; }
while [ "$place" -le "$places" ]; do
    CANARY=$place "$program" "$corpus" >/dev/null 2>&1
    code=$?
    [ "$code" -ge 128 ] || { echo "bug $place: not found (exit code $code)"; exit 1; }
    place=$((place + 1))
done
echo "$places bugs found"
