/* The sending side: what is owed is decided, numbered and made durable, then handed over (I1, I23). */
#include "node/peer/inside.h"

enum { ITEM_ROOM = 512, FRAME_ROOM = 24 << 10 };     /* beside statements and chunks; head and checkpoint */

/* What goes into one frame. */
struct outgoing_batch {
    struct channel *ch;
    struct arena *arena;
    struct log_txn *txn;
    struct batch_part parts[BATCH_ITEMS_MAX];
    struct content_meta contents[BATCH_ITEMS_MAX];
    struct numbered rows[BATCH_ITEMS_MAX];
    size_t count, size;
    struct bytes disclosures[BATCH_ITEMS_MAX];
    struct hash disclosure_ids[BATCH_ITEMS_MAX];
    size_t disclosures_count;
    struct place last;
};

static struct chart *chart_of(const struct outgoing_batch *b)
{
    return b->ch->peers->options.chart;
}

static bool carries_version(enum item_kind kind)
{
    return kind == ITEM_VERSION || kind == ITEM_CONTRIBUTION;
}

/* A disclosure goes once into a frame. */
static bool disclosure_add(struct outgoing_batch *b, const struct hash *id, struct bytes envelope, struct err *err)
{
    for (size_t i = 0; i < b->disclosures_count; i++) {
        if (hash_equal(&b->disclosure_ids[i], id)) {
            return true;
        }
    }
    if (envelope.len == 0 && !chart_statement(chart_of(b), id, b->arena, &envelope, err)) {
        return err_wrap(err, "disclosure of an item");
    }
    b->disclosure_ids[b->disclosures_count] = *id;
    b->disclosures[b->disclosures_count++] = envelope;
    b->size += envelope.len + ITEM_ROOM;
    return true;
}

/* Puts what the gate released into the frame. */
static void part_add(struct outgoing_batch *b, enum item_kind kind, const struct gate_item *item,
                     const struct numbered *row)
{
    struct batch_part *part = &b->parts[b->count];
    b->contents[b->count] = item->meta;
    *part = (struct batch_part){.kind = kind,
                                .statement = item->envelope,
                                .digest = row->digest,
                                .disclosure = row->disclosure,
                                .content = &b->contents[b->count],
                                .chunk0 = item->chunk0};
    b->rows[b->count++] = *row;
    b->size += part->statement.len + part->chunk0.len + ITEM_ROOM;
    b->last = row->place;
}

static void part_withdrawn(struct outgoing_batch *b, const struct numbered *row)
{
    b->parts[b->count] = (struct batch_part){.digest = row->digest, .withdrawn = true};
    b->rows[b->count++] = *row;
    b->size += ITEM_ROOM;
    b->last = row->place;
}

static void part_statement(struct outgoing_batch *b, struct bytes envelope, const struct numbered *row)
{
    b->parts[b->count] = (struct batch_part){.kind = row->kind, .statement = envelope, .digest = row->digest};
    b->rows[b->count++] = *row;
    b->size += envelope.len + ITEM_ROOM;
    b->last = row->place;
}

/* ---- New numbers -------------------------------------------------------------------------------------------------- */

static bool parse(const struct outgoing_batch *b, struct bytes envelope, struct statement *out, struct err *err)
{
    return statement_parse(envelope, b->arena, out, err) || err_wrap(err, "stored statement");
}

/* Gives the next number to an item. */
static bool number(struct outgoing_batch *b, const struct outbox_row *owed, struct bytes envelope,
                   const struct statement *disclosure, struct numbered *out, struct err *err)
{
    struct statement statement;
    if (!parse(b, envelope, &statement, err)) {
        return false;
    }
    struct item_facts facts = item_facts_of(owed->kind, &statement, disclosure);
    *out = (struct numbered){.kind = owed->kind,
                             .subject = owed->subject,
                             .document = owed->document,
                             .statement = owed->statement,
                             .disclosure = facts.disclosure,
                             .digest = item_digest(&facts),
                             .generation = {facts.incarnation, facts.generation}};
    out->place = stream_next(&b->last, &out->digest);
    return numbered_put(b->ch, b->txn, out, err);
}

