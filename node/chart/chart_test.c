#include "node/chart/chart.h"

#include "proto/crypto/random.h"
#include "tests/lib/node.h"

struct fixture {
    struct world_sim *sim;
    struct federation *federation;
    struct node *a, *b;                      /* b: made by the tests that need a receiver */
    struct arena arena;
    struct subject subject;                  /* a's */
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.sim = world_sim_new(11), .federation = federation_new(3)};
    arena_init(&f.arena, 64 << 20);
    f.a = node_new(f.sim, f.federation, 0);
    f.subject = node_subject(f.a, 1);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_free(f->a);
    if (f->b) {
        node_free(f->b);
    }
    arena_done(&f->arena);
    federation_free(f->federation);
    world_sim_free(f->sim);
    return 0;
}

static void restart(struct node *node)
{
    node_close(node);
    node_open(node);
}

static void commit(struct log_txn *txn)
{
    struct err err;
    assert_ok(log_commit(txn, NULL, &err));
}

/* ---- Subjects ---------------------------------------------------------------------------------------------------- */

static void test_chart__a_registered_subject_is_known_and_listed_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_subject found, *list;
    size_t count;
    node_subject(f->a, 2);
    restart(f->a);
    assert_ok(chart_subject(f->a->chart, &f->subject, &found, &err));
    assert_true(found.known && found.own);
    assert_int_equal(found.generation.generation, 1);
    assert_int_equal(found.generation.incarnation, log_incarnation(f->a->log));
    assert_false(id_is_zero(&found.identity));
    assert_ok(chart_subjects(f->a->chart, true, NULL, 1, &f->arena, &list, &count, &err));
    assert_int_equal(count, 1);
    struct id first = list[0].subject.p;
    assert_ok(chart_subjects(f->a->chart, true, &first, 10, &f->arena, &list, &count, &err));
    assert_int_equal(count, 1);
    assert_false(id_equal(&list[0].subject.p, &first));
    assert_ok(chart_subjects(f->a->chart, false, NULL, 10, &f->arena, &list, &count, &err));
    assert_int_equal(count, 0);
}

static void test_chart__a_subject_nobody_registered_is_not_known(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id patient = random_id();
    struct subject stranger = subject_make(&f->a->member->id, &patient);
    struct chart_subject found;
    assert_ok(chart_subject(f->a->chart, &stranger, &found, &err));
    assert_true(!found.known && found.own);
}

static void identifiers(struct fixture *f, const char *system, const char *first, const char *second)
{
    struct err err;
    Chartmesh__V1__Coding codes[2] = {CHARTMESH__V1__CODING__INIT, CHARTMESH__V1__CODING__INIT};
    const char *values[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        codes[i].system = (char *)(uintptr_t)system;
        codes[i].code = (char *)(uintptr_t)values[i];
    }
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_identifiers_set(f->a->chart, txn, &f->subject, codes, second ? 2 : 1, &err));
    commit(txn);
}

static size_t lookup(struct fixture *f, const char *system, const char *value)
{
    struct err err;
    struct subject *found;
    size_t count;
    assert_ok(chart_lookup(f->a->chart, system, value, &f->arena, &found, &count, &err));
    return count;
}

static void test_chart__an_identifier_finds_its_subject_until_an_update_takes_it_away(void **state)
{
    struct fixture *f = *state;
    identifiers(f, "urn:ssn", "111", "222");
    assert_int_equal(lookup(f, "urn:ssn", "111"), 1);
    assert_int_equal(lookup(f, "urn:ssn", "222"), 1);
    assert_int_equal(lookup(f, "urn:ss", "n111"), 0);
    identifiers(f, "urn:ssn", "222", "333");
    assert_int_equal(lookup(f, "urn:ssn", "111"), 0);
    assert_int_equal(lookup(f, "urn:ssn", "222"), 1);
    restart(f->a);
    assert_int_equal(lookup(f, "urn:ssn", "333"), 1);
}

/* ---- Import keys --------------------------------------------------------------------------------------------------- */

static void test_chart__an_import_key_is_found_after_a_restart_and_no_other(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_import made = {.subject = f->subject,
                                .document = node_document(f->a, 1),
                                .version = random_hash(),
                                .content = chart_import_hash(f->a->chart, BYTES_LIT("body"))},
                        found;
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_import_set(f->a->chart, txn, "https://old.example", "17", &made, &err));
    commit(txn);
    restart(f->a);
    assert_ok(chart_import_find(f->a->chart, "https://old.example", "17", &found, &err));
    assert_true(id_equal(&found.subject.p, &f->subject.p) && id_equal(&found.document, &made.document));
    assert_true(hash_equal(&found.version, &made.version) && hash_equal(&found.content, &made.content));
    assert_err(ERR_NOT_FOUND, chart_import_find(f->a->chart, "https://old.example1", "7", &found, &err));
    struct hash other = chart_import_hash(f->a->chart, BYTES_LIT("bodY"));
    assert_false(hash_equal(&made.content, &other));
}

/* ---- Versions ------------------------------------------------------------------------------------------------------ */

