#include "tests/lib/service.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/message.h"

static const char *const text =
    "data_folder = data\ntrust_file = trust\nroot_key_file = root.key\nkeys_folder = keys\n"
    "client { listen = 127.0.0.1:1 certificate = a key = b ca = c }\n"
    "peer { listen = 127.0.0.1:2 certificate = a key = b }\n"
    "role '" NODE_PHYSICIAN "' { purpose TREAT { needs = role\n"
    "  may = {\"Patients.Register\", \"Patients.Update\", \"Records.Put\", \"Records.Upload\", \"Records.Merge\","
    " \"Records.Retract\", \"Records.Relabel\", \"Records.PutStream\", \"Records.Prepare\", \"Records.PutSigned\","
    " \"Consents.SetPolicy\"} } }\n"
    "role '" NODE_PSYCHIATRIST "' { purpose TREAT { needs = role } }\n"
    "role '" NODE_CLERK "' { purpose TREAT { needs = role } }\n"
    "roles { clinical = {'" NODE_PHYSICIAN "', '" NODE_PSYCHIATRIST "'}\n"
    "  match = {'" NODE_PHYSICIAN "'} }\n"
    "principal 'app/narrow' { roles = {'" NODE_CLERK "'} purposes = {\"TREAT\"} }\n"
    "principal 'app/*' { roles = {\"*\"} purposes = {\"*\"} }\n";

static bool may(void *context, const char *role, const char *purpose, const char *rpc)
{
    struct serve *s = context;
    const struct config_rule *rule = config_rule_find(s->config, role, purpose);
    return rule && config_lists(&rule->may, rpc);
}

static void open_services(struct serve *s)
{
    struct node *n = s->node;
    s->service = (struct service){.world = n->world,
                                  .store = n->store,
                                  .keys = n->keys,
                                  .log = n->log,
                                  .chart = n->chart,
                                  .gate = n->gate,
                                  .config = s->config,
                                  .started_ms = 1,
                                  .version = "test"};
}

static struct serve *join(struct world_sim *sim, struct federation *federation, size_t member)
{
    struct err err;
    struct serve *s = calloc(1, sizeof *s);
    char network[2 * ID_LEN + 1], facility[2 * ID_LEN + 1], *whole;
    assert_non_null(s);
    arena_init(&s->arena, 512 << 20);
    s->sim = sim;
    s->federation = federation;
    s->node = node_new(s->sim, s->federation, member);
    assert_ok(arena_printf(&s->arena, &whole, &err, "network = %s\nfacility = %s\ndomain = %s\n%s",
                           bytes_hex(BYTES_OF(s->federation->network), network),
                           bytes_hex(BYTES_OF(s->node->member->id), facility), s->node->member->domain, text));
    assert_ok(config_parse(bytes_str(whole), "test.conf", &s->arena, &s->config, &err));
    s->node->may = may;
    s->node->may_context = s;
    open_services(s);
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    return s;
}

struct serve *serve_new(size_t members, size_t member)
{
    return join(world_sim_new(11), federation_new(members), member);
}

struct serve *serve_beside(struct serve *other, size_t member)
{
    struct serve *s = join(other->sim, other->federation, member);
    s->beside = true;
    return s;
}

void serve_free(struct serve *s)
{
    node_free(s->node);
    if (!s->beside) {
        federation_free(s->federation);
        world_sim_free(s->sim);
    }
    arena_done(&s->arena);
    free(s);
}

void serve_restart(struct serve *s)
{
    node_close(s->node);
    node_open(s->node);
    open_services(s);
}

const char *serve_spiffe(struct serve *s, const char *path)
{
    struct err err;
    char network[2 * ID_LEN + 1], *id;
    assert_ok(arena_printf(&s->arena, &id, &err, "spiffe://%s/%s/%s",
                           bytes_hex(BYTES_OF(s->federation->network), network), s->node->member->domain, path));
    return id;
}

void serve_as(struct serve *s, const char *path, const char *user, const char *role, const char *purpose)
{
    s->who = (struct service_metadata){serve_spiffe(s, path), user, role, purpose, "", "r1"};
}

/* ---- Streams ------------------------------------------------------------------------------------------------------- */

static bool stream_recv(void *context, const ProtobufCMessage **message, struct err *err)
{
    struct serve *s = context;
    if (s->sends_at < s->sends_len) {
        *message = s->sends[s->sends_at++];
        return true;
    }
    *message = NULL;
    return !s->breaks || err_raise(err, ERR_CANCELLED, "the client went away");
}

