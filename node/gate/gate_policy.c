/* What a change of policy, a retraction or a raised label means for those who have copies. */
#include "node/gate/gate_inside.h"

#include <stdlib.h>

enum { ORDER_DOCUMENTS_MAX = 2048, EFFECT_VERSIONS_MAX = 1 << 20 };

/* ---- Signed statements to one peer ------------------------------------------------------------------------------- */

struct effect {
    struct gate *gate;
    struct log_txn *txn;
    const struct subject *subject;
    struct generation generation;
    struct arena *arena;
    struct consent_state state;
    uint32_t grants, orders;
};

static bool subject_message(const struct effect *e, Chartmesh__V1__Subject *out)
{
    chartmesh__v1__subject__init(out);
    out->facility = pb_of(BYTES_OF(e->subject->facility));
    out->patient = pb_of(BYTES_OF(e->subject->patient));
    return true;
}

/* Stores a signed statement, queues it for the peer, and enters it. */
static bool send_statement(struct effect *e, const struct id *peer, const struct statement *statement,
                           enum item_kind item, Chartmesh__V1__EntryKind kind, struct err *err)
{
    const struct outbox_row row = {.kind = item, .subject = *e->subject, .statement = statement->id};
    const struct log_entry entry = {
        .kind = kind, .subject = e->subject, .objects = &statement->id, .objects_len = 1, .counterpart = peer};
    return chart_statement_put(e->gate->chart, e->txn, e->subject, statement, err) &&
           chart_outbox_put(e->gate->chart, e->txn, peer, &row, err) && log_txn_add(e->txn, &entry, err);
}

static bool order_sign(struct effect *e, const struct id *peer, const struct id *documents, size_t count,
                       Chartmesh__V1__Cause cause, struct statement *out, struct err *err)
{
    Chartmesh__V1__PurgeOrder message = CHARTMESH__V1__PURGE_ORDER__INIT;
    Chartmesh__V1__Subject subject;
    const struct signing_key *key = keys_statement(chart_keys(e->gate->chart));
    void *memory;
    if (!subject_message(e, &subject) || !chart_head(e->gate->chart, e->arena, &message.head, err) ||
        !arena_array(e->arena, count, sizeof *message.documents, &memory, err)) {
        return false;
    }
    message.subject = &subject;
    message.receiver = pb_of(BYTES_OF(*peer));
    message.incarnation = e->generation.incarnation;
    message.generation = e->generation.generation;
    message.documents = memory;
    message.n_documents = count;
    message.cause = cause;
    for (size_t i = 0; i < count; i++) {
        message.documents[i] = pb_of(BYTES_OF(documents[i]));
    }
    return statement_sign(STATEMENT_PURGE_ORDER, &message.base, &key, 1, e->arena, out, err);
}

/* ---- One peer ------------------------------------------------------------------------------------------------------ */

/* A version at stake for a peer: a head here, or one that its ledger says it has. */
struct stake {
    struct hash version;
    struct id document;
    bool head, held;
    struct ledger_row row; /* held */
    struct consent_version facts;
    bool permit;
    const struct consent_group *group;
    const struct consent_decision *decision;
};

struct stakes {
    struct stake *items;
    size_t count, capacity;
};

