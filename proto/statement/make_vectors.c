/* Writes canonical.txt, dsse.txt and stream.txt into the folder named by its argument (proto/vectors/README.md).
 * Everything follows from SHA-256 of a counter: running it again gives the same bytes, unless the format changed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/statement/rules.h"
#include "proto/statement/statement.h"
#include "proto/statement/stream.h"

enum { BUDGET = 16 << 20, FIELDS_MAX = 64, LINE_MAX_LEN = 1 << 20 };

static struct arena arena;
static struct err err;
static uint64_t counter;

static void must(bool ok)
{
    if (!ok) {
        fprintf(stderr, "make_vectors: %s\n", err.text);
        exit(1);
    }
}

static void fill_from_counter(void *context, void *out, size_t len)
{
    (void)context;
    for (size_t done = 0; done < len; done += HASH_LEN) {
        uint8_t number[8];
        put_u64be(number, ++counter);
        struct hash block = HASH_PARTS(BYTES_LIT("chartmesh vectors v1\n"), BYTES(number, 8));
        memcpy((uint8_t *)out + done, block.bytes, MIN(len - done, HASH_LEN));
    }
}

static void *room(size_t count, size_t size)
{
    void *out;
    must(arena_array(&arena, count, size, &out, &err));
    return out;
}

static const char *hex(struct bytes view)
{
    return bytes_hex(view, room(2 * view.len + 1, 1));
}

/* -- a message with every field */

static ProtobufCMessage *filled(const struct message_rule *rule);

static uint64_t rising(void)
{
    static uint64_t number = 100;
    return number += 29;
}

static ProtobufCBinaryData some_bytes(size_t exact)
{
    size_t len = exact ? exact : 5;
    uint8_t *data = room(len, 1);
    random_fill(data, len);
    return (ProtobufCBinaryData){.len = len, .data = data};
}

static char *some_text(void)
{
    char *text;
    must(arena_printf(&arena, &text, &err, "t%llu", (unsigned long long)rising()));
    return text;
}

static void fill_value(const struct message_rule *rule, size_t at, void *out)
{
    switch (rule->type->fields[at].type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)out = filled(rule->fields[at].sub);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)out = some_bytes(rule->fields[at].exact);
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)out = some_text();
        break;
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        *(uint32_t *)out = 1;
        break;
    case PROTOBUF_C_TYPE_UINT32:
        *(uint32_t *)out = (uint32_t)rising();
        break;
    default:
        *(uint64_t *)out = rising();
    }
}

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return sizeof(ProtobufCBinaryData);
    }
    return field->type == PROTOBUF_C_TYPE_UINT32 || field->type == PROTOBUF_C_TYPE_ENUM ? 4 : 8;
}

/* What rows cannot say. */
static void fix(const struct message_rule *rule, ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = rule->type;
    if (type == &chartmesh__v1__rule__descriptor) {
        Chartmesh__V1__Rule *r = (void *)message;
        r->parent = r->confidentiality_min = 0;
        r->n_users = 0;
        r->deny_only = false;
    } else if (type == &chartmesh__v1__version__descriptor) {
        ((Chartmesh__V1__Version *)message)->chunk_log2 = 16;
    } else if (type == &chartmesh__v1__network__descriptor) {
        ((Chartmesh__V1__Network *)message)->threshold = 1;
        ((Chartmesh__V1__Network *)message)->head->facility = (ProtobufCBinaryData){0};
    } else if (type == &chartmesh__v1__roster__descriptor) {
        ((Chartmesh__V1__Roster *)message)->head->facility = (ProtobufCBinaryData){0};
    } else if (type == &chartmesh__v1__membership__descriptor) {
        ((Chartmesh__V1__Membership *)message)->domain = (char *)"north-clinic.example";
    } else if (type == &chartmesh__v1__key__descriptor) {
        ((Chartmesh__V1__Key *)message)->subject = NULL;
    } else if (type == &chartmesh__v1__audit_query__descriptor) {
        ((Chartmesh__V1__AuditQuery *)message)->actor = (ProtobufCBinaryData){0};
    }
}

static ProtobufCMessage *filled(const struct message_rule *rule)
{
    ProtobufCMessage *message = room(1, rule->type->sizeof_message);
    protobuf_c_message_init(rule->type, message);
    for (size_t i = 0; i < rule->count; i++) {
        const ProtobufCFieldDescriptor *field = &rule->type->fields[i];
        void *out = (char *)message + field->offset;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            fill_value(rule, i, out);
            continue;
        }
        size_t count = field->type == PROTOBUF_C_TYPE_ENUM ? 1 : 2;
        char *array = room(count, size_of(field));
        for (size_t j = 0; j < count; j++) {
            fill_value(rule, i, array + j * size_of(field));
        }
        *(void **)out = array;
        *(size_t *)((char *)message + field->quantifier_offset) = count;
    }
    fix(rule, message);
    return message;
}