static struct hash put(struct fixture *f, uint8_t document, const char *text, const struct hash *parents,
                       size_t count)
{
    const struct node_put what = {.subject = f->subject,
                                  .document = node_document(f->a, document),
                                  .content = bytes_str(text),
                                  .parents = parents,
                                  .parents_len = count};
    return node_put(f->a, &what);
}

static struct chart_version *load(struct fixture *f, uint8_t document, size_t expected)
{
    struct err err;
    struct chart_version *versions;
    struct id id = node_document(f->a, document);
    size_t count;
    assert_ok(chart_document(f->a->chart, &f->subject, &id, &f->arena, &versions, &count, &err));
    assert_int_equal(count, expected);
    return versions;
}

static const struct chart_version *at_id(const struct chart_version *versions, size_t count, const struct hash *id)
{
    for (size_t i = 0; i < count; i++) {
        if (hash_equal(&versions[i].id, id)) {
            return &versions[i];
        }
    }
    fail_msg("a version is missing");
    return NULL;
}

static void test_chart__I40_concurrent_amendments_are_heads_until_a_merge(void **state)
{
    struct fixture *f = *state;
    struct hash first = put(f, 1, "one", NULL, 0);
    struct hash sides[2] = {put(f, 1, "two", &first, 1), {{0}}};
    const struct node_put apart = {.subject = f->subject,
                                   .document = node_document(f->a, 1),
                                   .content = BYTES_LIT("three"),
                                   .parents = &first,
                                   .parents_len = 1};
    sides[1] = node_put(f->a, &apart);
    struct chart_version *versions = load(f, 1, 3);
    assert_false(at_id(versions, 3, &first)->head);
    assert_true(at_id(versions, 3, &sides[0])->head && at_id(versions, 3, &sides[1])->head);
    struct hash merged = put(f, 1, "all", sides, 2);
    restart(f->a);
    versions = load(f, 1, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(versions[i].head, hash_equal(&versions[i].id, &merged));
    }
    assert_bytes_equal(BYTES_OF(versions[0].id), BYTES_OF(first));
    assert_bytes_equal(BYTES_OF(versions[3].id), BYTES_OF(merged));
}

static void test_chart__one_facilitys_dots_in_a_document_have_one_tag_and_count_up(void **state)
{
    struct fixture *f = *state;
    struct hash first = put(f, 1, "one", NULL, 0), other;
    restart(f->a);
    put(f, 1, "two", &first, 1);
    other = put(f, 2, "other", NULL, 0);
    struct chart_version *versions = load(f, 1, 2);
    assert_int_equal(versions[0].node.tag, versions[1].node.tag);
    assert_int_equal(versions[0].node.counter, 1);
    assert_int_equal(versions[1].node.counter, 2);
    const struct chart_version *apart = at_id(load(f, 2, 1), 1, &other);
    assert_true(apart->node.tag != versions[0].node.tag && apart->node.counter == 1);
}

static void test_chart__a_long_line_of_amendments_comes_in_order(void **state)
{
    enum { LONG = 120 };
    struct fixture *f = *state;
    struct hash last = put(f, 1, "0", NULL, 0);
    for (int i = 1; i < LONG; i++) {
        last = put(f, 1, "n", &last, 1);
    }
    struct chart_version *versions = load(f, 1, LONG);
    for (size_t i = 1; i < LONG; i++) {
        assert_int_equal(versions[i].message->n_parents, 1);
        assert_bytes_equal(bytes_pb(versions[i].message->parents[0]), BYTES_OF(versions[i - 1].id));
    }
    assert_true(versions[LONG - 1].head);
}

static void test_chart__what_is_entered_in_error_marks_its_parent_and_shares_its_content(void **state)
{
    struct fixture *f = *state;
    struct hash first = put(f, 1, "wrong patient", NULL, 0);
    const struct node_put error = {.subject = f->subject,
                                   .document = node_document(f->a, 1),
                                   .parents = &first,
                                   .parents_len = 1,
                                   .kind = CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR};
    struct hash retraction = node_put(f->a, &error);
    struct chart_version *versions = load(f, 1, 2);
    assert_true(versions[0].retracted && versions[1].retracted);
    assert_true(id_equal(&versions[0].content, &versions[1].content));
    assert_true(at_id(versions, 2, &retraction)->head);
    struct hash good = put(f, 2, "right", NULL, 0);
    assert_false(at_id(load(f, 2, 1), 1, &good)->retracted);
}

static void test_chart__effective_labels_join_the_heads(void **state)
{
    struct fixture *f = *state;
    struct err err;
    Chartmesh__V1__Labels *labels;
    struct hash first = put(f, 1, "one", NULL, 0);
    const struct node_put restricted = {.subject = f->subject,
                                        .document = node_document(f->a, 1),
                                        .parents = &first,
                                        .parents_len = 1,
                                        .content = BYTES_LIT("two"),
                                        .confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R};
    const struct node_put sensitive = {.subject = f->subject,
                                       .document = node_document(f->a, 1),
                                       .parents = &first,
                                       .parents_len = 1,
                                       .content = BYTES_LIT("three"),
                                       .sensitivity = "PSY"};
    node_put(f->a, &restricted);
    node_put(f->a, &sensitive);
    assert_ok(chart_effective_labels(load(f, 1, 3), 3, &f->arena, &labels, &err));
    assert_int_equal(labels->confidentiality, CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R);
    assert_int_equal(labels->n_sensitivity, 1);
    assert_string_equal(labels->sensitivity[0]->code, "PSY");
}

