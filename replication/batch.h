/* replication/batch.h - one Batch frame, both directions in it: putting one together, and checking a stranger's
 * (formats 5, docs/protocol/05-replication.md).
 *
 * Pure. What is checked here needs the frame, the trust and the lane's place, and nothing stored. Left to whoever
 * applies a batch: adding `support` to the trust, the author's signature, the fence, suppression. */
#pragma once

#include "proto/chartmesh/v1/replication.pb-c.h"
#include "proto/content/content.h"
#include "proto/statement/stream.h"
#include "proto/statement/trust.h"

enum { BATCH_ITEMS_MAX = 256, FRAME_MAX = 1 << 20, BATCH_PROOF_MAX = 40 };

/* One direction of a lane: who sends to whom. It outlives every connection. */
struct stream {
    struct id network, sender, receiver;
    uint64_t incarnation;                /* the sender's */
    uint64_t receiver_incarnation;
    Chartmesh__V1__Lane lane;
};

/* A place in a stream: the last number and the chain after it. */
struct place {
    uint64_t n;
    struct hash chain;
};

/* stream_begin is the place before number 1. stream_next is the place after one more item. */
struct place stream_begin(const struct stream *stream);
struct place stream_next(const struct place *place, const struct hash *digest);

/* item_statement: which statement an item of that kind carries (0: no such kind). */
enum statement_kind item_statement(uint32_t kind);

/* ---- Putting one together -------------------------------------------------------------------------------- */

/* One item to send. `digest` is what its number binds for ever: item_digest for a new one, the stored one when it
 * is sent again or as withdrawn. Views are borrowed. */
struct batch_part {
    enum item_kind kind;
    struct bytes statement;              /* the envelope; unused when withdrawn */
    struct hash digest;
    struct hash disclosure;              /* VERSION, CONTRIBUTION */
    const struct content_meta *content;  /* NULL: none */
    struct bytes chunk0;                 /* coded; when the content fits in one chunk */
    bool withdrawn;
};

/* item_facts_of fills what an item's digest binds from its parsed statement and, for VERSION and CONTRIBUTION, its
 * disclosure's (NULL for other kinds). */
struct item_facts item_facts_of(enum item_kind kind, const struct statement *statement,
                                const struct statement *disclosure);

struct batch_parts {
    const struct stream *stream;
    struct place before;
    const struct batch_part *items;
    size_t count; /* 1…256 */
    const struct bytes *disclosures; /* envelopes of all that the items name */
    size_t disclosures_count;
    const struct bytes *support; /* keys, memberships; unnumbered */
    size_t support_count;
    struct bytes checkpoint; /* note; empty: none */
};

/* batch_build signs a head over the items and sets *frame, in `arena`. *after (may be NULL) is the place behind
 * the last item. ERR_TOO_MUCH: over FRAME_MAX, take fewer items. */
NODISCARD bool batch_build(const struct batch_parts *parts, uint64_t hlc, const struct signing_key *key,
                           struct arena *arena, struct bytes *frame, struct place *after, struct err *err);

/* ---- Checking a stranger's --------------------------------------------------------------------------------- */

/* One item that passed. Views and messages live in the arena given to batch_check. */
struct batch_item {
    uint64_t n;
    enum item_kind kind; /* 0 when withdrawn */
    bool withdrawn;
    struct hash digest;
    struct statement statement; /* parsed; signatures of VERSION, CONTRIBUTION and trust kinds still open */
    const struct statement *disclosure; /* VERSION, CONTRIBUTION: verified */
    bool has_content;
    struct content_meta content; /* commitment checked */
    struct bytes chunk0; /* coded, decoded once and checked against the root; empty: pull it */
};

struct batch {
    struct stream stream;
    struct place before, after;
    struct statement head;
    struct bytes checkpoint; /* note of the sender's log; empty: none */
    const struct bytes *support;
    size_t support_count;
    const struct statement *disclosures;
    size_t disclosures_count;
    const struct batch_item *items; /* those behind the place given: what was seen before is left out */
    size_t count;
};

/* batch_head verifies the head alone: signed by the sender's statement key, for this stream, 1…256 items. */
NODISCARD bool batch_head(const Chartmesh__V1__Batch *message, const struct stream *stream,
                          const struct trust *trust, struct arena *arena, struct statement *out, struct err *err);

/* batch_check checks the rest against `at`, the place up to which the receiver has everything: the batch begins at
 * or before at.n + 1, ends behind it, and its chain passes through at.chain. ERR_INVALID; err.field names the rule
 * that was broken (GAP, CHAIN, COUNT, ITEM_KIND, STATEMENT, DISCLOSURE, SUBJECT, RECIPIENT, CONTENT, WITHDRAWN).
 */
NODISCARD bool batch_check(const Chartmesh__V1__Batch *message, const struct statement *head,
                           const struct stream *stream, const struct place *at, const struct trust *trust,
                           struct arena *arena, struct batch *out, struct err *err);
