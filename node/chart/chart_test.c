#include "node/chart/chart.h"

#include "proto/crypto/random.h"
#include "tests/lib/node.h"

struct fixture {
    struct world_sim *sim;
    struct federation *federation;
    struct node *a, *b;                      /* b: made by the tests that need a receiver */
    struct arena arena;
    struct subject subject;                  /* a's */
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.sim = world_sim_new(11), .federation = federation_new(3)};
    arena_init(&f.arena, 64 << 20);
    f.a = node_new(f.sim, f.federation, 0);
    f.subject = node_subject(f.a, 1);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_free(f->a);
    if (f->b) {
        node_free(f->b);
    }
    arena_done(&f->arena);
    federation_free(f->federation);
    world_sim_free(f->sim);
    return 0;
}

static void restart(struct node *node)
{
    node_close(node);
    node_open(node);
}

static void commit(struct log_txn *txn)
{
    struct err err;
    assert_ok(log_commit(txn, NULL, &err));
}

/* ---- Subjects ---------------------------------------------------------------------------------------------------- */

static void test_chart__a_registered_subject_is_known_and_listed_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct chart_subject found, *list;
    size_t count;
    node_subject(f->a, 2);
    restart(f->a);
    assert_ok(chart_subject(f->a->chart, &f->subject, &found, &err));
    assert_true(found.known && found.own);
    assert_int_equal(found.generation.generation, 1);
    assert_int_equal(found.generation.incarnation, log_incarnation(f->a->log));
    assert_false(id_is_zero(&found.identity));
    assert_ok(chart_subjects(f->a->chart, true, NULL, 1, &f->arena, &list, &count, &err));
    assert_int_equal(count, 1);
    struct id first = list[0].subject.p;
    assert_ok(chart_subjects(f->a->chart, true, &first, 10, &f->arena, &list, &count, &err));
    assert_int_equal(count, 1);
    assert_false(id_equal(&list[0].subject.p, &first));
    assert_ok(chart_subjects(f->a->chart, false, NULL, 10, &f->arena, &list, &count, &err));
    assert_int_equal(count, 0);
}

static void test_chart__a_subject_nobody_registered_is_not_known(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct id patient = random_id();
    struct subject stranger = subject_make(&f->a->member->id, &patient);
    struct chart_subject found;
    assert_ok(chart_subject(f->a->chart, &stranger, &found, &err));
    assert_true(!found.known && found.own);
}

static void identifiers(struct fixture *f, const char *system, const char *first, const char *second)
{
    struct err err;
    Chartmesh__V1__Coding codes[2] = {CHARTMESH__V1__CODING__INIT, CHARTMESH__V1__CODING__INIT};
    const char *values[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        codes[i].system = (char *)(uintptr_t)system;
        codes[i].code = (char *)(uintptr_t)values[i];
    }
    struct log_txn *txn = log_txn_new(f->a->log);
    assert_ok(chart_identifiers_set(f->a->chart, txn, &f->subject, codes, second ? 2 : 1, &err));
    commit(txn);
}

static size_t lookup(struct fixture *f, const char *system, const char *value)
{
    struct err err;
    struct subject *found;
    size_t count;
    assert_ok(chart_lookup(f->a->chart, system, value, &f->arena, &found, &count, &err));
    return count;
}

static void test_chart__an_identifier_finds_its_subject_until_an_update_takes_it_away(void **state)
{
    struct fixture *f = *state;
    identifiers(f, "urn:ssn", "111", "222");
    assert_int_equal(lookup(f, "urn:ssn", "111"), 1);
    assert_int_equal(lookup(f, "urn:ssn", "222"), 1);
    assert_int_equal(lookup(f, "urn:ss", "n111"), 0);
    identifiers(f, "urn:ssn", "222", "333");
    assert_int_equal(lookup(f, "urn:ssn", "111"), 0);
    assert_int_equal(lookup(f, "urn:ssn", "222"), 1);
    restart(f->a);
    assert_int_equal(lookup(f, "urn:ssn", "333"), 1);
}

#define WITH_NODE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_NODE(test_chart__a_registered_subject_is_known_and_listed_after_a_restart),
        WITH_NODE(test_chart__a_subject_nobody_registered_is_not_known),
        WITH_NODE(test_chart__an_identifier_finds_its_subject_until_an_update_takes_it_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
