/* Many threads call the services of one node at once, over the in-memory store and the machine's own threads. What
 * each was told holds afterwards. Most of its worth is under `./dev tsan`. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/service/service.h"
#include "tests/lib/service.h"

enum { THREADS = 6, ROUNDS = 12, WRITES_MAX = 1000 };

static const unsigned expected[] = {SERVE_REASON(STALE_HEADS), SERVE_REASON(NOT_AVAILABLE)};

/* A thread's own view of the fixture: its own memory, caller and last error. */
struct user {
    struct serve s;
    unsigned number;
    Chartmesh__V1__Subject *own, *shared;
    ProtobufCBinaryData shared_document;
    struct hash written[WRITES_MAX]; /* versions that were acknowledged */
    size_t count;
    unsigned lost; /* races that another won */
    char failed[400]; /* the first thing that must not be; "": none */
    struct {
        ProtobufCBinaryData document, version, receipt;
    } last; /* what it wrote of its own patient */
    char name[16];
};

static void blame(struct user *u, const char *what)
{
    if (!*u->failed) {
        snprintf(u->failed, sizeof u->failed, "%s: %s: %s (%s:%d)", what, err_code_name(u->s.err.code),
                 u->s.err.text, u->s.err.file ? u->s.err.file : "?", u->s.err.line);
    }
}

/* NULL: it failed, as a race may; anything else is blamed. */
static void *ask(struct user *u, const char *name, const ProtobufCMessage *in)
{
    ProtobufCMessage *out = NULL;
    if (serve_call(&u->s, name, in, &out)) {
        return out;
    }
    for (size_t i = 0; i < COUNT(expected); i++) {
        if (u->s.err.reason == expected[i]) {
            u->lost++;
            return NULL;
        }
    }
    blame(u, name);
    return NULL;
}

/* ---- What a thread does ----------------------------------------------------------------------------------------- */

static void put(struct user *u, Chartmesh__V1__Subject *subject, ProtobufCBinaryData document,
                ProtobufCBinaryData *heads, size_t count, const char *content)
{
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    request.subject = subject;
    request.document = document;
    request.if_heads = heads;
    request.n_if_heads = count;
    request.facts = serve_facts(&u->s);
    request.content = pb_bytes(bytes_str(content));
    Chartmesh__V1__PutReply *reply = ask(u, "Records.Put", &request.base);
    if (!reply) {
        return;
    }
    if (u->count == WRITES_MAX || !hash_from(bytes_pb(reply->version), &u->written[u->count++])) {
        blame(u, "a version id");
    }
    if (subject == u->own) {
        u->last.document = reply->document;
        u->last.version = reply->version;
        u->last.receipt = reply->receipt;
    }
}

static Chartmesh__V1__GetReply *get(struct user *u, Chartmesh__V1__Subject *subject, ProtobufCBinaryData document)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = subject;
    request.document = document;
    return ask(u, "Records.Get", &request.base);
}

/* Reads what all share, and writes on what was read: the loser of a race is told. */
static void amend_shared(struct user *u)
{
    Chartmesh__V1__GetReply *read = get(u, u->shared, u->shared_document);
    if (read && read->n_heads == 1) {
        put(u, u->shared, u->shared_document, &read->heads[0]->version, 1, u->name);
    }
}

static void read_own(struct user *u)
{
    Chartmesh__V1__GetReply *read = get(u, u->own, u->last.document);
    if (!read || read->n_heads != 1 ||
        !bytes_equal(bytes_pb(read->heads[0]->version), bytes_pb(u->last.version))) {
        blame(u, "what this thread wrote alone is not what it reads");
    }
}

static void look(struct user *u)
{
    Chartmesh__V1__ListRequest list = CHARTMESH__V1__LIST_REQUEST__INIT;
    Chartmesh__V1__HistoryRequest history = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    Chartmesh__V1__LookupRequest lookup = CHARTMESH__V1__LOOKUP_REQUEST__INIT;
    list.subject = history.subject = u->shared;
    list.page_size = 3;
    history.document = u->shared_document;
    lookup.system = (char *)(uintptr_t) "urn:mrn";
    lookup.value = u->name;
    ask(u, "Records.List", &list.base);
    ask(u, "Records.History", &history.base);
    ask(u, "Patients.Lookup", &lookup.base);
}

static void download(struct user *u)
{
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    ProtobufCMessage *none = NULL;
    request.subject = u->own;
    request.document = u->last.document;
    request.version = u->last.version;
    if (!serve_call(&u->s, "Records.Download", &request.base, &none)) {
        blame(u, "Records.Download");
    }
}

