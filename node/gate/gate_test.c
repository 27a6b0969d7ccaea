#include "node/gate/gate.h"

#include "proto/crypto/random.h"
#include "tests/lib/node.h"

#define PB(fixed) pb_bytes(BYTES_OF(fixed))
#define ENTRY(name) CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_##name
#define CONTROL CHARTMESH__V1__LANE__LANE_CONTROL
#define BULK CHARTMESH__V1__LANE__LANE_BULK

struct fixture {
    struct world_sim *sim;
    struct federation *federation;
    struct node *a, *b;
    struct arena arena;
    struct subject subject;                  /* a's */
    struct caller alice, clerk;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.sim = world_sim_new(5), .federation = federation_new(3)};
    arena_init(&f.arena, 256 << 20);
    f.a = node_new(f.sim, f.federation, 0);
    f.b = node_new(f.sim, f.federation, 1);
    f.subject = node_subject(f.a, 1);
    f.alice = node_caller("alice", NODE_PHYSICIAN, "TREAT");
    f.clerk = node_caller("carl", NODE_CLERK, "TREAT");
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_free(f->a);
    node_free(f->b);
    arena_done(&f->arena);
    federation_free(f->federation);
    world_sim_free(f->sim);
    return 0;
}

static const struct id *peer(struct fixture *f)
{
    return &f->b->member->id;
}

static struct hash put(struct fixture *f, uint8_t document, struct bytes content)
{
    const struct node_put what = {
        .subject = f->subject, .document = node_document(f->a, document), .content = content};
    return node_put(f->a, &what);
}

static struct hash put_restricted(struct fixture *f, uint8_t document)
{
    const struct node_put what = {.subject = f->subject,
                                  .document = node_document(f->a, document),
                                  .content = BYTES_LIT("restricted"),
                                  .confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R};
    return node_put(f->a, &what);
}

static struct hash retract(struct fixture *f, uint8_t document, const struct hash *version)
{
    const struct node_put what = {.subject = f->subject,
                                  .document = node_document(f->a, document),
                                  .parents = version,
                                  .parents_len = 1,
                                  .kind = CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR};
    return node_put(f->a, &what);
}

static bool get(struct fixture *f, struct node *node, const struct caller *caller, uint8_t document,
                Chartmesh__V1__GetRequest *request, Chartmesh__V1__GetReply *out, struct err *err)
{
    struct bytes id;
    struct id name = node_document(f->a, document);
    if (!arena_copy(&f->arena, BYTES_OF(name), &id, err)) {
        return false;
    }
    request->document = pb_bytes(id);
    *out = (Chartmesh__V1__GetReply)CHARTMESH__V1__GET_REPLY__INIT;
    return gate_get(node->gate, caller, request, &f->subject, &f->arena, out, err);
}

static bool get_plain(struct fixture *f, const struct caller *caller, uint8_t document,
                      Chartmesh__V1__GetReply *out, struct err *err)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    return get(f, f->a, caller, document, &request, out, err);
}

/* ---- Reading ------------------------------------------------------------------------------------------------------ */

