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

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_watch__##name, setup, teardown)
        TEST(a_watch_starts_shows_what_comes_and_resumes),
        TEST(a_watch_shows_nothing_that_may_not_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
