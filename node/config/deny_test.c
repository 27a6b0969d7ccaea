#include "node/config/deny.h"

#include <stdlib.h>

#include "tests/lib/test.h"

#define PIN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static int setup(void **state)
{
    struct arena *arena = malloc(sizeof *arena);
    arena_init(arena, 1 << 20);
    *state = arena;
    return 0;
}

static int teardown(void **state)
{
    arena_done(*state);
    free(*state);
    return 0;
}

static struct deny *parse(struct arena *arena, const char *text)
{
    struct err err;
    struct deny *deny = NULL;
    assert_ok(deny_parse(bytes_str(text), "deny", arena, &deny, &err));
    return deny;
}

static void refuse(struct arena *arena, const char *text, const char *says)
{
    struct err err;
    struct deny *deny = NULL;
    assert_err(ERR_INVALID, deny_parse(bytes_str(text), "deny", arena, &deny, &err));
    if (!strstr(err.text, says)) {
        fail_msg("'%s' does not say '%s'", err.text, says);
    }
    assert_null(deny);
}

static void test_deny__what_is_listed_is_denied_and_nothing_else(void **state)
{
    struct deny *deny = parse(*state, "# lost on the bus\n"
                                      "id spiffe://n/st-anna.example/app/emr\n"
                                      "  serial  00A1b2  # a laptop\n"
                                      "serial 7\n"
                                      "\n"
                                      "pin " PIN "\n");
    struct hash pin;
    struct err err;
    assert_int_equal(deny_count(deny), 4);
    assert_true(deny_id(deny, "spiffe://n/st-anna.example/app/emr"));
    assert_false(deny_id(deny, "spiffe://n/st-anna.example/app/emr2"));
    assert_false(deny_id(deny, "spiffe://n/st-anna.example/app/em"));
    assert_true(deny_serial(deny, BYTES_LIT("\xa1\xb2")));
    assert_true(deny_serial(deny, BYTES_LIT("\x00\xa1\xb2")));
    assert_false(deny_serial(deny, BYTES_LIT("\xa1")));
    assert_true(deny_serial(deny, BYTES_LIT("\x07")));
    assert_ok(hex_decode(PIN, pin.bytes, HASH_LEN, &err));
    assert_true(deny_pin(deny, &pin));
    pin.bytes[31] ^= 1;
    assert_false(deny_pin(deny, &pin));
}

static void test_deny__an_empty_list_and_none_deny_nobody(void **state)
{
    struct hash pin = {0};
    const struct deny *none[] = {NULL, parse(*state, ""), parse(*state, "# nobody\n")};
    for (size_t i = 0; i < COUNT(none); i++) {
        assert_int_equal(deny_count(none[i]), 0);
        assert_false(deny_id(none[i], "spiffe://n/d/app/x"));
        assert_false(deny_pin(none[i], &pin));
        assert_false(deny_serial(none[i], BYTES_LIT("\x00")));
    }
}

static void test_deny__what_is_no_list_is_refused_with_its_line(void **state)
{
    refuse(*state, "id emr\n", "deny:1: id must be spiffe://");
    refuse(*state, "\nserial 12x4\n", "deny:2: serial must be 1 to 40 hex digits");
    refuse(*state, "serial\n", "deny:1: serial must be 1 to 40");
    refuse(*state, "serial 00112233445566778899aabbccddeeff0011223344\n", "40 hex digits");
    refuse(*state, "pin 0011\n", "deny:1: pin must be 64 hex digits");
    refuse(*state, "user bob\n", "begins with id, serial or pin");
    refuse(*state, "id spiffe://n/d/app/x spiffe://n/d/app/y\n", "one word and one value");
    refuse(*state, "id spiffe://n/d/app/x\nid spiffe://n/d/ap", "half written");
    refuse(*state, "id spiffe://n/d/app/\xff\n", "not UTF-8");
}

static void test_deny__a_list_that_is_not_there_is_an_error(void **state)
{
    struct err err;
    struct deny *deny = NULL;
    assert_err(ERR_STATE, deny_load("/nonexistent/deny", *state, &deny, &err));
    assert_null(deny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deny__what_is_listed_is_denied_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deny__an_empty_list_and_none_deny_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deny__what_is_no_list_is_refused_with_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deny__a_list_that_is_not_there_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
