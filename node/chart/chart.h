/* node/chart/chart.h - what the facility knows, as rows: subjects, documents and their versions, policies, and for
 * every peer what is owed, what was handed over, and what must come back.
 *
 * Reading functions look at the rows as they are; functions that change take a transaction (node/log) and put rows
 * and entries into it: nothing happens before log_commit. Whoever changes a patient's rows holds that patient's
 * lock from reading to commit (chart_lock). Headers are opened here, because a decision needs them; content is
 * opened by node/gate alone.
 *
 * The rows' keys stand in node/chart/rows.h. */
#pragma once

#include "node/keys/keys.h"
#include "node/log/log.h"
#include "node/store/store.h"
#include "node/world/world.h"
#include "proto/chartmesh/v1/replication.pb-c.h"
#include "proto/content/content.h"
#include "proto/statement/stream.h"
#include "proto/statement/trust.h"
#include "proto/statement/version.h"

struct chart;

struct chart_options {
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct world *world;
    struct hash first_network; /* id of the first network statement */
    struct bytes trust_file; /* what `node init` wrote; newer statements are in the store */
    struct id facility;
};
NODISCARD bool chart_open(const struct chart_options *options, struct chart **out, struct err *err);
void chart_close(struct chart *chart);

struct log *chart_log(struct chart *chart);
struct keys *chart_keys(struct chart *chart);
struct world *chart_world(struct chart *chart);
const struct id *chart_facility(const struct chart *chart);
const struct id *chart_network(const struct chart *chart);

/* The trust, read-locked while held: take, use, give; hold it briefly and never over a commit. */
const struct trust *chart_trust_take(struct chart *chart);
void chart_trust_give(struct chart *chart);

/* chart_trust_add verifies statements (network, roster, membership, key, key-revocation, authority, epoch), puts
 * their rows and an entry each (kind MEMBERSHIP, KEY or AUTHORITY; EPOCH of a peer: none) into `txn`, and adds
 * them to the trust. Idempotent. ERR_INVALID as trust_add. */
NODISCARD bool chart_trust_add(struct chart *chart, struct log_txn *txn, const struct bytes *envelopes,
                               size_t count, struct err *err);

/* chart_trust_grant is chart_trust_add for one statement that `who` asked for: an authority, a key, a revocation.
 * Its entry names them. */
NODISCARD bool chart_trust_grant(struct chart *chart, struct log_txn *txn, const struct log_who *who,
                                 struct bytes envelope, struct err *err);

/* chart_granted lists the statements of one kind, STATEMENT_AUTHORITY or STATEMENT_KEY, that were granted here or
 * came in, by statement id; holder NULL: all. */
NODISCARD bool chart_granted(struct chart *chart, enum statement_kind kind, const char *holder,
                             struct arena *arena, struct bytes **out, size_t *count, struct err *err);

/* chart_lock takes the lock of a patient (striped by P). Whoever waits for a second one must not need anything
 * done by itself to give the first: a lock that is given when what it guards is durable (log_submit) is given by
 * whoever commits, so chart_unlock may be called by another task than chart_lock. */
void chart_lock(struct chart *chart, const struct id *p);
void chart_unlock(struct chart *chart, const struct id *p);

/* chart_request_lock takes the lock of a request (an idempotency or import key, hashed): before a patient's lock,
 * never after; one at a time per task. */
void chart_request_lock(struct chart *chart, const struct hash *request);
void chart_request_unlock(struct chart *chart, const struct hash *request);

/* chart_head fills a statement's Head: this network and facility, a fresh clock and nonce. */
NODISCARD bool chart_head(struct chart *chart, struct arena *arena, Chartmesh__V1__Head **out, struct err *err);

/* The class of a subject's identity document. */
#define CHART_CLASS_SYSTEM "urn:chartmesh:class"
#define CHART_CLASS_IDENTITY "patient"

/* ---- Subjects ---------------------------------------------------------------------------------------------- */