static void test_chart__documents_are_listed_page_by_page(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id *page, last;
    size_t count;
    for (uint8_t i = 1; i <= 5; i++) {
        struct hash first = put(f, i, "x", NULL, 0);
        put(f, i, "y", &first, 1);
    }
    assert_ok(chart_documents(f->a->chart, &f->subject, NULL, 2, &f->arena, &page, &count, &err));
    assert_int_equal(count, 2);
    last = page[1];
    assert_ok(chart_documents(f->a->chart, &f->subject, &last, 9, &f->arena, &page, &count, &err));
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        struct id expected = node_document(f->a, (uint8_t)(3 + i));
        assert_true(id_equal(&page[i], &expected));
    }
    struct subject placed;
    struct id document;
    struct hash nobody = random_hash(), sixth = put(f, 6, "z", NULL, 0);
    assert_ok(chart_version_place(f->a->chart, &sixth, &placed, &document, &err));
    last = node_document(f->a, 6);
    assert_true(id_equal(&placed.p, &f->subject.p) && id_equal(&document, &last));
    assert_err(ERR_NOT_FOUND, chart_version_place(f->a->chart, &nobody, &placed, &document, &err));
}

static void test_chart__a_document_that_is_not_here_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_version *versions;
    struct id document = node_document(f->a, 9);
    size_t count;
    assert_err(ERR_NOT_FOUND,
               chart_document(f->a->chart, &f->subject, &document, &f->arena, &versions, &count, &err));
}

static void test_chart__content_comes_back_chunk_by_chunk_by_its_own_key_only(void **state)
{
    struct fixture *f = *state;
    struct err err;
    static uint8_t big[CHUNK_LEN + 100];
    struct bytes sealed, coded, plain;
    struct content_meta meta;
    struct chart_content content;
    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (uint8_t)(i * 7);
    }
    const struct node_put what = {
        .subject = f->subject, .document = node_document(f->a, 1), .content = BYTES(big, sizeof big)};
    node_put(f->a, &what);
    restart(f->a);
    struct chart_version *v = load(f, 1, 1);
    assert_ok(chart_content_load(f->a->chart, &f->subject.p, &v->content, &content, &err));
    assert_ok(chart_content_meta_read(f->a->chart, &f->subject.p, &v->document, &v->content, &meta, &err));
    assert_int_equal(meta.length, sizeof big);
    assert_ok(chart_content_chunk_read(f->a->chart, &v->content, 1, &f->arena, &sealed, &err));
    assert_ok(chunk_open(&content.keys, &content.id, 1, true, sealed, &f->arena, &coded, &err));
    assert_ok(chunk_decode(coded, 100, &f->arena, &plain, &err));
    assert_bytes_equal(plain, BYTES(big + CHUNK_LEN, 100));
    assert_err(ERR_CORRUPT, chunk_open(&content.keys, &content.id, 0, true, sealed, &f->arena, &coded, &err));
    assert_err(ERR_CORRUPT, chunk_open(&content.keys, &content.id, 1, false, sealed, &f->arena, &coded, &err));
    assert_err(ERR_NOT_FOUND, chart_content_chunk_read(f->a->chart, &v->content, 2, &f->arena, &sealed, &err));
}

static size_t feed(struct node *node, struct feed_place *at, struct feed_row *out, size_t max)
{
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    struct bytes value;
    size_t n = 0;
    while (n < max && log_feed_next(node->log, at, &arena, &value, &err)) {
        assert_ok(feed_row_decode(value, &out[n++], &err));
    }
    return n;
}

static void test_chart__an_incomplete_version_shows_in_the_feed_when_it_is_complete(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct feed_place at = log_feed_end(f->a->log);
    struct feed_row rows[4];
    struct id document = node_document(f->a, 1);
    const struct node_put what = {
        .subject = f->subject, .document = document, .content = BYTES_LIT("late"), .incomplete = true};
    struct hash version = node_put(f->a, &what);
    assert_int_equal(feed(f->a, &at, rows, 4), 0);
    assert_false(load(f, 1, 1)->complete);
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_version_flags(f->a->chart, txn, &f->subject, &document, &version, VERSION_COMPLETE, 0, &err));
    commit(txn);
    assert_true(load(f, 1, 1)->complete);
    assert_int_equal(feed(f->a, &at, rows, 4), 1);
    assert_int_equal(rows[0].kind, FEED_VERSION);
    assert_true(hash_equal(&rows[0].version, &version) && id_equal(&rows[0].document, &document));
}

/* ---- Policies ------------------------------------------------------------------------------------------------------ */

static size_t policy_heads(struct fixture *f, struct hash *out)
{
    struct err err;
    struct chart_policy *policies;
    size_t count, heads = 0;
    assert_ok(chart_policies(f->a->chart, &f->subject, &f->arena, &policies, &count, &err));
    for (size_t i = 0; i < count; i++) {
        if (policies[i].head) {
            out[heads++] = policies[i].id;
        }
    }
    return heads;
}

