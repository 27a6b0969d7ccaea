/* A peer that knows an older roster is sent the newest one, with the networks and memberships that it rests on
 * (formats 2: a node takes newer statements from peers and never goes back). */
#include "node/peer/inside.h"
#include "proto/base/reader.h"

enum { ROSTER_ARENA = 32 << 20, TRUST_FRAME = 5 };

static bool item_of(enum statement_kind kind, enum item_kind *out)
{
    switch (kind) {
    case STATEMENT_NETWORK:
        *out = ITEM_NETWORK;
        return true;
    case STATEMENT_ROSTER:
        *out = ITEM_ROSTER;
        return true;
    case STATEMENT_MEMBERSHIP:
        *out = ITEM_MEMBERSHIP;
        return true;
    default:
        return false;
    }
}

/* What is still under way from the last connection is not queued twice. */
static bool owed_already(struct channel *ch, struct arena *arena, bool *out, struct err *err)
{
    struct outbox_row *rows;
    size_t count;
    if (!chart_outbox(ch->peers->options.chart, &ch->peer->facility, ch->lane, BATCH_ITEMS_MAX, arena, &rows,
                      &count, err)) {
        return false;
    }
    *out = false;
    for (size_t i = 0; i < count; i++) {
        *out = *out || rows[i].kind == ITEM_ROSTER;
    }
    return true;
}

static bool owe_all(struct channel *ch, struct log_txn *txn, struct bytes file, struct arena *arena,
                    struct err *err)
{
    struct chart *chart = ch->peers->options.chart;
    struct reader r = reader_of(file);
    struct outbox_row owed = {.kind = ITEM_NETWORK};
    owed.subject = subject_make(&(struct id){0}, &(struct id){0});
    read_line(&r);                           /* "CMEVID1" */
    while (r.ok && r.left.len > 0) {
        uint32_t len = read_u32be(&r);
        uint8_t type = read_u8(&r);
        struct statement statement;
        struct bytes envelope = read_bytes(&r, len);
        if (!r.ok || type != TRUST_FRAME || !statement_parse(envelope, arena, &statement, err)) {
            return err_raise(err, ERR_INTERNAL, "roster: a trust file of ours does not read");
        }
        owed.statement = statement.id;
        if (item_of(statement.kind, &owed.kind) &&
            !chart_outbox_put(chart, txn, &ch->peer->facility, &owed, err)) {
            return false;
        }
    }
    return true;
}

bool roster_owe(struct channel *ch, uint64_t their_version, struct err *err)
{
    AUTO_ARENA(arena, ROSTER_ARENA);
    struct chart *chart = ch->peers->options.chart;
    struct bytes file = BYTES_NONE;
    bool owed;
    const struct trust *trust = chart_trust_take(chart);
    bool ok = trust_roster_version(trust) <= their_version || trust_write(trust, &arena, &file, err);
    chart_trust_give(chart);
    if (!ok || file.len == 0) {
        return ok;
    }
    if (!owed_already(ch, &arena, &owed, err)) {
        return false;
    }
    if (owed) {
        return true;
    }
    struct log_txn *txn = log_txn_new(chart_log(chart));
    if (!owe_all(ch, txn, file, &arena, err)) {
        log_txn_free(txn);
        return err_wrap(err, "roster");
    }
    return log_commit(txn, NULL, err);
}