static bool stream_send(void *context, const ProtobufCMessage *message, struct err *err)
{
    struct serve *s = context;
    struct bytes packed;
    assert_true(s->got_len < COUNT(s->got));
    if (!message_pack(message, &s->arena, &packed, err) ||
        !message_unpack(message->descriptor, packed, &s->arena, &s->got[s->got_len++], err)) {
        return false;
    }
    if (s->on_send) {
        s->on_send(s, s->got_len);
    }
    return true;
}

static bool stream_cancelled(void *context)
{
    struct serve *s = context;
    return s->idle-- == 0;
}

/* ---- Calls ----------------------------------------------------------------------------------------------------------- */

static const struct service_method *method_of(const char *name)
{
    const struct service_method *methods;
    size_t count = service_methods(&methods);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return &methods[i];
        }
    }
    fail_msg("no method %s", name);
    return NULL;
}

/* Runs it in `arena`. The call may end the node: then it does not come back, and the simulator says so. */
static bool call_in(struct serve *s, const struct service_method *method, const ProtobufCMessage *in,
                    struct arena *arena, ProtobufCMessage **out)
{
    const struct service_stream stream = {stream_recv, stream_send, stream_cancelled, s};
    struct service_call call;
    if (!service_caller(&s->service, method, &s->who, arena, &call, &s->err)) {
        return false;
    }
    if (method->shape == METHOD_UNARY) {
        return service_unary(method, &call, in, out, &s->err);
    }
    call.stream = &stream;
    s->got_len = s->sends_at = 0;
    return service_stream(method, &call, in, &s->err);
}

/* A reply outlives its call's memory. */
static ProtobufCMessage *keep_reply(struct serve *s, const ProtobufCMessage *reply)
{
    struct err err;
    struct bytes packed;
    ProtobufCMessage *copy;
    assert_ok(message_pack(reply, &s->arena, &packed, &err));
    assert_ok(message_unpack(reply->descriptor, packed, &s->arena, &copy, &err));
    return copy;
}

bool serve_call(struct serve *s, const char *name, const ProtobufCMessage *in, ProtobufCMessage **out)
{
    const struct service_method *method = method_of(name);
    s->err = (struct err){0};
    if (!s->budget) {
        return call_in(s, method, in, &s->arena, out);
    }
    AUTO_ARENA(arena, s->budget);
    ProtobufCMessage *reply = NULL;
    bool ok = call_in(s, method, in, &arena, &reply);
    if (ok && reply) {
        *out = keep_reply(s, reply);
    }
    return ok;
}

void *serve(struct serve *s, const char *name, const ProtobufCMessage *in)
{
    ProtobufCMessage *out = NULL;
    if (!serve_call(s, name, in, &out)) {
        fail_msg("%s: %s: %s (%s, raised at %s:%d)", name, err_code_name(s->err.code), s->err.text, s->err.field,
                 s->err.file ? s->err.file : "?", s->err.line);
    }
    return out;
}

void serve_fails(struct serve *s, const char *name, const ProtobufCMessage *in, enum err_code code,
                 unsigned reason, const char *field)
{
    ProtobufCMessage *out = NULL;
    if (serve_call(s, name, in, &out)) {
        fail_msg("%s: should have failed with %s", name, err_code_name(code));
    }
    if (s->err.code != code || s->err.reason != reason || strcmp(s->err.field, field) != 0) {
        fail_msg(
            "%s: should have failed with %s, reason %u, field '%s', but: %s, reason %u, field '%s': %s (%s:%d)",
            name, err_code_name(code), reason, field, err_code_name(s->err.code), (unsigned)s->err.reason,
            s->err.field, s->err.text, s->err.file ? s->err.file : "?", s->err.line);
    }
}

/* ---- What most tests need ---------------------------------------------------------------------------------------------- */

static void *fresh(struct serve *s, const ProtobufCMessageDescriptor *type)
{
    struct err err;
    void *memory;
    assert_ok(arena_alloc(&s->arena, type->sizeof_message, &memory, &err));
    protobuf_c_message_init(type, memory);
    return memory;
}

Chartmesh__V1__RegisterReply *serve_register(struct serve *s, const char *identifier)
{
    struct err err;
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    char *json;
    assert_ok(arena_printf(
        &s->arena, &json, &err,
        "{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"%s\"}]}", identifier));
    request.resource = pb_bytes(bytes_str(json));
    return SERVE(s, "Patients.Register", &request);
}

