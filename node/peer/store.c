/* The receiving side: what a batch brings is judged, stored and logged; then it is acknowledged (I5, I24, I25). */
#include "node/peer/inside.h"

#define AS(type, statement_) ((const Chartmesh__V1__##type *)(const void *)(statement_)->message)

/* One transaction's worth of a batch: items of one subject. */
struct run {
    struct channel *ch;
    struct arena *arena;
    struct log_txn *txn;
    const struct batch *batch;
    struct theirs_row *theirs;
    struct subject subject;
    /* What the RECEIVE entry lists: versions under one disclosure. */
    struct hash received[STORE_RUN_MAX];
    size_t received_count;
    struct hash under;
    struct want_row wants[STORE_RUN_MAX];
    size_t wants_count;
};

static struct chart *chart_of(const struct run *run)
{
    return run->ch->peers->options.chart;
}

static void except(struct run *run, uint64_t n, Chartmesh__V1__Result result)
{
    Chartmesh__V1__Exception *e = &run->theirs->except[run->theirs->except_count++];
    chartmesh__v1__exception__init(e);
    e->n = n;
    e->result = result;
}

static bool subject_from(const Chartmesh__V1__Subject *message, struct subject *out)
{
    struct id facility, patient;
    if (!message || !id_from(bytes_pb(message->facility), &facility) ||
        !id_from(bytes_pb(message->patient), &patient)) {
        return false;
    }
    *out = subject_make(&facility, &patient);
    return true;
}

/* The subject of an item; zero for statements of the network and for what was withdrawn. */
static struct subject item_subject(const struct batch_item *item)
{
    struct subject subject = subject_make(&(struct id){0}, &(struct id){0});
    bool found = true;
    switch (item->kind) {
    case ITEM_VERSION:
    case ITEM_CONTRIBUTION:
        found = subject_from(AS(Version, &item->statement)->subject, &subject);
        break;
    case ITEM_DISCLOSURE:
        found = subject_from(AS(Disclosure, &item->statement)->subject, &subject);
        break;
    case ITEM_PURGE_ORDER:
        found = subject_from(AS(PurgeOrder, &item->statement)->subject, &subject);
        break;
    case ITEM_PURGE_RECEIPT:
        found = subject_from(AS(PurgeReceipt, &item->statement)->subject, &subject);
        break;
    case ITEM_NOTICE:
        found = subject_from(AS(Notice, &item->statement)->subject, &subject);
        break;
    default:
        break;
    }
    (void)found; /* lengths were checked with the statement's form */
    return subject;
}

static bool log_add(struct run *run, Chartmesh__V1__EntryKind kind, const struct hash *objects, size_t count,
                    const struct hash *disclosure, const char *reason, struct err *err)
{
    bool of_patient = !id_is_zero(&run->subject.facility);
    const struct log_entry entry = {.kind = kind,
                                    .subject = of_patient ? &run->subject : NULL,
                                    .objects = objects,
                                    .objects_len = count,
                                    .disclosure = disclosure,
                                    .counterpart = &run->ch->peer->facility,
                                    .reason = reason};
    return log_txn_add(run->txn, &entry, err);
}

/* ---- Versions ---------------------------------------------------------------------------------------------------- */

/* One RECEIVE entry for versions under the same disclosure. */
static bool received_flush(struct run *run, struct err *err)
{
    size_t count = run->received_count;
    run->received_count = 0;
    return count == 0 || log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_RECEIVE, run->received, count,
                                 &run->under, NULL, err);
}

static bool received_add(struct run *run, const struct batch_item *item, struct err *err)
{
    if (run->received_count > 0 && !hash_equal(&run->under, &item->disclosure->id) && !received_flush(run, err)) {
        return false;
    }
    run->under = item->disclosure->id;
    run->received[run->received_count++] = item->statement.id;
    return true;
}

