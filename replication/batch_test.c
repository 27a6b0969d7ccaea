#include "replication/batch.h"

#include "replication/frame.h"
#include "tests/lib/federation.h"

/* Facility 0 sends to facility 1 on the bulk lane: two versions of one patient under one disclosure. */
struct fixture {
    struct federation *f;
    struct arena arena;
    struct stream stream;
    struct federation_version versions[2];
    struct bytes envelopes[2];
    struct content_meta contents[2];
    struct hash ids[2];
    struct statement disclosure;
    struct federation_disclosure terms;
    struct batch_part items[2];
    struct batch_parts parts;
};

static struct statement parsed(struct fixture *x, struct bytes envelope)
{
    struct err err;
    struct statement statement;
    assert_ok(statement_parse(envelope, &x->arena, &statement, &err));
    return statement;
}

static struct bytes coded(struct fixture *x, struct bytes plain)
{
    struct err err;
    struct bytes out = BYTES_NONE;
    if (plain.len > 0 && plain.len <= CHUNK_LEN) {
        assert_ok(chunk_code(plain, &x->arena, &out, &err));
    }
    return out;
}

/* Signs the disclosure as `terms` says and makes the items' digests anew. */
static void disclose(struct fixture *x)
{
    x->disclosure = parsed(x, federation_sign_disclosure(x->f, &x->terms, &x->arena));
    for (size_t i = 0; i < 2; i++) {
        struct statement version = parsed(x, x->envelopes[i]);
        struct item_facts facts = item_facts_of(x->items[i].kind, &version, &x->disclosure);
        x->items[i].disclosure = x->disclosure.id;
        x->items[i].digest = item_digest(&facts);
    }
    x->parts.disclosures = &x->disclosure.envelope;
    x->parts.disclosures_count = 1;
}

static void write_version(struct fixture *x, size_t i)
{
    x->envelopes[i] = federation_sign_version(x->f, &x->versions[i], &x->arena);
    x->contents[i] = federation_content(&x->versions[i]);
    x->ids[i] = parsed(x, x->envelopes[i]).id;
    x->items[i] = (struct batch_part){.kind = ITEM_VERSION,
                                      .statement = x->envelopes[i],
                                      .content = &x->contents[i],
                                      .chunk0 = coded(x, x->versions[i].content)};
}

static void sort_ids(struct hash ids[2])
{
    if (bytes_compare(BYTES_OF(ids[0]), BYTES_OF(ids[1])) > 0) {
        struct hash swap = ids[0];
        ids[0] = ids[1];
        ids[1] = swap;
    }
}

static int set_up(void **state)
{
    struct fixture *x = test_calloc(1, sizeof *x);
    arena_init(&x->arena, 64 << 20);
    x->f = federation_new(3);
    x->stream = (struct stream){.network = x->f->network,
                                .sender = x->f->members[0].id,
                                .receiver = x->f->members[1].id,
                                .incarnation = 7,
                                .receiver_incarnation = 9,
                                .lane = CHARTMESH__V1__LANE__LANE_BULK};
    for (size_t i = 0; i < 2; i++) {
        x->versions[i] = (struct federation_version){
            .patient = 1, .document = (uint8_t)i, .counter = 1, .content = BYTES_LIT("blood pressure 120/80")};
        write_version(x, i);
    }
    static struct hash sorted[2];
    memcpy(sorted, x->ids, sizeof sorted);
    sort_ids(sorted);
    x->terms = (struct federation_disclosure){
        .by = 0, .to = 1, .patient = 1, .versions = sorted, .count = 2, .incarnation = 7, .generation = 2};
    disclose(x);
    x->parts.stream = &x->stream;
    x->parts.before = stream_begin(&x->stream);
    x->parts.items = x->items;
    x->parts.count = 2;
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    federation_free(x->f);
    arena_done(&x->arena);
    test_free(x);
    return 0;
}

static Chartmesh__V1__Batch *built(struct fixture *x)
{
    struct err err;
    struct bytes frame;
    Chartmesh__V1__Frame *message = NULL;
    assert_ok(
        batch_build(&x->parts, FEDERATION_HLC + 1, x->f->members[0].statement, &x->arena, &frame, NULL, &err));
    assert_ok(frame_unpack(frame, &x->arena, &message, &err));
    assert_int_equal(message->f_case, CHARTMESH__V1__FRAME__F_BATCH);
    return message->batch;
}

