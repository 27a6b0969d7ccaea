#include "tests/lib/store_contract.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"

static const struct store_place *place;

void store_fixture_use(const struct store_place *use)
{
    place = use;
}

int store_fixture_setup(void **state)
{
    struct err err;
    struct store_fixture *f = calloc(1, sizeof *f);
    place->make(&f->options);
    f->batch = store_batch_new();
    arena_init(&f->arena, 64 << 20);
    *state = f;
    assert_ok(store_open(&f->options, &f->store, &err));
    return 0;
}

int store_fixture_teardown(void **state)
{
    struct store_fixture *f = *state;
    store_batch_free(f->batch);
    store_close(f->store);
    place->clear(&f->options);
    arena_done(&f->arena);
    free(f);
    return 0;
}

void store_fixture_put(struct store_fixture *f, enum store_family family, const char *key, const char *value)
{
    struct err err;
    store_batch_reset(f->batch);
    store_put(f->batch, family, bytes_str(key), bytes_str(value));
    assert_ok(store_commit(f->store, f->batch, &err));
}

void store_fixture_delete(struct store_fixture *f, enum store_family family, const char *key)
{
    struct err err;
    store_batch_reset(f->batch);
    store_delete(f->batch, family, bytes_str(key));
    assert_ok(store_commit(f->store, f->batch, &err));
}

const char *store_fixture_value(struct store_fixture *f, const struct store_snapshot *at, enum store_family family,
                                const char *key)
{
    struct err err;
    struct bytes value;
    if (!store_get(f->store, at, family, bytes_str(key), &f->arena, &value, &err)) {
        assert_int_equal(err.code, ERR_NOT_FOUND);
        return "-";
    }
    return (const char *)value.data;         /* an arena copy has a NUL behind it */
}

void store_fixture_reopen(struct store_fixture *f)
{
    struct err err;
    store_close(f->store);
    f->store = NULL;
    assert_ok(store_open(&f->options, &f->store, &err));
}

/* The keys of a span, each followed by a space. */
static const char *keys_of(struct store_fixture *f, const struct store_snapshot *at, struct store_span span)
{
    static char text[256];
    struct err err;
    AUTO_STORE_ITER iter = NULL;
    text[0] = '\0';
    assert_ok(store_iter_open(f->store, at, FAMILY_INDEX, &span, &iter, &err));
    while (store_iter_next(iter)) {
        struct bytes key = store_iter_key(iter);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s ", (int)key.len, (const char *)key.data);
    }
    assert_ok(store_iter_check(iter, &err));
    assert_false(store_iter_next(iter));
    return text;
}

static void put_letters(struct store_fixture *f)
{
    struct err err;
    const char *keys[] = {"b2", "a", "c", "b", "b1", "d", "b3"};
    store_batch_reset(f->batch);
    for (size_t i = 0; i < COUNT(keys); i++) {
        store_put(f->batch, FAMILY_INDEX, bytes_str(keys[i]), BYTES_NONE);
    }
    assert_ok(store_commit(f->store, f->batch, &err));
}

static void test_store__what_is_put_is_there_and_what_is_not_is_not(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct bytes value;
    bool has = true;
    assert_err(ERR_NOT_FOUND, store_get(f->store, NULL, FAMILY_META, BYTES_LIT("k"), &f->arena, &value, &err));
    assert_ok(store_has(f->store, NULL, FAMILY_META, BYTES_LIT("k"), &has, &err));
    assert_false(has);
    store_fixture_put(f, FAMILY_META, "k", "one");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "one");
    assert_ok(store_has(f->store, NULL, FAMILY_META, BYTES_LIT("k"), &has, &err));
    assert_true(has);
    store_fixture_put(f, FAMILY_META, "k", "two");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "two");
    store_fixture_delete(f, FAMILY_META, "k");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "-");
    store_fixture_delete(f, FAMILY_META, "k");
}