/* The content of a version whose parent has the same: RELABEL and ENTERED_IN_ERROR share it. */
static bool parent_content(struct run *run, const Chartmesh__V1__Version *version, const struct id *document,
                           struct chart_content *out, bool *complete, bool *found, struct err *err)
{
    struct chart_version *versions;
    size_t count;
    *found = false;
    if ((version->kind != CHARTMESH__V1__KIND__KIND_RELABEL &&
         version->kind != CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR) ||
        version->n_parents != 1) {
        return true;
    }
    if (!chart_document(chart_of(run), &run->subject, document, run->arena, &versions, &count, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < count && !*found; i++) {
        if (!bytes_equal(BYTES_OF(versions[i].id), bytes_pb(version->parents[0]))) {
            continue;
        }
        *found = true;
        *complete = versions[i].complete || version->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
        if (!chart_content_load(chart_of(run), &run->subject.p, &versions[i].content, out, err)) {
            return false;
        }
    }
    return true;
}

static bool content_new(struct run *run, const struct batch_item *item, const struct id *document,
                        struct chart_content *out, bool *complete, struct err *err)
{
    bool hidden = AS(Version, &item->statement)->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    *complete = hidden || item->content.length == 0 || item->chunk0.len > 0;
    return chart_content_new(chart_of(run), run->txn, &run->subject, out, err) &&
           chart_content_meta(chart_of(run), run->txn, out, document, &item->content, err) &&
           (item->chunk0.len == 0 ||
            chart_content_chunk(chart_of(run), run->txn, out, 0, true, item->chunk0, err));
}

static void want(struct run *run, const struct batch_item *item, const struct id *document,
                 const struct id *content)
{
    run->wants[run->wants_count++] = (struct want_row){.version = item->statement.id,
                                                       .disclosure = item->disclosure->id,
                                                       .chunks = content_chunks(item->content.length),
                                                       .subject = run->subject,
                                                       .document = *document,
                                                       .content = *content};
}

/* What is retracted is not pulled any further: the origin would not give it. */
static void want_no_more(struct run *run, const Chartmesh__V1__Version *version)
{
    for (size_t i = 0; i < version->n_parents; i++) {
        struct hash parent;
        if (hash_from(bytes_pb(version->parents[i]), &parent)) {
            want_delete(run->ch, run->txn, &parent);
        }
    }
}

static bool version_new(struct run *run, const struct batch_item *item, const struct id *document, struct err *err)
{
    struct chart_content content;
    bool complete, found;
    if (!parent_content(run, AS(Version, &item->statement), document, &content, &complete, &found, err) ||
        (!found && !content_new(run, item, document, &content, &complete, err)) ||
        !chart_version_add(chart_of(run), run->txn, &item->statement, &content, complete ? VERSION_COMPLETE : 0,
                           err)) {
        return false;
    }
    if (AS(Version, &item->statement)->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR) {
        want_no_more(run, AS(Version, &item->statement));
    }
    if (!complete) {
        want(run, item, document, &content.id);
        return want_put(run->ch, run->txn, &run->wants[run->wants_count - 1], err);
    }
    return true;
}

/* The author's signature by what the trust knows now. Unknown key or bad signature: kept out, said, logged. */
static bool author_ok(struct run *run, const struct batch_item *item)
{
    struct statement verified;
    struct err err;
    const struct trust *trust = chart_trust_take(chart_of(run));
    bool ok =
        trust_check(trust, item->statement.envelope, STATEMENT_VERSION, 0, NULL, run->arena, &verified, &err);
    chart_trust_give(chart_of(run));
    if (!ok) {
        channel_log(run->ch, "quarantined", err.text);
    }
    return ok;
}

static bool quarantine(struct run *run, const struct batch_item *item, struct err *err)
{
    except(run, item->n, CHARTMESH__V1__RESULT__RESULT_QUARANTINED);
    return log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_QUARANTINE, &item->statement.id, 1,
                   &item->disclosure->id, "author", err);
}