static void test_chart__a_policy_raises_the_generation_and_law_is_a_set_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct hash heads[8];
    struct generation before, after;
    const struct node_policy permit = {.subject = f->subject, .base_effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT};
    const struct node_policy deny = {.subject = f->subject, .base_effect = CHARTMESH__V1__EFFECT__EFFECT_DENY};
    const struct node_policy law = {.subject = f->subject,
                                    .base_effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT,
                                    .who = CHARTMESH__V1__WHO__WHO_LAW};
    const struct node_policy apart = {
        .subject = f->subject, .base_effect = CHARTMESH__V1__EFFECT__EFFECT_DENY, .concurrent = true};
    assert_ok(chart_generation(f->a->chart, &f->subject, &before, &err));
    node_policy(f->a, &permit, NULL, NULL);
    assert_ok(chart_generation(f->a->chart, &f->subject, &after, &err));
    assert_int_equal(generation_compare(after, before), 1);
    assert_int_equal(after.generation, before.generation + 1);
    struct hash second = node_policy(f->a, &deny, NULL, NULL);
    assert_int_equal(policy_heads(f, heads), 1);
    assert_bytes_equal(BYTES_OF(heads[0]), BYTES_OF(second));
    node_policy(f->a, &law, NULL, NULL);
    assert_int_equal(policy_heads(f, heads), 2);
    node_policy(f->a, &apart, NULL, NULL);
    restart(f->a);
    assert_int_equal(policy_heads(f, heads), 3);
}

static bool may_have_policies(struct fixture *f)
{
    struct err err;
    struct chart_subject found;
    assert_ok(chart_subject(f->a->chart, &f->subject, &found, &err));
    assert_true(found.known && found.own);
    return found.may_have_policies;
}

static void test_chart__only_a_subject_never_given_a_policy_is_said_to_have_none(void **state)
{
    struct fixture *f = *state;
    const struct node_policy permit = {.subject = f->subject, .base_effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT};
    assert_false(may_have_policies(f));
    restart(f->a);
    assert_false(may_have_policies(f));
    node_policy(f->a, &permit, NULL, NULL);
    assert_true(may_have_policies(f));
    restart(f->a);
    assert_true(may_have_policies(f));
}

/* The first policy in a later incarnation begins at 1 again. */
static void test_chart__a_generation_of_a_later_incarnation_may_have_policies(void **state)
{
    struct fixture *f = *state;
    struct err err;
    uint8_t key[1 + ID_LEN] = {'g'}, value[16];
    memcpy(key + 1, f->subject.p.bytes, ID_LEN);
    put_u64be(value, world_hlc(f->a->world));
    put_u64be(value + 8, 1);
    struct bytes row = BYTES(key, sizeof key), sealed;
    AUTO_STORE_BATCH rows = store_batch_new();
    assert_ok(seal_random(keys_facility(f->a->keys, FACILITY_KEY_INDEX), row, BYTES(value, sizeof value),
                          &f->arena, &sealed, &err));
    store_put(rows, FAMILY_INDEX, row, sealed);
    assert_ok(store_commit(f->a->store, rows, &err));
    assert_true(may_have_policies(f));
}

/* ---- What is owed, and what was handed over ------------------------------------------------------------------------- */

static struct outbox_row *outbox(struct fixture *f, const struct id *peer, Chartmesh__V1__Lane lane,
                                 size_t expected)
{
    struct err err;
    struct outbox_row *rows;
    size_t count;
    uint64_t counted;
    assert_ok(chart_outbox(f->a->chart, peer, lane, 100, &f->arena, &rows, &count, &err));
    assert_ok(chart_outbox_count(f->a->chart, peer, lane, &counted, &err));
    assert_int_equal(count, expected);
    assert_int_equal(counted, expected);
    return rows;
}

static void listened(void *context)
{
    ++*(int *)context;
}

static void test_chart__the_outbox_keeps_the_order_of_each_lane_and_forgets_what_is_deleted(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id peer = f->federation->members[1].id, other = f->federation->members[2].id;
    struct outbox_row row = {.kind = ITEM_VERSION, .subject = f->subject, .document = node_document(f->a, 1)};
    int calls = 0;
    chart_outbox_listen(f->a->chart, listened, &calls);
    for (uint8_t i = 0; i < 3; i++) {
        struct log_txn *txn = log_txn_new(f->a->log);
        row.statement.bytes[0] = i;
        assert_ok(chart_outbox_put(f->a->chart, txn, &peer, &row, &err));
        commit(txn);
    }
    assert_true(calls > 0);
    row.kind = ITEM_PURGE_ORDER;
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_outbox_put(f->a->chart, txn, &peer, &row, &err));
    commit(txn);
    node_close(f->a);
    node_open(f->a);
    struct outbox_row *rows = outbox(f, &peer, CHARTMESH__V1__LANE__LANE_BULK, 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(rows[i].statement.bytes[0], i);
        assert_true(rows[i].kind == ITEM_VERSION && id_equal(&rows[i].subject.p, &f->subject.p));
    }
    txn = log_txn_new(f->a->log);
    chart_outbox_delete(txn, &rows[0]);
    commit(txn);
    rows = outbox(f, &peer, CHARTMESH__V1__LANE__LANE_BULK, 2);
    assert_int_equal(rows[0].statement.bytes[0], 1);
    outbox(f, &peer, CHARTMESH__V1__LANE__LANE_CONTROL, 1);
    outbox(f, &other, CHARTMESH__V1__LANE__LANE_BULK, 0);
}

