/* tests/bench/primitives.h - what an operation is made of, each part measured alone in this very run. */
#pragma once

#include "tests/bench/bench.h"

struct primitives {
    struct bench sign, verify, sha256, gcm_seal, gcm_open, pack, unpack;    /* one thread; documents of 2 KiB */
    struct bench append;         /* one 4 KiB page appended to a file, then fdatasync */
    struct bench commit;         /* a small synced batch through node/store: the rows of one document */
    struct bench commit_group;   /* the rows of 64 documents in one batch */
    struct bench commit_reads;   /* the rows of 64 read entries in one batch */
    struct bench up, down;       /* echo over mutual TLS, 64 in flight: 2 KiB to the server, 2 KiB from it */
};

/* primitives_measure takes `seconds` for each, files below `folder`. No runtime of proto/rpc may be open. */
void primitives_measure(const char *folder, double seconds, struct primitives *out);
void primitives_print(const struct primitives *primitives);
