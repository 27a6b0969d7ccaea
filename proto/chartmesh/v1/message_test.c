#include "proto/chartmesh/v1/message.h"

#include "proto/base/builder.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/replication.pb-c.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "tests/lib/test.h"

#define MALFORMED CHARTMESH__V1__ERROR_REASON__ERROR_REASON_MALFORMED

static bool refused(const ProtobufCMessageDescriptor *type, struct bytes wire)
{
    AUTO_ARENA(arena, 1 << 16);
    ProtobufCMessage *out = NULL;
    struct err err;
    bool ok = message_unpack(type, wire, &arena, &out, &err);
    return !ok && !out && err.code == ERR_INVALID && err.reason == MALFORMED;
}

static bool accepted(const ProtobufCMessageDescriptor *type, struct bytes wire)
{
    AUTO_ARENA(arena, 1 << 16);
    ProtobufCMessage *out = NULL;
    struct err err;
    return message_unpack(type, wire, &arena, &out, &err) && out;
}

#define HELLO &chartmesh__v1__hello__descriptor
#define ENDPOINT &chartmesh__v1__endpoint__descriptor
#define FRAME &chartmesh__v1__frame__descriptor
#define WANT &chartmesh__v1__want__descriptor

static void test_message__comes_back_as_it_was_packed(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 1 << 16);
    Chartmesh__V1__Want want = CHARTMESH__V1__WANT__INIT;
    want.version = (ProtobufCBinaryData){3, (uint8_t *)"abc"};
    want.from = UINT64_MAX;
    want.count = 7;
    Chartmesh__V1__Frame frame = CHARTMESH__V1__FRAME__INIT;
    frame.f_case = CHARTMESH__V1__FRAME__F_WANT;
    frame.want = &want;

    struct bytes wire, again;
    ProtobufCMessage *got;
    assert_ok(message_pack(&frame.base, &arena, &wire, &err));
    assert_ok(message_unpack(FRAME, wire, &arena, &got, &err));
    const Chartmesh__V1__Frame *back = (const Chartmesh__V1__Frame *)got;
    assert_int_equal(back->f_case, CHARTMESH__V1__FRAME__F_WANT);
    assert_true(back->want->from == UINT64_MAX);
    assert_ok(message_pack(got, &arena, &again, &err));
    assert_bytes_equal(wire, again);
    assert_true(accepted(FRAME, BYTES_NONE));
}

static void test_message__unknown_fields_are_refused_at_any_depth(void **state)
{
    (void)state;
    assert_true(accepted(WANT, BYTES_LIT("\x18\x05")));
    assert_true(refused(WANT, BYTES_LIT("\x18\x05\x78\x01")));
    assert_true(accepted(FRAME, BYTES_LIT("\x2a\x02\x18\x05")));
    assert_true(refused(FRAME, BYTES_LIT("\x2a\x02\x78\x01")));
}

static void test_message__field_zero_groups_and_foreign_wire_types_are_refused(void **state)
{
    (void)state;
    assert_true(refused(WANT, BYTES_LIT("\x00\x01")));
    assert_true(refused(WANT, BYTES_LIT("\x02\x00")));
    assert_true(refused(WANT, BYTES_LIT("\x1b\x1c")));
    assert_true(refused(WANT, BYTES_LIT("\x1a\x01\x05")));
    assert_true(refused(WANT, BYTES_LIT("\x08\x05")));
    assert_true(refused(WANT, BYTES_LIT("\x1d\x00\x00\x00\x00")));
}

static void test_message__a_cut_or_padded_value_is_refused(void **state)
{
    (void)state;
    assert_true(accepted(WANT, BYTES_LIT("\x0a\x03"
                                         "abc\x18\x05")));
    assert_true(refused(WANT, BYTES_LIT("\x0a\x03"
                                        "ab")));
    assert_true(refused(WANT, BYTES_LIT("\x0a")));
    assert_true(refused(WANT, BYTES_LIT("\x18")));
    assert_true(refused(WANT, BYTES_LIT("\x18\x85")));
    assert_true(refused(WANT, BYTES_LIT("\x18\x85\x00")));
    assert_true(refused(WANT, BYTES_LIT("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")));
    assert_true(refused(WANT, BYTES_LIT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                        "abc")));
}

static void test_message__a_value_outside_its_type_is_refused(void **state)
{
    (void)state;
    assert_true(accepted(WANT, BYTES_LIT("\x20\xff\xff\xff\xff\x0f")));
    assert_true(refused(WANT, BYTES_LIT("\x20\x80\x80\x80\x80\x10")));
    assert_true(accepted(HELLO, BYTES_LIT("\x28\x63")));
    assert_true(refused(HELLO, BYTES_LIT("\x28\x80\x80\x80\x80\x10")));
}

static void test_message__a_field_given_twice_is_refused(void **state)
{
    (void)state;
    assert_true(refused(WANT, BYTES_LIT("\x18\x05\x18\x05")));
    assert_true(refused(FRAME, BYTES_LIT("\x2a\x00\x2a\x00")));
    assert_true(refused(FRAME, BYTES_LIT("\x22\x00\x2a\x00")));
    assert_true(accepted(&chartmesh__v1__chunk__descriptor, BYTES_LIT("\x2a\x00\x2a\x00")));
}