static void test_chart__a_version_is_owed_to_those_whom_the_policy_names(void **state)
{
    struct fixture *f = *state;
    struct id peer = f->federation->members[1].id, other = f->federation->members[2].id;
    put(f, 1, "before", NULL, 0);
    outbox(f, &peer, CHARTMESH__V1__LANE__LANE_BULK, 0);
    node_grant(f->a, &f->subject, &peer, NULL);
    outbox(f, &peer, CHARTMESH__V1__LANE__LANE_BULK, 1); /* the backfill */
    struct hash version = put(f, 2, "after", NULL, 0);
    struct outbox_row *rows = outbox(f, &peer, CHARTMESH__V1__LANE__LANE_BULK, 2);
    assert_bytes_equal(BYTES_OF(rows[1].statement), BYTES_OF(version));
    outbox(f, &other, CHARTMESH__V1__LANE__LANE_BULK, 0);
}

static void test_chart__the_ledger_has_one_row_per_version_and_peer(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id document = node_document(f->a, 1), peer = f->federation->members[1].id;
    struct ledger_row row = {.subject = f->subject,
                             .document = document,
                             .peer = peer,
                             .version = random_hash(),
                             .disclosure = random_hash(),
                             .generation = {3, 4},
                             .n = 5,
                             .state = LEDGER_NUMBERED};
    struct ledger_row found, *rows, second = row;
    size_t count;
    second.peer = f->federation->members[2].id;
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_ledger_put(f->a->chart, txn, &row, &err));
    assert_ok(chart_ledger_put(f->a->chart, txn, &second, &err));
    row.state = LEDGER_STORED;
    assert_ok(chart_ledger_put(f->a->chart, txn, &row, &err));
    commit(txn);
    restart(f->a);
    assert_ok(chart_ledger_get(f->a->chart, &f->subject, &document, &row.version, &peer, &found, &err));
    assert_true(found.state == LEDGER_STORED && found.n == 5 && found.generation.generation == 4);
    assert_true(hash_equal(&found.disclosure, &row.disclosure) && hash_is_zero(&found.order));
    assert_ok(chart_ledger(f->a->chart, &f->subject, NULL, NULL, &f->arena, &rows, &count, &err));
    assert_int_equal(count, 2);
    assert_ok(chart_ledger(f->a->chart, &f->subject, &document, &second.peer, &f->arena, &rows, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].state, LEDGER_NUMBERED);
    document = node_document(f->a, 2);
    assert_ok(chart_ledger(f->a->chart, &f->subject, &document, NULL, &f->arena, &rows, &count, &err));
    assert_int_equal(count, 0);
    assert_err(ERR_NOT_FOUND,
               chart_ledger_get(f->a->chart, &f->subject, &document, &row.version, &peer, &found, &err));
}

