/* proto/statement/statement.h - everything that is signed: canonical payloads in DSSE envelopes (formats 1).
 *
 * A statement is kept, sent and hashed as the bytes that were signed. `statement_open` is the only way in:
 * it checks form, kind, network and signatures against keys that the caller names. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/crypto/sign.h"

enum statement_kind {
    STATEMENT_NETWORK = 1,
    STATEMENT_ROSTER,
    STATEMENT_MEMBERSHIP,
    STATEMENT_KEY,
    STATEMENT_KEY_REVOCATION,
    STATEMENT_AUTHORITY,
    STATEMENT_EPOCH,
    STATEMENT_VERSION,
    STATEMENT_POLICY,
    STATEMENT_DISCLOSURE,
    STATEMENT_PURGE_ORDER,
    STATEMENT_PURGE_RECEIPT,
    STATEMENT_NOTICE,
    STATEMENT_LEASE,
    STATEMENT_STREAM_HEAD,
    STATEMENT_STREAM_ACK,
    STATEMENT_AUDIT_QUERY,
    STATEMENT_AUDIT_ANSWER,
    STATEMENT_KINDS,
};
enum { STATEMENT_PAYLOAD_MAX = 64 << 10, STATEMENT_ROSTER_MAX = 1 << 20, STATEMENT_SIGNATURES_MAX = 16 };

/* statement_type returns "application/vnd.chartmesh.<kind>.v1+protobuf"; statement_kind_of undoes it (0: unknown).
 * statement_name returns "purge-order". statement_descriptor is the payload's message type. */
const char *statement_type(enum statement_kind kind);
enum statement_kind statement_kind_of(struct bytes type);
const char *statement_name(enum statement_kind kind);
const ProtobufCMessageDescriptor *statement_descriptor(enum statement_kind kind);

/* A statement in hand. The views look into the envelope's bytes, the message lives in the arena. */
struct statement {
    enum statement_kind kind;
    struct hash id; /* SHA-256(PAE(type, payload)) */
    struct bytes envelope; /* as received: stored and sent as these bytes */
    struct bytes payload;
    const Chartmesh__V1__Head *head; /* field 1 of the payload */
    const ProtobufCMessage *message; /* cast to the kind's type: Chartmesh__V1__Version * … */
    size_t signers;
    struct hash key_ids[STATEMENT_SIGNATURES_MAX];
    struct bytes signatures[STATEMENT_SIGNATURES_MAX];
};

/* canonical_unpack reads one message in canonical form (formats 1: order, defaults, varints, sets, UTF-8, enum
 * ranges, exact lengths, depth, required fields of section 10) into `arena`. Works for payloads of any kind and
 * for Entry, Envelope and the frames of section 7. ERR_INVALID with reason NOT_CANONICAL or MALFORMED names the
 * field; ERR_TOO_MUCH: the arena's budget. */
NODISCARD bool canonical_unpack(const ProtobufCMessageDescriptor *type, struct bytes bytes, struct arena *arena,
                                ProtobufCMessage **out, struct err *err);

/* canonical_pack packs a message that must be canonical once sets are sorted: it sorts the set fields in place
 * (and removes nothing: a duplicate is ERR_INVALID), packs, and checks with canonical_unpack. */
NODISCARD bool canonical_pack(ProtobufCMessage *message, struct arena *arena, struct bytes *out, struct err *err);

/* statement_parse reads an envelope and its payload, everything but the signatures: canonical form, size, kind
 * rules that need no other statement. Use it where the signer is not known yet, then statement_verify. */
NODISCARD bool statement_parse(struct bytes envelope, struct arena *arena, struct statement *out, struct err *err);

/* statement_verify checks that the statement is of `kind` and `network` (NULL: the first network statement,
 * whose head has none), that every listed signature verifies with one of `keys`, and that each of the first
 * `demanded` keys has signed. ERR_INVALID reason SIGNATURE_INVALID or KEY_INVALID. */
NODISCARD bool statement_verify(const struct statement *statement, enum statement_kind kind,
                                const struct id *network, const struct hash *keys, size_t count, size_t demanded,
                                struct err *err);

/* statement_sign packs `message` (its head filled in by the caller), signs with each key and sets *out, all in
 * `arena`. The keys are sorted by key id here. */
NODISCARD bool statement_sign(enum statement_kind kind, ProtobufCMessage *message,
                              const struct signing_key *const *keys, size_t count, struct arena *arena,
                              struct statement *out, struct err *err);

/* statement_join adds the signatures of one envelope to another's of the same payload (operators sign one after
 * the other). ERR_INVALID: another payload. */
NODISCARD bool statement_join(struct bytes a, struct bytes b, struct arena *arena, struct bytes *out,
                              struct err *err);

/* statement_id returns SHA-256(PAE(type, payload)). statement_pae builds the pre-authentication encoding. */
struct hash statement_id(enum statement_kind kind, struct bytes payload);
NODISCARD bool statement_pae(const char *type, struct bytes payload, struct arena *arena, struct bytes *out,
                             struct err *err);

/* head_make fills a Head in `arena`: network and facility (NULL: absent), hlc, a fresh random nonce. */
NODISCARD bool head_make(const struct id *network, const struct id *facility, uint64_t hlc, struct arena *arena,
                         Chartmesh__V1__Head **out, struct err *err);

/* Views of protobuf-c fields. */
static inline struct bytes bytes_pb(ProtobufCBinaryData field)
{
    return BYTES(field.data, field.len);
}

static inline ProtobufCBinaryData pb_bytes(struct bytes view)
{
    return (ProtobufCBinaryData){.len = view.len, .data = (uint8_t *)(uintptr_t)view.data};
}
