/* proto/statement/entry.h - log entries as bytes: canonical, padded, committed to (formats 6). Pure. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/chartmesh/v1/log.pb-c.h"

enum { ENTRY_UNIT = 256 };       /* an entry's encoding is a multiple of it */

/* entry_pack sorts the entry's sets, sets its padding (the smallest count of zero bytes, maybe none, that makes
 * the encoding a multiple of 256) and packs it. ERR_INVALID: the entry breaks a rule of form. */
NODISCARD bool entry_pack(Chartmesh__V1__Entry *entry, struct arena *arena, struct bytes *out, struct err *err);

/* entry_unpack reads an entry in canonical form with the only padding it may have. */
NODISCARD bool entry_unpack(struct bytes bytes, struct arena *arena, Chartmesh__V1__Entry **out, struct err *err);

/* entry_commitment returns C = SHA-256("chartmesh entry v1\n" || r || entry). */
struct hash entry_commitment(const struct hash *r, struct bytes entry);

/* leaf_data is all that the log's tree holds of an entry: "chartmesh leaf v1\n" || C. */
enum { LEAF_DATA_LEN = 18 + HASH_LEN };
struct leaf {
    uint8_t bytes[LEAF_DATA_LEN];
};
struct leaf leaf_data(const struct hash *commitment);

/* actor_id returns the name of (principal, user) in one log; `user` may be "" or NULL. */
struct hash actor_id(const struct hash *salt, const char *principal, const char *user);