/* Rows that name the same version twice, or one that the peer has at this very generation, owe nothing. */
static bool still_owed(struct outgoing_batch *b, const struct outbox_row *rows, size_t at, struct generation now,
                       bool *owed, struct err *err)
{
    struct ledger_row ledger;
    *owed = true;
    for (size_t i = 0; i < at && *owed; i++) {
        *owed = !hash_equal(&rows[i].statement, &rows[at].statement);
    }
    if (!*owed) {
        return true;
    }
    if (!chart_ledger_get(chart_of(b), &rows[at].subject, &rows[at].document, &rows[at].statement,
                          &b->ch->peer->facility, &ledger, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    *owed = ledger.state > LEDGER_COMPLETE || generation_compare(ledger.generation, now) != 0;
    return true;
}

static bool versions_new(struct outgoing_batch *b, const struct outbox_row *rows, size_t count, struct err *err)
{
    struct hash versions[BATCH_ITEMS_MAX];
    const struct outbox_row *owed[BATCH_ITEMS_MAX];
    struct gate_item *items;
    struct generation now;
    struct bytes *envelopes;
    size_t owed_count = 0, envelopes_count;
    void *memory;
    if (!chart_generation(chart_of(b), &rows[0].subject, &now, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        bool is_owed;
        if (!still_owed(b, rows, i, now, &is_owed, err)) {
            return false;
        }
        if (is_owed) {
            owed[owed_count] = &rows[i];
            versions[owed_count++] = rows[i].statement;
        }
        chart_outbox_delete(b->txn, &rows[i]);
    }
    if (owed_count == 0) {
        return true;
    }
    if (!arena_array(b->arena, owed_count, sizeof *items, &memory, err)) {
        return false;
    }
    items = memory;
    if (!gate_disclose(b->ch->peers->options.gate, b->txn, &b->ch->peer->facility, &rows[0].subject, versions,
                       owed_count, b->last.n + 1, b->arena, items, &envelopes, &envelopes_count, err)) {
        return false;
    }
    if (!arena_array(b->arena, envelopes_count, sizeof(struct statement), &memory, err)) {
        return false;
    }
    struct statement *disclosures = memory;
    for (size_t i = 0; i < envelopes_count; i++) {
        if (!parse(b, envelopes[i], &disclosures[i], err) ||
            !disclosure_add(b, &disclosures[i].id, envelopes[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < owed_count; i++) {
        size_t d = 0;
        while (items[i].permit && !hash_equal(&disclosures[d].id, &items[i].disclosure)) {
            d++;
        }
        struct numbered row;
        if (items[i].permit && !number(b, owed[i], items[i].envelope, &disclosures[d], &row, err)) {
            return false;
        }
        if (items[i].permit) {
            part_add(b, ITEM_VERSION, &items[i], &row);
        }
    }
    return true;
}

/* A contribution whose parent is not disclosed yet waits in the outbox; one that was purged owes nothing. */
static bool contribution_new(struct outgoing_batch *b, const struct outbox_row *owed, struct err *err)
{
    struct gate_item item;
    struct subject place;
    struct id document;
    struct bytes envelope;
    struct statement disclosure;
    struct numbered row;
    if (!gate_contribution(b->ch->peers->options.gate, b->txn, &owed->subject, &owed->document, &owed->statement,
                           b->arena, &item, err)) {
        bool here = err->code == ERR_NOT_FOUND &&
                    chart_version_place(chart_of(b), &owed->statement, &place, &document, err);
        if (err->code == ERR_NOT_FOUND && !here) {
            chart_outbox_delete(b->txn, owed);
        }
        return here || err->code == ERR_NOT_FOUND;
    }
    chart_outbox_delete(b->txn, owed);
    if (!chart_statement(chart_of(b), &item.disclosure, b->arena, &envelope, err) ||
        !parse(b, envelope, &disclosure, err) || !disclosure_add(b, &item.disclosure, envelope, err) ||
        !number(b, owed, item.envelope, &disclosure, &row, err)) {
        return false;
    }
    part_add(b, ITEM_CONTRIBUTION, &item, &row);
    return true;
}

/* The envelope of a control item; trust statements are in the trust. */
static bool control_envelope(struct outgoing_batch *b, enum item_kind kind, const struct hash *id,
                             struct bytes *out, struct err *err)
{
    if (kind < ITEM_KEY_REVOCATION) {
        return chart_statement(chart_of(b), id, b->arena, out, err);
    }
    const struct trust *trust = chart_trust_take(chart_of(b));
    struct bytes held = trust_envelope(trust, id);
    bool ok = held.len ? arena_copy(b->arena, held, out, err) : err_raise(err, ERR_NOT_FOUND, "no such statement");
    chart_trust_give(chart_of(b));
    return ok;
}

/* A disclosure that was overtaken by a newer generation is not sent any more. */
static bool overtaken(struct outgoing_batch *b, const struct subject *subject, struct bytes envelope, bool *out,
                      struct err *err)
{
    struct statement statement;
    struct generation now;
    if (!parse(b, envelope, &statement, err) || !chart_generation(chart_of(b), subject, &now, err)) {
        return false;
    }
    const Chartmesh__V1__Disclosure *d = (const void *)statement.message;
    *out = generation_compare((struct generation){d->incarnation, d->generation}, now) != 0;
    return true;
}

static bool control_new(struct outgoing_batch *b, const struct outbox_row *owed, struct err *err)
{
    struct bytes envelope;
    struct numbered row;
    bool old = false;
    chart_outbox_delete(b->txn, owed);
    if (!control_envelope(b, owed->kind, &owed->statement, &envelope, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (owed->kind == ITEM_DISCLOSURE && !overtaken(b, &owed->subject, envelope, &old, err)) {
        return false;
    }
    if (old) {
        return true;
    }
    if (!number(b, owed, envelope, NULL, &row, err)) {
        return false;
    }
    part_statement(b, envelope, &row);
    return true;
}

/* Rows of one subject and one kind, for one lock and one decision; statements of the network go together. */
static bool goes_with(const struct outbox_row *row, const struct outbox_row *first)
{
    bool network = row->kind >= ITEM_KEY_REVOCATION && first->kind >= ITEM_KEY_REVOCATION;
    return id_equal(&row->subject.p, &first->subject.p) && (row->kind == first->kind || network);
}

static size_t run_length(const struct outbox_row *rows, size_t count)
{
    size_t run = 1;
    while (run < count && goes_with(&rows[run], &rows[0])) {
        run++;
    }
    return run;
}

static bool fill_new(struct outgoing_batch *b, const struct outbox_row *rows, size_t count, struct err *err)
{
    if (rows[0].kind == ITEM_VERSION) {
        return versions_new(b, rows, count, err);
    }
    for (size_t i = 0; i < count; i++) {
        if (!(rows[i].kind == ITEM_CONTRIBUTION ? contribution_new(b, &rows[i], err)
                                                : control_new(b, &rows[i], err))) {
            return false;
        }
    }
    return true;
}

/* ---- Handing over ------------------------------------------------------------------------------------------------- */

static bool already_in(const struct bytes *list, size_t count, struct bytes envelope)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(list[i], envelope)) {
            return true;
        }
    }
    return false;
}

/* The enrolments of authors who signed themselves: the receiver may not know their keys yet. */
static bool support_add(struct outgoing_batch *b, const struct statement *version, struct bytes *out,
                        size_t *count, struct err *err)
{
    enum { PER_KEY = 4 };
    struct bytes keys[PER_KEY];
    const struct trust *trust = chart_trust_take(chart_of(b));
    bool ok = true;
    for (size_t i = 0; i < version->signers; i++) {
        size_t found = trust_key_statements(trust, &version->key_ids[i], keys, PER_KEY);
        for (size_t j = 0; ok && j < found && *count < BATCH_ITEMS_MAX; j++) {
            if (!already_in(out, *count, keys[j])) {
                ok = arena_copy(b->arena, keys[j], &out[(*count)++], err);
            }
        }
    }
    chart_trust_give(chart_of(b));
    return ok;
}

static bool support_of(struct outgoing_batch *b, struct bytes *out, size_t *count, struct err *err)
{
    struct statement version;
    *count = 0;
    for (size_t i = 0; i < b->count; i++) {
        if (!carries_version(b->parts[i].kind) || b->parts[i].statement.len == 0) {
            continue;
        }
        if (!statement_parse(b->parts[i].statement, b->arena, &version, err) ||
            !support_add(b, &version, out, count, err)) {
            return err_wrap(err, "support");
        }
    }
    return true;
}

static bool frame_build(struct outgoing_batch *b, const struct lane_make *make, struct bytes *frame,
                        struct err *err)
{
    struct log *log = chart_log(chart_of(b));
    struct bytes note = BYTES_NONE, support[BATCH_ITEMS_MAX];
    size_t support_count;
    if (!log_checkpoint(log, b->arena, &note, err) && err->code != ERR_NOT_FOUND) {
        return false;
    }
    if (!support_of(b, support, &support_count, err)) {
        return false;
    }
    const struct batch_parts parts = {.stream = &make->stream,
                                      .before = {b->rows[0].place.n - 1, make->before.chain},
                                      .items = b->parts,
                                      .count = b->count,
                                      .disclosures = b->disclosures,
                                      .disclosures_count = b->disclosures_count,
                                      .support = support,
                                      .support_count = support_count,
                                      .checkpoint = note};
    return batch_build(&parts, world_hlc(b->ch->peers->world), keys_statement(chart_keys(chart_of(b))), b->arena,
                       frame, NULL, err);
}

/* Tells the machine, which gives the frame to the transport: under the patient's lock still. */
static bool tell_numbered(struct outgoing_batch *b, const struct lane_make *make, uint64_t first, bool more,
                          struct err *err)
{
    struct hash chains[BATCH_ITEMS_MAX];
    struct lane_event event = {
        .kind = LANE_NUMBERED,
        .numbered = {.again = make->again, .first = first, .count = b->count, .chains = chains, .more = more}};
    for (size_t i = 0; i < b->count; i++) {
        chains[i] = b->rows[i].place.chain;
    }
    bool fits = b->size + FRAME_ROOM <= FRAME_MAX;
    if (b->count > 0 && fits && first == make->first && !frame_build(b, make, &event.numbered.frame, err)) {
        return false;
    }
    return channel_tell(b->ch, &event, b->arena, err);
}

static bool make_new(struct outgoing_batch *b, const struct lane_make *make, const struct outbox_row *rows,
                     size_t count, bool more, struct err *err)
{
    struct ours_row ours;
    if (!ours_load(b->ch, b->arena, &ours, err)) {
        return false;
    }
    b->last = ours.numbered.n ? ours.numbered : stream_begin(&make->stream);
    uint64_t first = b->last.n + 1;
    if (!fill_new(b, rows, count, err)) {
        return err_wrap(err, "hand-off");
    }
    ours.numbered = b->last;
    if (!ours_put(b->ch, b->txn, &ours, err)) {
        return false;
    }
    struct log_txn *txn = b->txn;
    b->txn = NULL;
    if (!log_commit(txn, NULL, err)) {
        return err_wrap(err, "hand-off");
    }
    bool fits = b->size + FRAME_ROOM <= FRAME_MAX;
    b->ch->fit = fits ? MIN(b->ch->fit * 2, (size_t)BATCH_ITEMS_MAX) : MAX(b->count / 2, (size_t)1);
    return tell_numbered(b, make, first, more, err);
}

static bool nothing(struct channel *ch, const struct lane_make *make, struct arena *arena, struct err *err)
{
    struct lane_event event = {.kind = LANE_NUMBERED, .numbered = {.again = make->again, .first = make->first}};
    return channel_tell(ch, &event, arena, err);
}

static bool send_new(struct outgoing_batch *b, const struct lane_make *make, struct err *err)
{
    struct chart *chart = chart_of(b);
    struct outbox_row *rows;
    size_t count, max = MIN(make->count, b->ch->fit);
    if (!chart_outbox(chart, &b->ch->peer->facility, b->ch->lane, max + 1, b->arena, &rows, &count, err)) {
        return false;
    }
    if (count == 0) {
        return nothing(b->ch, make, b->arena, err);
    }
    size_t run = MIN(run_length(rows, count), max);
    b->txn = log_txn_new(chart_log(chart));
    chart_lock(chart, &rows[0].subject.p);
    bool ok = make_new(
        b, make, rows, run,
        run < count && (b->ch->lane == CHARTMESH__V1__LANE__LANE_CONTROL || rows[0].kind == ITEM_VERSION), err);
    chart_unlock(chart, &rows[0].subject.p);
    return ok;
}

/* ---- The same numbers once more ------------------------------------------------------------------------------------ */

/* What the gate released under a disclosure that is still of the current generation, read again. ERR_NOT_FOUND or
 * ERR_DENIED: not any more. */
static bool version_again(struct outgoing_batch *b, const struct numbered *row, struct gate_item *out,
                          struct err *err)
{
    struct chart *chart = chart_of(b);
    struct chart_version *versions;
    struct generation now;
    struct ledger_row ledger;
    struct hash path[40], under;
    struct bytes renewed;
    size_t count, at = 0, path_len;
    if (!chart_generation(chart, &row->subject, &now, err) ||
        !chart_ledger_get(chart, &row->subject, &row->document, &row->statement, &b->ch->peer->facility, &ledger,
                          err)) {
        return false;
    }
    if (generation_compare(now, row->generation) != 0 || ledger.state > LEDGER_COMPLETE ||
        !hash_equal(&ledger.disclosure, &row->disclosure)) {
        return err_raise(err, ERR_DENIED, "decided again: not under this disclosure");
    }
    if (!chart_document(chart, &row->subject, &row->document, b->arena, &versions, &count, err)) {
        return false;
    }
    while (at < count && !hash_equal(&versions[at].id, &row->statement)) {
        at++;
    }
    if (at == count) {
        return err_raise(err, ERR_NOT_FOUND, "the version is gone");
    }
    *out = (struct gate_item){.version = row->statement, .permit = true, .envelope = versions[at].envelope};
    if (!chart_content_meta_read(chart, &row->subject.p, &row->document, &versions[at].content, &out->meta, err)) {
        return false;
    }
    bool hidden = versions[at].message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    if (hidden || out->meta.length == 0 || out->meta.length > CHUNK_LEN) {
        return true;
    }
    return gate_chunk(b->ch->peers->options.gate, &b->ch->peer->facility, &row->statement, &row->disclosure, 0,
                      b->arena, &out->chunk0, path, &path_len, &renewed, &under, err);
}

static bool contribution_again(struct outgoing_batch *b, const struct numbered *row, struct gate_item *out,
                               struct err *err)
{
    if (!gate_contribution(b->ch->peers->options.gate, b->txn, &row->subject, &row->document, &row->statement,
                           b->arena, out, err)) {
        return false;
    }
    return hash_equal(&out->disclosure, &row->disclosure) ||
           err_raise(err, ERR_DENIED, "its parent is under another disclosure now");
}

/* In the ledger it counts as held under no generation: to be disclosed anew, and ordered back if it must not be.
 */
static bool ledger_stale(struct outgoing_batch *b, const struct numbered *row, struct err *err)
{
    struct ledger_row ledger;
    if (!chart_ledger_get(chart_of(b), &row->subject, &row->document, &row->statement, &b->ch->peer->facility,
                          &ledger, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (ledger.n != row->place.n || ledger.state > LEDGER_SENT) {
        return true;
    }
    ledger.generation = (struct generation){0};
    return chart_ledger_put(chart_of(b), b->txn, &ledger, err);
}

/* The number stays, its content does not go; if it is permitted again it gets a number of its own. */
static bool withdraw(struct outgoing_batch *b, struct numbered *row, struct err *err)
{
    const struct outbox_row owed = {
        .kind = row->kind, .subject = row->subject, .document = row->document, .statement = row->statement};
    const struct log_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WITHDRAWN,
                                    .subject = &row->subject,
                                    .objects = &row->statement,
                                    .objects_len = 1,
                                    .disclosure = &row->disclosure,
                                    .counterpart = &b->ch->peer->facility};
    bool requeue = carries_version(row->kind);
    if (row->kind == ITEM_VERSION && !ledger_stale(b, row, err)) {
        return false;
    }
    row->kind = 0;
    return log_txn_add(b->txn, &entry, err) && numbered_put(b->ch, b->txn, row, err) &&
           (!requeue || chart_outbox_put(chart_of(b), b->txn, &b->ch->peer->facility, &owed, err));
}

static bool gone(const struct err *err)
{
    return err->code == ERR_NOT_FOUND || err->code == ERR_DENIED;
}

static bool item_again(struct outgoing_batch *b, struct numbered *row, struct err *err)
{
    struct gate_item item;
    struct bytes envelope;
    bool ok, old = false;
    if (row->kind == 0) {
        part_withdrawn(b, row);
        return true;
    }
    if (!carries_version(row->kind)) {
        ok = control_envelope(b, row->kind, &row->statement, &envelope, err) &&
             (row->kind != ITEM_DISCLOSURE || overtaken(b, &row->subject, envelope, &old, err));
        if (ok && !old) {
            part_statement(b, envelope, row);
            return true;
        }
    } else {
        ok =
            row->kind == ITEM_VERSION ? version_again(b, row, &item, err) : contribution_again(b, row, &item, err);
        if (ok && !disclosure_add(b, &row->disclosure, BYTES_NONE, err)) {
            return false;
        }
        if (ok) {
            part_add(b, row->kind, &item, row);
            return true;
        }
    }
    if (!ok && !gone(err)) {
        return false;
    }
    if (!withdraw(b, row, err)) {
        return false;
    }
    part_withdrawn(b, row);
    return true;
}

static bool make_again(struct outgoing_batch *b, const struct lane_make *make, struct numbered *rows, size_t count,
                       struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && b->size + FRAME_ROOM + (256 << 10) > FRAME_MAX) {
            break; /* room for one more item at its largest is no longer sure */
        }
        if (!item_again(b, &rows[i], err)) {
            return err_wrap(err, "hand-off of number %ju", (uintmax_t)rows[i].place.n);
        }
    }
    struct log_txn *txn = b->txn;
    b->txn = NULL;
    if (!log_commit(txn, NULL, err)) {
        return err_wrap(err, "hand-off");
    }
    return tell_numbered(b, make, make->first, false, err);
}

static bool send_again(struct outgoing_batch *b, const struct lane_make *make, struct err *err)
{
    struct chart *chart = chart_of(b);
    struct numbered *rows;
    struct ours_row ours;
    size_t count, run = 1;
    if (!ours_load(b->ch, b->arena, &ours, err)) {
        return false;
    }
    if (make->first <= ours.acked.n) {
        return nothing(b->ch, make, b->arena, err); /* acknowledged meanwhile */
    }
    if (!numbered_load(b->ch, make->first, make->count, b->arena, &rows, &count, err)) {
        return false;
    }
    if (count == 0) {
        return err_raise(err, ERR_CORRUPT, "peer: number %ju is missing", (uintmax_t)make->first);
    }
    while (run < count && id_equal(&rows[run].subject.p, &rows[0].subject.p)) {
        run++;
    }
    b->txn = log_txn_new(chart_log(chart));
    chart_lock(chart, &rows[0].subject.p);
    bool ok = make_again(b, make, rows, run, err);
    chart_unlock(chart, &rows[0].subject.p);
    return ok;
}

bool send_make(struct channel *ch, const struct lane_make *make, struct err *err)
{
    AUTO_ARENA(arena, EVENT_ARENA);
    void *memory;
    if (!arena_alloc(&arena, sizeof(struct outgoing_batch), &memory, err)) {
        return false;
    }
    struct outgoing_batch *b = memory;
    b->ch = ch;
    b->arena = &arena;
    bool ok = make->again ? send_again(b, make, err) : send_new(b, make, err);
    log_txn_free(b->txn);
    return ok;
}

/* ---- Settling ------------------------------------------------------------------------------------------------------ */

static Chartmesh__V1__Result result_of(const struct lane_settle *settle, uint64_t n)
{
    for (size_t i = 0; i < settle->except_count; i++) {
        if (settle->except[i]->n == n) {
            return settle->except[i]->result;
        }
    }
    return 0;
}

static enum ledger_state settled_state(const struct numbered *row, Chartmesh__V1__Result result)
{
    if (row->kind == 0 || result == CHARTMESH__V1__RESULT__RESULT_FENCED) {
        return LEDGER_WITHDRAWN;
    }
    bool refused =
        result == CHARTMESH__V1__RESULT__RESULT_SUPPRESSED || result == CHARTMESH__V1__RESULT__RESULT_REFUSED;
    return refused ? LEDGER_REFUSED : LEDGER_STORED;
}

/* The ledger row moves on only if it is still about this very number: an order may have come in between. */
static bool settle_row(struct channel *ch, struct log_txn *txn, const struct numbered *row,
                       Chartmesh__V1__Result result, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    struct ledger_row ledger;
    const struct outbox_row owed = {
        .kind = ITEM_VERSION, .subject = row->subject, .document = row->document, .statement = row->statement};
    numbered_delete(ch, txn, row->place.n);
    if (ch->lane != CHARTMESH__V1__LANE__LANE_BULK || row->kind == ITEM_CONTRIBUTION ||
        !id_equal(&row->subject.facility, chart_facility(chart))) {
        return true;
    }
    if (!chart_ledger_get(chart, &row->subject, &row->document, &row->statement, &ch->peer->facility, &ledger,
                          err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (ledger.n == row->place.n && ledger.state <= LEDGER_SENT) {
        ledger.state = settled_state(row, result);
        if (!chart_ledger_put(chart, txn, &ledger, err)) {
            return false;
        }
    }
    return result != CHARTMESH__V1__RESULT__RESULT_FENCED || row->kind == 0 ||
           chart_outbox_put(chart, txn, &ch->peer->facility, &owed, err);
}

static bool settle_run(struct channel *ch, const struct lane_settle *settle, const struct numbered *rows,
                       size_t count, struct ours_row *ours, struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    struct log_txn *txn = log_txn_new(chart_log(chart));
    chart_lock(chart, &rows[0].subject.p);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        ok = settle_row(ch, txn, &rows[i], result_of(settle, rows[i].place.n), err);
    }
    ours->acked = rows[count - 1].place;
    ok = ok && ours_put(ch, txn, ours, err);
    if (ok) {
        ok = log_commit(txn, NULL, err);
    } else {
        log_txn_free(txn);
    }
    chart_unlock(chart, &rows[0].subject.p);
    return ok || err_wrap(err, "settle");
}

bool send_settle(struct channel *ch, const struct lane_settle *settle, struct arena *arena, struct err *err)
{
    struct ours_row ours;
    struct numbered *rows;
    size_t count;
    if (!ours_load(ch, arena, &ours, err) ||
        !numbered_load(ch, ours.acked.n + 1, (size_t)(settle->place.n - ours.acked.n), arena, &rows, &count,
                       err)) {
        return err_wrap(err, "settle");
    }
    ours.ack = settle->ack;
    for (size_t from = 0; from < count;) {
        size_t run = 1;
        while (from + run < count && id_equal(&rows[from + run].subject.p, &rows[from].subject.p)) {
            run++;
        }
        if (!settle_run(ch, settle, rows + from, run, &ours, err)) {
            return false;
        }
        from += run;
    }
    return true;
}