/* -- canonical.txt */

/* The top-level fields of a payload, each with its tag; elements of a repeated field apart. */
struct pieces {
    struct bytes piece[FIELDS_MAX];
    uint64_t number[FIELDS_MAX];
    size_t count;
};

static struct pieces split(struct bytes payload)
{
    struct pieces p = {0};
    struct reader r = reader_of(payload);
    while (r.left.len) {
        const uint8_t *from = r.left.data;
        uint64_t tag = read_varint(&r);
        if ((tag & 7) == 2) {
            uint64_t len = read_varint(&r);
            read_bytes(&r, len);
        } else {
            read_varint(&r);
        }
        p.number[p.count] = tag >> 3;
        p.piece[p.count++] = BYTES(from, (size_t)(r.left.data - from));
    }
    return p;
}

static struct bytes join(const struct pieces *p, size_t without, struct bytes then)
{
    AUTO_BUILDER(b, LINE_MAX_LEN);
    for (size_t i = 0; i < p->count; i++) {
        if (p->number[i] != without) {
            build_bytes(&b, p->piece[i]);
        }
    }
    build_bytes(&b, then);
    struct bytes out;
    must(builder_copy(&b, &arena, &out, &err));
    return out;
}

static void refuse(FILE *out, enum statement_kind kind, struct bytes payload, const char *rule, const char *field)
{
    ProtobufCMessage *message;
    if (canonical_unpack(statement_descriptor(kind), payload, &arena, &message, &err)) {
        fprintf(stderr, "make_vectors: %s is accepted: %s %s\n", statement_name(kind), rule, field);
        exit(1);
    }
    fprintf(out, "refuse %s %s %s%s%s\n", statement_name(kind), hex(payload), rule, *field ? " " : "", field);
}

static void refusals(FILE *out, enum statement_kind kind, struct bytes payload)
{
    const struct message_rule *rule = rule_of(statement_descriptor(kind));
    struct pieces p = split(payload), swapped = p, doubled = p;
    for (size_t i = 0; i < rule->count; i++) {
        if (rule->fields[i].required) {
            refuse(out, kind, join(&p, i + 1, BYTES_NONE), "required and absent:", rule->type->fields[i].name);
        }
    }
    swapped.piece[0] = p.piece[1];
    swapped.piece[1] = p.piece[0];
    refuse(out, kind, join(&swapped, 0, BYTES_NONE), "out of order", "");
    doubled.piece[0] = join(&p, 0, BYTES_NONE);
    doubled.count = 1;
    refuse(out, kind, join(&doubled, 0, p.piece[0]), "given twice", "");
    refuse(out, kind, join(&p, 0, BYTES_LIT("\xf8\x01\x01")), "a field that is not in this type", "");
    refuse(out, kind, BYTES(payload.data, payload.len - 1), "cut", "");
    swapped = p;
    swapped.piece[0] = join(&(struct pieces){.count = 0}, 0, BYTES_LIT("\x8a\x00"));
    struct pieces rest = {.piece = {swapped.piece[0], BYTES(p.piece[0].data + 1, p.piece[0].len - 1)}, .count = 2};
    refuse(out, kind, join(&rest, 0, BYTES(payload.data + p.piece[0].len, payload.len - p.piece[0].len)),
           "a varint that is not minimal", "");
}

static void canonical(FILE *out)
{
    fprintf(out, "# Payloads in canonical form and others (docs/protocol/01-envelopes.md). Format: README.md.\n");
    for (int k = 1; k < STATEMENT_KINDS; k++) {
        enum statement_kind kind = (enum statement_kind)k;
        struct bytes payload;
        must(canonical_pack(filled(rule_of(statement_descriptor(kind))), &arena, &payload, &err));
        struct hash id = statement_id(kind, payload);
        fprintf(out, "\naccept %s %s %s\n", statement_name(kind), hex(BYTES_OF(id)), hex(payload));
        refusals(out, kind, payload);
    }
}

/* -- dsse.txt */

static void envelope_line(FILE *out, const char *verdict, const struct id *network, const struct hash *keys,
                          size_t count, struct bytes envelope, const char *rule)
{
    fprintf(out, "%s lease %s ", verdict, hex(BYTES_OF(*network)));
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s%s", i ? "," : "", hex(BYTES_OF(keys[i])));
    }
    fprintf(out, " %s%s%s\n", hex(envelope), *rule ? " " : "", rule);
}