/* What is here already only comes under another disclosure; our own contribution is no longer pending. */
static bool version_known(struct run *run, const struct batch_item *item, const struct id *document,
                          struct err *err)
{
    struct want_row row;
    if (!chart_version_flags(chart_of(run), run->txn, &run->subject, document, &item->statement.id, 0,
                             VERSION_PENDING, err)) {
        return false;
    }
    if (!want_get(run->ch, &item->statement.id, &row, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    row.disclosure = item->disclosure->id;
    return want_put(run->ch, run->txn, &row, err);
}

static bool known(struct run *run, const struct hash *version, bool *out, struct err *err)
{
    struct subject subject;
    struct id document;
    *out = chart_version_place(chart_of(run), version, &subject, &document, err);
    return *out || err->code == ERR_NOT_FOUND;
}

static bool apply_version(struct run *run, const struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__Disclosure *disclosure = AS(Disclosure, item->disclosure);
    struct generation fence, under = {disclosure->incarnation, disclosure->generation};
    struct id document = {0};
    bool here;
    if (!id_from(bytes_pb(AS(Version, &item->statement)->document), &document) ||
        !chart_fence(chart_of(run), &run->subject, &document, &fence, err)) {
        return false;
    }
    if (generation_compare(under, fence) < 0) {
        except(run, item->n, CHARTMESH__V1__RESULT__RESULT_FENCED); /* I5 */
        return true;
    }
    if (!author_ok(run, item)) {
        return quarantine(run, item, err);
    }
    return known(run, &item->statement.id, &here, err) &&
           chart_disclosure_under(chart_of(run), run->txn, item->disclosure, &item->statement.id, err) &&
           (here ? version_known(run, item, &document, err) : version_new(run, item, &document, err)) &&
           received_add(run, item, err);
}

/* ---- Contributions ------------------------------------------------------------------------------------------------- */

/* Labels below what its parents say are refused (formats 3). */
static bool labels_fit(struct run *run, const Chartmesh__V1__Version *version, const struct id *document,
                       bool *fit, struct err *err)
{
    struct chart_version *versions;
    Chartmesh__V1__Labels *joined = NULL;
    size_t count;
    if (!chart_document(chart_of(run), &run->subject, document, run->arena, &versions, &count, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < version->n_parents; j++) {
            if (bytes_equal(BYTES_OF(versions[i].id), bytes_pb(version->parents[j])) &&
                !labels_join(joined, versions[i].message->labels, run->arena, &joined, err)) {
                return false;
            }
        }
    }
    *fit = joined && !labels_below(version->labels, joined);
    return true;
}

/* Accepted only from a facility whose ledger row for that parent stands; after an order it waits for a person. */
static bool entitled(struct run *run, const struct batch_item *item, const struct id *document, bool *out,
                     struct err *err)
{
    const Chartmesh__V1__Version *version = AS(Version, &item->statement);
    *out = false;
    for (size_t i = 0; i < version->n_parents && !*out; i++) {
        struct ledger_row row;
        struct hash parent;
        if (!hash_from(bytes_pb(version->parents[i]), &parent)) {
            continue;
        }
        if (!chart_ledger_get(chart_of(run), &run->subject, document, &parent, &run->ch->peer->facility, &row,
                              err)) {
            if (err->code != ERR_NOT_FOUND) {
                return false;
            }
            continue;
        }
        *out = row.state <= LEDGER_COMPLETE;
    }
    return true;
}

static bool apply_contribution(struct run *run, const struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__Version *version = AS(Version, &item->statement);
    struct id document = {0};
    bool may, fits = false, here;
    if (!id_from(bytes_pb(version->document), &document) || !entitled(run, item, &document, &may, err) ||
        (may && !labels_fit(run, version, &document, &fits, err))) {
        return false;
    }
    if (!may || !fits) {
        except(run, item->n, CHARTMESH__V1__RESULT__RESULT_REFUSED);
        return log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_QUARANTINE, &item->statement.id, 1,
                       &item->disclosure->id, may ? "labels_lowered" : "not_in_ledger", err);
    }
    if (!author_ok(run, item)) {
        return quarantine(run, item, err);
    }
    return known(run, &item->statement.id, &here, err) &&
           (here || (version_new(run, item, &document, err) && received_add(run, item, err)));
}

/* ---- Control -------------------------------------------------------------------------------------------------------- */

static bool apply_disclosure(struct run *run, const struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__Disclosure *d = AS(Disclosure, &item->statement);
    struct generation fence;
    if (!chart_fence(chart_of(run), &run->subject, NULL, &fence, err)) {
        return false;
    }
    if (generation_compare((struct generation){d->incarnation, d->generation}, fence) < 0) {
        except(run, item->n, CHARTMESH__V1__RESULT__RESULT_FENCED);
        return true;
    }
    struct hash versions[BATCH_ITEMS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < d->n_versions; i++) {
        struct want_row row;
        if (!hash_from(bytes_pb(d->versions[i]), &versions[count])) {
            return err_raise(err, ERR_INVALID, "disclosure: a version id of another length");
        }
        if (want_get(run->ch, &versions[count], &row, err)) {
            row.disclosure = item->statement.id;
            if (!want_put(run->ch, run->txn, &row, err)) {
                return false;
            }
        } else if (err->code != ERR_NOT_FOUND) {
            return false;
        }
        count++;
    }
    return chart_disclosure_put(chart_of(run), run->txn, &item->statement, err) &&
           log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_RECEIVE, versions, count, &item->statement.id,
                   "terms", err);
}