static void test_gate__a_permitted_read_gives_content_after_its_entry_is_durable(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    uint64_t index;
    struct hash version = put(f, 1, BYTES_LIT("blood pressure 120/80"));
    assert_ok(get_plain(f, &f->alice, 1, &reply, &err));
    assert_int_equal(reply.n_heads, 1);
    assert_false(reply.conflict);
    assert_bytes_equal(bytes_pb(reply.heads[0]->content), BYTES_LIT("blood pressure 120/80"));
    assert_bytes_equal(bytes_pb(reply.heads[0]->version), BYTES_OF(version));
    assert_ok(gate_receipt_open(f->a->gate, f->alice.principal, bytes_pb(reply.receipt), &index, &err));
    node_close(f->a);
    node_open(f->a);
    const Chartmesh__V1__Entry *entry = node_entry(f->a, index, ENTRY(READ), &f->arena);
    assert_int_equal(entry->extent, 21);
    assert_int_equal(entry->n_objects, 1);
    assert_bytes_equal(bytes_pb(entry->objects[0]), BYTES_OF(version));
    assert_int_equal(entry->decision->effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_int_equal(entry->decision->step, 4);
    assert_string_equal(entry->role, NODE_PHYSICIAN);
    assert_string_equal(entry->purpose, "TREAT");
}

static void test_gate__a_receipt_is_worth_nothing_to_another_principal(void **state)
{
    struct fixture *f = *state;
    struct err err;
    uint64_t index;
    uint8_t changed[RECEIPT_LEN], made[RECEIPT_LEN];
    const struct bytes receipt = BYTES(made, sizeof made);
    gate_receipt(f->a->gate, &f->alice, 7, made);
    assert_ok(gate_receipt_open(f->a->gate, f->alice.principal, receipt, &index, &err));
    assert_int_equal(index, 7);
    assert_err(ERR_INVALID, gate_receipt_open(f->a->gate, "spiffe://test/app/other", receipt, &index, &err));
    assert_err(ERR_INVALID, gate_receipt_open(f->b->gate, f->alice.principal, receipt, &index, &err));
    for (size_t i = 0; i < RECEIPT_LEN; i += 5) {
        memcpy(changed, receipt.data, RECEIPT_LEN);
        changed[i] ^= 1;
        assert_err(ERR_INVALID,
                   gate_receipt_open(f->a->gate, f->alice.principal, BYTES(changed, RECEIPT_LEN), &index, &err));
    }
}

static void test_gate__I9_denied_and_absent_are_one_answer(void **state)
{
    struct fixture *f = *state;
    struct err denied, absent, err;
    Chartmesh__V1__GetReply reply;
    struct hash version = put(f, 1, BYTES_LIT("secret"));
    assert_false(get_plain(f, &f->clerk, 1, &reply, &denied));
    assert_false(get_plain(f, &f->clerk, 2, &reply, &absent));
    assert_int_equal(denied.code, ERR_NOT_FOUND);
    assert_int_equal(denied.code, absent.code);
    assert_int_equal(denied.reason, absent.reason);
    assert_string_equal(denied.text, absent.text);
    const Chartmesh__V1__Entry *entry = node_last_entry(f->a, ENTRY(DENIED), &f->arena);
    assert_int_equal(entry->n_objects, 1);
    assert_bytes_equal(bytes_pb(entry->objects[0]), BYTES_OF(version));
    assert_int_equal(entry->decision->effect, CHARTMESH__V1__EFFECT__EFFECT_DENY);
    assert_int_equal(entry->extent, 0);
    assert_non_null(node_last_entry(f->a, ENTRY(ABSENT), &f->arena));
    assert_null(node_last_entry(f->a, ENTRY(READ), &f->arena));
    assert_ok(get_plain(f, &f->alice, 1, &reply, &err));
}

static void test_gate__questions_about_nothing_fill_no_log(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    uint64_t before = log_size(f->a->log).size;
    for (int i = 0; i < 200; i++) {
        assert_err(ERR_NOT_FOUND, get_plain(f, &f->clerk, 2, &reply, &err));
    }
    assert_in_range(log_size(f->a->log).size - before, 50, 110);
}

static void test_gate__every_permitted_head_is_shown_as_a_conflict(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    struct hash first = put(f, 1, BYTES_LIT("one"));
    struct node_put next = {.subject = f->subject,
                            .document = node_document(f->a, 1),
                            .parents = &first,
                            .parents_len = 1,
                            .content = BYTES_LIT("penicillin")};
    node_put(f->a, &next);
    next.content = BYTES_LIT("latex");
    node_put(f->a, &next);
    assert_ok(get_plain(f, &f->alice, 1, &reply, &err));
    assert_int_equal(reply.n_heads, 2);
    assert_true(reply.conflict);
    request.version = PB(first);
    assert_ok(get(f, f->a, &f->alice, 1, &request, &reply, &err));
    assert_int_equal(reply.n_heads, 1);
    assert_false(reply.conflict);
    assert_bytes_equal(bytes_pb(reply.heads[0]->content), BYTES_LIT("one"));
    request.headers_only = true;
    assert_ok(get(f, f->a, &f->alice, 1, &request, &reply, &err));
    assert_int_equal(reply.heads[0]->content.len, 0);
}

static void test_gate__what_was_entered_in_error_is_hidden_unless_asked_for(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    struct hash first = put(f, 1, BYTES_LIT("wrong patient"));
    retract(f, 1, &first);
    assert_ok(get_plain(f, &f->alice, 1, &reply, &err));
    assert_true(reply.heads[0]->retracted);
    assert_int_equal(reply.heads[0]->content.len, 0);
    assert_int_equal(node_last_entry(f->a, ENTRY(READ), &f->arena)->extent, 0);
    request.version = PB(first);
    request.with_retracted = true;
    assert_ok(get(f, f->a, &f->alice, 1, &request, &reply, &err));
    assert_bytes_equal(bytes_pb(reply.heads[0]->content), BYTES_LIT("wrong patient"));
}

/* Another chunk under the right key: what the store gives is not what the version commits to. */
static void test_gate__content_that_is_not_committed_to_is_not_released(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    struct chart_version *versions;
    struct chart_content content;
    struct bytes coded;
    struct id document = node_document(f->a, 1);
    size_t count;
    put(f, 1, BYTES_LIT("10 mg"));
    assert_ok(chart_document(f->a->chart, &f->subject, &document, &f->arena, &versions, &count, &err));
    assert_ok(chart_content_load(f->a->chart, &f->subject.p, &versions[0].content, &content, &err));
    assert_ok(chunk_code(BYTES_LIT("99 mg"), &f->arena, &coded, &err));
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_content_chunk(f->a->chart, txn, &content, 0, true, coded, &err));
    assert_ok(log_commit(txn, NULL, &err));
    assert_err(ERR_CORRUPT, get_plain(f, &f->alice, 1, &reply, &err));
    assert_null(node_last_entry(f->a, ENTRY(READ), &f->arena));
}

/* ---- Lists and histories ------------------------------------------------------------------------------------------ */

static void test_gate__a_list_shows_what_may_be_seen_and_logs_it_once(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__ListReply reply = CHARTMESH__V1__LIST_REPLY__INIT;
    bool more;
    struct id next;
    struct caller bob = node_caller("bob", NODE_PHYSICIAN, "TREAT"); /* the restricted one is alice's */
    for (uint8_t i = 1; i <= 4; i++) {
        put(f, i, BYTES_LIT("x"));
    }
    put_restricted(f, 5);
    assert_ok(gate_list(f->a->gate, &bob, &request, &f->subject, NULL, 3, &f->arena, &reply, &more, &next, &err));
    assert_int_equal(reply.n_documents, 3);
    assert_true(more);
    assert_int_equal(reply.documents[0]->heads[0]->content.len, 0);
    assert_int_equal(node_last_entry(f->a, ENTRY(READ), &f->arena)->n_objects, 3);
    assert_ok(gate_list(f->a->gate, &bob, &request, &f->subject, &next, 3, &f->arena, &reply, &more, &next, &err));
    assert_int_equal(reply.n_documents, 1);
    assert_false(more);
    assert_ok(
        gate_list(f->a->gate, &f->clerk, &request, &f->subject, NULL, 3, &f->arena, &reply, &more, &next, &err));
    assert_int_equal(reply.n_documents, 0);
    assert_string_equal(node_last_entry(f->a, ENTRY(ABSENT), &f->arena)->reason, "list");
}

static void test_gate__a_list_is_filtered_by_class_and_label(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct caller psychiatrist = node_caller("paul", NODE_PSYCHIATRIST, "TREAT");
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__ListReply reply = CHARTMESH__V1__LIST_REPLY__INIT;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT, *classes[] = {&class};
    const struct node_put report = {.subject = f->subject,
                                    .document = node_document(f->a, 2),
                                    .content = BYTES_LIT("x"),
                                    .class_code = "report"};
    bool more;
    struct id next, second = node_document(f->a, 2);
    put(f, 1, BYTES_LIT("x"));
    node_put(f->a, &report);
    put_restricted(f, 3);
    class.system = (char *)(uintptr_t) "urn:chartmesh:class";
    class.code = (char *)(uintptr_t) "report";
    request.class_ = classes;
    request.n_class_ = 1;
    assert_ok(gate_list(f->a->gate, &psychiatrist, &request, &f->subject, NULL, 9, &f->arena, &reply, &more, &next,
                        &err));
    assert_int_equal(reply.n_documents, 1);
    assert_bytes_equal(bytes_pb(reply.documents[0]->document), BYTES_OF(second));
    request.n_class_ = 0;
    assert_ok(gate_list(f->a->gate, &psychiatrist, &request, &f->subject, NULL, 9, &f->arena, &reply, &more, &next,
                        &err));
    assert_int_equal(reply.n_documents, 3);
    request.confidentiality_max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    assert_ok(gate_list(f->a->gate, &psychiatrist, &request, &f->subject, NULL, 9, &f->arena, &reply, &more, &next,
                        &err));
    assert_int_equal(reply.n_documents, 2);
}