static void test_store__families_do_not_mix(void **state)
{
    struct store_fixture *f = *state;
    for (int family = 0; family < FAMILY_COUNT; family++) {
        char value[8];
        snprintf(value, sizeof value, "v%d", family);
        store_fixture_put(f, (enum store_family)family, "same", value);
    }
    store_fixture_delete(f, FAMILY_LOG, "same");
    for (int family = 0; family < FAMILY_COUNT; family++) {
        char value[8];
        snprintf(value, sizeof value, "v%d", family);
        assert_string_equal(store_fixture_value(f, NULL, (enum store_family)family, "same"),
                            family == FAMILY_LOG ? "-" : value);
    }
}

static void test_store__a_batch_is_in_order_and_later_rows_win(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    store_put(f->batch, FAMILY_META, BYTES_LIT("a"), BYTES_LIT("1"));
    store_put(f->batch, FAMILY_META, BYTES_LIT("b"), BYTES_LIT("1"));
    store_delete(f->batch, FAMILY_META, BYTES_LIT("a"));
    store_put(f->batch, FAMILY_META, BYTES_LIT("b"), BYTES_LIT("2"));
    store_delete(f->batch, FAMILY_META, BYTES_LIT("c"));
    store_put(f->batch, FAMILY_META, BYTES_LIT("c"), BYTES_LIT("3"));
    assert_int_equal(store_batch_rows(f->batch), 6);
    assert_ok(store_commit(f->store, f->batch, &err));
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "a"), "-");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "b"), "2");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "c"), "3");
}

static void test_store__batches_join_in_order(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    AUTO_STORE_BATCH second = store_batch_new();
    store_put(f->batch, FAMILY_META, BYTES_LIT("a"), BYTES_LIT("1"));
    store_put(second, FAMILY_META, BYTES_LIT("a"), BYTES_LIT("2"));
    store_put(second, FAMILY_KEY, BYTES_LIT("b"), BYTES_NONE);
    store_batch_append(f->batch, second);
    assert_int_equal(store_batch_rows(f->batch), 3);
    assert_ok(store_commit(f->store, f->batch, &err));
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "a"), "2");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_KEY, "b"), "");
}

static void refuse_spoilt(struct store_fixture *f)
{
    struct err err;
    store_put(f->batch, FAMILY_META, BYTES_LIT("good"), BYTES_LIT("1"));
    assert_err(ERR_TOO_MUCH, store_batch_check(f->batch, &err));
    assert_err(ERR_TOO_MUCH, store_commit(f->store, f->batch, &err));
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "good"), "-");
    store_batch_reset(f->batch);
}

static void test_store__a_batch_with_one_bad_row_changes_nothing(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    static const uint8_t zeros[STORE_VALUE_MAX + 1];
    store_put(f->batch, FAMILY_META, BYTES_NONE, BYTES_LIT("1"));
    refuse_spoilt(f);
    store_put(f->batch, FAMILY_META, BYTES(zeros, STORE_KEY_MAX + 1), BYTES_NONE);
    refuse_spoilt(f);
    store_put(f->batch, FAMILY_META, BYTES_LIT("k"), BYTES(zeros, STORE_VALUE_MAX + 1));
    refuse_spoilt(f);
    store_put(f->batch, FAMILY_COUNT, BYTES_LIT("k"), BYTES_NONE);
    refuse_spoilt(f);
    AUTO_STORE_BATCH other = store_batch_new();
    store_delete(other, FAMILY_META, BYTES_NONE);
    store_batch_append(f->batch, other);
    refuse_spoilt(f);
    store_put(f->batch, FAMILY_META, BYTES(zeros, STORE_KEY_MAX), BYTES_NONE);
    assert_ok(store_commit(f->store, f->batch, &err));
}

static void test_store__a_batch_cannot_outgrow_its_maximum(void **state)
{
    struct store_fixture *f = *state;
    static const uint8_t zeros[STORE_VALUE_MAX];
    for (int i = 0; i < 3; i++) {
        store_put(f->batch, FAMILY_META, BYTES_LIT("k"), BYTES(zeros, sizeof zeros));
    }
    struct err err;
    assert_ok(store_batch_check(f->batch, &err));
    assert_true(store_batch_bytes(f->batch) <= STORE_BATCH_MAX);
    store_put(f->batch, FAMILY_META, BYTES_LIT("k"), BYTES(zeros, sizeof zeros));
    assert_true(store_batch_bytes(f->batch) <= STORE_BATCH_MAX);
    refuse_spoilt(f);
}

