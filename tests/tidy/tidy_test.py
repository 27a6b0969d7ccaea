"""A tree full of violations: tidy finds each of them, and nothing in a tree without."""

import os
import sys
import tempfile

import tidy

GOOD = {
    "README.md": "[how](docs/architecture.md#top) [there](https://chartmesh.example)\n",
    "docs/architecture.md": "hello\n",
    "proto/base/BUILD": '"err.h", "err.c", "err_test.c"\n',
    "proto/base/err.h": '/* proto/base/err.h - errors. */\n#pragma once\n\n#include <stdint.h>\n',
    "proto/base/err.c": '#include "proto/base/err.h"\n\n/* never strcpy() */\nconst char *a = "system(1)";\n',
    "proto/base/err_test.c": '#include "proto/base/err.h"\n#include "tests/lib/test.h"\n/* MALFORMED TOO_LARGE */\n',
    "proto/crypto/BUILD": '"hash.c"\n',
    "proto/crypto/hash.c": '#include <openssl/evp.h>\n#include "proto/base/err.h"\n',
    "proto/chartmesh/v1/common.proto": "  ERROR_REASON_MALFORMED = 1;\n",
    "docs/protocol/09-errors.md": "`MALFORMED` `UNTESTED`\n",
    "proto/vectors/hash.txt": "00\n",
    "tests/lib/hash_test.c": '/* reads hash.txt */\n',
    "tests/lib/BUILD": '"hash_test.c"\n',
}

LONG = "void f(int a,\n       int b)\n{\n" + "    g();\n" * 71 + "}\n"

# (case, path, text, what the finding says)
BAD = [
    ("a folder at the top", "lib/README.md", "x\n", "no folder 'lib' at the top"),
    ("a file at the top", "notes.txt", "x\n", "not a root file"),
    ("OpenSSL outside its door", "proto/base/err.c", "#include <openssl/evp.h>\n", "only in proto/crypto"),
    ("gRPC in the node", "proto/base/err.c", "#include <grpc/grpc.h>\n", "only in proto/rpc"),
    ("RocksDB outside the store", "proto/base/err.c", "#include <rocksdb/c.h>\n", "only in node/store"),
    ("zstd outside content", "proto/base/err.c", "#include <zstd.h>\n", "only in proto/content"),
    ("threads outside world", "proto/base/err.c", "#include <pthread.h>\n", "threads belong to node/world"),
    ("a clock outside world", "proto/base/err.c", "#include <time.h>\n", "time comes from node/world"),
    ("reading a clock", "proto/base/err.c", "int t = time(0);\n", "time: time comes from node/world"),
    ("an unknown library", "proto/base/err.c", "#include <curl/curl.h>\n", "has no door"),
    ("files in a pure folder", "proto/base/err.c", "#include <fcntl.h>\n", "is pure"),
    ("an include upwards", "proto/base/err.c", '#include "proto/crypto/hash.h"\n', "proto/base may not include"),
    ("tests from production", "proto/base/err.c", '#include "tests/lib/test.h"\n', "proto/base may not include"),
    ("an include without a path", "proto/base/err.c", '#include "err.h"\n', "write the path from the root"),
    ("a folder without a rule", "proto/other/a.c", '#include "proto/base/err.h"\n', "no rule for this folder"),
    ("a header without its comment", "proto/base/err.h", "#pragma once\n\n", "begin with '/* proto/base/err.h - "),
    ("a header without a guard", "proto/base/err.h", "/* proto/base/err.h - x */\n", "add '#pragma once'"),
    ("a banned call", "proto/base/err.c", "int x = atoi(y);\n", "atoi: use strtol"),
    ("a function too long", "proto/base/err.c", LONG, "f has 71 lines (limit 70)"),
    ("a file too long", "docs/architecture.md", "x\n" * 1501, "split it by concept"),
    ("a tab", "proto/base/err.c", "\tint a;\n", "a tab"),
    ("an unfinished note", "proto/base/err.c", "/* TO" + "DO: later */\n", "do it, or file an issue"),
    ("a home folder", "README.md", "see /home/anna\n", "name no home folder"),
    ("a private address", "README.md", "see 192.168.1.7\n", "use 127.0.0.1"),
    ("a file in no target", "proto/base/extra.c", "int a;\n", "in no target"),
    ("a broken link", "README.md", "[x](docs/none.md)\n", "there is no such file"),
    ("an unexplained reason", "proto/chartmesh/v1/common.proto", "  ERROR_REASON_TOO_LARGE = 4;\n",
     "TOO_LARGE is not explained"),
    ("a reason without a test", "proto/chartmesh/v1/common.proto", "  ERROR_REASON_UNTESTED = 5;\n",
     "no test demands UNTESTED"),
    ("unread vectors", "proto/vectors/other.txt", "00\n", "no test reads these vectors"),
]


def findings_of(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        return tidy.findings(root)


def report(name, good, found):
    print(f"[{'       OK' if good else '  FAILED '} ] {name.replace(' ', '_')}")
    if not good:
        print("\n".join(found) or "no finding")
    return good


def main():
    clean = findings_of(GOOD)
    results = [report("a tree that keeps the rules", not clean, clean)]
    for name, path, text, says in BAD:
        found = findings_of({**GOOD, path: text})
        mine = [line for line in found if line.startswith(path + ":") and says in line]
        results.append(report(name, bool(mine), found))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