static void test_chart__a_case_is_open_until_its_receipt_comes(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_case one = {.subject = f->subject,
                             .order = {{1}},
                             .peer = f->federation->members[1].id,
                             .opened_hlc = 7},
                      two = one, found, *cases;
    size_t count;
    uint64_t subjects, documents, versions, open;
    two.order.bytes[0] = 2;
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_case_put(f->a->chart, txn, &one, &err));
    assert_ok(chart_case_put(f->a->chart, txn, &two, &err));
    commit(txn);
    one.receipt = random_hash();
    one.closed_hlc = 9;
    one.outcome = CHARTMESH__V1__OUTCOME__OUTCOME_PURGED;
    txn = log_txn_new(f->a->log);
    assert_ok(chart_case_put(f->a->chart, txn, &one, &err));
    commit(txn);
    restart(f->a);
    assert_ok(chart_cases(f->a->chart, NULL, false, NULL, 10, &f->arena, &cases, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(cases[0].order.bytes[0], 2);
    assert_ok(chart_cases(f->a->chart, &f->subject, true, NULL, 1, &f->arena, &cases, &count, &err));
    assert_int_equal(count, 1);
    assert_ok(chart_cases(f->a->chart, &f->subject, true, &cases[0], 10, &f->arena, &cases, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(cases[0].order.bytes[0], 2);
    assert_ok(chart_case_get(f->a->chart, &f->subject, &one.order, &found, &err));
    assert_int_equal(found.outcome, CHARTMESH__V1__OUTCOME__OUTCOME_PURGED);
    put(f, 1, "x", NULL, 0);
    assert_ok(chart_counts(f->a->chart, &subjects, &documents, &versions, &open, &err));
    assert_true(subjects == 1 && documents == 1 && versions == 1 && open == 1);
}

/* ---- The receiving side --------------------------------------------------------------------------------------------- */

static void test_chart__I5_a_fence_only_rises(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id document = node_document(f->a, 1), other = node_document(f->a, 2);
    struct generation fence;
    const struct {
        bool whole;
        struct generation to, one, two;
    } steps[] = {
        {false, {2, 5}, {2, 5}, {0, 0}}, {false, {2, 4}, {2, 5}, {0, 0}}, {true, {2, 3}, {2, 5}, {2, 3}},
        {true, {3, 1}, {3, 1}, {3, 1}},  {false, {3, 2}, {3, 2}, {3, 1}},
    };
    for (size_t i = 0; i < COUNT(steps); i++) {
        struct log_txn *txn = log_txn_new(f->a->log);
        assert_ok(chart_fence_raise(f->a->chart, txn, &f->subject, steps[i].whole ? NULL : &document, steps[i].to,
                                    &err));
        commit(txn);
        assert_ok(chart_fence(f->a->chart, &f->subject, &document, &fence, &err));
        assert_int_equal(generation_compare(fence, steps[i].one), 0);
        assert_ok(chart_fence(f->a->chart, &f->subject, &other, &fence, &err));
        assert_int_equal(generation_compare(fence, steps[i].two), 0);
    }
}

/* b gets documents 1 to `count` of a's subject, of one version each. */
static void hand_over(struct fixture *f, uint8_t count)
{
    struct hash versions[16];
    struct gate_item items[16];
    size_t given;
    f->b = f->b ? f->b : node_new(f->sim, f->federation, 1);
    node_grant(f->a, &f->subject, &f->b->member->id, NULL);
    for (uint8_t i = 0; i < count; i++) {
        versions[i] = put(f, (uint8_t)(i + 1), "shared", NULL, 0);
    }
    struct bytes *disclosures =
        node_disclose(f->a, &f->subject, &f->b->member->id, versions, count, &f->arena, items, &given);
    assert_int_equal(given, 1);
    for (uint8_t i = 0; i < count; i++) {
        assert_true(items[i].permit);
        node_receive(f->b, &items[i], disclosures[0]);
    }
}

static bool at_b(struct fixture *f, uint8_t document, struct chart_version **out)
{
    struct err err;
    struct id id = node_document(f->a, document);
    size_t count;
    bool here = chart_document(f->b->chart, &f->subject, &id, &f->arena, out, &count, &err);
    assert_true(here || err.code == ERR_NOT_FOUND);
    return here;
}

static struct hash *purge(struct fixture *f, const struct id *documents, size_t count, struct generation to,
                          size_t expected)
{
    struct err err;
    struct hash *gone;
    size_t gone_count;
    struct log_txn *txn = log_txn_new(f->b->log);
    assert_ok(
        chart_purge(f->b->chart, txn, &f->subject, documents, count, to, &f->arena, &gone, &gone_count, &err));
    commit(txn);
    assert_int_equal(gone_count, expected);
    return gone;
}

static struct generation after_now(struct fixture *f)
{
    struct err err;
    struct generation now;
    assert_ok(chart_generation(f->a->chart, &f->subject, &now, &err));
    now.generation++;
    return now;
}

static void test_chart__a_copy_stands_under_its_highest_disclosure(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_version *copy;
    struct chart_disclosure *found;
    struct gate_item item;
    struct chart_subject subject;
    size_t count;
    hand_over(f, 1);
    assert_true(at_b(f, 1, &copy));
    assert_true(copy->copy && copy->complete);
    struct hash first = copy->disclosure;
    assert_ok(chart_subject(f->b->chart, &f->subject, &subject, &err));
    assert_true(subject.known && !subject.own);
    node_grant(f->a, &f->subject, &f->b->member->id, NULL);
    struct bytes *again =
        node_disclose(f->a, &f->subject, &f->b->member->id, &copy->id, 1, &f->arena, &item, &count);
    struct statement statement;
    assert_ok(statement_parse(again[0], &f->arena, &statement, &err));
    struct log_txn *txn = log_txn_new(f->b->log);
    assert_ok(chart_disclosure_put(f->b->chart, txn, &statement, &err));
    commit(txn);
    restart(f->b);
    assert_true(at_b(f, 1, &copy));
    assert_bytes_equal(BYTES_OF(copy->disclosure), BYTES_OF(statement.id));
    assert_false(hash_equal(&first, &copy->disclosure));
    assert_ok(chart_disclosures(f->b->chart, &copy->id, &f->arena, &found, &count, &err));
    assert_int_equal(count, 1);
    assert_bytes_equal(found[0].envelope, again[0]);
}

static void test_chart__a_purge_of_the_subject_leaves_nothing_but_the_fence(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_version *copy;
    struct chart_subject subject;
    struct chart_content content;
    struct bytes sealed;
    struct feed_row rows[32];
    struct generation fence, to = after_now(f);
    hand_over(f, 14);
    to = after_now(f);
    assert_true(at_b(f, 1, &copy));
    struct feed_place at = log_feed_end(f->b->log);
    struct hash *gone = purge(f, NULL, 0, to, 14);
    assert_false(hash_is_zero(&gone[0]));
    for (uint8_t i = 1; i <= 14; i++) {
        struct chart_version *none;
        assert_false(at_b(f, i, &none));
    }
    assert_err(ERR_NOT_FOUND, chart_content_load(f->b->chart, &f->subject.p, &copy->content, &content, &err));
    assert_err(ERR_NOT_FOUND, chart_content_chunk_read(f->b->chart, &copy->content, 0, &f->arena, &sealed, &err));
    assert_ok(chart_subject(f->b->chart, &f->subject, &subject, &err));
    assert_false(subject.known);
    assert_ok(chart_fence(f->b->chart, &f->subject, &copy->document, &fence, &err));
    assert_int_equal(generation_compare(fence, to), 0);
    size_t n = feed(f->b, &at, rows, 32);
    assert_true(n >= 13); /* twelve documents, and one row for the rest */
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rows[i].kind, FEED_REMOVED);
    }
    assert_true(id_is_zero(&rows[n - 1].document));
    purge(f, NULL, 0, to, 0); /* once more: nothing to do */
}

static void test_chart__a_purge_of_documents_keeps_the_others_readable(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_version *copy, *kept;
    struct chart_subject subject;
    struct chart_content content;
    struct generation fence;
    hand_over(f, 3);
    assert_true(at_b(f, 2, &copy));
    purge(f, &copy->document, 1, after_now(f), 1);
    restart(f->b);
    struct chart_version *none;
    assert_false(at_b(f, 2, &none));
    assert_true(at_b(f, 1, &kept) && at_b(f, 3, &kept));
    assert_ok(chart_content_load(f->b->chart, &f->subject.p, &kept->content, &content, &err));
    assert_err(ERR_NOT_FOUND, chart_content_load(f->b->chart, &f->subject.p, &copy->content, &content, &err));
    assert_ok(chart_subject(f->b->chart, &f->subject, &subject, &err));
    assert_true(subject.known);
    assert_ok(chart_fence(f->b->chart, &f->subject, &kept->document, &fence, &err));
    assert_int_equal(fence.generation, 0);
}

static void test_chart__a_purge_spares_what_was_disclosed_at_its_generation(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_version *copy;
    struct generation now;
    hand_over(f, 1);
    assert_ok(chart_generation(f->a->chart, &f->subject, &now, &err));
    purge(f, NULL, 0, now, 0);
    assert_true(at_b(f, 1, &copy));
    struct log_txn *txn = log_txn_new(f->a->log);
    struct hash *gone;
    size_t count;
    assert_err(ERR_INVALID,
               chart_purge(f->a->chart, txn, &f->subject, NULL, 0, now, &f->arena, &gone, &count, &err));
    log_txn_free(txn);
}

/* A relabel under a newer disclosure stays, with the content that it shares with the version that goes. */
static void test_chart__a_purge_keeps_content_that_a_kept_version_shares(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_version *copy;
    struct gate_item item;
    size_t count;
    struct bytes sealed;
    hand_over(f, 1);
    assert_true(at_b(f, 1, &copy));
    const struct node_put relabel = {.subject = f->subject,
                                     .document = copy->document,
                                     .parents = &copy->id,
                                     .parents_len = 1,
                                     .kind = CHARTMESH__V1__KIND__KIND_RELABEL,
                                     .confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_M};
    struct hash relabelled = node_put(f->a, &relabel);
    node_grant(f->a, &f->subject, &f->b->member->id, NULL);
    struct bytes *given =
        node_disclose(f->a, &f->subject, &f->b->member->id, &relabelled, 1, &f->arena, &item, &count);
    struct statement version, disclosure;
    struct chart_content shared;
    assert_ok(statement_parse(item.envelope, &f->arena, &version, &err));
    assert_ok(statement_parse(given[0], &f->arena, &disclosure, &err));
    assert_ok(chart_content_load(f->b->chart, &f->subject.p, &copy->content, &shared, &err));
    struct log_txn *txn = log_txn_new(f->b->log);
    assert_ok(chart_disclosure_put(f->b->chart, txn, &disclosure, &err));
    assert_ok(chart_version_add(f->b->chart, txn, &version, &shared, VERSION_COMPLETE, &err));
    commit(txn);
    struct generation now;
    assert_ok(chart_generation(f->a->chart, &f->subject, &now, &err));
    struct hash *gone = purge(f, NULL, 0, now, 1);
    assert_bytes_equal(BYTES_OF(gone[0]), BYTES_OF(copy->id));
    assert_true(at_b(f, 1, &copy));
    assert_bytes_equal(BYTES_OF(copy->id), BYTES_OF(relabelled));
    assert_ok(chart_content_load(f->b->chart, &f->subject.p, &copy->content, &shared, &err));
    assert_ok(chart_content_chunk_read(f->b->chart, &copy->content, 0, &f->arena, &sealed, &err));
    struct content_meta meta;
    assert_ok(chart_content_meta_read(f->b->chart, &f->subject.p, &copy->document, &copy->content, &meta, &err));
}

/* ---- Other statements, and trust ------------------------------------------------------------------------------------ */

static void test_chart__a_stored_statement_comes_back_as_the_bytes_that_were_signed(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct statement order;
    struct bytes found;
    struct hash nobody = random_hash();
    struct bytes envelope = federation_sign_order(f->federation, 0, 1, 1, 3, &f->arena);
    assert_ok(statement_parse(envelope, &f->arena, &order, &err));
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_statement_put(f->a->chart, txn, &f->subject, &order, &err));
    commit(txn);
    restart(f->a);
    assert_ok(chart_statement(f->a->chart, &order.id, &f->arena, &found, &err));
    assert_bytes_equal(found, envelope);
    assert_err(ERR_NOT_FOUND, chart_statement(f->a->chart, &nobody, &f->arena, &found, &err));
}