static bool stakes_add(struct arena *arena, struct stakes *list, const struct stake *stake, struct err *err)
{
    if (!arena_grow(arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    list->items[list->count++] = *stake;
    return true;
}

/* Heads of every document (never retracted ones): what could be gained. */
static bool stakes_of_document(struct effect *e, const struct id *document, struct stakes *list, struct err *err)
{
    struct chart_version *versions;
    size_t count;
    Chartmesh__V1__Labels *labels;
    if (!chart_document(e->gate->chart, e->subject, document, e->arena, &versions, &count, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    if (!chart_effective_labels(versions, count, e->arena, &labels, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct stake stake = {.version = versions[i].id,
                              .document = *document,
                              .head = versions[i].head && !versions[i].retracted && versions[i].complete,
                              .facts = version_facts(versions, count, i, labels)};
        if (!stakes_add(e->arena, list, &stake, err)) {
            return false;
        }
    }
    return true;
}

static bool stakes_load(struct effect *e, struct stakes *list, struct err *err)
{
    struct id *documents;
    size_t count;
    if (!chart_documents(e->gate->chart, e->subject, NULL, EFFECT_VERSIONS_MAX, e->arena, &documents, &count,
                         err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!stakes_of_document(e, &documents[i], list, err)) {
            return false;
        }
    }
    return true;
}

static bool peer_has(const struct ledger_row *row)
{
    return row->state >= LEDGER_NUMBERED && row->state <= LEDGER_COMPLETE;
}

static void mark_held(struct stakes *list, const struct ledger_row *rows, size_t count)
{
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].held = list->items[i].permit = false;
        list->items[i].group = NULL;
        for (size_t j = 0; j < count; j++) {
            if (peer_has(&rows[j]) && hash_equal(&rows[j].version, &list->items[i].version)) {
                list->items[i].held = true;
                list->items[i].row = rows[j];
            }
        }
    }
}

static bool decide_stakes(struct effect *e, const struct id *peer, struct stakes *list, struct err *err)
{
    void *facts_memory, *places_memory;
    struct consent_context context;
    struct consent_disclosure decided;
    struct consent_state state = e->state;
    if (!arena_array(e->arena, list->count, sizeof(struct consent_version), &facts_memory, err) ||
        !arena_array(e->arena, list->count, sizeof(size_t), &places_memory, err)) {
        return false;
    }
    struct consent_version *facts = facts_memory;
    size_t *places = places_memory, count = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].head || list->items[i].held) {
            facts[count] = list->items[i].facts;
            places[count++] = i;
        }
    }
    if (count == 0) {
        return true;
    }
    const struct trust *trust = chart_trust_take(e->gate->chart);
    const struct member *member = trust_member(trust, peer);
    state.integrity |= member && member->active ? 0 : CONSENT_NOT_MEMBER;
    chart_trust_give(e->gate->chart);
    consent_state_context(&state, &context);
    const struct consent_push push = {*peer, state.lo_ms, state.hi_ms};
    if (!consent_disclose(&push, facts, count, &context, e->arena, &decided, err)) {
        return false;
    }
    void *groups_memory;
    if (!arena_array(e->arena, decided.groups_len, sizeof(struct consent_group), &groups_memory, err)) {
        return false;
    }
    struct consent_group *groups = groups_memory;
    for (size_t g = 0; g < decided.groups_len; g++) {
        groups[g] = decided.groups[g];
        if (chartmesh__v1__terms__get_packed_size(groups[g].terms) > GATE_TERMS_MAX) {
            continue; /* TERMS_TOO_LARGE: denied, as at hand-off */
        }
        for (size_t i = 0; i < groups[g].versions_len; i++) {
            struct stake *stake = &list->items[places[groups[g].versions[i]]];
            stake->permit = true;
            stake->group = &groups[g];
            stake->decision = &decided.answers[groups[g].versions[i]];
        }
    }
    return true;
}

/* ---- What must come back -------------------------------------------------------------------------------------------- */

static bool document_listed(const struct id *documents, size_t count, const struct id *document)
{
    for (size_t i = 0; i < count; i++) {
        if (id_equal(&documents[i], document)) {
            return true;
        }
    }
    return false;
}

static bool order_part(struct effect *e, const struct id *peer, const struct id *documents, size_t count,
                       bool whole, const struct stakes *list, struct err *err)
{
    struct statement order;
    Chartmesh__V1__Cause cause =
        whole ? CHARTMESH__V1__CAUSE__CAUSE_REVOKED : CHARTMESH__V1__CAUSE__CAUSE_NARROWED;
    if (!order_sign(e, peer, documents, whole ? 0 : count, cause, &order, err) ||
        !send_statement(e, peer, &order, ITEM_PURGE_ORDER, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_PURGE_ORDERED,
                        err)) {
        return err_wrap(err, "purge order");
    }
    const struct chart_case opened = {
        .subject = *e->subject, .order = order.id, .peer = *peer, .opened_hlc = order.head->hlc};
    if (!chart_case_put(e->gate->chart, e->txn, &opened, err)) {
        return false;
    }
    for (size_t i = 0; i < list->count; i++) {
        const struct stake *stake = &list->items[i];
        if (!stake->held || !document_listed(documents, count, &stake->document)) {
            continue;
        }
        struct ledger_row row = stake->row;
        row.state = LEDGER_ORDERED;
        row.order = order.id;
        if (!chart_ledger_put(e->gate->chart, e->txn, &row, err)) {
            return false;
        }
    }
    e->orders++;
    return true;
}

