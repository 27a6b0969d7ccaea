/* node/gate/gate.h - the one way out for record bytes (design 4, 5).
 *
 * Decide -> open, decrypt, check the commitment -> the entry durable -> only then release. No other target links
 * the opening of stored content. Denied and absent are the same answer: ERR_NOT_FOUND, reason NOT_AVAILABLE (I9),
 * logged as DENIED or ABSENT. */
#pragma once

#include "node/chart/chart.h"
#include "proto/chartmesh/v1/consents.pb-c.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "proto/consent/consent.h"

struct gate;

/* Who asks, as the service checked it: certificate, and what the application vouches for. */
struct caller {
    const char *principal;           /* SPIFFE id */
    const char *user;                /* "" when none */
    const char *role_text;           /* "system|code", "" when none */
    const Chartmesh__V1__Coding *role;   /* NULL when none */
    const char *purpose;             /* ActReason code, "" when none */
    const char *request_id;
};

struct gate_options {
    struct chart *chart;
    const struct consent_config
        *consent;   /* roles, role x purpose table; copied, what it points to outlives the gate */
    /* may: does the configured table let this role call this writing RPC ("Records.Put") for this purpose? */
    bool (*may)(void *context, const char *role, const char *purpose, const char *rpc);
    void *context;
};
NODISCARD bool gate_open(const struct gate_options *options, struct gate **out, struct err *err);
void gate_close(struct gate *gate);

/* gate_rules puts another table in force for what is decided from now on; a request goes on by what it began with.
 * As for gate_open, what `consent` points to outlives the gate. One at a time. */
NODISCARD bool gate_rules(struct gate *gate, const struct consent_config *consent, struct err *err);

/* ---- Reading for applications --------------------------------------------------------------------------------- */

/* gate_get reads the heads of a document, or one version: fills *out in `arena` (content up to 1 MiB inline),
 * after the READ entry is durable. `receipt` is set in the reply. */
NODISCARD bool gate_get(struct gate *gate, const struct caller *caller, const Chartmesh__V1__GetRequest *request,
                        const struct subject *subject, struct arena *arena, Chartmesh__V1__GetReply *out,
                        struct err *err);

/* gate_get_batch does that for the documents of request->batch: one READ entry for all that is given, one view for
 * each item, empty for what is denied or absent. Content is inline up to 4 MiB together. */
NODISCARD bool gate_get_batch(struct gate *gate, const struct caller *caller,
                              const Chartmesh__V1__GetRequest *request, const struct subject *subject,
                              struct arena *arena, Chartmesh__V1__GetReply *out, struct err *err);

/* gate_list reads headers of the subject's documents that the caller may SEARCH and READ, filtered; one READ entry
 * for the page. With as_of: the heads that this node knew then; labels and consent are those of now. `after` is
 * the last document of the page before (NULL: first); *next is set when there is more. */
NODISCARD bool gate_list(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
                         const struct subject *subject, const struct id *after, size_t max, struct arena *arena,
                         Chartmesh__V1__ListReply *out, bool *more, struct id *next, struct err *err);

/* gate_history: every version of a document, headers only, causal order, from `from` (place in that order). */
NODISCARD bool gate_history(struct gate *gate, const struct caller *caller, const struct subject *subject,
                            const struct id *document, size_t from, size_t max, struct arena *arena,
                            Chartmesh__V1__HistoryReply *out, size_t *total, struct err *err);

/* gate_found decides SEARCH of a subject's identity document for a look-up and logs READ or DENIED: *visible
 * false: this caller is not to learn of the subject. */
NODISCARD bool gate_found(struct gate *gate, const struct caller *caller, const struct subject *subject,
                          const struct id *identity, struct arena *arena, bool *visible, uint64_t *index,
                          struct err *err);

/* gate_absent logs that nothing was found (at a bounded rate) under no subject and raises the answer of what is
 * denied or absent. */
bool gate_absent(struct gate *gate, const struct caller *caller, const char *what, struct err *err);

/* A download: gate_download decides, logs READ, gives the header; gate_download_next gives pieces (<= 256 KiB)
 * until *piece is empty; gate_download_close logs READ_END with the bytes released (NULL is fine). */
struct gate_download;
NODISCARD bool gate_download(struct gate *gate, const struct caller *caller,
                             const Chartmesh__V1__DownloadRequest *request, const struct subject *subject,
                             struct arena *arena, Chartmesh__V1__DownloadReply *first, struct gate_download **out,
                             struct err *err);
NODISCARD bool gate_download_next(struct gate_download *download, struct arena *arena, struct bytes *piece,
                                  uint64_t *offset, struct err *err);
void gate_download_close(struct gate_download *download);

/* gate_event turns a feed row into what this caller may see of it: *visible false: nothing (not logged); else the
 * event is filled after its READ entry is durable. REMOVED carries no header: what it was is gone, and with it
 * what a decision would need. It is shown to whom the table lists for role and purpose: they may have had it. */
NODISCARD bool gate_event(struct gate *gate, const struct caller *caller, const struct feed_row *row,
                          struct arena *arena, Chartmesh__V1__WatchEvent *out, bool *visible, struct err *err);