static void test_gate__a_history_shows_every_version_parents_first(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__HistoryReply reply = CHARTMESH__V1__HISTORY_REPLY__INIT;
    struct id document = node_document(f->a, 1);
    struct hash versions[3] = {put(f, 1, BYTES_LIT("0")), {{0}}, {{0}}};
    size_t total;
    for (size_t i = 1; i < 3; i++) {
        const struct node_put next = {.subject = f->subject,
                                      .document = document,
                                      .parents = &versions[i - 1],
                                      .parents_len = 1,
                                      .content = BYTES_LIT("n")};
        versions[i] = node_put(f->a, &next);
    }
    assert_ok(gate_history(f->a->gate, &f->alice, &f->subject, &document, 1, 9, &f->arena, &reply, &total, &err));
    assert_int_equal(total, 3);
    assert_int_equal(reply.n_versions, 2);
    assert_bytes_equal(bytes_pb(reply.versions[0]->version), BYTES_OF(versions[1]));
    assert_int_equal(reply.n_heads, 1);
    assert_bytes_equal(bytes_pb(reply.heads[0]), BYTES_OF(versions[2]));
    assert_int_equal(node_last_entry(f->a, ENTRY(READ), &f->arena)->n_objects, 2);
    assert_err(ERR_NOT_FOUND,
               gate_history(f->a->gate, &f->clerk, &f->subject, &document, 0, 9, &f->arena, &reply, &total, &err));
}

/* ---- Downloads ---------------------------------------------------------------------------------------------------- */

static uint8_t big[5 * CHUNK_LEN + 77];

static struct bytes big_content(void)
{
    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (uint8_t)(i * 31 + i / 251);
    }
    return BYTES(big, sizeof big);
}

static bool download(struct fixture *f, const struct caller *caller, const struct hash *version, uint64_t offset,
                     uint64_t length, struct gate_download **out, struct err *err)
{
    static Chartmesh__V1__DownloadReply first;
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    struct id document = node_document(f->a, 1);
    chartmesh__v1__download_reply__init(&first);
    request.document = PB(document);
    request.version = PB(*version);
    request.offset = offset;
    request.length = length;
    return gate_download(f->a->gate, caller, &request, &f->subject, &f->arena, &first, out, err);
}

static void test_gate__a_download_gives_the_range_and_says_how_much_went(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_download *d;
    struct bytes piece;
    uint64_t offset, at = CHUNK_LEN - 10, until = 4 * CHUNK_LEN + 5;
    struct hash version = put(f, 1, big_content());
    assert_ok(download(f, &f->alice, &version, at, until - at, &d, &err));
    assert_int_equal(node_last_entry(f->a, ENTRY(READ), &f->arena)->extent, until - at);
    for (;;) {
        assert_ok(gate_download_next(d, &f->arena, &piece, &offset, &err));
        if (piece.len == 0) {
            break;
        }
        assert_int_equal(offset, at);
        assert_bytes_equal(piece, BYTES(big + at, piece.len));
        at += piece.len;
    }
    assert_int_equal(at, until);
    gate_download_close(d);
    const Chartmesh__V1__Entry *end = node_last_entry(f->a, ENTRY(READ_END), &f->arena);
    assert_int_equal(end->extent, until - (CHUNK_LEN - 10));
    assert_bytes_equal(bytes_pb(end->objects[0]), BYTES_OF(version));
}

static void test_gate__a_download_of_nothing_or_beyond_the_end_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_download *d;
    struct hash version = put(f, 1, big_content()), nobody = random_hash();
    assert_err(ERR_RANGE, download(f, &f->alice, &version, sizeof big + 1, 0, &d, &err));
    assert_err(ERR_RANGE, download(f, &f->alice, &version, 1, sizeof big, &d, &err));
    assert_err(ERR_RANGE, download(f, &f->alice, &version, 2, UINT64_MAX, &d, &err));
    const Chartmesh__V1__Entry *told = node_last_entry(f->a, ENTRY(READ), &f->arena); /* of the length */
    assert_non_null(told);
    assert_int_equal(told->extent, 0);
    assert_null(node_last_entry(f->a, ENTRY(READ_END), &f->arena));
    uint64_t size = log_size(f->a->log).size;
    assert_err(ERR_NOT_FOUND, download(f, &f->clerk, &version, 0, 0, &d, &err));
    assert_err(ERR_NOT_FOUND, download(f, &f->alice, &nobody, 0, 0, &d, &err));
    assert_int_equal(log_size(f->a->log).size, size + 3); /* ENROL, DENIED, ABSENT */
    gate_download_close(NULL);
}

/* ---- Events, explanations, writing --------------------------------------------------------------------------------- */

static void test_gate__an_event_is_seen_by_those_who_may_read(void **state)
{
    struct fixture *f = *state;
    struct err err;
    bool visible;
    Chartmesh__V1__WatchEvent event = CHARTMESH__V1__WATCH_EVENT__INIT;
    struct feed_row row = {.kind = FEED_VERSION,
                           .subject = f->subject,
                           .document = node_document(f->a, 1),
                           .version = put(f, 1, BYTES_LIT("x"))};
    uint64_t before = log_size(f->a->log).size;
    assert_ok(gate_event(f->a->gate, &f->clerk, &row, &f->arena, &event, &visible, &err));
    assert_false(visible);
    assert_int_equal(log_size(f->a->log).size, before);
    assert_ok(gate_event(f->a->gate, &f->alice, &row, &f->arena, &event, &visible, &err));
    assert_true(visible);
    assert_int_equal(event.kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION);
    assert_int_equal(event.version->content.len, 0);
    assert_non_null(node_last_entry(f->a, ENTRY(READ), &f->arena));
    row.kind = FEED_REMOVED;
    event = (Chartmesh__V1__WatchEvent)CHARTMESH__V1__WATCH_EVENT__INIT;
    assert_ok(gate_event(f->a->gate, &f->clerk, &row, &f->arena, &event, &visible, &err));
    assert_true(visible && !event.version);
    assert_int_equal(event.kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_REMOVED);
}

