/* tests/disk/work.h - a node at work: what was acknowledged is kept, and what a later start has of it is judged.
 */
#pragma once

#include "tests/lib/nodes.h"
#include "tests/lib/on_disk.h"

enum { WORK_ACKS_MAX = 4096 };

/* What a client holds after an answer: a document's version with the hash of its content, or a checkpoint. */
struct ack {
    enum { ACK_VERSION = 1, ACK_CHECKPOINT } kind;
    struct id patient, document;
    struct hash content;
    uint64_t size;                       /* of the log */
    struct hash root;
};

/* work_register registers a patient. work_put writes a document of `len` drawn bytes, reads it back and keeps what
 * was answered in *out; both false when the node did not answer. work_checkpoint asks for the newest checkpoint.
 */
NODISCARD bool work_register(struct chartmesh *node, struct id *patient, struct err *err);
NODISCARD bool work_put(struct chartmesh *node, const struct id *patient, size_t len, struct ack *out,
                        struct err *err);
NODISCARD bool work_get(struct chartmesh *node, const struct ack *ack, struct err *err);
NODISCARD bool work_checkpoint(struct chartmesh *node, struct ack *out, struct err *err);

/* work_holds judges a node opened here by what was acknowledged: every document can be read and is the one that
 * was written, the log has every checkpoint's size and root. ERR_CORRUPT or the node's own error: what is missing.
 */
NODISCARD bool work_holds(struct on_disk *node, const struct ack *acks, size_t count, struct err *err);