struct generation {
    uint64_t incarnation, generation;
};
int generation_compare(struct generation a, struct generation b);

struct chart_subject {
    struct subject subject;
    bool known; /* registered here, or received and not purged whole */
    bool own; /* subject.facility is this facility */
    struct id identity; /* the identity document; zero: none */
    uint64_t since_hlc;
    bool may_have_policies; /* own: false if the generation was never raised since it was registered */
    struct generation generation; /* own: the current one */
};
NODISCARD bool chart_subject(struct chart *chart, const struct subject *subject, struct chart_subject *out,
                             struct err *err);
/* chart_subject_add registers a new own subject with the id of its identity document. */
NODISCARD bool chart_subject_add(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                 const struct id *identity, struct err *err);
/* chart_subjects lists subjects after `after` (NULL: from the first) by P: own or incoming. */
NODISCARD bool chart_subjects(struct chart *chart, bool own, const struct id *after, size_t max,
                              struct arena *arena, struct chart_subject **out, size_t *count, struct err *err);
NODISCARD bool chart_counts(struct chart *chart, uint64_t *subjects, uint64_t *documents, uint64_t *versions,
                            uint64_t *open_cases, struct err *err);

/* Identifier index: HMAC over system|value; several subjects may share one. */
NODISCARD bool chart_identifiers_set(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                     const Chartmesh__V1__Coding *identifiers, size_t count, struct err *err);
NODISCARD bool chart_lookup(struct chart *chart, const char *system, const char *value, struct arena *arena,
                            struct subject **out, size_t *count, struct err *err);

/* ---- Versions ---------------------------------------------------------------------------------------------- */

struct chart_version {
    struct hash id;
    struct id document, content; /* content: the node's own content id */
    struct bytes envelope;
    const Chartmesh__V1__Version *message;
    struct version_node node; /* dot and context, for heads */
    bool head;
    bool complete; /* every chunk is here */
    bool pending; /* a contribution of ours that has not come back */
    bool retracted; /* kind ENTERED_IN_ERROR, or one supersedes it directly (it is a parent of one) */
    bool copy; /* of another facility's subject */
    struct hash disclosure; /* copy: the governing disclosure (highest generation); zero: own contribution */
    struct id content_facility; /* head.facility of the version whose content is repeated */
};

/* chart_document loads all versions of a document with heads marked, ids sorted causally (parents first).
 * ERR_NOT_FOUND: no readable version. chart_documents lists document ids of a subject after `after`. */
NODISCARD bool chart_document(struct chart *chart, const struct subject *subject, const struct id *document,
                              struct arena *arena, struct chart_version **out, size_t *count, struct err *err);
NODISCARD bool chart_documents(struct chart *chart, const struct subject *subject, const struct id *after,
                               size_t max, struct arena *arena, struct id **out, size_t *count, struct err *err);
/* chart_version_place finds subject and document of a version id. ERR_NOT_FOUND. */
NODISCARD bool chart_version_place(struct chart *chart, const struct hash *version, struct subject *subject,
                                   struct id *document, struct err *err);
/* chart_version_known: the clock of this node when it came to know a version, by writing or receiving it. */
NODISCARD bool chart_version_known(struct chart *chart, const struct hash *version, uint64_t *hlc,
                                   struct err *err);
/* chart_heads_as_of marks heads among the versions that this node knew at `ms`; no others are. */
NODISCARD bool chart_heads_as_of(struct chart *chart, struct chart_version *versions, size_t count, uint64_t ms,
                                 struct arena *arena, struct err *err);
NODISCARD bool chart_effective_labels(const struct chart_version *versions, size_t count, struct arena *arena,
                                      Chartmesh__V1__Labels **out, struct err *err);

/* chart_dot draws the next dot for a document of this facility (the tag is drawn once per document and
 * incarnation). */
NODISCARD bool chart_dot(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                         const struct id *document, Chartmesh__V1__Dot *out, struct err *err);