static bool receipt_send(struct run *run, const struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__PurgeOrder *order = AS(PurgeOrder, &item->statement);
    Chartmesh__V1__PurgeReceipt message = CHARTMESH__V1__PURGE_RECEIPT__INIT;
    const struct signing_key *key = keys_statement(chart_keys(chart_of(run)));
    struct statement receipt;
    if (!chart_head(chart_of(run), run->arena, &message.head, err)) {
        return false;
    }
    message.order = pb_bytes(BYTES_OF(item->statement.id));
    message.outcome = CHARTMESH__V1__OUTCOME__OUTCOME_PURGED;
    message.subject = order->subject;
    message.incarnation = order->incarnation;
    message.generation = order->generation;
    if (!statement_sign(STATEMENT_PURGE_RECEIPT, &message.base, &key, 1, run->arena, &receipt, err)) {
        return err_wrap(err, "receipt");
    }
    const struct outbox_row owed = {.kind = ITEM_PURGE_RECEIPT, .subject = run->subject, .statement = receipt.id};
    struct hash objects[] = {item->statement.id, receipt.id};
    return chart_statement_put(chart_of(run), run->txn, &run->subject, &item->statement, err) &&
           chart_statement_put(chart_of(run), run->txn, &run->subject, &receipt, err) &&
           chart_outbox_put(chart_of(run), run->txn, &run->ch->peer->facility, &owed, err) &&
           log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_PURGED, objects, 2, NULL, NULL, err);
}

/* Fence first, then purge, then the receipt: all of it in one transaction. */
static bool apply_order(struct run *run, const struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__PurgeOrder *order = AS(PurgeOrder, &item->statement);
    struct hash *purged;
    size_t count;
    void *memory;
    if (!arena_array(run->arena, order->n_documents, ID_LEN, &memory, err)) {
        return false;
    }
    struct id *documents = memory;
    for (size_t i = 0; i < order->n_documents; i++) {
        if (!id_from(bytes_pb(order->documents[i]), &documents[i])) {
            return err_raise(err, ERR_INVALID, "order: a document id of another length");
        }
    }
    const struct generation to = {order->incarnation, order->generation};
    if (!chart_purge(chart_of(run), run->txn, &run->subject, documents, order->n_documents, to, run->arena,
                     &purged, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        want_delete(run->ch, run->txn, &purged[i]);
    }
    return receipt_send(run, item, err);
}

/* The case is closed by name; what the peer held of that order is no longer there. */
static bool apply_receipt(struct run *run, const struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__PurgeReceipt *receipt = AS(PurgeReceipt, &item->statement);
    struct chart_case opened;
    struct hash order;
    struct ledger_row *rows;
    size_t count;
    if (!hash_from(bytes_pb(receipt->order), &order)) {
        return err_raise(err, ERR_INVALID, "receipt: an order id of another length");
    }
    if (!chart_case_get(chart_of(run), &run->subject, &order, &opened, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!id_equal(&opened.peer, &run->ch->peer->facility) || !hash_is_zero(&opened.receipt)) {
        return true;
    }
    opened.receipt = item->statement.id;
    opened.closed_hlc = item->statement.head->hlc;
    opened.outcome = receipt->outcome;
    if (!chart_case_put(chart_of(run), run->txn, &opened, err) ||
        !chart_statement_put(chart_of(run), run->txn, &run->subject, &item->statement, err) ||
        !chart_ledger(chart_of(run), &run->subject, NULL, &run->ch->peer->facility, run->arena, &rows, &count,
                      err)) {
        return false;
    }
    bool kept = receipt->outcome == CHARTMESH__V1__OUTCOME__OUTCOME_SEALED_RETAINED;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].state != LEDGER_ORDERED || !hash_equal(&rows[i].order, &order)) {
            continue;
        }
        rows[i].state = kept ? LEDGER_RETAINED : LEDGER_PURGED;
        if (!chart_ledger_put(chart_of(run), run->txn, &rows[i], err)) {
            return false;
        }
    }
    struct hash objects[] = {order, item->statement.id};
    return log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_RECEIPT, objects, 2, NULL, NULL, err);
}

