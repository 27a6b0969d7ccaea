/* node/gate/gate_inside.h - what the gate's own files share. Nobody else includes it. */
#pragma once

#include "node/gate/gate.h"
#include "proto/chartmesh/v1/common.pb-c.h"

struct document_read;

enum {
    GATE_INLINE_MAX = 1 << 20,           /* content in a reply; larger is downloaded */
    GATE_ABSENT_PER_S = 50,              /* entries about what is not here: more are answered, not logged */
    DISCLOSURE_VERSIONS_MAX = 256,       /* formats 5 */
    GATE_TERMS_MAX = STATEMENT_PAYLOAD_MAX - (16 << 10),   /* beside 256 versions and the basis of all heads */
};

/* Leaf hashes of one content: a path needs all of them, and a pull asks for chunk after chunk. Each place has a
 * lock of its own, held while the content is read: only pulls that share the place wait for it. */
enum { LEAF_PLACES = 4 };
struct leaf_cache {
    struct world_lock *lock;
    struct id content;
    struct hash *leaves;
    uint64_t count;
};

/* What decisions are made by, and what a log entry says of it (Decision.tables: code tables and matrix). */
struct matrix {
    struct matrix *before;               /* replaced by this one; kept, somebody may still decide by it */
    struct consent_config config;
    struct hash tables;
};

struct gate {
    struct chart *chart;
    struct matrix *_Atomic matrix;       /* one load for each request: consent_state has it */
    bool (*may)(void *context, const char *role, const char *purpose, const char *rpc);
    void *context;
    struct world_lock *lock;
    struct leaf_cache leaves[LEAF_PLACES];
    uint64_t absent_second;
    unsigned absent_count;
};

/* A subject's consent, compiled for one request. */
struct consent_state {
    const struct matrix *matrix;
    struct chart_subject subject;
    struct consent_heads heads;
    struct chart_policy *policies;
    size_t policies_len;
    unsigned integrity;
    int64_t lo_ms, hi_ms;
};
NODISCARD bool consent_state_load(struct gate *gate, const struct subject *subject, struct arena *arena,
                                  struct consent_state *out, struct err *err);
NODISCARD bool consent_state_of(struct gate *gate, const struct subject *subject, struct chart_policy *policies,
                                size_t count, struct arena *arena, struct consent_state *out, struct err *err);
void consent_state_context(const struct consent_state *state, struct consent_context *out);

/* The facts of one version of a loaded document. */
struct consent_version version_facts(const struct chart_version *versions, size_t count, size_t i,
                                     const Chartmesh__V1__Labels *effective);

/* decide_version: READ or SEARCH by this caller, of version i. */
NODISCARD bool decide_version(struct gate *gate, const struct consent_state *state, const struct caller *caller,
                              enum consent_action action, const struct chart_version *versions, size_t count,
                              size_t i, const Chartmesh__V1__Labels *effective, struct arena *arena,
                              struct consent_decision *out, struct err *err);

/* A log entry's Decision out of one or several. `disclosure` NULL: none. */
NODISCARD bool decision_message(const struct consent_state *state, const struct consent_decision *decisions,
                                size_t count, const struct hash *disclosure, struct arena *arena,
                                Chartmesh__V1__Decision **out, struct err *err);

/* disclosure_put signs one disclosure of at most DISCLOSURE_VERSIONS_MAX versions of a group, and puts its row and
 * its DISCLOSE entry into the transaction. Ledger and outbox are the caller's. `reason` may be NULL. */
struct disclosing {
    struct gate *gate;
    struct log_txn *txn;
    const struct id *recipient;
    const struct subject *subject;
    struct generation generation;
    const struct consent_state *state;
    struct arena *arena;
};
NODISCARD bool disclosure_put(const struct disclosing *d, const struct consent_group *group,
                              const struct consent_decision *decision, const struct hash *versions, size_t count,
                              const char *reason, struct statement *out, struct err *err);

/* content_is_here: all of its content can be read; of a retraction only if it came before that.
 * read_content opens a complete content, checks its commitment, and gives it whole (<= GATE_INLINE_MAX). */
NODISCARD bool content_is_here(struct gate *gate, const struct chart_version *version, bool *out, struct err *err);
NODISCARD bool read_content(struct gate *gate, const struct chart_content *content,
                            const struct chart_version *version, const struct content_meta *meta,
                            struct arena *arena, struct bytes *out, struct err *err);
/* read_chunk opens one chunk: coded and plain. */
NODISCARD bool read_chunk(struct gate *gate, const struct chart_content *content, uint64_t length, uint64_t index,
                          struct arena *arena, struct bytes *coded, struct bytes *plain, struct err *err);