/* For a version that its author signs: chart_dot_next says which dot comes next, and draws a tag where there is
 * none yet, but keeps nothing. chart_dot_take uses it later: *next is false if it is not the next one any more. */
NODISCARD bool chart_dot_next(struct chart *chart, const struct subject *subject, const struct id *document,
                              Chartmesh__V1__Dot *out, struct err *err);
NODISCARD bool chart_dot_take(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                              const struct id *document, const Chartmesh__V1__Dot *dot, bool *next,
                              struct err *err);

/* New content: chart_content_new draws content id and DEK; chart_content_chunk seals and puts one chunk's row;
 * chart_content_meta puts the meta row (salt, length, root). Chunks of a large content may be committed before, by
 * transactions of their own: unreferenced until a version row names the content. */
struct chart_content {
    struct id id;
    struct content_keys keys;
    struct id p;
};
NODISCARD bool chart_content_new(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                 struct chart_content *out, struct err *err);
NODISCARD bool chart_content_load(struct chart *chart, const struct id *p, const struct id *content,
                                  struct chart_content *out, struct err *err); /* ERR_NOT_FOUND: purged */
NODISCARD bool chart_content_chunk(struct chart *chart, struct log_txn *txn, const struct chart_content *content,
                                   uint64_t index, bool last, struct bytes coded, struct err *err);
NODISCARD bool chart_content_chunk_read(struct chart *chart, const struct id *content, uint64_t index,
                                        struct arena *arena, struct bytes *sealed, struct err *err);
/* chart_content_drop deletes chunks and key of a content that no version names. */
NODISCARD bool chart_content_drop(struct chart *chart, struct log_txn *txn, const struct id *p,
                                  const struct id *content, struct err *err);
/* chart_content_whole: is every chunk here? A retraction's flag does not say so: it waits for none. */
NODISCARD bool chart_content_whole(struct chart *chart, const struct id *content, uint64_t length, bool *out,
                                   struct err *err);
NODISCARD bool chart_content_meta(struct chart *chart, struct log_txn *txn, const struct chart_content *content,
                                  const struct id *document, const struct content_meta *meta, struct err *err);
NODISCARD bool chart_content_meta_read(struct chart *chart, const struct id *p, const struct id *document,
                                       const struct id *content, struct content_meta *out, struct err *err);
/* chart_content_open is chart_content_load and chart_content_meta_read in one, for the price of one. */
NODISCARD bool chart_content_open(struct chart *chart, const struct id *p, const struct id *document,
                                  const struct id *content, struct chart_content *out, struct content_meta *meta,
                                  struct err *err);

/* chart_version_add puts a version's rows: header, index, feed row; and for an own subject outbox rows for every
 * facility that its policies name as recipient, or for a contribution the one to the origin. The WRITE or RECEIVE
 * entry is the caller's. `statement` is parsed and verified; `content` names stored content (complete or not). */
enum { VERSION_COMPLETE = 1, VERSION_PENDING = 2 };
NODISCARD bool chart_version_add(struct chart *chart, struct log_txn *txn, const struct statement *statement,
                                 const struct chart_content *content, uint8_t flags, struct err *err);
/* chart_version_flags changes the flags of a stored version (content complete, contribution came back). */
NODISCARD bool chart_version_flags(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                   const struct id *document, const struct hash *version, uint8_t set,
                                   uint8_t clear, struct err *err);

/* Import keys: permanent; `hash` is keyed over the content. chart_import finds what a key made. */
struct chart_import {
    struct subject subject;
    struct id document;
    struct hash version, content;
};
NODISCARD bool chart_import_find(struct chart *chart, const char *system, const char *id, struct chart_import *out,
                                 struct err *err); /* ERR_NOT_FOUND */
NODISCARD bool chart_import_set(struct chart *chart, struct log_txn *txn, const char *system, const char *id,
                                const struct chart_import *import, struct err *err);
struct hash chart_import_hash(struct chart *chart, struct bytes content);