static bool apply_notice(struct run *run, const struct batch_item *item, struct err *err)
{
    return chart_statement_put(chart_of(run), run->txn, &run->subject, &item->statement, err) &&
           log_add(run, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_NOTICE, &item->statement.id, 1, NULL, NULL, err);
}

static bool of_network(const struct batch_item *item)
{
    return item->kind >= ITEM_KEY_REVOCATION;
}

/* Statements of the network that stand together are judged together: a roster needs its memberships, and they need
 * it. What nothing reaches is said to be quarantined; it may come again with what it needs. */
static bool apply_trust(struct run *run, const struct batch_item *items, size_t count, struct err *err)
{
    void *memory;
    if (!arena_array(run->arena, count, sizeof(struct bytes), &memory, err)) {
        return false;
    }
    struct bytes *envelopes = memory;
    for (size_t i = 0; i < count; i++) {
        envelopes[i] = items[i].statement.envelope;
    }
    if (chart_trust_add(chart_of(run), run->txn, envelopes, count, err)) {
        return true;
    }
    channel_log(run->ch, "trust", err->text);
    for (size_t i = 0; i < count; i++) {
        except(run, items[i].n, CHARTMESH__V1__RESULT__RESULT_QUARANTINED);
    }
    return true;
}

/* ---- Runs ------------------------------------------------------------------------------------------------------------- */

static bool apply(struct run *run, const struct batch_item *item, struct err *err)
{
    if (item->withdrawn) {
        return true;
    }
    switch (item->kind) {
    case ITEM_VERSION:
        return apply_version(run, item, err);
    case ITEM_CONTRIBUTION:
        return apply_contribution(run, item, err);
    case ITEM_DISCLOSURE:
        return apply_disclosure(run, item, err);
    case ITEM_PURGE_ORDER:
        return apply_order(run, item, err);
    case ITEM_PURGE_RECEIPT:
        return apply_receipt(run, item, err);
    case ITEM_NOTICE:
        return apply_notice(run, item, err);
    default:
        return apply_trust(run, item, 1, err);
    }
}

static bool apply_run(struct run *run, const struct batch_item *items, size_t count, struct err *err)
{
    if (of_network(&items[0])) {
        return apply_trust(run, items, count, err) || err_wrap(err, "item %ju", (uintmax_t)items[0].n);
    }
    for (size_t i = 0; i < count; i++) {
        if (!apply(run, &items[i], err)) {
            return err_wrap(err, "item %ju", (uintmax_t)items[i].n);
        }
    }
    return true;
}

/* Rows that one transaction puts are not seen by what reads in it: whatever may need an earlier item begins a run.
 */
static bool begins_run(const struct batch_item *item)
{
    if (item->kind != ITEM_VERSION) {
        return !item->withdrawn;
    }
    Chartmesh__V1__Kind kind = AS(Version, &item->statement)->kind;
    return kind == CHARTMESH__V1__KIND__KIND_RELABEL || kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
}

static bool run_length(struct run *run, const struct batch_item *items, size_t count, size_t *out, struct err *err)
{
    struct chart_subject subject;
    *out = 1;
    while (of_network(&items[0]) && *out < count && of_network(&items[*out])) {
        ++*out;
    }
    if (of_network(&items[0])) {
        return true;
    }
    if (items[0].kind == ITEM_VERSION && !chart_subject(chart_of(run), &run->subject, &subject, err)) {
        return false;
    }
    /* The first content of a patient draws the patient's key: it is committed before there is a second. */
    if (items[0].kind == ITEM_VERSION && !subject.known) {
        return true;
    }
    for (; *out < MIN(count, (size_t)STORE_RUN_MAX) && !begins_run(&items[*out]); (*out)++) {
        struct subject next = item_subject(&items[*out]);
        if (!id_equal(&next.p, &run->subject.p)) {
            break;
        }
    }
    return true;
}

static void forget_shown(struct theirs_row *row, uint64_t shown)
{
    size_t kept = 0;
    for (size_t i = 0; i < row->except_count; i++) {
        if (row->except[i].n > shown) {
            row->except[kept++] = row->except[i];
        }
    }
    row->except_count = kept;
}

