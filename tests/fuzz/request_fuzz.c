/* Target functions: every method of the client port, and its checks of the wire. The first line is the method's
 * name, the byte after it chooses who calls; then come messages with their length in two bytes (big endian): one
 * for a method that takes one, else what the client sends. They meet a node in memory with a patient who has a
 * document. In a message, a subject's patient of 16 letters P and a version of 32 letters V mean these. */
#include "node/service/service.h"
#include "proto/base/reader.h"
#include "proto/chartmesh/v1/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/service.h"

enum { SENDS_MAX = 8 };

static struct serve *node;
static ProtobufCBinaryData patient, version;

/* The same node for all inputs, and of few writes only: it is made anew now and then. */
static void open_node(void)
{
    static unsigned calls;
    if (node && ++calls % 2000 != 0) {
        return;
    }
    if (node) {
        serve_free(node);
    }
    node = serve_new(2, 0);
    Chartmesh__V1__PutRequest put = CHARTMESH__V1__PUT_REQUEST__INIT;
    put.subject = serve_register(node, "4711")->subject;
    put.facts = serve_facts(node);
    put.document = pb_bytes(BYTES_LIT("DDDDDDDDDDDDDDDD"));
    patient = put.subject->patient;
    version = ((Chartmesh__V1__PutReply *)SERVE(node, "Records.Put", &put))->version;
}

static void *field_of(ProtobufCMessage *message, const char *name, ProtobufCType type)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    return field && field->type == type && field->label != PROTOBUF_C_LABEL_REPEATED
               ? (char *)message + field->offset
               : NULL;
}

static void bind_bytes(ProtobufCBinaryData *field, struct bytes sign, ProtobufCBinaryData real)
{
    if (field && bytes_equal(bytes_pb(*field), sign)) {
        *field = real;
    }
}

static void bind(ProtobufCMessage *message)
{
    Chartmesh__V1__Subject **subject = field_of(message, "subject", PROTOBUF_C_TYPE_MESSAGE);
    if (subject && *subject && (*subject)->base.descriptor == &chartmesh__v1__subject__descriptor) {
        bind_bytes(&(*subject)->patient, BYTES_LIT("PPPPPPPPPPPPPPPP"), patient);
    }
    bind_bytes(field_of(message, "version", PROTOBUF_C_TYPE_BYTES), BYTES_LIT("VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV"),
               version);
}

static const char *const callers[][4] = {
    {"app/emr", "alice", NODE_PHYSICIAN, "TREAT"},
    {"app/emr", "carl", NODE_CLERK, "TREAT"},
    {"admin/root", "", "", ""},
    {"auditor/eve", "", "", ""},
    {"patient/1", "", "", ""},
    {"app/emr", "", "urn:x", "FUN"},
};

static bool refusal_is_typed(const struct err *err)
{
    return err->code != ERR_INTERNAL && err->code != ERR_NONE && *err->text;
}

static void call(struct serve *s, const struct service_method *method, struct reader *r)
{
    const ProtobufCMessage *sends[SENDS_MAX];
    ProtobufCMessage *message, *reply = NULL;
    struct err err;
    while (s->sends_len < SENDS_MAX && r->left.len >= 2) {
        size_t len = (size_t)read_u8(r) << 8;
        len |= read_u8(r);
        struct bytes wire = read_bytes(r, MIN(len, r->left.len));
        if (!message_unpack(method->in, wire, &s->arena, &message, &err)) {
            return;
        }
        bind(message);
        sends[s->sends_len++] = message;
    }
    if (s->sends_len == 0) {
        return;
    }
    s->sends = sends;
    s->idle = 2;
    if (serve_call(s, method->name, sends[0], &reply)) {
        fuzz_reached(1);
    } else {
        require(refusal_is_typed(&s->err));
    }
}

static const struct service_method *method_called(struct bytes name)
{
    const struct service_method *methods;
    size_t count = service_methods(&methods);
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(name, bytes_str(methods[i].name))) {
            return &methods[i];
        }
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of(BYTES(data, size));
    const struct service_method *method = method_called(read_line(&r));
    const char *const *who = callers[read_u8(&r) % COUNT(callers)];
    if (!method || !r.ok) {
        return 0;
    }
    open_node();
    struct serve mine = *node;
    arena_init(&mine.arena, 64 << 20);
    mine.budget = 8 << 20;
    serve_as(&mine, who[0], who[1], who[2], who[3]);
    call(&mine, method, &r);
    arena_done(&mine.arena);
    return 0;
}