static void test_gate__an_explanation_says_the_step_and_is_logged(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__ExplainRequest request = CHARTMESH__V1__EXPLAIN_REQUEST__INIT;
    Chartmesh__V1__ExplainReply reply = CHARTMESH__V1__EXPLAIN_REPLY__INIT;
    struct id document = node_document(f->a, 1);
    put(f, 1, BYTES_LIT("x"));
    request.document = PB(document);
    request.role = (Chartmesh__V1__Coding *)(uintptr_t)f->alice.role;
    request.purpose = (char *)(uintptr_t) "TREAT";
    assert_ok(gate_explain(f->a->gate, &f->clerk, &request, &f->subject, &f->arena, &reply, &err));
    assert_int_equal(reply.effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_int_equal(reply.step, 4);
    assert_int_equal(reply.n_reasons, 1);
    const Chartmesh__V1__Entry *entry = node_last_entry(f->a, ENTRY(READ), &f->arena);
    assert_string_equal(entry->reason, "explain");
    assert_int_equal(entry->n_objects, 0);
    request.action = CHARTMESH__V1__ACTION__ACTION_DISCLOSE;
    request.facility = PB(*peer(f));
    assert_ok(gate_explain(f->a->gate, &f->clerk, &request, &f->subject, &f->arena, &reply, &err));
    assert_int_equal(reply.effect, CHARTMESH__V1__EFFECT__EFFECT_DENY);
    node_grant(f->a, &f->subject, peer(f), NULL);
    assert_ok(gate_explain(f->a->gate, &f->clerk, &request, &f->subject, &f->arena, &reply, &err));
    assert_int_equal(reply.effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_int_equal(reply.n_basis, 1);
}

static void test_gate__the_configured_table_says_who_writes(void **state)
{
    struct fixture *f = *state;
    struct err err;
    assert_ok(gate_may_write(f->a->gate, &f->alice, "Records.Put", &err));
    f->a->read_only = true;
    assert_err(ERR_DENIED, gate_may_write(f->a->gate, &f->alice, "Records.Put", &err));
}

/* ---- Disclosing ---------------------------------------------------------------------------------------------------- */

static void test_gate__I1_I7_a_disclosure_is_signed_entered_and_in_the_ledger(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item items[2];
    size_t count;
    struct statement statement;
    struct ledger_row row;
    struct id document = node_document(f->a, 1);
    struct hash versions[2] = {put(f, 1, BYTES_LIT("for both")), put_restricted(f, 2)};
    node_grant(f->a, &f->subject, peer(f), NULL);
    struct bytes *given = node_disclose(f->a, &f->subject, peer(f), versions, 2, &f->arena, items, &count);
    assert_int_equal(count, 1);
    assert_true(items[0].permit && items[0].chunk0.len > 0);
    assert_false(items[1].permit || items[1].envelope.len || items[1].chunk0.len);
    const struct trust *trust = chart_trust_take(f->b->chart);
    assert_ok(
        trust_check(trust, given[0], STATEMENT_DISCLOSURE, 0, &f->a->member->id, &f->arena, &statement, &err));
    chart_trust_give(f->b->chart);
    const Chartmesh__V1__Disclosure *disclosure = (const Chartmesh__V1__Disclosure *)statement.message;
    assert_int_equal(disclosure->n_versions, 1);
    assert_bytes_equal(bytes_pb(disclosure->recipient), BYTES_OF(*peer(f)));
    assert_int_equal(disclosure->n_basis, 1);
    assert_string_equal(disclosure->terms->notice, "for treatment only");
    assert_bytes_equal(BYTES_OF(items[0].disclosure), BYTES_OF(statement.id));
    assert_ok(chart_ledger_get(f->a->chart, &f->subject, &document, &versions[0], peer(f), &row, &err));
    assert_true(row.state == LEDGER_NUMBERED && row.n == 1 && hash_equal(&row.disclosure, &statement.id));
    document = node_document(f->a, 2);
    assert_err(ERR_NOT_FOUND,
               chart_ledger_get(f->a->chart, &f->subject, &document, &versions[1], peer(f), &row, &err));
    const Chartmesh__V1__Entry *entry = node_last_entry(f->a, ENTRY(DISCLOSE), &f->arena);
    assert_int_equal(entry->n_objects, 1);
    assert_bytes_equal(bytes_pb(entry->disclosure), BYTES_OF(statement.id));
    assert_bytes_equal(bytes_pb(entry->counterpart), BYTES_OF(*peer(f)));
    assert_int_equal(entry->decision->effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
}

static void test_gate__I1_without_a_permit_nothing_is_handed_over(void **state)
{
    struct fixture *f = *state;
    struct gate_item item;
    size_t count;
    struct hash version = put(f, 1, BYTES_LIT("mine"));
    node_disclose(f->a, &f->subject, peer(f), &version, 1, &f->arena, &item, &count);
    assert_int_equal(count, 0);
    assert_false(item.permit || item.envelope.len || item.chunk0.len);
    assert_null(node_last_entry(f->a, ENTRY(DISCLOSE), &f->arena));
    node_grant(f->a, &f->subject, peer(f), NULL);
    node_disclose(f->a, &f->subject, &f->federation->members[2].id, &version, 1, &f->arena, &item, &count);
    assert_false(item.permit); /* the grant is another's */
    node_disclose(f->a, &f->subject, peer(f), &version, 1, &f->arena, &item, &count);
    assert_true(item.permit);
}

static void test_gate__I8_a_retraction_goes_without_content_and_what_it_is_about_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item items[2];
    struct hash versions[2] = {put(f, 1, BYTES_LIT("wrong")), {{0}}}, path[40], under;
    struct bytes coded, renewed;
    size_t count, path_len;
    node_grant(f->a, &f->subject, peer(f), NULL);
    node_disclose(f->a, &f->subject, peer(f), versions, 1, &f->arena, items, &count);
    assert_ok(gate_chunk(f->a->gate, peer(f), &versions[0], &items[0].disclosure, 0, &f->arena, &coded, path,
                         &path_len, &renewed, &under, &err));
    versions[1] = retract(f, 1, &versions[0]);
    node_disclose(f->a, &f->subject, peer(f), versions, 2, &f->arena, items, &count);
    assert_true(items[1].permit && items[1].chunk0.len == 0);
    assert_false(items[0].permit || items[0].chunk0.len);
    assert_err(ERR_DENIED, gate_chunk(f->a->gate, peer(f), &versions[1], &items[1].disclosure, 0, &f->arena,
                                      &coded, path, &path_len, &renewed, &under, &err));
}

/* b gets document 1 with `content` whole, under a grant. */
static struct gate_item hand_over(struct fixture *f, struct bytes content)
{
    struct gate_item item;
    size_t count;
    struct hash version = put(f, 1, content);
    node_grant(f->a, &f->subject, peer(f), NULL);
    struct bytes *given = node_disclose(f->a, &f->subject, peer(f), &version, 1, &f->arena, &item, &count);
    assert_true(item.permit);
    node_receive(f->b, &item, given[0]);
    return item;
}

static void test_gate__a_holder_reads_under_the_terms_and_logs_them(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    struct gate_item item = hand_over(f, BYTES_LIT("a copy"));
    assert_ok(get(f, f->b, &f->alice, 1, &request, &reply, &err));
    assert_bytes_equal(bytes_pb(reply.heads[0]->content), BYTES_LIT("a copy"));
    assert_bytes_equal(bytes_pb(reply.heads[0]->disclosure), BYTES_OF(item.disclosure));
    const Chartmesh__V1__Entry *entry = node_last_entry(f->b, ENTRY(READ), &f->arena);
    assert_bytes_equal(bytes_pb(entry->decision->terms), BYTES_OF(item.disclosure));
    assert_int_equal(entry->decision->step, 2);
    struct caller nobody = node_caller("mallory", NODE_ROLES "|porter", "TREAT");
    assert_err(ERR_NOT_FOUND, get(f, f->b, &nobody, 1, &request, &reply, &err));
    entry = node_last_entry(f->b, ENTRY(DENIED), &f->arena);
    assert_bytes_equal(bytes_pb(entry->decision->terms), BYTES_OF(item.disclosure));
}

static void test_gate__a_list_passes_over_any_number_of_documents_in_bounded_memory(void **state)
{
    struct fixture *f = *state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    Chartmesh__V1__ListReply reply = CHARTMESH__V1__LIST_REPLY__INIT;
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__Coding other = CHARTMESH__V1__CODING__INIT, *classes = &other;
    struct id next;
    bool more;
    for (unsigned n = 0; n < 250; n++) {
        put(f, (uint8_t)n, BYTES_LIT("a note"));
    }
    other.system = (char *)(uintptr_t) "urn:other";
    other.code = (char *)(uintptr_t) "none";
    request.class_ = &classes;
    request.n_class_ = 1;
    assert_ok(
        gate_list(f->a->gate, &f->alice, &request, &f->subject, NULL, 9, &arena, &reply, &more, &next, &err));
    assert_int_equal(reply.n_documents, 0);
    assert_false(more);
}

static void test_gate__a_download_that_a_purge_overtakes_ends_as_not_here(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item item = hand_over(f, BYTES_LIT("a copy"));
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    Chartmesh__V1__DownloadReply first = CHARTMESH__V1__DOWNLOAD_REPLY__INIT;
    struct gate_download *d;
    struct hash *gone;
    struct bytes piece;
    size_t count;
    uint64_t offset;
    request.document = PB(item.document);
    request.version = PB(item.version);
    assert_ok(gate_download(f->b->gate, &f->alice, &request, &f->subject, &f->arena, &first, &d, &err));
    struct log_txn *txn = log_txn_new(f->b->log);
    assert_ok(chart_purge(f->b->chart, txn, &f->subject, NULL, 0, (struct generation){UINT64_MAX, 1}, &f->arena,
                          &gone, &count, &err));
    assert_ok(log_commit(txn, NULL, &err));
    assert_err(ERR_NOT_FOUND, gate_download_next(d, &f->arena, &piece, &offset, &err));
    gate_download_close(d);
    assert_int_equal(node_last_entry(f->b, ENTRY(READ_END), &f->arena)->extent, 0);
}

static void test_gate__a_missing_chunk_is_damage(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__GetReply reply;
    struct chart_version *versions;
    struct id document = node_document(f->a, 1);
    size_t count;
    uint8_t key[ID_LEN + 8] = {0};
    put(f, 1, BYTES_LIT("x"));
    assert_ok(chart_document(f->a->chart, &f->subject, &document, &f->arena, &versions, &count, &err));
    memcpy(key, versions[0].content.bytes, ID_LEN);
    struct log_txn *txn = log_txn_new(f->a->log);
    store_delete(log_txn_rows(txn), FAMILY_CHUNK, BYTES(key, sizeof key));
    assert_ok(log_commit(txn, NULL, &err));
    assert_err(ERR_CORRUPT, get_plain(f, &f->alice, 1, &reply, &err));
}

static void test_gate__a_contribution_goes_under_its_parents_disclosure(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item item = hand_over(f, BYTES_LIT("a copy")), out;
    const struct node_put amendment = {.subject = f->subject,
                                       .document = item.document,
                                       .parents = &item.version,
                                       .parents_len = 1,
                                       .content = BYTES_LIT("amended at b")};
    struct hash version = node_put(f->b, &amendment), path[40], under;
    struct bytes coded, renewed;
    size_t path_len;
    struct log_txn *txn = log_txn_new(f->b->log);
    assert_ok(gate_contribution(f->b->gate, txn, &f->subject, &item.document, &version, &f->arena, &out, &err));
    assert_ok(log_commit(txn, NULL, &err));
    assert_true(out.permit && out.chunk0.len > 0);
    assert_bytes_equal(BYTES_OF(out.disclosure), BYTES_OF(item.disclosure));
    const Chartmesh__V1__Entry *entry = node_last_entry(f->b, ENTRY(DISCLOSE), &f->arena);
    assert_string_equal(entry->reason, "contribution");
    assert_bytes_equal(bytes_pb(entry->counterpart), BYTES_OF(f->a->member->id));
    assert_ok(gate_chunk(f->b->gate, &f->a->member->id, &version, &out.disclosure, 0, &f->arena, &coded, path,
                         &path_len, &renewed, &under, &err));
    assert_err(ERR_DENIED, gate_chunk(f->b->gate, &f->federation->members[2].id, &version, &out.disclosure, 0,
                                      &f->arena, &coded, path, &path_len, &renewed, &under, &err));
    assert_err(ERR_DENIED, gate_chunk(f->b->gate, &f->a->member->id, &item.version, &out.disclosure, 0, &f->arena,
                                      &coded, path, &path_len, &renewed, &under, &err));
    struct hash *gone;
    size_t count;
    txn = log_txn_new(f->b->log);
    assert_ok(chart_purge(f->b->chart, txn, &f->subject, NULL, 0, (struct generation){UINT64_MAX, 1}, &f->arena,
                          &gone, &count, &err));
    assert_ok(log_commit(txn, NULL, &err));
    txn = log_txn_new(f->b->log);
    assert_err(ERR_NOT_FOUND,
               gate_contribution(f->b->gate, txn, &f->subject, &item.document, &version, &f->arena, &out, &err));
    log_txn_free(txn);
}

/* ---- Chunks --------------------------------------------------------------------------------------------------------- */

static bool chunk(struct fixture *f, const struct gate_item *item, uint64_t index, struct bytes *renewed,
                  struct hash *under, struct err *err)
{
    struct bytes coded, plain;
    struct hash path[40];
    size_t path_len;
    if (!gate_chunk(f->a->gate, peer(f), &item->version, &item->disclosure, index, &f->arena, &coded, path,
                    &path_len, renewed, under, err)) {
        return false;
    }
    assert_true(chunk_decode(coded, chunk_length(item->meta.length, index), &f->arena, &plain, err));
    assert_bytes_equal(plain, BYTES(big + index * CHUNK_LEN, plain.len));
    struct hash leaf = chunk_leaf(&item->meta.salt, index, plain);
    uint64_t chunks = content_chunks(item->meta.length);
    assert_true(chunk_path_verify(index, chunks, &leaf, path, path_len, &item->meta.root));
    assert_false(chunk_path_verify(index ^ 1, chunks, &leaf, path, path_len, &item->meta.root));
    return true;
}

static void test_gate__I1_a_chunk_comes_with_its_path_and_under_the_current_generation(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes renewed;
    struct hash under;
    struct statement statement;
    struct ledger_row row;
    struct generation now;
    struct gate_item item = hand_over(f, big_content());
    assert_int_equal(item.chunk0.len, 0);
    for (uint64_t i = 0; i < 6; i++) {
        assert_ok(chunk(f, &item, i, &renewed, &under, &err));
        assert_int_equal(renewed.len, 0);
        assert_bytes_equal(BYTES_OF(under), BYTES_OF(item.disclosure));
    }
    assert_err(ERR_RANGE, chunk(f, &item, 6, &renewed, &under, &err));
    node_grant(f->a, &f->subject, peer(f), NULL); /* the same again: another generation */
    assert_ok(chunk(f, &item, 2, &renewed, &under, &err));
    assert_ok(statement_parse(renewed, &f->arena, &statement, &err));
    assert_bytes_equal(BYTES_OF(under), BYTES_OF(statement.id));
    const Chartmesh__V1__Disclosure *disclosure = (const Chartmesh__V1__Disclosure *)statement.message;
    assert_ok(chart_generation(f->a->chart, &f->subject, &now, &err));
    assert_int_equal(disclosure->generation, now.generation);
    assert_ok(chart_ledger_get(f->a->chart, &f->subject, &item.document, &item.version, peer(f), &row, &err));
    assert_true(row.n == 1 && generation_compare(row.generation, now) == 0);
    assert_ok(chunk(f, &item, 3, &renewed, &under, &err));
    assert_int_equal(renewed.len, 0);
    assert_bytes_equal(BYTES_OF(under), BYTES_OF(statement.id));
}

/* More contents than the gate keeps leaf hashes of, pulled in turns. */
static void test_gate__paths_are_right_however_many_contents_are_pulled_at_once(void **state)
{
    enum { CONTENTS = 9, TURNS = 3 };
    struct fixture *f = *state;
    struct err err;
    struct hash versions[CONTENTS];
    struct gate_item items[CONTENTS];
    size_t count;
    for (uint8_t i = 0; i < CONTENTS; i++) {
        struct bytes content = big_content();
        big[0] = i;
        versions[i] = put(f, i, BYTES(content.data, 3 * CHUNK_LEN));
    }
    node_grant(f->a, &f->subject, peer(f), NULL);
    node_disclose(f->a, &f->subject, peer(f), versions, CONTENTS, &f->arena, items, &count);
    for (uint64_t turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < CONTENTS; i++) {
            struct bytes renewed;
            struct hash under;
            big[0] = (uint8_t)i;
            assert_ok(chunk(f, &items[i], turn, &renewed, &under, &err));
        }
    }
}

static void test_gate__I2_after_a_revocation_no_chunk_goes(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes renewed;
    struct hash under;
    struct gate_item item = hand_over(f, big_content());
    assert_ok(chunk(f, &item, 0, &renewed, &under, &err));
    node_revoke(f->a, &f->subject, NULL);
    assert_err(ERR_DENIED, chunk(f, &item, 1, &renewed, &under, &err));
    node_close(f->a);
    node_open(f->a);
    assert_err(ERR_DENIED, chunk(f, &item, 1, &renewed, &under, &err));
}

static void test_gate__I1_a_chunk_of_what_was_never_handed_over_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes renewed;
    struct hash under;
    big_content();
    struct gate_item item = {.version = put(f, 1, BYTES(big, sizeof big))}, nothing = {.version = random_hash()};
    node_grant(f->a, &f->subject, peer(f), NULL);
    assert_err(ERR_DENIED, chunk(f, &item, 0, &renewed, &under, &err));
    assert_err(ERR_NOT_FOUND, chunk(f, &nothing, 0, &renewed, &under, &err));
}