static bool check(struct fixture *x, const Chartmesh__V1__Batch *message, const struct place *at,
                  struct batch *out, struct err *err)
{
    struct statement head;
    return batch_head(message, &x->stream, x->f->trust, &x->arena, &head, err) &&
           batch_check(message, &head, &x->stream, at, x->f->trust, &x->arena, out, err);
}

/* The batch is refused by that rule. */
static void refused(const char *rule, struct fixture *x, const Chartmesh__V1__Batch *message)
{
    struct err err = {0};
    struct batch out;
    struct place begin = stream_begin(&x->stream);
    assert_err(ERR_INVALID, check(x, message, &begin, &out, &err));
    assert_string_equal(err.field, rule);
}

static void test_batch__what_is_built_is_accepted_with_numbers_digests_and_content(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct place begin = stream_begin(&x->stream);
    assert_ok(check(x, built(x), &begin, &batch, &err));
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.after.n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(batch.items[i].n, i + 1);
        assert_true(hash_equal(&batch.items[i].digest, &x->items[i].digest));
        assert_bytes_equal(batch.items[i].statement.envelope, x->envelopes[i]);
        assert_true(hash_equal(&batch.items[i].disclosure->id, &x->disclosure.id));
        assert_true(batch.items[i].has_content && batch.items[i].chunk0.len > 0);
    }
}

static void test_I7_an_item_without_its_disclosure_is_refused(void **state)
{
    struct fixture *x = *state;
    Chartmesh__V1__Batch *message = built(x);
    message->items[0]->disclosure.len = 0;
    refused("DISCLOSURE", x, message);
    message = built(x);
    message->n_disclosures = 0;
    refused("DISCLOSURE", x, message);
}

static void test_I7_a_disclosure_without_basis_or_notice_is_refused(void **state)
{
    struct fixture *x = *state;
    x->terms.no_basis = true;
    disclose(x);
    refused("DISCLOSURE", x, built(x));
    x->terms.no_basis = false;
    x->terms.no_notice = true;
    disclose(x);
    refused("DISCLOSURE", x, built(x));
}

static void test_I6_a_disclosure_to_another_facility_is_refused(void **state)
{
    struct fixture *x = *state;
    x->terms.to = 2;
    disclose(x);
    refused("RECIPIENT", x, built(x));
}

static void test_batch__a_version_outside_its_disclosure_is_refused(void **state)
{
    struct fixture *x = *state;
    x->terms.count = 1;
    disclose(x);
    refused("DISCLOSURE", x, built(x));
}

static void test_batch__a_version_of_another_patient_than_its_disclosure_is_refused(void **state)
{
    struct fixture *x = *state;
    x->terms.patient = 2;
    disclose(x);
    refused("SUBJECT", x, built(x));
}

static void test_I23_a_gap_is_refused_and_the_next_number_accepted(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct place first = stream_begin(&x->stream);
    first = stream_next(&first, &x->items[1].digest);
    x->parts.before = first;
    refused("GAP", x, built(x));
    assert_ok(check(x, built(x), &first, &batch, &err));
    assert_int_equal(batch.items[0].n, 2);
}

static void test_I23_another_chain_before_the_batch_is_refused(void **state)
{
    struct fixture *x = *state;
    x->parts.before.chain.bytes[3] ^= 1;
    refused("CHAIN", x, built(x));
}

static void test_I23_items_that_do_not_make_the_heads_chain_are_refused(void **state)
{
    struct fixture *x = *state;
    Chartmesh__V1__Batch *message = built(x);
    Chartmesh__V1__Item *swap = message->items[0];
    message->items[0] = message->items[1];
    message->items[1] = swap;
    refused("CHAIN", x, message);
    x->items[1].digest.bytes[0] ^= 1;
    refused("CHAIN", x, built(x));
}

static void test_I25_what_was_seen_before_is_left_out(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct place begin = stream_begin(&x->stream), seen = stream_next(&begin, &x->items[0].digest);
    assert_ok(check(x, built(x), &seen, &batch, &err));
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.items[0].n, 2);
    seen.chain.bytes[0] ^= 1;
    assert_err(ERR_INVALID, check(x, built(x), &seen, &batch, &err));
    assert_string_equal(err.field, "CHAIN");
}