static void test_store__spans_are_ordered_and_half_open(void **state)
{
    struct store_fixture *f = *state;
    put_letters(f);
    assert_string_equal(keys_of(f, NULL, (struct store_span){0}), "a b b1 b2 b3 c d ");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.prefix = BYTES_LIT("b")}), "b b1 b2 b3 ");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.from = BYTES_LIT("b1")}), "b1 b2 b3 c d ");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.until = BYTES_LIT("b2")}), "a b b1 ");
    struct store_span middle = {.prefix = BYTES_LIT("b"), .from = BYTES_LIT("b1"), .until = BYTES_LIT("b3")};
    assert_string_equal(keys_of(f, NULL, middle), "b1 b2 ");
    struct store_span wide = {.prefix = BYTES_LIT("b"), .from = BYTES_LIT("a"), .until = BYTES_LIT("z")};
    assert_string_equal(keys_of(f, NULL, wide), "b b1 b2 b3 ");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.from = BYTES_LIT("b11")}), "b2 b3 c d ");
}

static void test_store__spans_go_backwards_too(void **state)
{
    struct store_fixture *f = *state;
    put_letters(f);
    assert_string_equal(keys_of(f, NULL, (struct store_span){.backwards = true}), "d c b3 b2 b1 b a ");
    struct store_span prefix = {.prefix = BYTES_LIT("b"), .backwards = true};
    assert_string_equal(keys_of(f, NULL, prefix), "b3 b2 b1 b ");
    struct store_span middle = {.from = BYTES_LIT("b1"), .until = BYTES_LIT("b3"), .backwards = true};
    assert_string_equal(keys_of(f, NULL, middle), "b2 b1 ");
}

static void test_store__a_span_without_rows_gives_none(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    put_letters(f);
    for (int backwards = 0; backwards < 2; backwards++) {
        struct store_span span = {.from = BYTES_LIT("c"), .until = BYTES_LIT("b"), .backwards = backwards};
        assert_string_equal(keys_of(f, NULL, span), "");
        span = (struct store_span){.from = BYTES_LIT("c"), .until = BYTES_LIT("c"), .backwards = backwards};
        assert_string_equal(keys_of(f, NULL, span), "");
        span = (struct store_span){.prefix = BYTES_LIT("bb"), .backwards = backwards};
        assert_string_equal(keys_of(f, NULL, span), "");
        span = (struct store_span){.prefix = BYTES_LIT("a"), .from = BYTES_LIT("b"), .backwards = backwards};
        assert_string_equal(keys_of(f, NULL, span), "");
    }
    static const uint8_t zeros[STORE_KEY_MAX + 1];
    struct store_iter *iter = NULL;
    struct store_span bad = {.from = BYTES(zeros, sizeof zeros)};
    assert_err(ERR_INVALID, store_iter_open(f->store, NULL, FAMILY_INDEX, &bad, &iter, &err));
    assert_null(iter);
}

static void test_store__a_prefix_of_all_ones_has_an_end(void **state)
{
    struct store_fixture *f = *state;
    store_fixture_put(f, FAMILY_INDEX, "\xff", "");
    store_fixture_put(f, FAMILY_INDEX,
                      "\xff\xff"
                      "a",
                      "");
    store_fixture_put(f, FAMILY_INDEX, "x\xff", "");
    store_fixture_put(f, FAMILY_INDEX, "y", "");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.prefix = BYTES_LIT("\xff\xff")}), "\xff\xff"
                                                                                                "a ");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.prefix = BYTES_LIT("x\xff")}), "x\xff ");
    struct store_span back = {.prefix = BYTES_LIT("\xff"), .backwards = true};
    assert_string_equal(keys_of(f, NULL, back), "\xff\xff"
                                                "a \xff ");
}

