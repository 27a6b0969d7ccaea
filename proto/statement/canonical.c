/* Canonical form (formats 1): first the bytes are walked beside the rules, then protobuf-c unpacks what can no
 * longer surprise it, then each message's own check reads the result. Schemas here do not recurse: their depth is
 * at most 6 of the 8 that the format allows (statement_test.c holds the rules to it). */
#include <stdlib.h>

#include "proto/base/reader.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/statement/form.h"
#include "proto/statement/rules.h"
#include "proto/statement/statement.h"

enum { WIRE_VARINT = 0, WIRE_8_BYTES = 1, WIRE_LENGTH = 2 };

/* Where a walk stands in one message. */
struct walk {
    const struct message_rule *rule;
    const ProtobufCFieldDescriptor *field;
    const struct field_rule *row;
    struct reader in;
    uint32_t last;               /* the number of the field before */
    size_t count;                /* elements of `last` so far, if repeated */
    struct bytes previous;       /* its element before */
    uint64_t seen;               /* bit n: field n + 1 */
    struct err *err;
};

static bool walk_message(const struct message_rule *rule, struct bytes bytes, struct err *err);

static bool broken(struct walk *w, const char *rule)
{
    return form_error(w->err, w->rule->type, w->field ? w->field->name : "", rule);
}

static bool malformed(struct walk *w, const char *rule)
{
    broken(w, rule);
    w->err->reason = CHARTMESH__V1__ERROR_REASON__ERROR_REASON_MALFORMED;
    return false;
}

static bool is_repeated(const ProtobufCFieldDescriptor *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED;
}

static bool is_scalar(const ProtobufCFieldDescriptor *field)
{
    return field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_BYTES &&
           field->type != PROTOBUF_C_TYPE_MESSAGE;
}

static unsigned wire_of(const ProtobufCFieldDescriptor *field)
{
    if (!is_scalar(field) || is_repeated(field)) {
        return WIRE_LENGTH;
    }
    return field->type == PROTOBUF_C_TYPE_FIXED64 ? WIRE_8_BYTES : WIRE_VARINT;
}

static uint64_t read_u64le(struct reader *r)
{
    return __builtin_bswap64(read_u64be(r));
}

/* A number of the field's type, never its default: zero is absent, 0 is no value of an enum. */
static bool check_number(struct walk *w, uint64_t value)
{
    switch (w->field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return value == 1 || broken(w, "a bool is 1 or absent");
    case PROTOBUF_C_TYPE_UINT32:
        return (value > 0 && value <= UINT32_MAX) || broken(w, "zero written out, or over 32 bits");
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *values = w->field->descriptor;
        return (value > 0 && value < values->n_values) || broken(w, "not one of the listed values");
    }
    default:
        return value > 0 || broken(w, "zero written out");
    }
}

static bool walk_number(struct walk *w)
{
    uint64_t value = wire_of(w->field) == WIRE_8_BYTES ? read_u64le(&w->in) : read_varint(&w->in);
    return w->in.ok ? check_number(w, value) : broken(w, "ends early, or is not a minimal varint");
}

/* A packed list of varints: one run, not empty, ascending. */
static bool walk_packed(struct walk *w, struct bytes body)
{
    struct reader r = reader_of(body);
    uint64_t before = 0;
    if (body.len == 0) {
        return broken(w, "an empty list written out");
    }
    while (r.left.len) {
        uint64_t value = read_varint(&r);
        if (!r.ok) {
            return broken(w, "ends early, or is not a minimal varint");
        }
        if (!check_number(w, value)) {
            return false;
        }
        if (value <= before) {
            return broken(w, "not ascending, or twice the same");
        }
        before = value;
    }
    return true;
}

static bool walk_value(struct walk *w, struct bytes body)
{
    if (w->field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return walk_message(w->row->sub, body, w->err) || err_wrap(w->err, "%s", w->rule->type->short_name);
    }
    if (body.len == 0 && !is_repeated(w->field)) {
        return broken(w, "an empty value written out");
    }
    if (w->row->exact && body.len != w->row->exact) {
        return broken(w, "not of its exact length");
    }
    if (w->row->max && body.len > w->row->max) {
        return broken(w, "too long");
    }
    return w->field->type == PROTOBUF_C_TYPE_BYTES || utf8_valid(body) ||
           broken(w, "not UTF-8 text without U+0000");
}

/* Compares messages by their first field, which is required: a number, or bytes. */
static int compare_first(struct bytes a, struct bytes b)
{
    struct reader ra = reader_of(a), rb = reader_of(b);
    uint64_t wire = read_varint(&ra) & 7;
    read_varint(&rb);
    if (wire == WIRE_LENGTH) {
        uint64_t len_a = read_varint(&ra), len_b = read_varint(&rb);
        return bytes_compare(read_bytes(&ra, len_a), read_bytes(&rb, len_b));
    }
    uint64_t value_a = wire == WIRE_8_BYTES ? read_u64le(&ra) : read_varint(&ra);
    uint64_t value_b = wire == WIRE_8_BYTES ? read_u64le(&rb) : read_varint(&rb);
    return (value_a > value_b) - (value_a < value_b);
}