/* ---- What a policy does --------------------------------------------------------------------------------------------- */

static struct outbox_row *outbox(struct fixture *f, Chartmesh__V1__Lane lane, size_t expected)
{
    struct err err;
    struct outbox_row *rows;
    size_t count;
    assert_ok(chart_outbox(f->a->chart, peer(f), lane, 100, &f->arena, &rows, &count, &err));
    assert_int_equal(count, expected);
    return rows;
}

static const Chartmesh__V1__PurgeOrder *order_of(struct fixture *f, const struct outbox_row *row)
{
    struct err err;
    struct bytes envelope;
    struct statement statement;
    assert_int_equal(row->kind, ITEM_PURGE_ORDER);
    assert_ok(chart_statement(f->a->chart, &row->statement, &f->arena, &envelope, &err));
    const struct trust *trust = chart_trust_take(f->b->chart);
    assert_ok(
        trust_check(trust, envelope, STATEMENT_PURGE_ORDER, 0, &f->a->member->id, &f->arena, &statement, &err));
    chart_trust_give(f->b->chart);
    return (const Chartmesh__V1__PurgeOrder *)statement.message;
}

static void test_gate__a_grant_queues_what_it_permits(void **state)
{
    struct fixture *f = *state;
    uint32_t grants;
    struct hash wrong = put(f, 3, BYTES_LIT("error"));
    struct hash first = put(f, 1, BYTES_LIT("x"));
    put_restricted(f, 2);
    retract(f, 3, &wrong);
    node_grant(f->a, &f->subject, peer(f), &grants);
    assert_int_equal(grants, 1);
    struct outbox_row *rows = outbox(f, BULK, 1);
    assert_bytes_equal(BYTES_OF(rows[0].statement), BYTES_OF(first));
    outbox(f, CONTROL, 0);
}