static void test_store__a_snapshot_does_not_move(void **state)
{
    struct store_fixture *f = *state;
    put_letters(f);
    store_fixture_put(f, FAMILY_META, "k", "old");
    AUTO_STORE_SNAPSHOT at = store_snapshot_new(f->store);
    store_fixture_put(f, FAMILY_META, "k", "new");
    store_fixture_put(f, FAMILY_META, "later", "x");
    store_fixture_put(f, FAMILY_INDEX, "b4", "");
    store_fixture_delete(f, FAMILY_INDEX, "b1");
    assert_string_equal(store_fixture_value(f, at, FAMILY_META, "k"), "old");
    assert_string_equal(store_fixture_value(f, at, FAMILY_META, "later"), "-");
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "new");
    assert_string_equal(keys_of(f, at, (struct store_span){.prefix = BYTES_LIT("b")}), "b b1 b2 b3 ");
    assert_string_equal(keys_of(f, NULL, (struct store_span){.prefix = BYTES_LIT("b")}), "b b2 b3 b4 ");
}

static void test_store__an_iterator_sees_the_rows_as_they_were(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    put_letters(f);
    AUTO_STORE_ITER iter = NULL;
    struct store_span span = {0};
    assert_ok(store_iter_open(f->store, NULL, FAMILY_INDEX, &span, &iter, &err));
    assert_true(store_iter_next(iter));
    store_fixture_delete(f, FAMILY_INDEX, "b");
    store_fixture_put(f, FAMILY_INDEX, "aa", "");
    assert_true(store_iter_next(iter));
    assert_bytes_equal(store_iter_key(iter), BYTES_LIT("b"));
}

static void test_store__what_was_committed_is_there_after_reopening(void **state)
{
    struct store_fixture *f = *state;
    put_letters(f);
    store_fixture_put(f, FAMILY_META, "k", "kept");
    store_fixture_delete(f, FAMILY_INDEX, "c");
    for (int i = 0; i < 2; i++) {
        store_fixture_reopen(f);
        assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "kept");
        assert_string_equal(keys_of(f, NULL, (struct store_span){0}), "a b b1 b2 b3 d ");
    }
}

static void test_store__a_second_opener_is_refused(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct store *second = NULL;
    assert_err(ERR_STATE, store_open(&f->options, &second, &err));
    assert_non_null(strstr(err.text, "another process has it open"));
    assert_null(second);
    store_fixture_put(f, FAMILY_META, "k", "still works");
    store_fixture_reopen(f);
    assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "still works");
}