static bool walk_element(struct walk *w, struct bytes body)
{
    if (!walk_value(w, body)) {
        return false;
    }
    w->count++;
    if (w->row->count && w->count > w->row->count) {
        return broken(w, "too many of them");
    }
    bool sorted = w->row->order == ORDER_SET || w->row->order == ORDER_FIRST;
    if (sorted && w->count > 1) {
        int order =
            w->row->order == ORDER_SET ? bytes_compare(w->previous, body) : compare_first(w->previous, body);
        if (order >= 0) {
            return broken(w, "not ascending, or twice the same");
        }
    }
    w->previous = body;
    return true;
}

static bool walk_block(struct walk *w)
{
    uint64_t len = read_varint(&w->in);
    struct bytes body = read_bytes(&w->in, len);
    if (!w->in.ok) {
        return broken(w, "ends early, or is not a minimal varint");
    }
    if (is_scalar(w->field)) {
        return walk_packed(w, body);
    }
    return is_repeated(w->field) ? walk_element(w, body) : walk_value(w, body);
}

static bool walk_field(struct walk *w)
{
    w->field = NULL;
    uint64_t tag = read_varint(&w->in), number = tag >> 3;
    if (!w->in.ok) {
        return broken(w, "ends early, or is not a minimal varint");
    }
    if (number == 0 || number > w->rule->count) {
        return malformed(w, "a field that is not in this type");
    }
    w->field = &w->rule->type->fields[number - 1];
    w->row = &w->rule->fields[number - 1];
    if ((tag & 7) != wire_of(w->field)) {
        return malformed(w, "another wire type");
    }
    bool again = number == w->last && is_repeated(w->field) && !is_scalar(w->field);
    if (number <= w->last && !again) {
        return broken(w, "out of order, or given twice");
    }
    if (!again) {
        w->count = 0;
    }
    w->last = (uint32_t)number;
    w->seen |= UINT64_C(1) << (number - 1);
    return (tag & 7) == WIRE_LENGTH ? walk_block(w) : walk_number(w);
}

static bool walk_message(const struct message_rule *rule, struct bytes bytes, struct err *err)
{
    struct walk w = {.rule = rule, .in = reader_of(bytes), .err = err};
    while (w.in.left.len) {
        if (!walk_field(&w)) {
            return false;
        }
    }
    for (size_t i = 0; i < rule->count; i++) {
        if (rule->fields[i].required && !(w.seen & UINT64_C(1) << i)) {
            return form_error(err, rule->type, rule->type->fields[i].name, "required and absent");
        }
    }
    return true;
}

/* -- the unpacked message */

static const void *member(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (const char *)message + field->offset;
}

static size_t member_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return *(const size_t *)((const char *)message + field->quantifier_offset);
}

/* The sub-messages of a field: an array of `*count` pointers. */
static ProtobufCMessage *const *subs(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                                     size_t *count)
{
    ProtobufCMessage *const *single = member(message, field);
    *count = is_repeated(field) ? member_count(message, field) : *single != NULL;
    return is_repeated(field) ? *(ProtobufCMessage *const *const *)member(message, field) : single;
}

static bool check_message(const struct message_rule *rule, const ProtobufCMessage *message, struct err *err)
{
    for (size_t i = 0; i < rule->count; i++) {
        size_t count = 0;
        ProtobufCMessage *const *below =
            rule->fields[i].sub ? subs(message, &rule->type->fields[i], &count) : NULL;
        for (size_t j = 0; j < count; j++) {
            if (!check_message(rule->fields[i].sub, below[j], err)) {
                return false;
            }
        }
    }
    return !rule->check || rule->check(message, err);
}

static bool rule_for(const ProtobufCMessageDescriptor *type, const struct message_rule **out, struct err *err)
{
    *out = rule_of(type);
    return *out || err_raise(err, ERR_INTERNAL, "%s: has no canonical form", type->name);
}

bool canonical_unpack(const ProtobufCMessageDescriptor *type, struct bytes bytes, struct arena *arena,
                      ProtobufCMessage **out, struct err *err)
{
    const struct message_rule *rule;
    if (!rule_for(type, &rule, err)) {
        return false;
    }
    if (rule->max && bytes.len > rule->max) {
        return err_raise_reason(err, ERR_INVALID, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOO_LARGE,
                                "%s: %zu bytes, at most %zu", type->short_name, bytes.len, rule->max);
    }
    if (!walk_message(rule, bytes, err)) {
        return false;
    }
    ProtobufCAllocator allocator = {
        .alloc = arena_unpack_alloc, .free = arena_unpack_free, .allocator_data = arena};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.len, bytes.data);
    if (!message) {
        return err_raise_reason(err, ERR_TOO_MUCH, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_TOO_LARGE,
                                "%s: larger than its memory budget", type->short_name);
    }
    if (!check_message(rule, message, err)) {
        return false;
    }
    *out = message;
    return true;
}

