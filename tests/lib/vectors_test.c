#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

static void test_vectors__a_field_is_read_in_the_form_asked_for(void **state)
{
    (void)state;
    AUTO_ARENA(arena, 1 << 16);
    json_t *one = json_pack("{s:s, s:i, s:s, s:b, s:s}", "hex", "00ff", "small", 7, "large",
                            "18446744073709551615", "yes", 1, "base64", "AP8=");
    static const uint8_t bytes[] = {0x00, 0xff};

    assert_bytes_equal(vector_hex(one, "hex", &arena), BYTES(bytes, 2));
    assert_bytes_equal(vector_base64(one, "base64", &arena), BYTES(bytes, 2));
    assert_int_equal(vector_u64(one, "small"), 7);
    assert_true(vector_u64(one, "large") == UINT64_MAX);
    assert_int_equal(vector_u64_or(one, "absent", 3), 3);
    assert_true(vector_bool(one, "yes"));
    assert_false(vector_bool(one, "absent"));
    assert_string_equal(vector_text_or(one, "absent", "else"), "else");
    json_decref(one);
}

static void test_vectors__a_shared_file_is_loaded_or_the_test_is_skipped(void **state)
{
    (void)state;
    json_t *file = NULL;
    if (!vectors_load("format-vectors/stream.json", &file)) {
        return;
    }
    assert_true(vector_has(file, "licence"));
    assert_false(vector_has(file, "no such field"));
    json_decref(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors__a_field_is_read_in_the_form_asked_for),
        cmocka_unit_test(test_vectors__a_shared_file_is_loaded_or_the_test_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
