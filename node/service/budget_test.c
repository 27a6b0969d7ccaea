/* Every method with too little memory: the call's budget grows from one byte until it is enough. On the way there
 * each call fails with a code that says so, the node goes on, nothing leaks (the sanitizers see to that), and a
 * call that failed has done nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "node/service/service.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/content/content.h"
#include "tests/lib/service.h"

enum { ENOUGH = 64 << 20 };

/* A chart to ask about, and the request that is being made. */
struct scene {
    struct serve *s;
    Chartmesh__V1__Subject *subject;
    Chartmesh__V1__PutReply *put, *left, *right; /* left and right: the two heads of one document */
    struct signing_key *auditor, *author;
    const ProtobufCMessage *stream[3]; /* of Upload */
};

static char *words(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void *fresh(struct scene *at, const ProtobufCMessageDescriptor *type)
{
    struct err err;
    void *memory;
    assert_ok(arena_alloc(&at->s->arena, type->sizeof_message, &memory, &err));
    protobuf_c_message_init(type, memory);
    return memory;
}

#define FRESH(at, name) fresh((at), &chartmesh__v1__##name##__descriptor)

static void as_admin(struct scene *at)
{
    serve_as(at->s, "admin/root", "", "", "");
}

/* ---- A valid request of each method --------------------------------------------------------------------------- */

static void *patients_register(struct scene *at)
{
    Chartmesh__V1__RegisterRequest *in = FRESH(at, register_request);
    in->resource = pb_bytes(bytes_str("{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"urn:mrn\","
                                      "\"value\":\"4712\"}]}"));
    return in;
}

static void *patients_update(struct scene *at)
{
    Chartmesh__V1__GetPatientRequest get = CHARTMESH__V1__GET_PATIENT_REQUEST__INIT;
    get.subject = at->subject;
    Chartmesh__V1__GetPatientReply *now = SERVE(at->s, "Patients.Get", &get);
    Chartmesh__V1__UpdateRequest *in = FRESH(at, update_request);
    in->subject = at->subject;
    in->resource = pb_bytes(bytes_str("{\"resourceType\":\"Patient\",\"active\":true}"));
    in->if_heads = serve_heads(at->s, &now->heads[0]->version, NULL);
    in->n_if_heads = 1;
    return in;
}

static void *patients_get(struct scene *at)
{
    Chartmesh__V1__GetPatientRequest *in = FRESH(at, get_patient_request);
    in->subject = at->subject;
    return in;
}

static void *patients_lookup(struct scene *at)
{
    Chartmesh__V1__LookupRequest *in = FRESH(at, lookup_request);
    in->system = words("urn:mrn");
    in->value = words("4711");
    return in;
}

static void *patients_incoming(struct scene *at)
{
    return FRESH(at, incoming_request);
}

static void *records_put(struct scene *at)
{
    Chartmesh__V1__PutRequest *in = FRESH(at, put_request);
    in->subject = at->subject;
    in->facts = serve_facts(at->s);
    in->content = pb_bytes(BYTES_LIT("what was seen"));
    return in;
}

static void *records_get(struct scene *at)
{
    Chartmesh__V1__GetRequest *in = FRESH(at, get_request);
    in->subject = at->subject;
    in->document = at->put->document;
    return in;
}

static void *records_list(struct scene *at)
{
    Chartmesh__V1__ListRequest *in = FRESH(at, list_request);
    in->subject = at->subject;
    in->page_size = 2; /* so that it makes a token */
    return in;
}

static void *records_history(struct scene *at)
{
    Chartmesh__V1__HistoryRequest *in = FRESH(at, history_request);
    in->subject = at->subject;
    in->document = at->left->document;
    in->page_size = 2;
    return in;
}

static void *records_upload(struct scene *at)
{
    static uint8_t content[70000];
    Chartmesh__V1__UploadRequest *first = FRESH(at, upload_request), *second = FRESH(at, upload_request);
    static const struct id upload = {{1}};
    first->part_case = CHARTMESH__V1__UPLOAD_REQUEST__PART_HEADER;
    first->header = FRESH(at, upload_header);
    first->header->upload = pb_bytes(BYTES_OF(upload));
    first->header->subject = at->subject;
    first->header->facts = serve_facts(at->s);
    first->header->length = sizeof content;
    second->part_case = CHARTMESH__V1__UPLOAD_REQUEST__PART_PIECE;
    second->piece = FRESH(at, upload_piece);
    second->piece->data = pb_bytes(BYTES(content, sizeof content));
    at->stream[0] = &first->base;
    at->stream[1] = &second->base;
    at->s->sends = at->stream;
    at->s->sends_len = 2;
    return NULL;
}

static void *records_download(struct scene *at)
{
    Chartmesh__V1__DownloadRequest *in = FRESH(at, download_request);
    in->subject = at->subject;
    in->document = at->put->document;
    in->version = at->put->version;
    return in;
}

static void *records_merge(struct scene *at)
{
    Chartmesh__V1__MergeRequest *in = FRESH(at, merge_request);
    in->subject = at->subject;
    in->document = at->left->document;
    in->parents = serve_heads(at->s, &at->left->version, &at->right->version);
    in->n_parents = 2;
    in->facts = serve_facts(at->s);
    in->content = pb_bytes(BYTES_LIT("both"));
    return in;
}

static void *records_retract(struct scene *at)
{
    Chartmesh__V1__RetractRequest *in = FRESH(at, retract_request);
    in->subject = at->subject;
    in->document = at->put->document;
    in->version = at->put->version;
    in->if_heads = serve_heads(at->s, &at->put->version, NULL);
    in->n_if_heads = 1;
    return in;
}

static void *records_get_batch(struct scene *at)
{
    Chartmesh__V1__GetRequest *in = FRESH(at, get_request);
    struct err err;
    void *memory;
    assert_ok(arena_array(&at->s->arena, 3, sizeof *in->batch, &memory, &err));
    const ProtobufCBinaryData documents[] = {at->put->document, at->left->document, at->put->version};
    in->subject = at->subject;
    in->batch = memory;
    in->n_batch = 3;
    for (size_t i = 0; i < 3; i++) {
        in->batch[i] = FRESH(at, get_item);
        in->batch[i]->document = documents[i];
        in->batch[i]->document.len = ID_LEN; /* the third is nowhere */
    }
    return in;
}

static void *records_abort_upload(struct scene *at)
{
    Chartmesh__V1__AbortUploadRequest *in = FRESH(at, abort_upload_request);
    in->upload = pb_bytes(BYTES_LIT("an upload's id!!"));
    return in;
}

static void *records_relabel(struct scene *at)
{
    Chartmesh__V1__RelabelRequest *in = FRESH(at, relabel_request);
    in->subject = at->subject;
    in->document = at->put->document;
    in->version = at->put->version;
    in->if_heads = serve_heads(at->s, &at->put->version, NULL);
    in->n_if_heads = 1;
    in->labels = FRESH(at, labels);
    in->labels->confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R;
    return in;
}

/* A key of app/emr's. */
static struct signing_key *author_key(struct scene *at)
{
    struct err err;
    const struct hash seed = {{0x61}};
    if (!at->author) {
        assert_ok(signing_key_new(&seed, &at->author, &err));
    }
    return at->author;
}

static void *keys_enrol(struct scene *at)
{
    as_admin(at);
    return serve_enrol_request(at->s, author_key(at), "app/emr");
}

static void *keys_revoke(struct scene *at)
{
    Chartmesh__V1__RevokeKeyRequest *in = FRESH(at, revoke_key_request);
    Chartmesh__V1__EnrolKeyReply *enrolled = serve(at->s, "Keys.Enrol", keys_enrol(at));
    in->key = enrolled->key;
    in->reason = CHARTMESH__V1__REASON__REASON_RETIRED;
    return in;
}

static void *keys_list(struct scene *at)
{
    serve(at->s, "Keys.Enrol", keys_enrol(at));
    return FRESH(at, list_keys_request);
}

static void *records_prepare(struct scene *at)
{
    static const struct hash salt = {{1}};
    static struct hash commitment;
    struct err err;
    struct hash root;
    void *memory;
    Chartmesh__V1__PrepareRequest *in = FRESH(at, prepare_request);
    commitment = content_commit(&salt, BYTES_LIT("signed"), &root);
    assert_ok(arena_array(&at->s->arena, 1, sizeof(void *), &memory, &err));
    in->items = memory;
    in->n_items = 1;
    in->items[0] = FRESH(at, prepare_item);
    in->items[0]->subject = at->subject;
    in->items[0]->facts = serve_facts(at->s);
    in->items[0]->commitment = pb_bytes(BYTES_OF(commitment));
    in->items[0]->length = 6;
    return in;
}

static void *records_put_signed(struct scene *at)
{
    static const struct hash salt = {{1}};
    Chartmesh__V1__PutSignedRequest *in = FRESH(at, put_signed_request);
    serve(at->s, "Keys.Enrol", keys_enrol(at));
    serve_as(at->s, "app/emr", "alice", NODE_PHYSICIAN, "TREAT");
    Chartmesh__V1__PrepareReply *reply = serve(at->s, "Records.Prepare", records_prepare(at));
    in->statement =
        serve_envelope(at->s, STATEMENT_VERSION, bytes_pb(reply->prepared[0]->payload), author_key(at));
    in->preparation = reply->prepared[0]->preparation;
    in->salt = pb_bytes(BYTES_OF(salt));
    in->content = pb_bytes(BYTES_LIT("signed"));
    return in;
}

/* Its items have memory of their own: too little of it is an item's error. */
static void *records_put_stream(struct scene *at)
{
    Chartmesh__V1__PutStreamRequest *first = FRESH(at, put_stream_request);
    first->what_case = CHARTMESH__V1__PUT_STREAM_REQUEST__WHAT_PUT;
    first->put = records_put(at);
    at->stream[0] = &first->base;
    at->s->sends = at->stream;
    at->s->sends_len = 1;
    return NULL;
}

static void *records_watch(struct scene *at)
{
    Chartmesh__V1__WatchRequest *in = FRESH(at, watch_request);
    in->subject = at->subject;
    return in;
}

static void *consents_set_policy(struct scene *at)
{
    Chartmesh__V1__SetPolicyRequest *in = FRESH(at, set_policy_request);
    Chartmesh__V1__Rule *rule = FRESH(at, rule);
    struct err err;
    void *memory;
    assert_ok(arena_array(&at->s->arena, 1, sizeof(void *), &memory, &err));
    rule->id = 1;
    rule->effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    const ProtobufCBinaryData facility = pb_bytes(BYTES_OF(at->s->federation->members[1].id));
    rule->facilities = serve_heads(at->s, &facility, NULL);
    rule->n_facilities = 1;
    rule->confidentiality_max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    in->subject = at->subject;
    in->rules = memory;
    in->rules[0] = rule;
    in->n_rules = 1;
    return in;
}

static void *consents_get_policy(struct scene *at)
{
    SERVE(at->s, "Consents.SetPolicy", (Chartmesh__V1__SetPolicyRequest *)consents_set_policy(at));
    Chartmesh__V1__GetPolicyRequest *in = FRESH(at, get_policy_request);
    in->subject = at->subject;
    return in;
}

static void *consents_history(struct scene *at)
{
    SERVE(at->s, "Consents.SetPolicy", (Chartmesh__V1__SetPolicyRequest *)consents_set_policy(at));
    Chartmesh__V1__PolicyHistoryRequest *in = FRESH(at, policy_history_request);
    in->subject = at->subject;
    return in;
}

static void *consents_explain(struct scene *at)
{
    Chartmesh__V1__ExplainRequest *in = FRESH(at, explain_request);
    in->subject = at->subject;
    in->document = at->put->document;
    in->user = words("bob");
    in->purpose = words("TREAT");
    return in;
}

static void *consents_cases(struct scene *at)
{
    Chartmesh__V1__CasesRequest *in = FRESH(at, cases_request);
    in->subject = at->subject;
    return in;
}

static void *audit_checkpoint(struct scene *at)
{
    return FRESH(at, checkpoint_request);
}

static void *audit_inclusion(struct scene *at)
{
    Chartmesh__V1__InclusionRequest *in = FRESH(at, inclusion_request);
    in->receipt = at->put->receipt;
    return in;
}

static void *audit_consistency(struct scene *at)
{
    Chartmesh__V1__ConsistencyRequest *in = FRESH(at, consistency_request);
    in->from = 1;
    return in;
}

static void *authorities_grant(struct scene *at)
{
    Chartmesh__V1__GrantAuthorityRequest *in = FRESH(at, grant_authority_request);
    in->duty = CHARTMESH__V1__DUTY__DUTY_AUDIT;
    in->holder = words(serve_spiffe(at->s, "auditor/eve"));
    in->key = pb_bytes(BYTES_OF(*signing_key_public(at->auditor)));
    in->valid = FRESH(at, period);
    in->valid->from = FRESH(at, instant);
    in->valid->from->ms = 1;
    as_admin(at);
    return in;
}

static void *authorities_list(struct scene *at)
{
    SERVE(at->s, "Authorities.Grant", (Chartmesh__V1__GrantAuthorityRequest *)authorities_grant(at));
    return FRESH(at, list_authorities_request);
}

static void *audit_query(struct scene *at)
{
    struct err err;
    struct statement query;
    Chartmesh__V1__GrantAuthorityReply *granted =
        SERVE(at->s, "Authorities.Grant", (Chartmesh__V1__GrantAuthorityRequest *)authorities_grant(at));
    Chartmesh__V1__AuditQuery *message = FRESH(at, audit_query);
    const struct signing_key *key = at->auditor;
    serve_as(at->s, "auditor/eve", "", "", "");
    message->principal = words(at->s->who.spiffe_id);
    message->authority = granted->authority;
    message->facility = at->subject->facility;
    message->purpose = words("HOPERAT");
    message->subject = at->subject;
    assert_ok(chart_head(at->s->node->chart, &at->s->arena, &message->head, &err));
    assert_ok(statement_sign(STATEMENT_AUDIT_QUERY, &message->base, &key, 1, &at->s->arena, &query, &err));
    Chartmesh__V1__QueryRequest *in = FRESH(at, query_request);
    assert_ok(message_unpack(&chartmesh__v1__envelope__descriptor, query.envelope, &at->s->arena,
                             (ProtobufCMessage **)(void *)&in->query, &err));
    return in;
}

static void *admin_status(struct scene *at)
{
    as_admin(at);
    return FRESH(at, status_request);
}

static void *admin_peers(struct scene *at)
{
    as_admin(at);
    return FRESH(at, peers_request);
}

/* What node/server does, as far as memory goes. */
static bool reload(void *context, struct arena *arena, Chartmesh__V1__ReloadReply *out, struct err *err)
{
    (void)context;
    return arena_array(arena, 8, sizeof *out->items, (void **)&out->items, err);
}

static void *admin_reload(struct scene *at)
{
    as_admin(at);
    at->s->service.reload = reload;
    return FRESH(at, reload_request);
}

static bool resume(void *context, const struct id *facility, struct arena *arena, unsigned *resumed,
                   struct err *err)
{
    void *memory;
    (void)context;
    (void)facility;
    *resumed = 0;
    return arena_alloc(arena, 64, &memory, err);
}

static void *admin_resume_peer(struct scene *at)
{
    static struct id facility = {.bytes = {1}};
    as_admin(at);
    at->s->service.resume = resume;
    Chartmesh__V1__ResumePeerRequest *request = FRESH(at, resume_peer_request);
    request->facility = pb_bytes(BYTES_OF(facility));
    return request;
}

static const struct {
    const char *name;
    void *(*request)(struct scene *at);
} cases[] = {
    {"Patients.Register", patients_register},
    {"Patients.Update", patients_update},
    {"Patients.Get", patients_get},
    {"Patients.Lookup", patients_lookup},
    {"Patients.Incoming", patients_incoming},
    {"Records.Put", records_put},
    {"Records.Get", records_get},
    {"Records.Get", records_get_batch},
    {"Records.List", records_list},
    {"Records.History", records_history},
    {"Records.Upload", records_upload},
    {"Records.AbortUpload", records_abort_upload},
    {"Records.Download", records_download},
    {"Records.Merge", records_merge},
    {"Records.Retract", records_retract},
    {"Records.Relabel", records_relabel},
    {"Records.PutStream", records_put_stream},
    {"Records.Prepare", records_prepare},
    {"Records.PutSigned", records_put_signed},
    {"Keys.Enrol", keys_enrol},
    {"Keys.Revoke", keys_revoke},
    {"Keys.List", keys_list},
    {"Records.Watch", records_watch},
    {"Consents.SetPolicy", consents_set_policy},
    {"Consents.GetPolicy", consents_get_policy},
    {"Consents.History", consents_history},
    {"Consents.Explain", consents_explain},
    {"Consents.Cases", consents_cases},
    {"Audit.Checkpoint", audit_checkpoint},
    {"Audit.Inclusion", audit_inclusion},
    {"Audit.Consistency", audit_consistency},
    {"Audit.Query", audit_query},
    {"Authorities.Grant", authorities_grant},
    {"Authorities.List", authorities_list},
    {"Admin.Status", admin_status},
    {"Admin.Peers", admin_peers},
    {"Admin.Reload", admin_reload},
    {"Admin.ResumePeer", admin_resume_peer},
};

/* ---- The sweep -------------------------------------------------------------------------------------------------- */

/* A document with two heads, as two imports of a changed source make it. */
static void make_conflict(struct scene *at)
{
    Chartmesh__V1__ImportKey key = CHARTMESH__V1__IMPORT_KEY__INIT;
    Chartmesh__V1__PutRequest *request = records_put(at);
    key.system = words("urn:source");
    key.id = words("1");
    request->import_key = &key;
    Chartmesh__V1__PutReply *first = SERVE(at->s, "Records.Put", request);
    at->left = serve_put(at->s, at->subject, first, "amended here");
    request->content = pb_bytes(BYTES_LIT("imported anew"));
    at->right = SERVE(at->s, "Records.Put", request);
}

static void open_scene(struct scene *at)
{
    struct err err;
    struct hash seed = {.bytes = {9, 9, 9}};
    *at = (struct scene){.s = serve_new(2, 0)};
    assert_ok(signing_key_new(&seed, &at->auditor, &err));
    at->subject = serve_register(at->s, "4711")->subject;
    at->put = serve_put(at->s, at->subject, NULL, "hello");
    make_conflict(at);
}

static void close_scene(struct scene *at)
{
    signing_key_free(at->auditor);
    signing_key_free(at->author);
    serve_free(at->s);
}

static uint64_t entries(const struct scene *at)
{
    return log_size(at->s->node->log).size;
}

/* A read may leave its entry and then give nothing: the log says more than what happened, never less. */
static bool writes(const char *name)
{
    const struct service_method *methods;
    size_t count = service_methods(&methods);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return methods[i].writes || methods[i].kinds == SERVICE_ADMIN;
        }
    }
    return false;
}