/* gate_may_write: step 5's table for writing calls: may this caller's role and purpose write for the subject?
 * ERR_DENIED. */
NODISCARD bool gate_may_write(struct gate *gate, const struct caller *caller, const char *rpc, struct err *err);

/* gate_explain runs the decision for anybody and anything, and logs the question as READ of the policy. */
NODISCARD bool gate_explain(struct gate *gate, const struct caller *caller,
                            const Chartmesh__V1__ExplainRequest *request, const struct subject *subject,
                            struct arena *arena, Chartmesh__V1__ExplainReply *out, struct err *err);

/* A receipt: 96 opaque bytes for Audit.Inclusion, bound to the principal. It cannot fail: an act that is durable
 * must not end as an error for want of memory, so take `out` from the arena before. */
enum { RECEIPT_LEN = 96 };
void gate_receipt(struct gate *gate, const struct caller *caller, uint64_t index, uint8_t out[RECEIPT_LEN]);
NODISCARD bool gate_receipt_open(struct gate *gate, const char *principal, struct bytes receipt, uint64_t *index,
                                 struct err *err);

/* ---- For peers -------------------------------------------------------------------------------------------------- */

/* What may be handed to a peer, for one version. */
struct gate_item {
    struct hash version;
    bool permit; /* false: nothing of it leaves; the rest is unset */
    struct hash disclosure; /* the disclosure's id */
    struct bytes envelope; /* the signed version */
    struct content_meta meta; /* salt, root, length */
    struct bytes chunk0; /* coded, when 0 < length <= 64 KiB; never for ENTERED_IN_ERROR */
    struct subject subject;
    struct id document;
};

/* gate_disclose decides DISCLOSE again for versions of one own subject to one recipient at the current generation,
 * groups them by equal basis and terms, signs one disclosure per group, and puts into `txn`: the disclosures'
 * rows, one DISCLOSE entry each, and ledger rows in state NUMBERED (n as given by first_n + place among the
 * permitted, in the order of `versions`). Outputs are in `arena` and may be handed to the transport only after
 * log_commit(txn) succeeded (I1). `disclosures` lists the signed envelopes. The caller holds the patient's lock.
 * ERR_TOO_MUCH with reason TERMS_TOO_LARGE counts as denied. */
NODISCARD bool gate_disclose(struct gate *gate, struct log_txn *txn, const struct id *recipient,
                             const struct subject *subject, const struct hash *versions, size_t count,
                             uint64_t first_n, struct arena *arena, struct gate_item *items,
                             struct bytes **disclosures, size_t *disclosures_count, struct err *err);

/* gate_contribution opens a version of ours on a foreign subject for its origin, under the disclosure of one of
 * its parents
 * (*out.disclosure). ERR_NOT_FOUND: purged meanwhile. Puts a DISCLOSE entry into `txn`. */
NODISCARD bool gate_contribution(struct gate *gate, struct log_txn *txn, const struct subject *subject,
                                 const struct id *document, const struct hash *version, struct arena *arena,
                                 struct gate_item *out, struct err *err);

/* gate_chunk gives one coded chunk with its path to a peer that has the version in the ledger (or, as origin of
 * it, for a contribution: `recipient` is the subject's facility), if the disclosure is still of the current
 * generation (I1, I2). When the generation went stale it decides again: *renewed holds a new disclosure's envelope
 * (else it is empty), already durable, and the chunk is under that. The caller holds the patient's lock until the
 * transport has the chunk. ERR_DENIED: no more; ERR_NOT_FOUND: not here. */
NODISCARD bool gate_chunk(struct gate *gate, const struct id *recipient, const struct hash *version,
                          const struct hash *disclosure, uint64_t index, struct arena *arena, struct bytes *coded,
                          struct hash path[40], size_t *path_len, struct bytes *renewed, struct hash *now_under,
                          struct err *err);

/* gate_retraction puts notices (signed, rows, NOTICE entry, control outbox) into `txn` for every facility whose
 * ledger holds the document, whatever the present consent: retractions and raised labels reach all of them (I8).
 */
NODISCARD bool gate_retraction(struct gate *gate, struct log_txn *txn, const struct subject *subject,
                               const struct id *document, const struct hash *versions, size_t count,
                               Chartmesh__V1__NoticeKind kind, Chartmesh__V1__Confidentiality floor,
                               struct err *err);

/* gate_policy_effects compares, for every facility that the old or new policy heads name or that the ledger knows,
 * what was permitted with what is, and puts into `txn`: outbox rows for what is gained (backfill), one purge order
 * (signed, rows, case, PURGE_ORDERED entry, outbox row, ledger state ORDERED) per facility for what must come
 * back, and new disclosures on the control lane (ITEM_DISCLOSURE) where only terms got narrower. Called with the
 * patient's lock held, after chart_policy_add and the POLICY entry into the same txn (an auditor decides again by
 * the policies entered before); `heads` are the policy heads as they will be. Counts for the reply. */
NODISCARD bool gate_policy_effects(struct gate *gate, struct log_txn *txn, const struct subject *subject,
                                   const struct chart_policy *heads, size_t count, struct generation generation,
                                   uint32_t *grants, uint32_t *orders, struct err *err);