static void test_I23_a_withdrawn_item_keeps_its_number_and_digest(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct place begin = stream_begin(&x->stream), whole, withdrawn;
    struct bytes frame;
    assert_ok(batch_build(&x->parts, FEDERATION_HLC, x->f->members[0].statement, &x->arena, &frame, &whole, &err));
    x->items[0] = (struct batch_part){.digest = x->items[0].digest, .withdrawn = true};
    assert_ok(
        batch_build(&x->parts, FEDERATION_HLC, x->f->members[0].statement, &x->arena, &frame, &withdrawn, &err));
    assert_true(hash_equal(&whole.chain, &withdrawn.chain));
    assert_ok(check(x, built(x), &begin, &batch, &err));
    assert_true(batch.items[0].withdrawn);
    Chartmesh__V1__Batch *message = built(x);
    message->items[0]->kind = ITEM_VERSION;
    refused("WITHDRAWN", x, message);
}

static void test_batch__content_that_was_not_committed_is_refused(void **state)
{
    struct fixture *x = *state;
    x->contents[0].salt.bytes[9] ^= 1;
    refused("CONTENT", x, built(x));
    x->contents[0].salt.bytes[9] ^= 1;
    x->items[0].chunk0 = coded(x, BYTES_LIT("blood pressure 220/80"));
    refused("CONTENT", x, built(x));
    x->items[0].chunk0 = BYTES_NONE;
    refused("CONTENT", x, built(x));
    x->items[0].content = NULL;
    refused("CONTENT", x, built(x));
}

static void test_batch__large_content_comes_without_chunks(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct place begin = stream_begin(&x->stream);
    void *large;
    assert_ok(arena_alloc(&x->arena, CHUNK_LEN + 1, &large, &err));
    x->versions[0].content = BYTES(large, CHUNK_LEN + 1);
    write_version(x, 0);
    struct hash sorted[2] = {x->ids[0], x->ids[1]};
    sort_ids(sorted);
    x->terms.versions = sorted;
    disclose(x);
    assert_ok(check(x, built(x), &begin, &batch, &err));
    assert_int_equal(batch.items[0].chunk0.len, 0);
    x->items[0].chunk0 = BYTES_LIT("\0x");
    refused("CONTENT", x, built(x));
}

static void test_batch__a_kind_goes_on_its_own_lane_only(void **state)
{
    struct fixture *x = *state;
    x->stream.lane = CHARTMESH__V1__LANE__LANE_CONTROL;
    x->parts.before = stream_begin(&x->stream);
    refused("ITEM_KIND", x, built(x));
    x->stream.lane = CHARTMESH__V1__LANE__LANE_BULK;
    x->parts.before = stream_begin(&x->stream);
    struct statement notice = parsed(x, federation_sign_notice(x->f, 0, 1, 4, &x->arena));
    struct item_facts facts = item_facts_of(ITEM_NOTICE, &notice, NULL);
    x->items[0] =
        (struct batch_part){.kind = ITEM_NOTICE, .statement = notice.envelope, .digest = item_digest(&facts)};
    refused("ITEM_KIND", x, built(x));
    Chartmesh__V1__Batch *message = built(x);
    message->items[0]->kind = 12;
    refused("ITEM_KIND", x, message);
}

static void test_batch__a_head_of_another_stream_or_signer_is_refused(void **state)
{
    struct fixture *x = *state;
    Chartmesh__V1__Batch *message = built(x);
    x->stream.receiver_incarnation = 10;
    refused("HEAD", x, message);
    x->stream.receiver_incarnation = 9;
    x->stream.incarnation = 8;
    refused("HEAD", x, message);
    x->stream.incarnation = 7;
    message->head->payload.data[message->head->payload.len - 1] ^= 1;
    refused("HEAD", x, message);
    message->head = NULL;
    refused("HEAD", x, message);
}

static void test_batch__count_is_the_number_of_items(void **state)
{
    struct fixture *x = *state;
    Chartmesh__V1__Batch *message = built(x);
    message->n_items = 1;
    refused("COUNT", x, message);
}

/* Facility 0 amends what facility 1 disclosed to it, and sends the amendment home. */
static void contribution(struct fixture *x, bool related)
{
    struct federation_version parent = {
        .origin = 1, .by = 1, .patient = 3, .document = 5, .counter = 1, .content = BYTES_LIT("allergy: none")};
    static struct hash disclosed;
    disclosed = parsed(x, federation_sign_version(x->f, &parent, &x->arena)).id;
    x->terms = (struct federation_disclosure){
        .by = 1, .to = 0, .patient = 3, .versions = &disclosed, .count = 1, .incarnation = 9, .generation = 4};
    x->versions[0] = (struct federation_version){.origin = 1,
                                                 .by = 0,
                                                 .patient = 3,
                                                 .document = 5,
                                                 .counter = 1,
                                                 .parent = disclosed,
                                                 .content = BYTES_LIT("allergy: nuts")};
    if (!related) {
        x->versions[0].parent.bytes[0] ^= 1;
    }
    write_version(x, 0);
    x->items[0].kind = ITEM_CONTRIBUTION;
    disclose(x);
    x->parts.count = 1;
}

