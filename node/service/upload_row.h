/* node/service/upload_row.h - what is durable of an upload that is not finished. Only the uploads' own files
 * include it.
 *
 * FAMILY_META  "u" who name   sealed: hash of the header, document, content id, P, salt, when, length, chunks, the
 *                             two trees' peaks. `who` is a keyed hash of the principal: its uploads stand together
 */
#pragma once

#include "node/service/service_inside.h"
#include "proto/content/content.h"

struct upload_key {
    uint8_t bytes[1 + ID_LEN + HASH_LEN];
};

struct upload_state {
    struct hash same;                    /* of the header without if_heads */
    struct id document, content, p;
    struct hash salt;
    uint64_t touched_ms, length;
    struct content_tree tree, import;    /* of the chunks that are durable; without salt */
};

/* upload_who names a principal, upload_key one of its uploads by its retry_name. */
struct id upload_who(const struct service_call *call);
struct upload_key upload_key(const struct id *who, const struct hash *name);

/* upload_get: *found false: there is none. upload_put stamps it with the time. */
NODISCARD bool upload_get(struct service *service, const struct upload_key *key, struct upload_state *out,
                          bool *found, struct err *err);
NODISCARD bool upload_put(struct service *service, struct log_txn *txn, const struct upload_key *key,
                          struct upload_state *state, struct err *err);
void upload_forget(struct log_txn *txn, const struct upload_key *key);

/* upload_drop forgets it with its chunks and their key. The caller holds the lock of state->p. */
NODISCARD bool upload_drop(struct service *service, struct log_txn *txn, const struct upload_key *key,
                           const struct upload_state *state, struct err *err);

/* upload_each calls `fn` for every one of `who` (NULL: of everybody) until it sets *stop or fails. */
typedef bool (*upload_fn)(void *context, const struct upload_key *key, const struct upload_state *state,
                          bool *stop, struct err *err);
NODISCARD bool upload_each(struct service *service, const struct id *who, upload_fn fn, void *context,
                           struct err *err);
