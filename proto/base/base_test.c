#include "proto/base/arena.h"
#include "proto/base/builder.h"
#include "proto/base/bytes.h"
#include "proto/base/reader.h"
#include "tests/lib/test.h"

static void test_err__wrapping_keeps_code_and_place(void **state)
{
    (void)state;
    struct err err;
    assert_false(err_raise_field(&err, 7, "facts.class", "must be set"));
    int line = err.line;
    assert_false(err_wrap(&err, "put %d", 3));
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(err.reason, 7);
    assert_int_equal(err.line, line);
    assert_string_equal(err.field, "facts.class");
    assert_string_equal(err.text, "put 3: must be set");
}

static void test_arena__a_spent_budget_is_an_error_and_leaves_what_was(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1024);
    void *first, *second = &first;
    assert_ok(arena_alloc(&arena, 100, &first, &err));
    memset(first, 7, 100);
    assert_err(ERR_TOO_MUCH, arena_alloc(&arena, 2000, &second, &err));
    assert_ptr_equal(second, &first);
    assert_int_equal(((uint8_t *)first)[99], 7);
    assert_err(ERR_TOO_MUCH, arena_array(&arena, SIZE_MAX / 2, 4, &second, &err));
    assert_null(arena_unpack_alloc(&arena, 4096));
}

static void test_arena__pieces_do_not_overlap(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    uint8_t *piece[200];
    for (size_t i = 0; i < COUNT(piece); i++) {
        void *out;
        assert_ok(arena_alloc(&arena, 1 + i * 37 % 5000, &out, &err));
        piece[i] = memset(out, (int)i, 1 + i * 37 % 5000);
    }
    for (size_t i = 0; i < COUNT(piece); i++) {
        assert_int_equal(piece[i][0], (uint8_t)i);
        assert_int_equal(piece[i][i * 37 % 5000], (uint8_t)i);
    }
}

static void test_budget__nested_ones_give_all_or_nothing_and_take_back(void **state)
{
    (void)state;
    struct budget above = {.max = 100}, a = {.max = 80, .above = &above}, b = {.max = 80, .above = &above};
    assert_true(budget_take(&a, 80));
    assert_false(budget_take(&a, 1));
    assert_false(budget_take(&b, 21));
    assert_false(budget_take(&b, SIZE_MAX));
    assert_int_equal(b.used, 0);
    assert_int_equal(above.used, 80);
    assert_int_equal(budget_left(&b), 80);   /* here; above is another question */
    assert_true(budget_take(&b, 20));
    budget_give(&a, 80);
    assert_int_equal(above.used, 20);
    assert_true(budget_take(&b, 60));
    assert_int_equal(above.used, 80);
}

static void test_arena__what_is_shared_is_taken_once_and_given_back(void **state)
{
    (void)state;
    struct err err;
    void *out;
    struct budget shared = {.max = 40000};
    AUTO_ARENA(arena, 1 << 20);
    arena_share(&arena, &shared);
    assert_ok(arena_alloc(&arena, 20000, &out, &err));
    assert_true(shared.used >= 20000 && shared.used < 30000);
    assert_err(ERR_TOO_MUCH, arena_alloc(&arena, 30000, &out, &err));
    assert_true(arena.starved);
    arena_reset(&arena);
    assert_false(arena.starved);
    assert_int_equal(shared.used, 0);
    assert_ok(arena_alloc(&arena, 30000, &out, &err));
    assert_err(ERR_TOO_MUCH, arena_alloc(&arena, 2 << 20, &out, &err));
    assert_false(arena.starved);             /* its own budget, not the others' */
    arena_done(&arena);
    assert_int_equal(shared.used, 0);
}

static void test_reader__never_reads_past_the_end(void **state)
{
    (void)state;
    struct reader r = reader_of(BYTES_LIT("\x00\x00\x00\x02hi"));
    assert_bytes_equal(read_block(&r), BYTES_LIT("hi"));
    assert_true(reader_end(&r));
    r = reader_of(BYTES_LIT("\x00\x00\x00\x09hi"));
    assert_int_equal(read_block(&r).len, 0);
    assert_false(r.ok);
    assert_int_equal(read_u8(&r), 0);
}

static void test_reader__varints_are_minimal(void **state)
{
    (void)state;
    struct reader r = reader_of(BYTES_LIT("\xac\x02"));
    assert_int_equal(read_varint(&r), 300);
    assert_true(reader_end(&r));
    r = reader_of(BYTES_LIT("\xac\x82\x00"));
    read_varint(&r);
    assert_false(r.ok);
    r = reader_of(BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    assert_true(read_varint(&r) == UINT64_MAX && reader_end(&r));
    r = reader_of(BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    read_varint(&r);
    assert_false(r.ok);
}

static void test_builder__keeps_its_maximum(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 4096);
    AUTO_BUILDER(b, 10);
    struct bytes out;
    build_block(&b, BYTES_LIT("hello"));
    assert_ok(builder_copy(&b, &arena, &out, &err));
    assert_bytes_equal(out, BYTES_LIT("\x00\x00\x00\x05hello"));
    build_bytes(&b, BYTES_LIT("no"));
    assert_err(ERR_TOO_MUCH, builder_copy(&b, &arena, &out, &err));
}

static void test_base64__only_the_canonical_text_is_read(void **state)
{
    (void)state;
    struct err err;
    char text[64];
    AUTO_ARENA(arena, 4096);
    struct bytes out;
    assert_string_equal(base64_encode(BYTES_LIT("any carnal pleas"), text), "YW55IGNhcm5hbCBwbGVhcw==");
    assert_ok(base64_decode(bytes_str(text), &arena, &out, &err));
    assert_bytes_equal(out, BYTES_LIT("any carnal pleas"));
    const char *bad[] = {"YW5", "YR==", "YWE", "Y===", "YQ=a", "YQ==YQ==", "Y Q=", "YWF="};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_err(ERR_INVALID, base64_decode(bytes_str(bad[i]), &arena, &out, &err));
    }
}

static void test_utf8__ill_formed_text_is_refused(void **state)
{
    (void)state;
    assert_true(utf8_valid(BYTES_LIT("Se\xc3\xb1or \xe2\x82\xac \xf0\x9f\x98\x80")));
    assert_true(utf8_valid(BYTES_NONE));
    struct bytes bad[] = {BYTES_LIT("\xc0\x80"),         BYTES_LIT("\xed\xa0\x80"), BYTES_LIT("\xf4\x90\x80\x80"),
                          BYTES_LIT("\xe0\x80\x80"),     BYTES_LIT("\xff"),         BYTES_LIT("a\0b"),
                          BYTES_LIT("\xf0\x80\x80\x80"), BYTES_LIT("\xe2\x82")};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(utf8_valid(bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err__wrapping_keeps_code_and_place),
        cmocka_unit_test(test_arena__a_spent_budget_is_an_error_and_leaves_what_was),
        cmocka_unit_test(test_arena__pieces_do_not_overlap),
        cmocka_unit_test(test_budget__nested_ones_give_all_or_nothing_and_take_back),
        cmocka_unit_test(test_arena__what_is_shared_is_taken_once_and_given_back),
        cmocka_unit_test(test_reader__never_reads_past_the_end),
        cmocka_unit_test(test_reader__varints_are_minimal),
        cmocka_unit_test(test_builder__keeps_its_maximum),
        cmocka_unit_test(test_base64__only_the_canonical_text_is_read),
        cmocka_unit_test(test_utf8__ill_formed_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