/* A document comes back whole: a peer keeps no version of what it may not have the heads of. */
static bool take_back(struct effect *e, const struct id *peer, struct stakes *list, struct err *err)
{
    void *memory;
    if (!arena_array(e->arena, list->count, ID_LEN, &memory, err)) {
        return false;
    }
    struct id *documents = memory;
    size_t count = 0;
    bool any_left = false;
    for (size_t i = 0; i < list->count; i++) {
        const struct stake *stake = &list->items[i];
        if (stake->held && !stake->permit && !document_listed(documents, count, &stake->document)) {
            documents[count++] = stake->document;
        }
    }
    if (count == 0) {
        return true;
    }
    for (size_t i = 0; i < list->count; i++) {
        struct stake *stake = &list->items[i];
        bool ordered = document_listed(documents, count, &stake->document);
        any_left = any_left || (stake->permit && !ordered);
        /* A permitted head of an ordered document goes out anew, above the fence. */
        stake->permit = stake->permit && (!ordered || stake->head);
    }
    bool heads_again = false;
    for (size_t i = 0; i < list->count; i++) {
        heads_again = heads_again || (list->items[i].permit && list->items[i].head);
    }
    bool whole = !any_left && !heads_again;
    for (size_t from = 0; from < count; from += ORDER_DOCUMENTS_MAX) {
        size_t part = whole ? count : MIN(count - from, ORDER_DOCUMENTS_MAX);
        if (!order_part(e, peer, documents + from, part, whole, list, err)) {
            return false;
        }
        if (whole) {
            break;
        }
    }
    for (size_t i = 0; i < list->count; i++) {
        if (document_listed(documents, count, &list->items[i].document)) {
            list->items[i].held = false;
        }
    }
    return true;
}

/* ---- What is gained, and what stays under other terms ---------------------------------------------------------------- */

static bool give(struct effect *e, const struct id *peer, const struct stakes *list, struct err *err)
{
    bool gained = false;
    for (size_t i = 0; i < list->count; i++) {
        const struct stake *stake = &list->items[i];
        if (!stake->permit || !stake->head || stake->held) {
            continue;
        }
        const struct outbox_row row = {.kind = ITEM_VERSION,
                                       .subject = *e->subject,
                                       .document = stake->document,
                                       .statement = stake->version};
        if (!chart_outbox_put(e->gate->chart, e->txn, peer, &row, err)) {
            return false;
        }
        gained = true;
    }
    e->grants += gained;
    return true;
}

static bool same_terms(struct effect *e, const struct ledger_row *row, const Chartmesh__V1__Terms *now, bool *same,
                       struct err *err)
{
    struct bytes envelope;
    struct statement statement;
    if (!chart_statement(e->gate->chart, &row->disclosure, e->arena, &envelope, err) ||
        !statement_parse(envelope, e->arena, &statement, err)) {
        return err_wrap(err, "disclosure in the ledger");
    }
    /* The period moves with every disclosure (max_disclosure_days): by itself it is no change. */
    Chartmesh__V1__Terms then = *((const Chartmesh__V1__Disclosure *)statement.message)->terms, today = *now;
    then.valid = today.valid = NULL;
    size_t a = chartmesh__v1__terms__get_packed_size(&then), b = chartmesh__v1__terms__get_packed_size(&today);
    void *x, *y;
    if (!arena_alloc(e->arena, a, &x, err) || !arena_alloc(e->arena, b, &y, err)) {
        return false;
    }
    chartmesh__v1__terms__pack(&then, x);
    chartmesh__v1__terms__pack(&today, y);
    *same = bytes_equal(BYTES(x, a), BYTES(y, b));
    return true;
}

