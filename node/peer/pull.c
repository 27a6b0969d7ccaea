/* Large content, chunk by chunk: what we lack is asked for, what they ask for is decided each time (I1, I2). */
#include "node/peer/inside.h"

bool pull_refill(struct channel *ch, struct arena *arena, struct err *err)
{
    struct want_row *rows;
    size_t count;
    if (ch->lane != CHARTMESH__V1__LANE__LANE_BULK) {
        return true;
    }
    if (!want_list(ch, 2 * LANE_PULLS_MAX, arena, &rows, &count, err)) {
        return err_wrap(err, "wanted contents");
    }
    for (size_t i = 0; i < count; i++) {
        struct lane_event event = {.kind = LANE_WANTED,
                                   .pull = {rows[i].version, rows[i].disclosure, rows[i].next, rows[i].chunks}};
        if (!channel_tell(ch, &event, arena, err)) {
            return false;
        }
    }
    return true;
}

/* ---- Taking --------------------------------------------------------------------------------------------------------- */

/* A chunk under a disclosure that has not arrived yet is dropped and asked for again. */
static bool disclosure_known(struct channel *ch, const struct want_row *row, const struct hash *disclosure,
                             struct arena *arena, bool *out, struct err *err)
{
    struct chart_disclosure *held;
    size_t count;
    *out = hash_equal(&row->disclosure, disclosure);
    if (*out) {
        return true;
    }
    if (!chart_disclosures(ch->peers->options.chart, &row->version, arena, &held, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        *out = *out || hash_equal(&held[i].id, disclosure);
    }
    return true;
}

/* The chunk is what was committed to: it decodes, and its path leads to the root that came with the header. */
static bool chunk_good(const struct lane_chunk *chunk, const struct content_meta *meta, struct arena *arena,
                       struct err *err)
{
    struct bytes plain;
    if (!chunk_decode(chunk->coded, chunk_length(meta->length, chunk->index), arena, &plain, err)) {
        return false;
    }
    struct hash leaf = chunk_leaf(&meta->salt, chunk->index, plain);
    return chunk_path_verify(chunk->index, content_chunks(meta->length), &leaf, chunk->path, chunk->path_len,
                             &meta->root) ||
           err_raise(err, ERR_CORRUPT, "chunk %ju is not what was committed", (uintmax_t)chunk->index);
}

static bool chunk_commit(struct channel *ch, struct want_row *row, const struct lane_chunk *chunk,
                         const struct chart_content *content, struct log_txn *txn, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    bool last = chunk->index + 1 == row->chunks;
    row->next = chunk->index + 1;
    row->disclosure = chunk->disclosure;
    if (!chart_content_chunk(chart, txn, content, chunk->index, last, chunk->coded, err)) {
        return false;
    }
    if (!last) {
        return want_put(ch, txn, row, err);
    }
    want_delete(ch, txn, &row->version);
    return chart_version_flags(chart, txn, &row->subject, &row->document, &row->version, VERSION_COMPLETE, 0, err);
}

/* Not taken stays what is out of turn or under a disclosure that is not here; not wanted, what was purged
 * meanwhile. */
static bool chunk_take(struct channel *ch, const struct lane_chunk *chunk, struct arena *arena,
                       struct lane_taken *out, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    struct content_meta meta;
    struct chart_content content;
    struct want_row row;
    bool known;
    if (!want_get(ch, &chunk->version, &row, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!disclosure_known(ch, &row, &chunk->disclosure, arena, &known, err) ||
        !chart_content_meta_read(chart, &row.subject.p, &row.document, &row.content, &meta, err) ||
        !chart_content_load(chart, &row.subject.p, &row.content, &content, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    out->wanted = true;
    out->next = row.next;
    out->disclosure = row.disclosure;
    bool good = known && chunk->index == row.next && chunk_good(chunk, &meta, arena, err);
    struct log_txn *txn = log_txn_new(chart_log(chart));
    bool ok = !good || chunk_commit(ch, &row, chunk, &content, txn, err);
    secret_wipe(&content.keys, sizeof content.keys);
    if (!good || !ok) {
        log_txn_free(txn);
        channel_log(ch, "chunk dropped",
                    known ? "out of turn or not what was committed" : "under no disclosure here");
        return ok;
    }
    out->taken = log_commit(txn, NULL, err);
    out->next = row.next;
    out->disclosure = row.disclosure;
    return out->taken;
}

bool pull_take(struct channel *ch, const struct lane_chunk *chunk, struct arena *arena, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    struct subject subject;
    struct id document;
    struct lane_event event = {.kind = LANE_TAKEN,
                               .taken = {.version = chunk->version, .disclosure = chunk->disclosure}};
    if (chart_version_place(chart, &chunk->version, &subject, &document, err)) {
        chart_lock(chart, &subject.p);
        bool ok = chunk_take(ch, chunk, arena, &event.taken, err);
        chart_unlock(chart, &subject.p);
        if (!ok) {
            return err_wrap(err, "chunk");
        }
    } else if (err->code != ERR_NOT_FOUND) {
        return false;
    }
    return channel_tell(ch, &event, arena, err);
}

/* ---- Serving -------------------------------------------------------------------------------------------------------- */

/* The chunk goes under another disclosure than was asked with: that one is owed on the control lane, once. */
static bool renewal_owe(struct channel *ch, const struct subject *subject, const struct hash *disclosure,
                        struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    const struct outbox_row owed = {.kind = ITEM_DISCLOSURE, .subject = *subject, .statement = *disclosure};
    if (hash_equal(&ch->renewed, disclosure)) {
        return true;
    }
    struct log_txn *txn = log_txn_new(chart_log(chart));
    if (!chart_outbox_put(chart, txn, &ch->peer->facility, &owed, err)) {
        log_txn_free(txn);
        return false;
    }
    ch->renewed = *disclosure;
    return log_commit(txn, NULL, err);
}

static bool chunk_serve(struct channel *ch, const struct lane_serve *serve, const struct subject *subject,
                        struct arena *arena, struct bytes *frame, struct err *err)
{
    struct bytes coded, renewed;
    struct hash path[BATCH_PROOF_MAX], under;
    size_t path_len;
    if (!gate_chunk(ch->peers->options.gate, &ch->peer->facility, &serve->version, &serve->disclosure,
                    serve->index, arena, &coded, path, &path_len, &renewed, &under, err)) {
        channel_log(ch, "chunk refused", err->text);
        return err->code == ERR_DENIED || err->code == ERR_NOT_FOUND || err->code == ERR_RANGE;
    }
    return (hash_equal(&under, &serve->disclosure) || renewal_owe(ch, subject, &under, err)) &&
           frame_chunk(&serve->version, &under, serve->index, coded, path, path_len, arena, frame, err);
}

bool pull_serve(struct channel *ch, const struct lane_serve *serve, struct err *err)
{
    AUTO_ARENA(arena, EVENT_ARENA);
    struct chart *chart = ch->peers->options.chart;
    struct subject subject;
    struct id document;
    struct lane_event event = {.kind = LANE_SERVED};
    if (!chart_version_place(chart, &serve->version, &subject, &document, err)) {
        return err->code == ERR_NOT_FOUND && channel_tell(ch, &event, &arena, err);
    }
    chart_lock(chart, &subject.p); /* held until the transport has the chunk (I2) */
    bool ok = chunk_serve(ch, serve, &subject, &arena, &event.frame, err) && channel_tell(ch, &event, &arena, err);
    chart_unlock(chart, &subject.p);
    return ok || err_wrap(err, "serve a chunk");
}

/* They have all of it. Whatever they say about a version that was never handed over changes nothing. */
bool pull_complete(struct channel *ch, const struct lane_serve *serve, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    struct subject subject;
    struct id document;
    struct ledger_row row;
    if (!chart_version_place(chart, &serve->version, &subject, &document, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    chart_lock(chart, &subject.p);
    bool ok = chart_ledger_get(chart, &subject, &document, &serve->version, &ch->peer->facility, &row, err);
    if (ok && row.state <= LEDGER_STORED) {
        struct log_txn *txn = log_txn_new(chart_log(chart));
        row.state = LEDGER_COMPLETE;
        ok = chart_ledger_put(chart, txn, &row, err) && log_commit(txn, NULL, err);
    } else {
        ok = ok || err->code == ERR_NOT_FOUND;
    }
    chart_unlock(chart, &subject.p);
    return ok;
}