static void test_chart__trust_that_was_added_is_there_after_a_restart_and_enters_once(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes epoch = federation_sign_epoch(f->federation, 1, 7, &f->arena), member, found;
    struct statement statement;
    assert_ok(statement_parse(epoch, &f->arena, &statement, &err));
    member = f->federation->members[1].membership;
    const struct bytes both[] = {epoch, member};
    uint64_t before = log_size(f->a->log).size;
    for (int i = 0; i < 2; i++) {
        struct log_txn *txn = log_txn_new(f->a->log);
        assert_ok(chart_trust_add(f->a->chart, txn, both, 2, &err));
        commit(txn);
    }
    restart(f->a);
    assert_int_equal(log_size(f->a->log).size, before); /* known, and a peer's epoch: neither is an act */
    const struct trust *trust = chart_trust_take(f->a->chart);
    found = trust_envelope(trust, &statement.id);
    assert_bytes_equal(found, epoch);
    chart_trust_give(f->a->chart);
    struct bytes wrong = federation_sign_notice(f->federation, 0, 1, 1, &f->arena);
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_err(ERR_INVALID, chart_trust_add(f->a->chart, txn, &wrong, 1, &err));
    log_txn_free(txn);
}

static void test_chart__trust_of_a_transaction_given_up_is_kept_when_it_comes_again(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct bytes epoch = federation_sign_epoch(f->federation, 1, 7, &f->arena);
    struct statement statement;
    assert_ok(statement_parse(epoch, &f->arena, &statement, &err));
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_trust_add(f->a->chart, txn, &epoch, 1, &err));
    log_txn_free(txn);
    txn = log_txn_new(f->a->log);
    assert_ok(chart_trust_add(f->a->chart, txn, &epoch, 1, &err));
    commit(txn);
    restart(f->a);
    const struct trust *trust = chart_trust_take(f->a->chart);
    assert_bytes_equal(trust_envelope(trust, &statement.id), epoch);
    chart_trust_give(f->a->chart);
}