static bool redisclose(struct effect *e, const struct id *peer, const struct consent_group *group,
                       struct stake *const *members, size_t count, struct err *err)
{
    const struct disclosing as = {e->gate, e->txn, peer, e->subject, e->generation, &e->state, e->arena};
    struct statement statement;
    struct hash ids[DISCLOSURE_VERSIONS_MAX];
    for (size_t i = 0; i < count; i++) {
        ids[i] = members[i]->version;
    }
    if (!disclosure_put(&as, group, members[0]->decision, ids, count, "terms", &statement, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct ledger_row ledger = members[i]->row;
        ledger.disclosure = statement.id;
        ledger.generation = e->generation;
        if (!chart_ledger_put(e->gate->chart, e->txn, &ledger, err)) {
            return false;
        }
    }
    const struct outbox_row row = {.kind = ITEM_DISCLOSURE, .subject = *e->subject, .statement = statement.id};
    return chart_outbox_put(e->gate->chart, e->txn, peer, &row, err);
}

static bool change_terms(struct effect *e, const struct id *peer, struct stakes *list, struct err *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct consent_group *group = list->items[i].group;
        struct stake *members[DISCLOSURE_VERSIONS_MAX];
        size_t count = 0;
        if (!list->items[i].held || !list->items[i].permit || !group) {
            continue;
        }
        for (size_t j = i; j < list->count && count < DISCLOSURE_VERSIONS_MAX; j++) {
            struct stake *stake = &list->items[j];
            bool same = false;
            if (!stake->held || !stake->permit || stake->group != group) {
                continue;
            }
            if (!same_terms(e, &stake->row, group->terms, &same, err)) {
                return false;
            }
            if (same) {
                stake->group = NULL; /* nothing to say about it */
            } else {
                members[count++] = stake;
            }
        }
        for (size_t j = 0; j < count; j++) {
            members[j]->group = NULL;
        }
        if (count && !redisclose(e, peer, group, members, count, err)) {
            return false;
        }
    }
    return true;
}

static bool peer_effects(struct effect *e, const struct id *peer, struct stakes *list, struct err *err)
{
    struct ledger_row *rows;
    size_t count;
    if (!chart_ledger(e->gate->chart, e->subject, NULL, peer, e->arena, &rows, &count, err)) {
        return false;
    }
    mark_held(list, rows, count);
    return decide_stakes(e, peer, list, err) && take_back(e, peer, list, err) && give(e, peer, list, err) &&
           change_terms(e, peer, list, err);
}

/* ---- All peers ------------------------------------------------------------------------------------------------------- */

static bool add_peer(struct id *peers, size_t *count, size_t max, const struct id *peer)
{
    for (size_t i = 0; i < *count; i++) {
        if (id_equal(&peers[i], peer)) {
            return true;
        }
    }
    if (*count == max) {
        return false;
    }
    peers[(*count)++] = *peer;
    return true;
}

/* Everyone that the new heads name, or that has something: only they can gain or lose. */
static bool peers_of(struct effect *e, const struct chart_policy *heads, size_t count, struct id **out,
                     size_t *out_len, struct err *err)
{
    struct id *named;
    struct ledger_row *rows;
    size_t named_len, rows_len;
    void *memory;
    if (!chart_named(e->gate->chart, e->subject, heads, count, e->arena, &named, &named_len, err) ||
        !chart_ledger(e->gate->chart, e->subject, NULL, NULL, e->arena, &rows, &rows_len, err) ||
        !arena_array(e->arena, named_len + rows_len, ID_LEN, &memory, err)) {
        return false;
    }
    struct id *peers = memory;
    size_t max = named_len + rows_len;
    *out_len = 0;
    bool room = true;
    for (size_t i = 0; room && i < named_len; i++) {
        room = add_peer(peers, out_len, max, &named[i]);
    }
    for (size_t i = 0; room && i < rows_len; i++) {
        room = !peer_has(&rows[i]) || add_peer(peers, out_len, max, &rows[i].peer);
    }
    *out = peers;
    return true;
}