/* ---- Policies ---------------------------------------------------------------------------------------------- */

struct chart_policy {
    struct hash id;
    struct bytes envelope;
    const Chartmesh__V1__Policy *message;
    bool head;
};

/* chart_policies loads all policy versions of an own subject, heads marked (LAW and others are version sets of
 * their own). chart_policy_add puts one, raises the subject's generation and sets *generation; who gains and who
 * must give back is decided by node/gate (gate_policy_effects) and put into the same transaction by the caller. */
NODISCARD bool chart_policies(struct chart *chart, const struct subject *subject, struct arena *arena,
                              struct chart_policy **out, size_t *count, struct err *err);
NODISCARD bool chart_policy_add(struct chart *chart, struct log_txn *txn, const struct statement *policy,
                                struct generation *generation, struct err *err);
NODISCARD bool chart_policy_dot(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                Chartmesh__V1__Dot *out, struct err *err);
NODISCARD bool chart_generation(struct chart *chart, const struct subject *subject, struct generation *out,
                                struct err *err);
NODISCARD bool chart_generation_raise(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                      struct generation *out, struct err *err);

/* chart_named lists the active member facilities, other than the subject's own, that the heads among `policies`
 * name in a rule: those to whom a version may have to go. */
NODISCARD bool chart_named(struct chart *chart, const struct subject *subject, const struct chart_policy *policies,
                           size_t n, struct arena *arena, struct id **out, size_t *count, struct err *err);

/* Other statements (disclosures, orders, receipts, notices, policies): stored sealed by their subject's audit key.
 */
NODISCARD bool chart_statement_put(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                   const struct statement *statement, struct err *err);
NODISCARD bool chart_statement(struct chart *chart, const struct hash *id, struct arena *arena,
                               struct bytes *envelope, struct err *err); /* ERR_NOT_FOUND */

/* ---- What is owed to peers: the outbox ---------------------------------------------------------------------- */

static inline Chartmesh__V1__Lane item_lane(enum item_kind kind)
{
    return kind <= ITEM_CONTRIBUTION ? CHARTMESH__V1__LANE__LANE_BULK : CHARTMESH__V1__LANE__LANE_CONTROL;
}

/* A reference, not a decision: what it leads to is decided at hand-off. `row` is its key, to be deleted when it
 * was numbered or found to be denied. */
struct outbox_row {
    struct bytes row;
    enum item_kind kind;
    struct subject subject; /* zero for statements of the network */
    struct id document; /* VERSION, CONTRIBUTION */
    struct hash statement; /* the version, order, receipt, … */
};
NODISCARD bool chart_outbox_put(struct chart *chart, struct log_txn *txn, const struct id *peer,
                                const struct outbox_row *row, struct err *err);
NODISCARD bool chart_outbox(struct chart *chart, const struct id *peer, Chartmesh__V1__Lane lane, size_t max,
                            struct arena *arena, struct outbox_row **out, size_t *count, struct err *err);
void chart_outbox_delete(struct log_txn *txn, const struct outbox_row *row);
/* chart_outbox_count counts rows up to 10,000: more is a lot. */
NODISCARD bool chart_outbox_count(struct chart *chart, const struct id *peer, Chartmesh__V1__Lane lane,
                                  uint64_t *out, struct err *err);
/* chart_outbox_listen registers a function called after a commit that put outbox rows (any thread, no lock held).
 */
void chart_outbox_listen(struct chart *chart, void (*fn)(void *context), void *context);

/* ---- The delivery ledger (formats 5) ------------------------------------------------------------------------- */

enum ledger_state {
    LEDGER_NUMBERED = 1,
    LEDGER_SENT,
    LEDGER_STORED,
    LEDGER_COMPLETE,
    LEDGER_ORDERED,
    LEDGER_PURGED,
    LEDGER_RETAINED,
    LEDGER_REFUSED,
    LEDGER_WITHDRAWN,
};
struct ledger_row {
    struct subject subject;
    struct id document, peer;
    struct hash version, disclosure, order;
    struct generation generation;
    uint64_t n;
    enum ledger_state state;
};
NODISCARD bool chart_ledger_put(struct chart *chart, struct log_txn *txn, const struct ledger_row *row,
                                struct err *err);