static void test_gate__I3_a_revocation_orders_everything_back_with_one_order(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item item, second;
    struct ledger_row row;
    struct chart_case *cases;
    struct generation now;
    size_t count;
    uint32_t orders;
    item = hand_over(f, BYTES_LIT("x"));
    struct hash other = put(f, 2, BYTES_LIT("y"));
    node_disclose(f->a, &f->subject, peer(f), &other, 1, &f->arena, &second, &count);
    node_revoke(f->a, &f->subject, &orders);
    assert_int_equal(orders, 1);
    struct outbox_row *rows = outbox(f, CONTROL, 1);
    const Chartmesh__V1__PurgeOrder *order = order_of(f, &rows[0]);
    assert_int_equal(order->n_documents, 0);
    assert_int_equal(order->cause, CHARTMESH__V1__CAUSE__CAUSE_REVOKED);
    assert_ok(chart_generation(f->a->chart, &f->subject, &now, &err));
    assert_int_equal(order->generation, now.generation);
    assert_ok(chart_cases(f->a->chart, NULL, false, NULL, 9, &f->arena, &cases, &count, &err));
    assert_int_equal(count, 1);
    assert_true(hash_equal(&cases[0].order, &rows[0].statement) && id_equal(&cases[0].peer, peer(f)));
    const struct gate_item *both[] = {&item, &second};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(chart_ledger_get(f->a->chart, &f->subject, &both[i]->document, &both[i]->version, peer(f), &row,
                                   &err));
        assert_true(row.state == LEDGER_ORDERED && hash_equal(&row.order, &rows[0].statement));
    }
    const Chartmesh__V1__Entry *entry = node_last_entry(f->a, ENTRY(PURGE_ORDERED), &f->arena);
    assert_bytes_equal(bytes_pb(entry->objects[0]), BYTES_OF(rows[0].statement));
    node_revoke(f->a, &f->subject, &orders); /* nothing is left to take back */
    assert_int_equal(orders, 0);
}