#define WITH_NODE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_NODE(test_chart__a_registered_subject_is_known_and_listed_after_a_restart),
        WITH_NODE(test_chart__a_subject_nobody_registered_is_not_known),
        WITH_NODE(test_chart__an_identifier_finds_its_subject_until_an_update_takes_it_away),
        WITH_NODE(test_chart__an_import_key_is_found_after_a_restart_and_no_other),
        WITH_NODE(test_chart__I40_concurrent_amendments_are_heads_until_a_merge),
        WITH_NODE(test_chart__one_facilitys_dots_in_a_document_have_one_tag_and_count_up),
        WITH_NODE(test_chart__a_long_line_of_amendments_comes_in_order),
        WITH_NODE(test_chart__what_is_entered_in_error_marks_its_parent_and_shares_its_content),
        WITH_NODE(test_chart__effective_labels_join_the_heads),
        WITH_NODE(test_chart__documents_are_listed_page_by_page),
        WITH_NODE(test_chart__a_document_that_is_not_here_is_not_found),
        WITH_NODE(test_chart__content_comes_back_chunk_by_chunk_by_its_own_key_only),
        WITH_NODE(test_chart__an_incomplete_version_shows_in_the_feed_when_it_is_complete),
        WITH_NODE(test_chart__a_policy_raises_the_generation_and_law_is_a_set_of_its_own),
        WITH_NODE(test_chart__only_a_subject_never_given_a_policy_is_said_to_have_none),
        WITH_NODE(test_chart__a_generation_of_a_later_incarnation_may_have_policies),
        WITH_NODE(test_chart__the_outbox_keeps_the_order_of_each_lane_and_forgets_what_is_deleted),
        WITH_NODE(test_chart__a_version_is_owed_to_those_whom_the_policy_names),
        WITH_NODE(test_chart__the_ledger_has_one_row_per_version_and_peer),
        WITH_NODE(test_chart__a_case_is_open_until_its_receipt_comes),
        WITH_NODE(test_chart__I5_a_fence_only_rises),
        WITH_NODE(test_chart__a_copy_stands_under_its_highest_disclosure),
        WITH_NODE(test_chart__a_purge_of_the_subject_leaves_nothing_but_the_fence),
        WITH_NODE(test_chart__a_purge_of_documents_keeps_the_others_readable),
        WITH_NODE(test_chart__a_purge_spares_what_was_disclosed_at_its_generation),
        WITH_NODE(test_chart__a_purge_keeps_content_that_a_kept_version_shares),
        WITH_NODE(test_chart__a_stored_statement_comes_back_as_the_bytes_that_were_signed),
        WITH_NODE(test_chart__trust_that_was_added_is_there_after_a_restart_and_enters_once),
        WITH_NODE(test_chart__trust_of_a_transaction_given_up_is_kept_when_it_comes_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