Chartmesh__V1__Facts *serve_facts(struct serve *s)
{
    Chartmesh__V1__Facts *facts = fresh(s, &chartmesh__v1__facts__descriptor);
    facts->class_ = fresh(s, &chartmesh__v1__coding__descriptor);
    facts->class_->system = (char *)(uintptr_t) "urn:test";
    facts->class_->code = (char *)(uintptr_t) "note";
    facts->media_type = (char *)(uintptr_t) "text/plain";
    return facts;
}

ProtobufCBinaryData *serve_heads(struct serve *s, const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
    struct err err;
    void *memory;
    assert_ok(arena_array(&s->arena, 2, sizeof *a, &memory, &err));
    ProtobufCBinaryData *heads = memory;
    heads[0] = *a;
    heads[1] = b ? *b : *a;
    return heads;
}

Chartmesh__V1__PutReply *serve_put(struct serve *s, Chartmesh__V1__Subject *subject,
                                   const Chartmesh__V1__PutReply *on, const char *content)
{
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    request.subject = subject;
    request.facts = serve_facts(s);
    request.content = pb_bytes(bytes_str(content));
    if (on) {
        request.document = on->document;
        request.if_heads = serve_heads(s, &on->version, NULL);
        request.n_if_heads = 1;
    }
    return SERVE(s, "Records.Put", &request);
}

Chartmesh__V1__Envelope *serve_envelope(struct serve *s, enum statement_kind kind, struct bytes payload,
                                        const struct signing_key *key)
{
    struct err err;
    struct bytes pae;
    void *memory;
    char *keyid;
    assert_ok(statement_pae(statement_type(kind), payload, &s->arena, &pae, &err));
    assert_ok(arena_alloc(&s->arena, sizeof(Chartmesh__V1__Envelope) + sizeof(Chartmesh__V1__Signature) + 256,
                          &memory, &err));
    Chartmesh__V1__Envelope *out = memory;
    Chartmesh__V1__Signature *mine = (void *)(out + 1);
    Chartmesh__V1__Signature **list = (void *)(mine + 1);
    struct signature made = sign(key, pae), *kept = (void *)(list + 1);
    struct hash id = key_id(KEY_ED25519, signing_key_public(key));
    keyid = (char *)(kept + 1);
    *kept = made;
    bytes_hex(BYTES_OF(id), keyid);
    chartmesh__v1__envelope__init(out);
    chartmesh__v1__signature__init(mine);
    mine->sig = pb_bytes(BYTES_OF(*kept));
    mine->keyid = keyid;
    list[0] = mine;
    out->payload = pb_bytes(payload);
    out->payload_type = (char *)(uintptr_t)statement_type(kind);
    out->signatures = list;
    out->n_signatures = 1;
    return out;
}

Chartmesh__V1__EnrolKeyRequest *serve_enrol_request(struct serve *s, const struct signing_key *key,
                                                    const char *path)
{
    struct err err;
    struct bytes payload;
    Chartmesh__V1__Key message = CHARTMESH__V1__KEY__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT;
    Chartmesh__V1__EnrolKeyRequest *request = fresh(s, &chartmesh__v1__enrol_key_request__descriptor);
    from.ms = 1;
    valid.from = &from;
    assert_ok(head_make(&s->federation->network, &s->node->member->id, world_hlc(s->node->world), &s->arena,
                        &message.head, &err));
    message.public_key = pb_bytes(BYTES_OF(*signing_key_public(key)));
    message.use = CHARTMESH__V1__USE__USE_AUTHOR;
    message.holder = (char *)(uintptr_t)serve_spiffe(s, path);
    message.valid = &valid;
    assert_ok(canonical_pack(&message.base, &s->arena, &payload, &err));
    request->statement = serve_envelope(s, STATEMENT_KEY, payload, key);
    return request;
}

uint64_t serve_entries(struct serve *s, Chartmesh__V1__EntryKind kind)
{
    struct err err;
    uint64_t count = 0;
    for (uint64_t i = 0; i < log_size(s->node->log).size; i++) {
        AUTO_ARENA(arena, 1 << 20);
        struct log_opened opened;
        assert_ok(log_entry_at(s->node->log, i, &arena, &opened, &err));
        count += opened.message->kind == kind;
    }
    return count;
}