static void prove(struct user *u)
{
    Chartmesh__V1__InclusionRequest inclusion = CHARTMESH__V1__INCLUSION_REQUEST__INIT;
    Chartmesh__V1__ConsistencyRequest consistency = CHARTMESH__V1__CONSISTENCY_REQUEST__INIT;
    Chartmesh__V1__CheckpointRequest newest = CHARTMESH__V1__CHECKPOINT_REQUEST__INIT;
    inclusion.receipt = u->last.receipt;
    consistency.from = 1;
    ask(u, "Audit.Inclusion", &inclusion.base);
    ask(u, "Audit.Consistency", &consistency.base);
    ask(u, "Audit.Checkpoint", &newest.base);
}

/* The policy of the patient whom all read changes under them. */
static void set_policy(struct user *u)
{
    Chartmesh__V1__GetPolicyRequest ask_heads = CHARTMESH__V1__GET_POLICY_REQUEST__INIT;
    Chartmesh__V1__SetPolicyRequest request = CHARTMESH__V1__SET_POLICY_REQUEST__INIT;
    Chartmesh__V1__ExplainRequest explain = CHARTMESH__V1__EXPLAIN_REQUEST__INIT;
    Chartmesh__V1__Rule rule = CHARTMESH__V1__RULE__INIT, *rules[] = {&rule};
    ProtobufCBinaryData facility = pb_bytes(BYTES_OF(u->s.federation->members[1].id));
    ask_heads.subject = request.subject = explain.subject = u->shared;
    Chartmesh__V1__GetPolicyReply *now = ask(u, "Consents.GetPolicy", &ask_heads.base);
    rule.id = 1;
    rule.effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    rule.facilities = &facility;
    rule.n_facilities = 1;
    rule.confidentiality_max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    request.rules = rules;
    request.n_rules = 1;
    if (now && now->n_heads == 1) {
        request.if_heads = &now->heads[0]->policy;
        request.n_if_heads = 1;
    }
    ask(u, "Consents.SetPolicy", &request.base);
    explain.document = u->shared_document;
    explain.user = u->name;
    explain.purpose = (char *)(uintptr_t) "TREAT";
    ask(u, "Consents.Explain", &explain.base);
}

static void watch(struct user *u)
{
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    ProtobufCMessage *none = NULL;
    request.subject = u->shared;
    u->s.idle = 2;
    if (serve_call(&u->s, "Records.Watch", &request.base, &none) || u->s.err.code != ERR_CANCELLED) {
        blame(u, "Records.Watch");
    }
}

static void *live(void *arg)
{
    struct user *u = arg;
    for (unsigned i = 0; i < ROUNDS && !*u->failed; i++) {
        put(u, u->own, (ProtobufCBinaryData){0}, NULL, 0, "hello");
        read_own(u);
        amend_shared(u);
        look(u);
        download(u);
        prove(u);
        if (i % 5 == u->number % 5) {
            set_policy(u);
            watch(u);
        }
    }
    return NULL;
}

/* ---- Before and after -------------------------------------------------------------------------------------------- */

static void check_history(struct serve *s, const struct user *u)
{
    struct err err;
    for (size_t i = 0; i < u->count; i++) {
        struct id document;
        struct subject subject;
        if (!chart_version_place(s->node->chart, &u->written[i], &subject, &document, &err)) {
            fail_msg("an acknowledged version is not there: %s", err.text);
        }
    }
}

static void test_threads__what_each_was_told_is_so(void **state)
{
    static struct user users[THREADS];
    pthread_t threads[THREADS];
    struct serve *s = serve_new(2, 0);
    Chartmesh__V1__Subject *shared = serve_register(s, "shared")->subject;
    Chartmesh__V1__PutReply *first = serve_put(s, shared, NULL, "first");
    size_t writes = 0, lost = 0;
    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        struct user *u = &users[i];
        *u = (struct user){.s = *s, .number = i, .shared = shared, .shared_document = first->document};
        snprintf(u->name, sizeof u->name, "user-%u", i);
        u->own = serve_register(s, u->name)->subject;
        arena_init(&u->s.arena, 512 << 20);
    }
    uint64_t before = serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, live, &users[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_string_equal(users[i].failed, "");
        check_history(s, &users[i]);
        writes += users[i].count;
        lost += users[i].lost;
    }
    assert_int_equal(serve_entries(s, CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_WRITE), before + writes);
    serve_restart(s); /* which checks log, map and anchor against each other */
    for (unsigned i = 0; i < THREADS; i++) {
        check_history(s, &users[i]);
        arena_done(&users[i].s.arena);
    }
    print_message("%d threads: %zu versions, %zu races lost\n", THREADS, writes, lost);
    serve_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads__what_each_was_told_is_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
