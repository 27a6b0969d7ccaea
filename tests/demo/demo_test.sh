#!/bin/bash
# The demo from beginning to end, and what it leaves: the bundle proves with verify.args, and with one byte changed
# it does not. demo_test.sh BIN ROOT: where the programs and the sources are.
set -euo pipefail

CHARTMESH_BIN=$(cd "$1" && pwd)
CHARTMESH_ROOT=$(cd "$2" && pwd)
export CHARTMESH_BIN CHARTMESH_ROOT
kept=${TEST_TMPDIR:-$(mktemp -d)}/kept
trap 'rm -rf "$kept"' EXIT

fail() { echo "demo_test: $*" >&2; exit 1; }

"$CHARTMESH_ROOT/tests/demo/demo.sh" --keep "$kept" || fail "the demo failed"

for file in trust evidence.cmevid verify.args {hospital,clinic,laboratory}/{chartmeshd.conf,data}; do
    [ -e "$kept/$file" ] || fail "$file is not left"
done
[ "$(wc -l <"$kept/verify.args")" -eq 1 ] || fail "verify.args is not one line"
# shellcheck disable=SC2062 # the pattern is a list of files
left=$(printf "%s" "$kept" | grep -slF --file - /proc/[0-9]*/cmdline || true)
[ -z "$left" ] || fail "left running: $left"

# shellcheck disable=SC2046 # verify.args is a list of words
verify() { "$CHARTMESH_BIN/client/chartmesh" audit verify $(cat "$kept/verify.args") "$1" >/dev/null; }
verify "$kept/evidence.cmevid" || fail "evidence.cmevid is not proved with verify.args (exit code $?)"

length=$(wc -c <"$kept/evidence.cmevid")
for offset in 9 $((length / 3)) $((length / 2)) $((length - 1)); do
    python3 -c 'import sys
content = bytearray(open(sys.argv[1], "rb").read())
content[int(sys.argv[2])] ^= 0x40
open(sys.argv[3], "wb").write(content)' "$kept/evidence.cmevid" "$offset" "$kept/flipped"
    status=0
    verify "$kept/flipped" || status=$?
    [ "$status" -eq 3 ] || [ "$status" -eq 4 ] || fail "byte $offset changed: exit code $status"
done
echo "demo_test: the demo did all it says, and its evidence holds only as it is"