static struct signing_key *new_key(FILE *out)
{
    struct hash seed = random_hash();
    struct signing_key *key;
    must(signing_key_new(&seed, &key, &err));
    struct hash id = key_id(KEY_ED25519, signing_key_public(key));
    fprintf(out, "key %s %s %s\n", hex(BYTES_OF(seed)), hex(BYTES_OF(*signing_key_public(key))),
            hex(BYTES_OF(id)));
    return key;
}

static struct bytes flipped(struct bytes view, size_t bit)
{
    struct bytes copy;
    must(arena_copy(&arena, view, &copy, &err));
    ((uint8_t *)(uintptr_t)copy.data)[bit / 8] ^= (uint8_t)(1 << bit % 8);
    return copy;
}

static void dsse(FILE *out)
{
    fprintf(out,
            "# Envelopes and what the verifier expects (docs/protocol/01-envelopes.md). Format: README.md.\n\n");
    struct signing_key *a = new_key(out), *b = new_key(out);
    struct hash keys[] = {*signing_key_public(a), *signing_key_public(b)};
    const struct signing_key *both[] = {a, b};
    Chartmesh__V1__Lease *lease = (void *)filled(rule_of(&chartmesh__v1__lease__descriptor));
    struct id network, other = random_id();
    must(id_from(bytes_pb(lease->head->network), &network));
    struct statement one, two;
    struct bytes pae;
    must(statement_sign(STATEMENT_LEASE, &lease->base, both, 1, &arena, &one, &err));
    must(statement_sign(STATEMENT_LEASE, &lease->base, both, 2, &arena, &two, &err));
    must(statement_pae(statement_type(STATEMENT_LEASE), one.payload, &arena, &pae, &err));
    fprintf(out, "pae %s %s %s\n", statement_type(STATEMENT_LEASE), hex(one.payload), hex(pae));
    envelope_line(out, "accept", &network, keys, 1, one.envelope, "");
    envelope_line(out, "accept", &network, keys, 2, two.envelope, "");
    envelope_line(out, "refuse", &network, keys, 2, one.envelope, "a demanded signature is missing");
    envelope_line(out, "refuse", &network, keys, 1, two.envelope, "a key that does not count");
    envelope_line(out, "refuse", &other, keys, 1, one.envelope, "another network");
    size_t sig = (size_t)(one.signatures[0].data - one.envelope.data);
    envelope_line(out, "refuse", &network, keys, 1, flipped(one.envelope, 8 * sig), "a bit of R");
    envelope_line(out, "refuse", &network, keys, 1, flipped(one.envelope, 8 * (sig + 40)), "a bit of S");
    envelope_line(out, "refuse", &network, keys, 1, flipped(one.envelope, 8 * 40), "a bit of the payload");
    envelope_line(out, "refuse", &network, keys, 1, BYTES(one.envelope.data, one.envelope.len - 1), "cut");
    signing_key_free(a);
    signing_key_free(b);
}

/* -- stream.txt */

static void stream(FILE *out)
{
    fprintf(out, "# Digests and chains of lanes (docs/protocol/05-replication.md). Format: README.md.\n\n");
    struct id network = random_id(), sender = random_id(), receiver = random_id();
    uint64_t incarnation = rising() << 32;
    struct hash chain = stream_chain_start(&network, &sender, incarnation, &receiver, 1);
    fprintf(out, "chain %s %s %llu %s 1 %s\n", hex(BYTES_OF(network)), hex(BYTES_OF(sender)),
            (unsigned long long)incarnation, hex(BYTES_OF(receiver)), hex(BYTES_OF(chain)));
    for (int kind = 1; kind < ITEM_KINDS; kind++) {
        struct item_facts item = {(enum item_kind)kind, random_hash(), incarnation, rising(), {{0}}};
        if (kind <= ITEM_CONTRIBUTION) {
            item.disclosure = random_hash();
        }
        struct hash digest = item_digest(&item);
        chain = stream_chain_next(&chain, &digest);
        fprintf(out, "item %d %s %llu %llu %s %s\nnext %s\n", kind, hex(BYTES_OF(item.statement)),
                (unsigned long long)item.incarnation, (unsigned long long)item.generation,
                hex(BYTES_OF(item.disclosure)), hex(BYTES_OF(digest)), hex(BYTES_OF(chain)));
    }
}

static void write_file(const char *folder, const char *name, void (*write)(FILE *))
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        exit(1);
    }
    write(out);
    if (fclose(out) != 0) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_vectors FOLDER\n");
        return 2;
    }
    arena_init(&arena, BUDGET);
    random_replace(fill_from_counter, NULL);
    write_file(argv[1], "canonical.txt", canonical);
    write_file(argv[1], "dsse.txt", dsse);
    write_file(argv[1], "stream.txt", stream);
    arena_done(&arena);
    return 0;
}
