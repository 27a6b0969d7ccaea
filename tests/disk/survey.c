#include "tests/disk/survey.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/consents.pb-c.h"
#include "proto/chartmesh/v1/patients.pb-c.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "tests/lib/test.h"

#define PB(view) ((ProtobufCBinaryData){(view).len, (uint8_t *)(uintptr_t)(view).data})
#define VIEW(field) BYTES((field).data, (field).len)

enum { CALL_ARENA = 8 << 20 };

/* ---- Making --------------------------------------------------------------------------------------------------- */

static const void *call(struct on_disk *node, const char *path, bool registrar, const ProtobufCMessage *in,
                        struct arena *arena)
{
    struct err err;
    const ProtobufCMessage *out;
    assert_ok(on_disk_call(node, path, registrar, in, arena, &out, &err));
    return out;
}

static struct hash put(struct on_disk *node, const struct survey_facts *facts, struct id *document, size_t len,
                       const struct hash *before)
{
    AUTO_ARENA(arena, CALL_ARENA);
    struct err err;
    void *content;
    struct hash version = {0};
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Facts about = CHARTMESH__V1__FACTS__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    ProtobufCBinaryData head = before ? PB(BYTES_OF(*before)) : (ProtobufCBinaryData){0};
    assert_ok(arena_alloc(&arena, len, &content, &err));
    random_fill(content, len);
    class.system = "urn:chartmesh:class";
    class.code = "note";
    about.media_type = "application/octet-stream";
    about.class_ = &class;
    subject.patient = PB(BYTES_OF(facts->patient));
    request.subject = &subject;
    request.facts = &about;
    request.content = PB(BYTES(content, len));
    if (before) {
        request.document = PB(BYTES_OF(*document));
        request.if_heads = &head;
        request.n_if_heads = 1;
    }
    const Chartmesh__V1__PutReply *reply = call(node, "/chartmesh.v1.Records/Put", false, &request.base, &arena);
    assert_true(id_from(VIEW(reply->document), document) && hash_from(VIEW(reply->version), &version));
    return version;
}

static void register_patient(struct on_disk *node, struct survey_facts *facts)
{
    static const char resource[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}],"
                                   "\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"17\"}]}";
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    request.resource = PB(bytes_str(resource));
    const Chartmesh__V1__RegisterReply *reply =
        call(node, "/chartmesh.v1.Patients/Register", true, &request.base, &arena);
    assert_true(id_from(VIEW(reply->subject->patient), &facts->patient));
}

static void set_policy(struct on_disk *node, const struct survey_facts *facts)
{
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__SetPolicyRequest request = CHARTMESH__V1__SET_POLICY_REQUEST__INIT;
    subject.patient = PB(BYTES_OF(facts->patient));
    request.subject = &subject;
    (void)call(node, "/chartmesh.v1.Consents/SetPolicy", false, &request.base, &arena);
}

void survey_make(struct on_disk *node, struct survey_facts *out)
{
    static const size_t lengths[SURVEY_DOCUMENTS] = {100, 5000, 70000, 300000};
    struct err err;
    uint64_t epoch;
    register_patient(node, out);
    for (size_t i = 0; i < SURVEY_DOCUMENTS; i++) {
        struct hash version = put(node, out, &out->documents[i], lengths[i], NULL);
        out->first = i == 0 ? version : out->first;
    }
    put(node, out, &out->documents[0], 200, &out->first);
    set_policy(node, out);
    assert_ok(log_map_close(node->service.log, &epoch, &err));
    out->entries = log_size(node->service.log).size;
}

/* ---- Asking --------------------------------------------------------------------------------------------------- */

static void answer(struct survey *out, const char *name, uint64_t which, bool ok, const struct err *err,
                   const struct hash *hash)
{
    assert_true(out->count < SURVEY_MAX);
    struct answer *a = &out->answers[out->count++];
    snprintf(a->name, sizeof a->name, "%s %ju", name, (uintmax_t)which);
    a->code = ok ? ERR_NONE : err->code;
    a->hash = ok ? *hash : (struct hash){0};
    snprintf(a->text, sizeof a->text, "%s", ok ? "" : err->text);
}

/* A reply without what is drawn anew in each. */
static struct hash reply_hash(ProtobufCMessage *reply)
{
    static const char *const drawn[] = {"receipt", "next_page_token"};
    for (size_t i = 0; i < COUNT(drawn); i++) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(reply->descriptor, drawn[i]);
        if (field) {
            *(ProtobufCBinaryData *)(void *)((char *)reply + field->offset) = (ProtobufCBinaryData){0};
        }
    }
    size_t len = protobuf_c_message_get_packed_size(reply);
    uint8_t *packed = malloc(len + 1);
    assert_non_null(packed);
    protobuf_c_message_pack(reply, packed);
    struct hash hash = hash_of(BYTES(packed, len));
    free(packed);
    return hash;
}

