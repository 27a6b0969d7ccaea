#include "proto/crypto/random.h"
#include "proto/statement/version.h"
#include "tests/lib/test.h"

enum { BUDGET = 1 << 20, VERSIONS = 40, ROUNDS = 300 };

/* A history made at random: each version has one to three earlier ones as parents and, in its context, all that
 * they had seen and they themselves. Then u supersedes v iff v is an ancestor of u. */
struct history {
    struct version_node nodes[VERSIONS];
    bool ancestor[VERSIONS][VERSIONS];   /* [of][who] */
    struct arena arena;
};

static uint64_t seed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void add_parent(struct history *h, size_t at, size_t parent)
{
    h->ancestor[at][parent] = true;
    for (size_t i = 0; i < parent; i++) {
        h->ancestor[at][i] = h->ancestor[at][i] || h->ancestor[parent][i];
    }
}

/* The next counter of a writer: greater than that of each of its versions before. */
static uint64_t counter_of(const struct history *h, size_t at, uint64_t tag)
{
    uint64_t counter = 1;
    for (size_t i = 0; i < at; i++) {
        counter = h->nodes[i].tag == tag ? MAX(counter, h->nodes[i].counter + 1) : counter;
    }
    return counter;
}

/* A writer sees all that it wrote before: dots of one tag are a line. */
static void make_history(struct history *h)
{
    arena_init(&h->arena, BUDGET);
    for (size_t at = 0; at < VERSIONS; at++) {
        struct err err;
        uint64_t tag = 1 + next_random() % 5;
        struct version_node parents[3 + 1];
        size_t count = 0, wanted = at ? 1 + next_random() % 3 : 0;
        for (size_t i = 0; i < wanted; i++) {
            size_t parent = next_random() % at;
            add_parent(h, at, parent);
            parents[count++] = h->nodes[parent];
        }
        for (size_t i = at; i-- > 0;) {
            if (h->nodes[i].tag == tag) {
                add_parent(h, at, i);
                parents[count++] = h->nodes[i];
                break;
            }
        }
        Chartmesh__V1__Dot **context;
        h->nodes[at] = (struct version_node){.tag = tag, .counter = counter_of(h, at, tag)};
        assert_ok(context_join(parents, count, &h->arena, &context, &h->nodes[at].context_len, &err));
        h->nodes[at].context = (const Chartmesh__V1__Dot *const *)context;
    }
}

static void test_I40_version__heads_of_any_subset_are_its_maximal_ones(void **state)
{
    (void)state;
    seed = 0x9e3779b97f4a7c15;
    print_message("seed %llx\n", (unsigned long long)seed);
    struct history *h = test_calloc(1, sizeof *h);
    make_history(h);
    for (size_t round = 0; round < ROUNDS; round++) {
        struct version_node subset[VERSIONS];
        size_t which[VERSIONS], count = 0, wanted = 0;
        for (size_t i = 0; i < VERSIONS; i++) {
            if (next_random() & 1) {
                which[count] = i;
                subset[count++] = h->nodes[i];
            }
        }
        bool heads[VERSIONS];
        size_t got = version_heads(subset, count, heads);
        for (size_t i = 0; i < count; i++) {
            bool maximal = true;
            for (size_t j = 0; j < count; j++) {
                maximal = maximal && !h->ancestor[which[j]][which[i]];
            }
            assert_int_equal(heads[i], maximal);
            wanted += maximal;
        }
        assert_int_equal(got, wanted);
    }
    arena_done(&h->arena);
    test_free(h);
}

static void test_version__one_dot_twice_keeps_both(void **state)
{
    (void)state;
    struct version_node a = {.tag = 7, .counter = 1}, b = {.tag = 7, .counter = 1};
    bool heads[2];
    assert_false(version_supersedes(&a, &b));
    assert_int_equal(version_heads((struct version_node[]){a, b}, 2, heads), 2);
}

static void test_version__a_context_of_too_many_tags_is_refused(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    struct version_node parents[65] = {0};
    for (size_t i = 0; i < 65; i++) {
        parents[i].tag = 100 - i;
        parents[i].counter = 1;
    }
    Chartmesh__V1__Dot **context;
    size_t len;
    assert_ok(context_join(parents, 64, &arena, &context, &len, &err));
    assert_int_equal(len, 64);
    assert_true(context[0]->tag < context[63]->tag);
    assert_err(ERR_TOO_MUCH, context_join(parents, 65, &arena, &context, &len, &err));
}

/* -- labels */

static Chartmesh__V1__Coding coding(const char *system, const char *code)
{
    Chartmesh__V1__Coding made = CHARTMESH__V1__CODING__INIT;
    made.system = (char *)(uintptr_t)system;
    made.code = (char *)(uintptr_t)code;
    return made;
}

static void test_labels__join_is_the_higher_and_the_union_in_canonical_order(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, BUDGET);
    char longer[201] = {0};
    memset(longer, 'a', 200);
    Chartmesh__V1__Coding psy = coding("urn:act", "PSY"), sdv = coding("urn:act", "SDV"),
                          far = coding(longer, "X");
    Chartmesh__V1__Coding *one[] = {&far, &sdv}, *two[] = {&sdv, &psy};
    Chartmesh__V1__Labels a = CHARTMESH__V1__LABELS__INIT, b = CHARTMESH__V1__LABELS__INIT, *join;
    a.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    a.n_sensitivity = 2;
    a.sensitivity = one;
    b.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R;
    b.n_sensitivity = 2;
    b.sensitivity = two;
    assert_ok(labels_join(&a, &b, &arena, &join, &err));
    assert_int_equal(join->confidentiality, CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R);
    assert_int_equal(join->n_sensitivity, 3);
    struct bytes packed, again;
    ProtobufCMessage *read;
    assert_ok(canonical_pack(&join->base, &arena, &packed, &err));
    assert_ok(canonical_unpack(&chartmesh__v1__labels__descriptor, packed, &arena, &read, &err));
    assert_ok(labels_join((void *)read, NULL, &arena, &join, &err));
    uint8_t room[1024];
    again = BYTES(room, protobuf_c_message_pack(&join->base, room));
    assert_bytes_equal(again, packed);   /* the join's own order is canonical, without sorting */
    assert_true(labels_below(&a, &b));
    assert_true(labels_below(&b, &a));
    assert_false(labels_below(join, &a));
    assert_false(labels_below(join, &b));
    assert_false(labels_below(&a, NULL));
    assert_true(labels_below(NULL, &a));
}

static void test_version__subject_p(void **state)
{
    (void)state;
    struct err err;
    struct id facility, patient, wanted;
    assert_ok(hex_decode("daa9a2a0365ebd35ca8a2b1022ca5b9f", facility.bytes, ID_LEN, &err));
    assert_ok(hex_decode("9eb2b9e3b3e60c2b26f13b08c84f8615", patient.bytes, ID_LEN, &err));
    assert_ok(hex_decode("9edd653d5df19f34ad92071a00321cd0", wanted.bytes, ID_LEN, &err));
    struct id p = subject_p(&facility, &patient);
    assert_true(id_equal(&p, &wanted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_I40_version__heads_of_any_subset_are_its_maximal_ones),
        cmocka_unit_test(test_version__one_dot_twice_keeps_both),
        cmocka_unit_test(test_version__a_context_of_too_many_tags_is_refused),
        cmocka_unit_test(test_labels__join_is_the_higher_and_the_union_in_canonical_order),
        cmocka_unit_test(test_version__subject_p),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
