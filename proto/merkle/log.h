/* proto/merkle/log.h - what of an entry the tree holds, and who acted (formats 6).
 *
 * A leaf says nothing: it is a constant label and a commitment that hides the entry behind 32 random bytes (I21). */
#pragma once

#include "proto/base/bytes.h"

#define LOG_LEAF_LABEL "chartmesh leaf v1\n"
enum { LOG_LEAF_LEN = sizeof LOG_LEAF_LABEL - 1 + HASH_LEN };

/* log_commitment: C = SHA-256("chartmesh entry v1\n" || r || entry). */
struct hash log_commitment(const struct hash *r, struct bytes entry);

/* log_leaf_data writes "chartmesh leaf v1\n" || C: what entry bundles carry. log_leaf is its RFC 6962 leaf hash. */
void log_leaf_data(const struct hash *commitment, uint8_t out[LOG_LEAF_LEN]);
struct hash log_leaf(const struct hash *commitment);

/* log_actor: SHA-256("chartmesh actor v1\n" || salt || u32be len || principal || u32be len || user). */
struct hash log_actor(const struct hash *salt, struct bytes principal, struct bytes user);