bool gate_policy_effects(struct gate *gate, struct log_txn *txn, const struct subject *subject,
                         const struct chart_policy *heads, size_t count, struct generation generation,
                         uint32_t *grants, uint32_t *orders, struct err *err)
{
    AUTO_ARENA(arena, 256 << 20);
    struct effect e = {.gate = gate, .txn = txn, .subject = subject, .generation = generation, .arena = &arena};
    struct stakes stakes = {0};
    struct id *peers;
    size_t peers_len;
    void *memory;
    if (!arena_array(&arena, count, sizeof *heads, &memory, err)) {
        return false;
    }
    struct chart_policy *copy = memory;
    if (count) {
        memcpy(copy, heads, count * sizeof *heads);
    }
    if (!consent_state_of(gate, subject, copy, count, &arena, &e.state, err) ||
        !peers_of(&e, heads, count, &peers, &peers_len, err) || !stakes_load(&e, &stakes, err)) {
        return err_wrap(err, "policy");
    }
    for (size_t i = 0; i < peers_len; i++) {
        if (!peer_effects(&e, &peers[i], &stakes, err)) {
            return err_wrap(err, "policy");
        }
    }
    *grants = e.grants;
    *orders = e.orders;
    return true;
}

/* ---- Notices ------------------------------------------------------------------------------------------------------- */

static bool notice_sign(struct effect *e, const struct id *peer, const struct id *document,
                        const struct hash *versions, size_t count, Chartmesh__V1__NoticeKind kind,
                        Chartmesh__V1__Confidentiality floor, struct statement *out, struct err *err)
{
    Chartmesh__V1__Notice message = CHARTMESH__V1__NOTICE__INIT;
    Chartmesh__V1__Subject subject;
    const struct signing_key *key = keys_statement(chart_keys(e->gate->chart));
    void *memory;
    if (!subject_message(e, &subject) || !chart_head(e->gate->chart, e->arena, &message.head, err) ||
        !arena_array(e->arena, count, sizeof *message.versions, &memory, err)) {
        return false;
    }
    message.subject = &subject;
    message.receiver = pb_of(BYTES_OF(*peer));
    message.document = pb_of(BYTES_OF(*document));
    message.versions = memory;
    message.n_versions = count;
    for (size_t i = 0; i < count; i++) {
        message.versions[i] = pb_of(BYTES_OF(versions[i]));
    }
    message.kind = kind;
    message.floor = floor;
    message.incarnation = e->generation.incarnation;
    message.generation = e->generation.generation;
    return statement_sign(STATEMENT_NOTICE, &message.base, &key, 1, e->arena, out, err);
}

bool gate_retraction(struct gate *gate, struct log_txn *txn, const struct subject *subject,
                     const struct id *document, const struct hash *versions, size_t count,
                     Chartmesh__V1__NoticeKind kind, Chartmesh__V1__Confidentiality floor, struct err *err)
{
    AUTO_ARENA(arena, 64 << 20);
    struct effect e = {.gate = gate, .txn = txn, .subject = subject, .arena = &arena};
    struct ledger_row *rows;
    size_t rows_len, told_len = 0;
    void *memory;
    if (!chart_generation(gate->chart, subject, &e.generation, err) ||
        !chart_ledger(gate->chart, subject, document, NULL, &arena, &rows, &rows_len, err) ||
        !arena_array(&arena, rows_len, ID_LEN, &memory, err)) {
        return err_wrap(err, "notice");
    }
    struct id *told = memory;
    for (size_t i = 0; i < rows_len; i++) {
        struct statement notice;
        size_t before = told_len;
        bool has = peer_has(&rows[i]) || rows[i].state == LEDGER_ORDERED || rows[i].state == LEDGER_RETAINED;
        if (!has || !add_peer(told, &told_len, rows_len, &rows[i].peer) || told_len == before) {
            continue;
        }
        if (!notice_sign(&e, &rows[i].peer, document, versions, count, kind, floor, &notice, err) ||
            !send_statement(&e, &rows[i].peer, &notice, ITEM_NOTICE, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_NOTICE,
                            err)) {
            return err_wrap(err, "notice");
        }
    }
    return true;
}