static void test_store__large_values_come_back_whole(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    static uint8_t chunk[3 << 20];
    for (size_t i = 0; i < sizeof chunk; i++) {
        chunk[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    store_put(f->batch, FAMILY_CHUNK, BYTES_LIT("large"), BYTES(chunk, sizeof chunk));
    store_put(f->batch, FAMILY_CHUNK, BYTES_LIT("small"), BYTES(chunk, 10));
    assert_ok(store_commit(f->store, f->batch, &err));
    store_fixture_reopen(f);
    struct store_span all = {0};
    assert_ok(store_compact(f->store, FAMILY_CHUNK, &all, &err));
    struct bytes value;
    assert_ok(store_get(f->store, NULL, FAMILY_CHUNK, BYTES_LIT("large"), &f->arena, &value, &err));
    assert_bytes_equal(value, BYTES(chunk, sizeof chunk));
    assert_ok(store_get(f->store, NULL, FAMILY_CHUNK, BYTES_LIT("small"), &f->arena, &value, &err));
    assert_bytes_equal(value, BYTES(chunk, 10));
    AUTO_ARENA(tight, 1 << 20);
    assert_err(ERR_TOO_MUCH, store_get(f->store, NULL, FAMILY_CHUNK, BYTES_LIT("large"), &tight, &value, &err));
}

static void test_store__many_rows_agree_with_a_plain_array(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    enum { KEYS = 500, ROUNDS = 40 };
    static int model[KEYS];
    memset(model, 0, sizeof model);
    uint32_t random = 12345;
    for (int round = 1; round <= ROUNDS; round++) {
        store_batch_reset(f->batch);
        for (int i = 0; i < 50; i++) {
            random = random * 1664525 + 1013904223;
            uint32_t k = (random >> 8) % KEYS;
            uint8_t key[4], value[4];
            put_u32be(key, k * 7919);
            put_u32be(value, (uint32_t)round);
            bool deletes = (random >> 4) % 3 == 0;
            model[k] = deletes ? 0 : round;
            if (deletes) {
                store_delete(f->batch, FAMILY_INDEX, BYTES(key, 4));
            } else {
                store_put(f->batch, FAMILY_INDEX, BYTES(key, 4), BYTES(value, 4));
            }
        }
        assert_ok(store_commit(f->store, f->batch, &err));
    }
    AUTO_STORE_ITER iter = NULL;
    struct store_span all = {0};
    assert_ok(store_iter_open(f->store, NULL, FAMILY_INDEX, &all, &iter, &err));
    for (uint32_t k = 0; k < KEYS; k++) {
        if (model[k]) {
            assert_true(store_iter_next(iter));
            assert_int_equal(get_u32be(store_iter_key(iter).data), k * 7919);
            assert_int_equal(get_u32be(store_iter_value(iter).data), model[k]);
        }
    }
    assert_false(store_iter_next(iter));
}

/* One thread commits pairs of equal rows; the other must never see them differ. */
static void *write_pairs(void *arg)
{
    struct store_fixture *f = arg;
    struct store_batch *batch = store_batch_new();
    struct err err;
    for (uint32_t i = 0; i < 200; i++) {
        uint8_t value[4];
        put_u32be(value, i);
        store_batch_reset(batch);
        store_put(batch, FAMILY_META, BYTES_LIT("left"), BYTES(value, 4));
        store_put(batch, FAMILY_STREAM, BYTES_LIT("right"), BYTES(value, 4));
        if (!store_commit(f->store, batch, &err)) {
            store_batch_free(batch);
            return arg;
        }
    }
    store_batch_free(batch);
    return NULL;
}

static void test_store__readers_see_whole_batches(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    store_put(f->batch, FAMILY_META, BYTES_LIT("left"), BYTES_LIT("\0\0\0\0"));
    store_put(f->batch, FAMILY_STREAM, BYTES_LIT("right"), BYTES_LIT("\0\0\0\0"));
    assert_ok(store_commit(f->store, f->batch, &err));
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_pairs, f), 0);
    bool differs = false;
    for (uint32_t last = 0; last < 199 && !differs;) {
        AUTO_STORE_SNAPSHOT at = store_snapshot_new(f->store);
        struct bytes left, right;
        differs = !store_get(f->store, at, FAMILY_META, BYTES_LIT("left"), &f->arena, &left, &err) ||
                  !store_get(f->store, at, FAMILY_STREAM, BYTES_LIT("right"), &f->arena, &right, &err) ||
                  !bytes_equal(left, right);
        last = differs ? last : get_u32be(left.data);
        arena_reset(&f->arena);
    }
    void *failed = NULL;
    pthread_join(writer, &failed);
    assert_null(failed);
    assert_false(differs);
}

int store_contract_run(const char *name, const struct store_place *use)
{
    store_fixture_use(use);
#define RULE(test) cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        RULE(test_store__what_is_put_is_there_and_what_is_not_is_not),
        RULE(test_store__families_do_not_mix),
        RULE(test_store__a_batch_is_in_order_and_later_rows_win),
        RULE(test_store__batches_join_in_order),
        RULE(test_store__a_batch_with_one_bad_row_changes_nothing),
        RULE(test_store__a_batch_cannot_outgrow_its_maximum),
        RULE(test_store__spans_are_ordered_and_half_open),
        RULE(test_store__spans_go_backwards_too),
        RULE(test_store__a_span_without_rows_gives_none),
        RULE(test_store__a_prefix_of_all_ones_has_an_end),
        RULE(test_store__a_snapshot_does_not_move),
        RULE(test_store__an_iterator_sees_the_rows_as_they_were),
        RULE(test_store__what_was_committed_is_there_after_reopening),
        RULE(test_store__a_second_opener_is_refused),
        RULE(test_store__large_values_come_back_whole),
        RULE(test_store__many_rows_agree_with_a_plain_array),
        RULE(test_store__readers_see_whole_batches),
    };
#undef RULE
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