static void test_gate__a_new_grant_after_a_revocation_stands_above_the_fence(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item item = hand_over(f, BYTES_LIT("x")), again;
    struct statement statement;
    size_t count;
    node_revoke(f->a, &f->subject, NULL);
    struct outbox_row *rows = outbox(f, BULK, 1); /* the first grant's, not yet taken away by a peer */
    struct log_txn *txn = log_txn_new(f->a->log);
    chart_outbox_delete(txn, &rows[0]);
    assert_ok(log_commit(txn, NULL, &err));
    const Chartmesh__V1__PurgeOrder *order = order_of(f, outbox(f, CONTROL, 1));
    node_grant(f->a, &f->subject, peer(f), NULL);
    rows = outbox(f, BULK, 1);
    assert_bytes_equal(BYTES_OF(rows[0].statement), BYTES_OF(item.version));
    struct bytes *given = node_disclose(f->a, &f->subject, peer(f), &item.version, 1, &f->arena, &again, &count);
    assert_true(again.permit);
    assert_ok(statement_parse(given[0], &f->arena, &statement, &err));
    assert_true(((const Chartmesh__V1__Disclosure *)statement.message)->generation > order->generation);
}

static Chartmesh__V1__Rule permit_rule(ProtobufCBinaryData *facility, ProtobufCBinaryData *documents, size_t count)
{
    Chartmesh__V1__Rule rule = CHARTMESH__V1__RULE__INIT;
    rule.id = 1;
    rule.effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    rule.facilities = facility;
    rule.n_facilities = 1;
    rule.documents = documents;
    rule.n_documents = count;
    return rule;
}

static void test_gate__a_narrower_policy_orders_back_the_documents_it_leaves_out(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item items[2];
    struct ledger_row row;
    struct hash versions[2] = {put(f, 1, BYTES_LIT("one")), put(f, 2, BYTES_LIT("two"))};
    struct id first = node_document(f->a, 1), second = node_document(f->a, 2);
    ProtobufCBinaryData facility = PB(*peer(f)), documents[] = {PB(first), PB(second)};
    Chartmesh__V1__Rule rule = permit_rule(&facility, documents, 2), *rules[] = {&rule};
    const struct node_policy policy = {.subject = f->subject, .rules = rules, .rules_len = 1};
    size_t count;
    uint32_t orders;
    node_policy(f->a, &policy, NULL, &orders);
    node_disclose(f->a, &f->subject, peer(f), versions, 2, &f->arena, items, &count);
    assert_true(items[0].permit && items[1].permit);
    rule.n_documents = 1;
    node_policy(f->a, &policy, NULL, &orders);
    assert_int_equal(orders, 1);
    const Chartmesh__V1__PurgeOrder *order = order_of(f, outbox(f, CONTROL, 1));
    assert_int_equal(order->n_documents, 1);
    assert_bytes_equal(bytes_pb(order->documents[0]), BYTES_OF(second));
    assert_int_equal(order->cause, CHARTMESH__V1__CAUSE__CAUSE_NARROWED);
    assert_ok(chart_ledger_get(f->a->chart, &f->subject, &first, &versions[0], peer(f), &row, &err));
    assert_int_equal(row.state, LEDGER_NUMBERED);
    assert_ok(chart_ledger_get(f->a->chart, &f->subject, &second, &versions[1], peer(f), &row, &err));
    assert_int_equal(row.state, LEDGER_ORDERED);
}