/* -- packing */

/* An element of a set while it is sorted: what it is ordered by, and what stands in the message. */
struct element {
    struct bytes key;
    union {
        ProtobufCBinaryData bytes;
        char *string;
        ProtobufCMessage *message;
        uint32_t number;
    };
};

static int compare_elements(const void *a, const void *b)
{
    return bytes_compare(((const struct element *)a)->key, ((const struct element *)b)->key);
}

static int compare_by_first(const void *a, const void *b)
{
    return compare_first(((const struct element *)a)->key, ((const struct element *)b)->key);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static bool message_key(const ProtobufCMessage *message, enum order order, struct arena *arena, struct bytes *out,
                        struct err *err)
{
    if (order == ORDER_KEYID) {
        *out = bytes_str(((const Chartmesh__V1__Signature *)message)->keyid);
        return true;
    }
    return message_pack(message, arena, out, err);
}

/* Takes element `i` out of the field's array, with its key, or puts it back. */
static bool take_element(const ProtobufCFieldDescriptor *field, const struct field_rule *row, void *array,
                         size_t i, struct arena *arena, struct element *out, struct err *err)
{
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        out->bytes = ((ProtobufCBinaryData *)array)[i];
        out->key = bytes_pb(out->bytes);
        return true;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        out->string = ((char **)array)[i];
        out->key = bytes_str(out->string);
        return true;
    }
    out->message = ((ProtobufCMessage **)array)[i];
    return message_key(out->message, row->order, arena, &out->key, err);
}

static void put_element(const ProtobufCFieldDescriptor *field, void *array, size_t i, const struct element *from)
{
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        ((ProtobufCBinaryData *)array)[i] = from->bytes;
    } else if (field->type == PROTOBUF_C_TYPE_STRING) {
        ((char **)array)[i] = from->string;
    } else {
        ((ProtobufCMessage **)array)[i] = from->message;
    }
}

static bool sort_field(const ProtobufCFieldDescriptor *field, const struct field_rule *row, void *array,
                       size_t count, struct arena *arena, struct err *err)
{
    if (row->order == ORDER_LIST || count < 2) {
        return true;
    }
    if (is_scalar(field)) {      /* uint32 and enums, which are as wide */
        qsort(array, count, sizeof(uint32_t), compare_numbers);
        return true;
    }
    void *room;
    if (!arena_array(arena, count, sizeof(struct element), &room, err)) {
        return false;
    }
    struct element *elements = room;
    for (size_t i = 0; i < count; i++) {
        if (!take_element(field, row, array, i, arena, &elements[i], err)) {
            return false;
        }
    }
    qsort(elements, count, sizeof *elements, row->order == ORDER_FIRST ? compare_by_first : compare_elements);
    for (size_t i = 0; i < count; i++) {
        put_element(field, array, i, &elements[i]);
    }
    return true;
}

/* protobuf-c writes out a bytes field that is empty but not NULL. */
static void clear_empty(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    ProtobufCBinaryData *data = (ProtobufCBinaryData *)((char *)message + field->offset);
    if (data->len == 0) {
        data->data = NULL;
    }
}

/* Sorts the sets of a message, those below it first: their bytes are what sets of messages are ordered by. */
static bool sort_message(const struct message_rule *rule, ProtobufCMessage *message, struct arena *arena,
                         struct err *err)
{
    for (size_t i = 0; i < rule->count; i++) {
        const ProtobufCFieldDescriptor *field = &rule->type->fields[i];
        const struct field_rule *row = &rule->fields[i];
        size_t count = 0;
        ProtobufCMessage *const *below = row->sub ? subs(message, field, &count) : NULL;
        for (size_t j = 0; j < count; j++) {
            if (!sort_message(row->sub, below[j], arena, err)) {
                return false;
            }
        }
        if (is_repeated(field)) {
            void *array = *(void *const *)member(message, field);
            if (!sort_field(field, row, array, member_count(message, field), arena, err)) {
                return false;
            }
        } else if (field->type == PROTOBUF_C_TYPE_BYTES) {
            clear_empty(message, field);
        }
    }
    return true;
}

bool canonical_sort_pack(ProtobufCMessage *message, struct arena *arena, struct bytes *out, struct err *err)
{
    const struct message_rule *rule;
    return rule_for(message->descriptor, &rule, err) && sort_message(rule, message, arena, err) &&
           message_pack(message, arena, out, err);
}

bool canonical_pack(ProtobufCMessage *message, struct arena *arena, struct bytes *out, struct err *err)
{
    struct bytes packed;
    ProtobufCMessage *again;
    if (!canonical_sort_pack(message, arena, &packed, err) ||
        !canonical_unpack(message->descriptor, packed, arena, &again, err)) {
        return false;
    }
    *out = packed;
    return true;
}