static void ask(struct on_disk *node, struct survey *out, const char *path, bool registrar, uint64_t which,
                const ProtobufCMessage *in)
{
    AUTO_ARENA(arena, CALL_ARENA);
    struct err err;
    const ProtobufCMessage *reply;
    struct hash hash = {0};
    bool ok = on_disk_call(node, path, registrar, in, &arena, &reply, &err);
    if (ok) {
        hash = reply_hash((ProtobufCMessage *)(uintptr_t)reply);
    }
    answer(out, path + strlen("/chartmesh.v1."), which, ok, &err, &hash);
}

static void ask_records(struct on_disk *node, const struct survey_facts *facts, struct survey *out)
{
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__ListRequest list = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__GetPatientRequest patient = CHARTMESH__V1__GET_PATIENT_REQUEST__INIT;
    Chartmesh__V1__LookupRequest lookup = CHARTMESH__V1__LOOKUP_REQUEST__INIT;
    Chartmesh__V1__GetPolicyRequest policy = CHARTMESH__V1__GET_POLICY_REQUEST__INIT;
    subject.patient = PB(BYTES_OF(facts->patient));
    list.subject = patient.subject = policy.subject = &subject;
    lookup.system = "urn:mrn";
    lookup.value = "17";
    for (size_t i = 0; i < SURVEY_DOCUMENTS; i++) {
        Chartmesh__V1__GetRequest get = CHARTMESH__V1__GET_REQUEST__INIT;
        Chartmesh__V1__HistoryRequest history = CHARTMESH__V1__HISTORY_REQUEST__INIT;
        get.subject = history.subject = &subject;
        get.document = history.document = PB(BYTES_OF(facts->documents[i]));
        ask(node, out, "/chartmesh.v1.Records/Get", false, i, &get.base);
        ask(node, out, "/chartmesh.v1.Records/History", false, i, &history.base);
    }
    Chartmesh__V1__GetRequest before = CHARTMESH__V1__GET_REQUEST__INIT;
    before.subject = &subject;
    before.document = PB(BYTES_OF(facts->documents[0]));
    before.version = PB(BYTES_OF(facts->first));
    ask(node, out, "/chartmesh.v1.Records/Get", false, SURVEY_DOCUMENTS, &before.base);
    ask(node, out, "/chartmesh.v1.Records/List", false, 0, &list.base);
    ask(node, out, "/chartmesh.v1.Patients/Get", false, 0, &patient.base);
    ask(node, out, "/chartmesh.v1.Patients/Lookup", false, 0, &lookup.base);
    ask(node, out, "/chartmesh.v1.Consents/GetPolicy", false, 0, &policy.base);
}

static void ask_log(struct log *log, uint64_t entries, struct survey *out)
{
    struct err err;
    struct hash path[2 * MERKLE_PATH_MAX], hash;
    size_t len;
    for (uint64_t i = 0; i < entries; i++) {
        AUTO_ARENA(arena, 1 << 20);
        struct log_opened opened;
        bool ok = log_entry_at(log, i, &arena, &opened, &err);
        hash = ok ? hash_of(opened.entry) : (struct hash){0};
        answer(out, "entry", i, ok, &err, &hash);
        ok = log_inclusion(log, i, entries, path, &len, &err);
        hash = ok ? hash_of(BYTES(path, len * HASH_LEN)) : (struct hash){0};
        answer(out, "inclusion", i, ok, &err, &hash);
        ok = log_consistency(log, i + 1, entries, path, &len, &err);
        hash = ok ? hash_of(BYTES(path, len * HASH_LEN)) : (struct hash){0};
        answer(out, "consistency", i, ok, &err, &hash);
        ok = log_root_at(log, i + 1, &hash, &err);
        answer(out, "root", i, ok, &err, &hash);
    }
}

static void ask_chains(struct on_disk *node, const struct survey_facts *facts, struct survey *out)
{
    struct err err;
    struct log *log = node->service.log;
    struct hash key = map_key_patient(&node->config->facility, &facts->patient), hash = {0};
    struct log_map_answer proved;
    bool ok = log_map_prove(log, &key, facts->entries, &proved, &err);
    answer(out, "map", 0, ok, &err, ok ? &proved.root : &hash);
    for (uint64_t k = 1; k <= 6; k++) {
        uint64_t index;
        ok = log_chain_position(log, &key, k, &index, &hash, &err);
        answer(out, "link", k, ok, &err, &hash);
    }
    AUTO_ARENA(arena, 1 << 20);
    struct bytes note;
    ok = log_checkpoint(log, &arena, &note, &err);
    hash = (struct hash){0}; /* it is another one each time */
    answer(out, "checkpoint", 0, ok, &err, &hash);
}

void survey_take(struct on_disk *node, const struct survey_facts *facts, struct survey *out)
{
    ask_log(node->service.log, facts->entries, out);
    ask_chains(node, facts, out);
    ask_records(node, facts, out);
}