NODISCARD bool chart_ledger_get(struct chart *chart, const struct subject *subject, const struct id *document,
                                const struct hash *version, const struct id *peer, struct ledger_row *out,
                                struct err *err); /* ERR_NOT_FOUND */
/* chart_ledger lists rows of a subject (document NULL: all; peer NULL: all). */
NODISCARD bool chart_ledger(struct chart *chart, const struct subject *subject, const struct id *document,
                            const struct id *peer, struct arena *arena, struct ledger_row **out, size_t *count,
                            struct err *err);

/* ---- Copies: the receiving side -------------------------------------------------------------------------------- */

/* The fence of a subject or document here: items below it are never stored (I5). chart_fence gives the higher of
 * both. */
NODISCARD bool chart_fence(struct chart *chart, const struct subject *subject, const struct id *document,
                           struct generation *out, struct err *err);
NODISCARD bool chart_fence_raise(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                                 const struct id *document /* NULL: the subject */, struct generation to,
                                 struct err *err);

/* chart_disclosures lists the disclosures of a held version with the highest (incarnation, generation); all of
 * that pair are evaluated. chart_disclosure_put stores one that arrived and ties it to its versions. */
struct chart_disclosure {
    struct hash id;
    struct bytes envelope;
    const Chartmesh__V1__Disclosure *message;
};
NODISCARD bool chart_disclosures(struct chart *chart, const struct hash *version, struct arena *arena,
                                 struct chart_disclosure **out, size_t *count, struct err *err);
NODISCARD bool chart_disclosure_put(struct chart *chart, struct log_txn *txn, const struct statement *disclosure,
                                    struct err *err);

/* chart_disclosure_under stores one with which a version was handed over, and ties it to that version alone:
 * another that it lists may have been withdrawn. */
NODISCARD bool chart_disclosure_under(struct chart *chart, struct log_txn *txn, const struct statement *disclosure,
                                      const struct hash *version, struct err *err);

/* chart_purge removes copies of a foreign subject (documents empty: all of it) whose generation is below `to`, as
 * an order says: raises the fence, destroys keys (keys_purge), deletes rows, puts REMOVED feed rows, and lists
 * what went. */
NODISCARD bool chart_purge(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                           const struct id *documents, size_t count, struct generation to, struct arena *arena,
                           struct hash **purged, size_t *purged_count, struct err *err);

/* ---- Cases: what was ordered back ------------------------------------------------------------------------------ */

struct chart_case {
    struct subject subject;
    struct hash order, receipt; /* receipt zero: open */
    struct id peer;
    uint64_t opened_hlc, closed_hlc;
    Chartmesh__V1__Outcome outcome;
};
NODISCARD bool chart_case_put(struct chart *chart, struct log_txn *txn, const struct chart_case *value,
                              struct err *err);
NODISCARD bool chart_case_get(struct chart *chart, const struct subject *subject, const struct hash *order,
                              struct chart_case *out, struct err *err); /* ERR_NOT_FOUND */
/* chart_cases lists cases (subject NULL: all), `closed` too or only open ones, after `after` (NULL: first). */
NODISCARD bool chart_cases(struct chart *chart, const struct subject *subject, bool closed,
                           const struct chart_case *after, size_t max, struct arena *arena,
                           struct chart_case **out, size_t *count, struct err *err);

/* ---- The change feed's rows (node/log keeps them) ------------------------------------------------------------- */

struct feed_row {
    enum { FEED_VERSION = 1, FEED_REMOVED = 2 } kind;
    struct subject subject;
    struct id document;
    struct hash version; /* FEED_VERSION */
};
NODISCARD bool feed_row_decode(struct bytes value, struct feed_row *out, struct err *err);