/* The place moves with what was applied: after a crash the rest comes again, and only the rest. */
static bool run_apply(struct run *run, const struct batch_item *items, size_t count, struct err *err)
{
    if (!apply_run(run, items, count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        run->theirs->stored = stream_next(&run->theirs->stored, &items[i].digest);
    }
    struct log_txn *txn = run->txn;
    if (!received_flush(run, err) || !theirs_put(run->ch, txn, run->theirs, err)) {
        return false;
    }
    run->txn = NULL;
    return log_commit(txn, NULL, err);
}

static void tell_wanted(struct run *run, struct err *err)
{
    for (size_t i = 0; i < run->wants_count; i++) {
        struct lane_event event = {
            .kind = LANE_WANTED,
            .pull = {run->wants[i].version, run->wants[i].disclosure, 0, run->wants[i].chunks}};
        if (!channel_tell(run->ch, &event, run->arena, err)) {
            channel_log(run->ch, "wanted", err->text); /* a later refill asks again */
            return;
        }
    }
}

static bool store_run(struct channel *ch, const struct batch *batch, struct theirs_row *theirs,
                      const struct batch_item *items, size_t count, size_t *done, struct arena *arena,
                      struct err *err)
{
    void *memory;
    struct chart *chart = ch->peers->options.chart;
    if (!arena_alloc(arena, sizeof(struct run), &memory, err)) {
        return false;
    }
    struct run *run = memory;
    run->ch = ch;
    run->arena = arena;
    run->batch = batch;
    run->theirs = theirs;
    run->subject = item_subject(&items[0]);
    chart_lock(chart, &run->subject.p);
    run->txn = log_txn_new(chart_log(chart));
    bool ok = run_length(run, items, count, done, err) && run_apply(run, items, *done, err);
    log_txn_free(run->txn);
    chart_unlock(chart, &run->subject.p);
    if (ok) {
        tell_wanted(run, err);
    }
    return ok;
}

static bool add_support(struct channel *ch, const struct batch *batch, struct err *err)
{
    if (batch->support_count == 0) {
        return true;
    }
    struct chart *chart = ch->peers->options.chart;
    struct log_txn *txn = log_txn_new(chart_log(chart));
    if (!chart_trust_add(chart, txn, batch->support, batch->support_count, err)) {
        channel_log(ch, "support", err->text);
        log_txn_free(txn);
        return true;
    }
    return log_commit(txn, NULL, err);
}

/* Applies everything, or reports how far it came: what is not applied comes again. */
static bool apply_all(struct channel *ch, const struct batch *batch, uint64_t shown, struct theirs_row *theirs,
                      struct arena *arena, struct err *err)
{
    if (!add_support(ch, batch, err) || !theirs_load(ch, arena, theirs, err)) {
        return false;
    }
    void *memory;
    size_t most = theirs->except_count + batch->count;
    if (!arena_array(arena, most, sizeof *theirs->except, &memory, err)) {
        return false;
    }
    if (theirs->except_count) {
        memcpy(memory, theirs->except, theirs->except_count * sizeof *theirs->except);
    }
    theirs->except = memory;
    forget_shown(theirs, shown);
    if (theirs->incarnation != batch->stream.incarnation || theirs->stored.n == 0) {
        *theirs = (struct theirs_row){.incarnation = batch->stream.incarnation,
                                      .except = theirs->except,
                                      .stored = stream_begin(&batch->stream)};
    }
    theirs->head = batch->head.envelope;
    for (size_t from = 0; from < batch->count;) {
        size_t done;
        if (!store_run(ch, batch, theirs, batch->items + from, batch->count - from, &done, arena, err)) {
            return false;
        }
        from += done;
    }
    return true;
}

bool store_batch(struct channel *ch, const struct batch *batch, uint64_t shown, struct arena *arena,
                 struct err *err)
{
    struct theirs_row theirs = {0};
    struct lane_event event = {.kind = LANE_STORED, .stored = {.batch = batch}};
    if (!apply_all(ch, batch, shown, &theirs, arena, err)) {
        return err_wrap(err, "store a batch");
    }
    size_t old = 0;
    while (old < theirs.except_count && theirs.except[old].n <= batch->items[0].n - 1) {
        old++;
    }
    event.stored.except = theirs.except + old;
    event.stored.except_count = theirs.except_count - old;
    return channel_tell(ch, &event, arena, err);
}
