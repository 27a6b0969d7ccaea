/* Watch: what comes, as one caller may see it. */
#include "node/service/service.h"

#include "tests/lib/service.h"

static Chartmesh__V1__Subject *subject;

static int setup(void **state)
{
    struct serve *s = serve_new(2, 0);
    subject = serve_register(s, "4711")->subject;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    serve_free(*state);
    return 0;
}

static void put_once(struct serve *s, size_t nth)
{
    static bool busy;
    if (nth == 1 && !busy) {
        struct service_metadata who = s->who;
        size_t got = s->got_len;
        busy = true;
        serve_put(s, subject, NULL, "watched");
        busy = false;
        s->who = who;
        s->got_len = got;
    }
}

static Chartmesh__V1__WatchEvent *event(struct serve *s, size_t i)
{
    return (void *)s->got[i];
}

static void test_watch__a_watch_starts_shows_what_comes_and_resumes(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    request.subject = subject;
    serve_put(s, subject, NULL, "before");
    s->on_send = put_once;
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->err.code, ERR_CANCELLED);
    assert_int_equal(s->got_len, 2);
    assert_int_equal(event(s, 0)->kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_STARTED);
    assert_int_equal(event(s, 1)->kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION);
    assert_int_equal(event(s, 1)->receipt.len, RECEIPT_LEN);
    request.resume_token = event(s, 0)->resume_token;
    s->on_send = NULL;
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->got_len, 2); /* the same event again: nothing is missed */
    request.subject = NULL;
    SERVE_FAILS(s, "Records.Watch", &request, ERR_INVALID, TOKEN_INVALID, "resume_token");
}

static void test_watch__a_watch_shows_nothing_that_may_not_be_read(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    s->idle = 1;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    request.resume_token = event(s, 0)->resume_token;
    serve_put(s, subject, NULL, "secret");
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->got_len, 1); /* STARTED */
}

/* A copy that goes again, while a watch stands at `from`. */
static void purge_a_copy(struct serve *s)
{
    struct err err;
    AUTO_ARENA(arena, 1 << 20);
    const struct id patient = {{7}};
    struct hash *purged;
    size_t count;
    const struct node_put put = {.subject = subject_make(&s->federation->members[1].id, &patient),
                                 .document = node_document(s->node, 1),
                                 .content = BYTES_LIT("copy")};
    node_put(s->node, &put);
    struct log_txn *txn = log_txn_new(s->node->log);
    assert_ok(chart_purge(s->node->chart, txn, &put.subject, NULL, 0, (struct generation){9, 9}, &arena, &purged,
                          &count, &err));
    assert_int_equal(count, 1);
    assert_ok(log_commit(txn, NULL, &err));
}

static size_t removed_seen(struct serve *s, Chartmesh__V1__WatchRequest *request)
{
    size_t seen = 0;
    s->idle = 4;
    assert_false(serve_call(s, "Records.Watch", &request->base, NULL));
    assert_int_equal(s->err.code, ERR_CANCELLED);
    for (size_t i = 0; i < s->got_len; i++) {
        seen += event(s, i)->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_REMOVED;
    }
    return seen;
}

static ProtobufCBinaryData start_token(struct serve *s, Chartmesh__V1__WatchRequest *request)
{
    s->idle = 1;
    assert_false(serve_call(s, "Records.Watch", &request->base, NULL));
    return event(s, 0)->resume_token;
}

static void test_watch__removed_is_for_those_who_may_have_known(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    request.resume_token = start_token(s, &request);
    purge_a_copy(s);
    assert_int_equal(removed_seen(s, &request), 1);
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "ETREAT"); /* by the row of TREAT above it */
    assert_int_equal(removed_seen(s, &request), 1);
    serve_as(s, "app/emr", "alice", NODE_PHYSICIAN, "HRESCH"); /* no row */
    assert_int_equal(removed_seen(s, &request), 0);
}

static void test_watch__a_token_outlives_a_restart(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    request.resume_token = start_token(s, &request);
    serve_put(s, subject, NULL, "while nobody watched");
    serve_restart(s);
    s->idle = 3;
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->got_len, 2);
    assert_int_equal(event(s, 1)->kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION);
    serve_as(s, "app/other", "alice", NODE_PHYSICIAN, "TREAT");
    SERVE_FAILS(s, "Records.Watch", &request, ERR_INVALID, TOKEN_INVALID, "resume_token");
}

static void test_watch__who_sees_nothing_gets_a_newer_token(void **state)
{
    struct serve *s = *state;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    serve_as(s, "app/emr", "carl", NODE_CLERK, "TREAT");
    s->idle = 70; /* half a second each */
    assert_false(serve_call(s, "Records.Watch", &request.base, NULL));
    assert_int_equal(s->err.code, ERR_CANCELLED);
    assert_int_equal(s->got_len, 2);
    assert_int_equal(event(s, 1)->kind, CHARTMESH__V1__WATCH_KIND__WATCH_KIND_HEARTBEAT);
    assert_int_equal(event(s, 1)->resume_token.len, 128);
    assert_null(event(s, 1)->subject);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_watch__##name, setup, teardown)
        TEST(a_watch_starts_shows_what_comes_and_resumes), TEST(a_watch_shows_nothing_that_may_not_be_read),
        TEST(removed_is_for_those_who_may_have_known),     TEST(a_token_outlives_a_restart),
        TEST(who_sees_nothing_gets_a_newer_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