/* log_read makes an entry of kind READ (or DENIED, ABSENT) durable and gives its index. */
struct read_entry {
    Chartmesh__V1__EntryKind kind;
    const struct caller *caller;
    const struct subject *subject; /* NULL: filed under none */
    const struct hash *objects;
    size_t objects_len;
    const Chartmesh__V1__Decision *decision;
    const struct hash *disclosure;
    const char *reason;
    uint64_t extent;
};
NODISCARD bool log_read(struct gate *gate, const struct read_entry *entry, uint64_t *index, struct err *err);

/* log_reads is log_read for several, in one transaction: *index of the first. */
NODISCARD bool log_reads(struct gate *gate, const struct read_entry *entries, size_t count, uint64_t *index,
                         struct err *err);

/* refuse logs DENIED or ABSENT and gives the one answer of both. */
bool refuse(struct gate *gate, const struct caller *caller, const struct subject *subject,
            const struct hash *versions, size_t count, const Chartmesh__V1__Decision *decision, const char *why,
            struct err *err);

/* What is given together and entered as one READ: versions and their decisions, of documents that were looked at
 * aside, one after the other. granted_room takes the memory; granted_add copies what was permitted of one document
 * (*fits false: nothing was, there is no room); granted_log enters it. */
struct granted {
    struct hash *ids;
    struct consent_decision *decisions;
    size_t len, max;
};
NODISCARD bool granted_room(struct granted *granted, size_t max, struct arena *arena, struct err *err);
NODISCARD bool granted_add(struct granted *granted, const struct document_read *read, bool *fits,
                           struct arena *arena, struct err *err);
NODISCARD bool decision_keep(const struct consent_decision *decision, struct arena *arena,
                             struct consent_decision *out, struct err *err);

/* view_document makes a view of what was permitted; content as views_of says. */
NODISCARD bool view_document(struct gate *gate, const struct subject *subject, const struct id *document,
                             struct document_read *read, bool content, bool retracted, struct arena *arena,
                             Chartmesh__V1__DocumentView **out, uint64_t *extent, struct err *err);

/* refuse_version: this caller may read it, and what was asked of it cannot be had. The answer tells of the
 * version: a READ entry without content stands for it. `err` holds the answer. */
bool refuse_version(struct gate *gate, const struct caller *caller, const struct subject *subject,
                    struct document_read *read, struct arena *arena, struct err *err);

/* absent_allowed: may one more entry about what is not here be written this second? */
bool absent_allowed(struct gate *gate);

NODISCARD bool view_fill(struct gate *gate, const struct subject *subject, const struct chart_version *version,
                         bool with_content, struct arena *arena, Chartmesh__V1__VersionView **out,
                         uint64_t *extent, struct err *err);
ProtobufCBinaryData pb_of(struct bytes view);
NODISCARD bool copy_pb(struct arena *arena, struct bytes view, ProtobufCBinaryData *out, struct err *err);

/* One document while it is read: what it has, and what of it this caller may have. */
struct document_read {
    struct consent_state state;
    struct chart_version *versions;
    size_t count;
    Chartmesh__V1__Labels *labels;
    /* What is permitted: places, their ids and decisions. */
    size_t *places;
    struct hash *ids;
    struct consent_decision *decisions;
    size_t permitted;
    /* What is denied: ids, and the first decision with the disclosure that it rests on (a copy's; else zero). */
    struct hash *denied_ids;
    size_t denied_len;
    struct consent_decision denied;
    struct hash denied_under;
};

/* document_load sets count to 0 when there is none. document_decide files version i among the permitted or denied.
 * refuse_document answers when nothing is permitted. document_log makes the READ entry durable. */
NODISCARD bool document_load(struct gate *gate, const struct subject *subject, const struct id *document,
                             struct arena *arena, struct document_read *out, struct err *err);
/* document_load_in is document_load under a consent that was loaded already: one for all that is read together. */
NODISCARD bool document_load_in(struct gate *gate, const struct consent_state *state, const struct id *document,
                                struct arena *arena, struct document_read *out, struct err *err);
NODISCARD bool document_decide(struct gate *gate, struct document_read *read, const struct caller *caller,
                               enum consent_action action, size_t i, struct arena *arena, struct err *err);
bool refuse_document(struct gate *gate, const struct caller *caller, const struct subject *subject,
                     struct document_read *read, struct arena *arena, struct err *err);
NODISCARD bool document_log(struct gate *gate, const struct caller *caller, const struct subject *subject,
                            struct document_read *read, uint64_t extent, struct arena *arena, uint64_t *index,
                            struct err *err);
NODISCARD bool receipt_into(struct gate *gate, const struct caller *caller, uint64_t index, struct arena *arena,
                            ProtobufCBinaryData *out, struct err *err);

/* views_of fills a view for each permitted version: headers, or with content (`retracted`: of those entered in
 * error too). *extent grows by the bytes of content. */
NODISCARD bool views_of(struct gate *gate, const struct subject *subject, struct document_read *read, bool content,
                        bool retracted, struct arena *arena, Chartmesh__V1__VersionView ***out, uint64_t *extent,
                        struct err *err);
