/* The published wire cases of proto3 (protobuf's conformance runner): what everybody must refuse is refused, and
 * of what is valid only that is refused which our rules refuse on purpose (docs/protocol/08-rpc.md, 8.2). */
#include <stdio.h>

#include "proto/chartmesh/v1/message.h"
#include "tests/lib/test.h"
#include "tests/wire/wire.pb-c.h"

/* Why valid bytes may be refused here. */
static const char *const stricter[] = {"unknown field", "given more than once", "not a value of its type",
                                       "not a list of this type"};

struct counts {
    unsigned bad, bad_accepted, good, good_accepted, same, why[COUNT(stricter)], else_refused;
};

static struct bytes next(struct bytes *line)
{
    const uint8_t *tab = line->len ? memchr(line->data, '\t', line->len) : NULL;
    size_t len = tab ? (size_t)(tab - line->data) : line->len;
    struct bytes cell = BYTES(line->data, len);
    *line = tab ? BYTES(tab + 1, line->len - len - 1) : BYTES_NONE;
    return cell;
}

static struct bytes unhex(struct bytes hex, struct arena *arena)
{
    struct err err;
    char *text;
    void *out;
    assert_ok(arena_string(arena, hex, &text, &err));
    assert_ok(arena_alloc(arena, hex.len / 2 + 1, &out, &err));
    assert_ok(hex_decode(text, out, hex.len / 2, &err));
    return BYTES(out, hex.len / 2);
}

static void count_refusal(struct counts *counts, const struct err *err)
{
    for (size_t i = 0; i < COUNT(stricter); i++) {
        if (strstr(err->text, stricter[i])) {
            counts->why[i]++;
            return;
        }
    }
    print_message("valid, and refused: %s\n", err->text);
    counts->else_refused++;
}

static void judge(struct counts *counts, struct bytes line)
{
    AUTO_ARENA(arena, 1 << 20);
    struct err err;
    ProtobufCMessage *message;
    struct bytes packed;
    bool valid = bytes_equal(next(&line), BYTES_LIT("1"));
    struct bytes wire = unhex(next(&line), &arena), expected = unhex(next(&line), &arena);
    bool ok = message_unpack(&chartmesh__wire__all__descriptor, wire, &arena, &message, &err);
    if (!valid) {
        counts->bad++;
        counts->bad_accepted += ok;
        assert_true(ok || err.code == ERR_INVALID);
        return;
    }
    counts->good++;
    if (!ok) {
        count_refusal(counts, &err);
        return;
    }
    assert_ok(message_pack(message, &arena, &packed, &err));
    counts->good_accepted++;
    counts->same += bytes_equal(packed, expected);
}

static void test_wire__published_cases_are_accepted_and_refused(void **state)
{
    AUTO_ARENA(arena, 1 << 20);
    struct bytes text;
    struct counts counts = {0};
    (void)state;
    if (!shared_data_file("protobuf/proto3-binary-vectors.tsv", &arena, &text)) {
        skip();
    }
    bool header = true;
    while (text.len) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (!header && len) {
            judge(&counts, BYTES(text.data, len));
        }
        header = false;
        text = BYTES(text.data + len, text.len - len);
        text = text.len ? BYTES(text.data + 1, text.len - 1) : text;
    }
    print_message("%u invalid: %u refused. %u valid: %u accepted (%u packed as the C++ library does)", counts.bad,
                  counts.bad - counts.bad_accepted, counts.good, counts.good_accepted, counts.same);
    for (size_t i = 0; i < COUNT(stricter); i++) {
        print_message(", %u %s", counts.why[i], stricter[i]);
    }
    print_message("\n");
    assert_int_equal(counts.bad, 116);
    assert_int_equal(counts.bad_accepted, 0);
    assert_int_equal(counts.good, 318);
    /* One unknown field, fields given twice, varints that are longer or wider than their value. */
    static const unsigned why[] = {1, 51, 31, 10};
    assert_int_equal(counts.good_accepted, 225);
    assert_memory_equal(counts.why, why, sizeof why);
    assert_int_equal(counts.else_refused, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wire__published_cases_are_accepted_and_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