/* Calls with ever more memory until it is enough. */
static void sweep(const char *name, void *(*make)(struct scene *at))
{
    struct scene at;
    open_scene(&at);
    const ProtobufCMessage *request = make(&at);
    size_t budget = 1, refused = 0;
    for (;; budget += MAX(budget / 64, 64)) {
        ProtobufCMessage *reply = NULL;
        const uint64_t before = entries(&at);
        assert_true(budget < ENOUGH);
        at.s->budget = budget;
        at.s->idle = 3;
        bool ok = serve_call(at.s, name, request, &reply);
        if (ok || at.s->err.code == ERR_CANCELLED) { /* a watch ends when its client goes */
            break;
        }
        refused++;
        if (at.s->err.code != ERR_TOO_MUCH) {
            fail_msg("%s with %zu bytes: %s: %s (%s:%d)", name, budget, err_code_name(at.s->err.code),
                     at.s->err.text, at.s->err.file, at.s->err.line);
        }
        if (writes(name) && entries(&at) != before) {
            fail_msg("%s with %zu bytes: %s, but there is an entry (%s:%d)", name, budget, at.s->err.text,
                     at.s->err.file, at.s->err.line);
        }
    }
    print_message("%s: %zu calls refused, %zu bytes are enough\n", name, refused, budget);
    close_scene(&at);
}

static void test_budget__every_method_says_that_memory_is_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        sweep(cases[i].name, cases[i].request);
    }
}

static void test_budget__no_method_is_left_out(void **state)
{
    const struct service_method *methods;
    size_t count = service_methods(&methods);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        while (j < COUNT(cases) && strcmp(cases[j].name, methods[i].name) != 0) {
            j++;
        }
        if (j == COUNT(cases)) {
            fail_msg("%s: has no request in this table", methods[i].name);
        }
    }
}

#define TEST(name) cmocka_unit_test(test_budget__##name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_method_is_left_out),
        TEST(every_method_says_that_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
