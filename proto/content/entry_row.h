/* proto/content/entry_row.h - log entries and other statements that name a subject, at rest (formats 8).
 *
 * An entry is sealed twice: the outer seal, under the facility's log key, hides even whose it is; the inner one,
 * under the audit key of the patient and year (or the facility's), is what erasing that key destroys. Both keys
 * are derived with a fresh random n and used once, so their nonce is 12 zero bytes. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

/* entry_row_seal makes the row of the entry whose opening is (r, entry) and whose commitment is `commitment`.
 * `key_ref` is P of the subject, or zeros when `audit_key` is the facility's. ERR_TOO_MUCH: the arena's budget. */
NODISCARD bool entry_row_seal(const struct hash *log_key, const struct hash *audit_key, const struct id *key_ref,
                              const struct hash *commitment, const struct hash *r, struct bytes entry,
                              struct arena *arena, struct bytes *out, struct err *err);

/* What the outer seal gives: whose audit key opens the rest. `sealed` lives in the arena. */
struct entry_row {
    struct hash n;
    struct id key_ref;
    struct bytes sealed;
};

/* entry_row_read opens the outer seal. ERR_CORRUPT: not this log's row of that commitment. */
NODISCARD bool entry_row_read(const struct hash *log_key, const struct hash *commitment, struct bytes row,
                              struct arena *arena, struct entry_row *out, struct err *err);

/* entry_row_open opens the inner seal. ERR_CORRUPT: another audit key. */
NODISCARD bool entry_row_open(const struct entry_row *row, const struct hash *audit_key,
                              const struct hash *commitment, struct arena *arena, struct hash *r,
                              struct bytes *entry, struct err *err);

/* statement_row_seal seals the envelope of a statement that names a subject (policy, disclosure, order…): key
 * HKDF(AK, salt = statement id), random nonce, aad = statement id. The nonce is random although the key is the
 * statement's own: an id does not cover signatures, so two envelopes can share it (docs/protocol/09-content.md).
 */
NODISCARD bool statement_row_seal(const struct hash *audit_key, const struct hash *statement,
                                  struct bytes envelope, struct arena *arena, struct bytes *out, struct err *err);
NODISCARD bool statement_row_open(const struct hash *audit_key, const struct hash *statement, struct bytes row,
                                  struct arena *arena, struct bytes *envelope, struct err *err);
