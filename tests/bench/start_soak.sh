#!/bin/sh
# The long form of start.kill: as many versions as the time allows, a million at most, then kill -9 and a start.
set -eu
versions=$((${CHARTMESH_SOAK_MINUTES:-1} * 60 * 600))
[ "$versions" -le 1000000 ] || versions=1000000
out=$(mktemp "${TMPDIR:-/tmp}/chartmesh-start.XXXXXX")
trap 'rm -f "$out"' EXIT
CHARTMESH_BIN=$PWD python3 tests/bench/bench.py --quick --only start.kill bytes.document --versions "$versions" --json "$out"
python3 - "$out" "$versions" <<'END'
import json, sys
ours = {row["name"]: row["ours"] for row in json.load(open(sys.argv[1], encoding="utf-8"))["rows"]}
print(f"{sys.argv[2]} versions: serving {ours['start.kill']:.2f} s after kill -9, {ours['bytes.document']:.0f} bytes each")
END