static void test_batch__a_contribution_comes_under_the_disclosure_of_a_parent(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct place begin = stream_begin(&x->stream);
    contribution(x, true);
    assert_ok(check(x, built(x), &begin, &batch, &err));
    assert_int_equal(batch.items[0].kind, ITEM_CONTRIBUTION);
    contribution(x, false);
    refused("DISCLOSURE", x, built(x));
}

static void test_batch__control_items_are_between_the_two_facilities_only(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    x->stream.lane = CHARTMESH__V1__LANE__LANE_CONTROL;
    x->parts.before = stream_begin(&x->stream);
    x->parts.disclosures_count = 0;
    x->parts.count = 1;
    for (size_t to = 1; to <= 2; to++) {
        struct statement order = parsed(x, federation_sign_order(x->f, 0, to, 1, 5, &x->arena));
        struct item_facts facts = item_facts_of(ITEM_PURGE_ORDER, &order, NULL);
        assert_int_equal(facts.generation, 5);
        x->items[0] = (struct batch_part){
            .kind = ITEM_PURGE_ORDER, .statement = order.envelope, .digest = item_digest(&facts)};
        struct place begin = stream_begin(&x->stream);
        if (to == 1) {
            assert_ok(check(x, built(x), &begin, &batch, &err));
        } else {
            refused("RECIPIENT", x, built(x));
        }
    }
}

static void test_batch__an_order_signed_by_another_facility_is_refused(void **state)
{
    struct fixture *x = *state;
    x->stream.lane = CHARTMESH__V1__LANE__LANE_CONTROL;
    x->parts.before = stream_begin(&x->stream);
    x->parts.disclosures_count = 0;
    x->parts.count = 1;
    struct statement order = parsed(x, federation_sign_order(x->f, 2, 1, 1, 5, &x->arena));
    struct item_facts facts = item_facts_of(ITEM_PURGE_ORDER, &order, NULL);
    x->items[0] =
        (struct batch_part){.kind = ITEM_PURGE_ORDER, .statement = order.envelope, .digest = item_digest(&facts)};
    refused("RECIPIENT", x, built(x));
}

static void test_batch__a_spent_budget_is_an_error_at_every_size(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct batch batch;
    struct statement head;
    Chartmesh__V1__Batch *message = built(x);
    struct place begin = stream_begin(&x->stream);
    bool done = false;
    for (size_t budget = 0; !done && budget < 1 << 20; budget += 4096) {
        AUTO_ARENA(arena, budget);
        done = batch_head(message, &x->stream, x->f->trust, &arena, &head, &err) &&
               batch_check(message, &head, &x->stream, &begin, x->f->trust, &arena, &batch, &err);
        assert_true(done || err.code == ERR_TOO_MUCH);
    }
    assert_true(done);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_batch__what_is_built_is_accepted_with_numbers_digests_and_content),
        CASE(test_I7_an_item_without_its_disclosure_is_refused),
        CASE(test_I7_a_disclosure_without_basis_or_notice_is_refused),
        CASE(test_I6_a_disclosure_to_another_facility_is_refused),
        CASE(test_batch__a_version_outside_its_disclosure_is_refused),
        CASE(test_batch__a_version_of_another_patient_than_its_disclosure_is_refused),
        CASE(test_I23_a_gap_is_refused_and_the_next_number_accepted),
        CASE(test_I23_another_chain_before_the_batch_is_refused),
        CASE(test_I23_items_that_do_not_make_the_heads_chain_are_refused),
        CASE(test_I25_what_was_seen_before_is_left_out),
        CASE(test_I23_a_withdrawn_item_keeps_its_number_and_digest),
        CASE(test_batch__content_that_was_not_committed_is_refused),
        CASE(test_batch__large_content_comes_without_chunks),
        CASE(test_batch__a_kind_goes_on_its_own_lane_only),
        CASE(test_batch__a_head_of_another_stream_or_signer_is_refused),
        CASE(test_batch__count_is_the_number_of_items),
        CASE(test_batch__a_contribution_comes_under_the_disclosure_of_a_parent),
        CASE(test_batch__control_items_are_between_the_two_facilities_only),
        CASE(test_batch__an_order_signed_by_another_facility_is_refused),
        CASE(test_batch__a_spent_budget_is_an_error_at_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