static void test_message__text_is_utf8_without_nul(void **state)
{
    (void)state;
    assert_true(accepted(ENDPOINT, BYTES_LIT("\x0a\x03"
                                             "a\xc3\xa9")));
    assert_true(refused(ENDPOINT, BYTES_LIT("\x0a\x02"
                                            "\xc3(")));
    assert_true(refused(ENDPOINT, BYTES_LIT("\x0a\x03"
                                            "a\0b")));
    assert_true(refused(ENDPOINT, BYTES_LIT("\x0a\x03"
                                            "\xed\xa0\x80")));
    struct err err;
    assert_err(ERR_INVALID, message_check(ENDPOINT,
                                          BYTES_LIT("\x0a\x03"
                                                    "a\0b"),
                                          &err));
    assert_string_equal(err.field, "address");
}

/* google.protobuf.Value-like nesting does not occur in our schema, so a type that contains itself stands in. */
static const ProtobufCMessageDescriptor node_type;
static const ProtobufCFieldDescriptor node_fields[] = {
    {.name = "next",
     .id = 1,
     .label = PROTOBUF_C_LABEL_NONE,
     .type = PROTOBUF_C_TYPE_MESSAGE,
     .offset = sizeof(ProtobufCMessage),
     .descriptor = &node_type},
};
static const ProtobufCIntRange node_ranges[] = {{1, 0}, {0, 1}};
static const unsigned node_by_name[] = {0};
static const ProtobufCMessageDescriptor node_type = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "Node",
    .short_name = "Node",
    .c_name = "Node",
    .package_name = "",
    .sizeof_message = sizeof(ProtobufCMessage) + sizeof(void *),
    .n_fields = 1,
    .fields = node_fields,
    .fields_sorted_by_name = node_by_name,
    .n_field_ranges = 1,
    .field_ranges = node_ranges,
};

static struct bytes nested(int depth, uint8_t *room, size_t size)
{
    size_t at = size;
    for (int i = 1; i < depth; i++) {
        size_t len = size - at;
        if (len >= 0x80) {
            room[--at] = (uint8_t)(len >> 7);
        }
        room[--at] = len >= 0x80 ? (uint8_t)(len | 0x80) : (uint8_t)len;
        room[--at] = 0x0a;
    }
    return BYTES(room + at, size - at);
}

static void test_message__deep_nesting_is_refused_before_it_costs_stack(void **state)
{
    (void)state;
    uint8_t room[16384];
    assert_true(accepted(&node_type, nested(MESSAGE_DEPTH_MAX, room, sizeof room)));
    assert_true(refused(&node_type, nested(MESSAGE_DEPTH_MAX + 1, room, sizeof room)));
    assert_true(refused(&node_type, nested(4000, room, sizeof room)));
}

static void test_message__amplification_ends_at_the_budget(void **state)
{
    (void)state;
    struct err err;
    AUTO_BUILDER(wire, 1 << 20);
    for (int i = 0; i < 100000; i++) {
        build_bytes(&wire, BYTES_LIT("\x22\x00"));
    }
    for (size_t budget = 0; budget < 1 << 20; budget = budget * 2 + 100) {
        AUTO_ARENA(arena, budget);
        ProtobufCMessage *out;
        assert_err(ERR_TOO_MUCH,
                   message_unpack(&chartmesh__v1__batch__descriptor, builder_view(&wire), &arena, &out, &err));
        assert_true(arena.used <= budget);
    }
}

/* Every single-byte change of a real message, and noise, is either refused or unpacks and packs again. */
static void test_message__damage_never_breaks_anything(void **state)
{
    (void)state;
    uint8_t wire[] = "\x12\x0e\x0a\x02\x0a\x00\x22\x08\x08\x01\x12\x02\x12\x00\x1a\x00";
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof wire - 1; i++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t kept = wire[i];
            wire[i] = (uint8_t)value;
            assert_true(accepted(FRAME, BYTES(wire, sizeof wire - 1)) ^
                        refused(FRAME, BYTES(wire, sizeof wire - 1)));
            wire[i] = kept;
        }
    }
    for (int round = 0; round < 20000; round++) {
        uint8_t random[24];
        for (size_t i = 0; i < sizeof random; i++) {
            noise = noise * 1664525 + 1013904223;
            random[i] = (uint8_t)(noise >> 24) & (round & 1 ? 0x3f : 0xff);
        }
        struct bytes view = BYTES(random, round % sizeof random);
        assert_true(accepted(FRAME, view) ^ refused(FRAME, view));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message__comes_back_as_it_was_packed),
        cmocka_unit_test(test_message__unknown_fields_are_refused_at_any_depth),
        cmocka_unit_test(test_message__field_zero_groups_and_foreign_wire_types_are_refused),
        cmocka_unit_test(test_message__a_cut_or_padded_value_is_refused),
        cmocka_unit_test(test_message__a_value_outside_its_type_is_refused),
        cmocka_unit_test(test_message__a_field_given_twice_is_refused),
        cmocka_unit_test(test_message__text_is_utf8_without_nul),
        cmocka_unit_test(test_message__deep_nesting_is_refused_before_it_costs_stack),
        cmocka_unit_test(test_message__amplification_ends_at_the_budget),
        cmocka_unit_test(test_message__damage_never_breaks_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