static void test_gate__narrower_terms_go_out_without_an_order(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct gate_item item = hand_over(f, BYTES_LIT("x"));
    struct ledger_row row;
    struct bytes envelope;
    struct statement statement;
    ProtobufCBinaryData facility = PB(*peer(f));
    char *purposes[] = {(char *)(uintptr_t) "TREAT"};
    Chartmesh__V1__Rule rule = permit_rule(&facility, NULL, 0), *rules[] = {&rule};
    const struct node_policy policy = {.subject = f->subject, .rules = rules, .rules_len = 1};
    uint32_t orders;
    rule.purposes = purposes;
    rule.n_purposes = 1;
    node_policy(f->a, &policy, NULL, &orders);
    assert_int_equal(orders, 0);
    struct outbox_row *rows = outbox(f, CONTROL, 1);
    assert_int_equal(rows[0].kind, ITEM_DISCLOSURE);
    assert_ok(chart_statement(f->a->chart, &rows[0].statement, &f->arena, &envelope, &err));
    const struct trust *trust = chart_trust_take(f->b->chart);
    assert_ok(
        trust_check(trust, envelope, STATEMENT_DISCLOSURE, 0, &f->a->member->id, &f->arena, &statement, &err));
    chart_trust_give(f->b->chart);
    assert_ok(chart_ledger_get(f->a->chart, &f->subject, &item.document, &item.version, peer(f), &row, &err));
    assert_true(row.state == LEDGER_NUMBERED && hash_equal(&row.disclosure, &statement.id));
    const Chartmesh__V1__Entry *entry = node_last_entry(f->a, ENTRY(DISCLOSE), &f->arena);
    assert_string_equal(entry->reason, "terms");
    assert_int_equal(entry->decision->effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_bytes_equal(bytes_pb(entry->objects[0]), BYTES_OF(item.version));
    /* The holder decides by it at once. */
    Chartmesh__V1__GetReply reply;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    struct caller research = node_caller("rita", NODE_PHYSICIAN, "HRESCH");
    struct log_txn *txn = log_txn_new(f->b->log);
    assert_ok(chart_disclosure_put(f->b->chart, txn, &statement, &err));
    assert_ok(log_commit(txn, NULL, &err));
    assert_err(ERR_NOT_FOUND, get(f, f->b, &research, 1, &request, &reply, &err));
    assert_ok(get(f, f->b, &f->alice, 1, &request, &reply, &err));
}

static void test_gate__I8_a_notice_reaches_all_that_have_it_whatever_the_consent(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes envelope;
    struct statement statement;
    struct gate_item item = hand_over(f, BYTES_LIT("x"));
    node_revoke(f->a, &f->subject, NULL);
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(gate_retraction(f->a->gate, txn, &f->subject, &item.document, &item.version, 1,
                              CHARTMESH__V1__NOTICE_KIND__NOTICE_KIND_RETRACTED, 0, &err));
    assert_ok(log_commit(txn, NULL, &err));
    struct outbox_row *rows = outbox(f, CONTROL, 2);
    assert_int_equal(rows[1].kind, ITEM_NOTICE);
    assert_ok(chart_statement(f->a->chart, &rows[1].statement, &f->arena, &envelope, &err));
    const struct trust *trust = chart_trust_take(f->b->chart);
    assert_ok(trust_check(trust, envelope, STATEMENT_NOTICE, 0, &f->a->member->id, &f->arena, &statement, &err));
    chart_trust_give(f->b->chart);
    const Chartmesh__V1__Notice *notice = (const Chartmesh__V1__Notice *)statement.message;
    assert_bytes_equal(bytes_pb(notice->document), BYTES_OF(item.document));
    assert_bytes_equal(bytes_pb(notice->versions[0]), BYTES_OF(item.version));
    assert_non_null(node_last_entry(f->a, ENTRY(NOTICE), &f->arena));
    struct id other = node_document(f->a, 2);
    txn = log_txn_new(f->a->log);
    assert_ok(gate_retraction(f->a->gate, txn, &f->subject, &other, &item.version, 1,
                              CHARTMESH__V1__NOTICE_KIND__NOTICE_KIND_RETRACTED, 0, &err));
    assert_ok(log_commit(txn, NULL, &err));
    outbox(f, CONTROL, 2); /* nobody has that one */
}

#define WITH_NODES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_NODES(test_gate__a_permitted_read_gives_content_after_its_entry_is_durable),
        WITH_NODES(test_gate__a_receipt_is_worth_nothing_to_another_principal),
        WITH_NODES(test_gate__I9_denied_and_absent_are_one_answer),
        WITH_NODES(test_gate__questions_about_nothing_fill_no_log),
        WITH_NODES(test_gate__every_permitted_head_is_shown_as_a_conflict),
        WITH_NODES(test_gate__what_was_entered_in_error_is_hidden_unless_asked_for),
        WITH_NODES(test_gate__content_that_is_not_committed_to_is_not_released),
        WITH_NODES(test_gate__a_list_shows_what_may_be_seen_and_logs_it_once),
        WITH_NODES(test_gate__a_list_is_filtered_by_class_and_label),
        WITH_NODES(test_gate__a_history_shows_every_version_parents_first),
        WITH_NODES(test_gate__a_download_gives_the_range_and_says_how_much_went),
        WITH_NODES(test_gate__a_download_of_nothing_or_beyond_the_end_is_refused),
        WITH_NODES(test_gate__an_event_is_seen_by_those_who_may_read),
        WITH_NODES(test_gate__an_explanation_says_the_step_and_is_logged),
        WITH_NODES(test_gate__the_configured_table_says_who_writes),
        WITH_NODES(test_gate__I1_I7_a_disclosure_is_signed_entered_and_in_the_ledger),
        WITH_NODES(test_gate__I1_without_a_permit_nothing_is_handed_over),
        WITH_NODES(test_gate__I8_a_retraction_goes_without_content_and_what_it_is_about_not_at_all),
        WITH_NODES(test_gate__a_holder_reads_under_the_terms_and_logs_them),
        WITH_NODES(test_gate__a_list_passes_over_any_number_of_documents_in_bounded_memory),
        WITH_NODES(test_gate__a_download_that_a_purge_overtakes_ends_as_not_here),
        WITH_NODES(test_gate__a_missing_chunk_is_damage),
        WITH_NODES(test_gate__a_contribution_goes_under_its_parents_disclosure),
        WITH_NODES(test_gate__I1_a_chunk_comes_with_its_path_and_under_the_current_generation),
        WITH_NODES(test_gate__paths_are_right_however_many_contents_are_pulled_at_once),
        WITH_NODES(test_gate__I2_after_a_revocation_no_chunk_goes),
        WITH_NODES(test_gate__I1_a_chunk_of_what_was_never_handed_over_is_refused),
        WITH_NODES(test_gate__a_grant_queues_what_it_permits),
        WITH_NODES(test_gate__I3_a_revocation_orders_everything_back_with_one_order),
        WITH_NODES(test_gate__a_new_grant_after_a_revocation_stands_above_the_fence),
        WITH_NODES(test_gate__a_narrower_policy_orders_back_the_documents_it_leaves_out),
        WITH_NODES(test_gate__narrower_terms_go_out_without_an_order),
        WITH_NODES(test_gate__I8_a_notice_reaches_all_that_have_it_whatever_the_consent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
