#include "client/policy/policy.h"
#include "proto/consent/consent.h"
#include "proto/consent/tables.h"
#include "tests/lib/test.h"

static const struct id ANNA = {{1}}, CLINIC = {{2}}, LAB = {{3}};

static Chartmesh__V1__Coding *coding(struct arena *arena, const char *system, const char *code)
{
    struct err err;
    void *room;
    assert_ok(arena_alloc(arena, sizeof(Chartmesh__V1__Coding), &room, &err));
    Chartmesh__V1__Coding *out = room;
    chartmesh__v1__coding__init(out);
    out->system = (char *)(uintptr_t)system;
    out->code = (char *)(uintptr_t)code;
    return out;
}

static const char *name_of(void *context, struct bytes facility, struct arena *arena)
{
    (void)context, (void)arena;
    return bytes_equal(facility, BYTES_OF(CLINIC)) ? "clinic.example" : "lab.example";
}

static void assert_words(const Chartmesh__V1__Rule *rule, const char *expected, struct arena *arena)
{
    AUTO_BUILDER(words, 4096);
    policy_words(rule, name_of, NULL, arena, &words);
    assert_bytes_equal(builder_view(&words), bytes_str(expected));
}

static void test_policy__a_grant_is_narrow_unless_told_otherwise(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    AUTO_ARENA(arena, 1 << 20);
    const char *purposes[] = {"TREAT"};
    const struct policy_scope scope = {.facility = CLINIC, .purposes = purposes, .purpose_count = 1};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    assert_ok(policy_grant(&tree, &scope, &arena, &id, &err));
    assert_int_equal(id, 1);
    assert_int_equal(tree.base, 0);
    const Chartmesh__V1__Rule *rule = tree.rules[0];
    assert_int_equal(rule->effect, CHARTMESH__V1__EFFECT__EFFECT_PERMIT);
    assert_int_equal(rule->confidentiality_max, CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N);
    assert_int_equal(rule->n_classes, 0);
    assert_int_equal(rule->n_actions, 0);
    assert_words(rule, "permit clinic.example, for TREAT, up to confidentiality N, nothing sensitive", &arena);
}

static void test_policy__without_sensitivity_covers_every_code_of_the_table(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    uint64_t covered = 0;
    AUTO_ARENA(arena, 1 << 20);
    const struct policy_scope scope = {.facility = CLINIC};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    assert_ok(policy_grant(&tree, &scope, &arena, &id, &err));
    for (size_t i = 0; i < tree.rules[0]->n_without_sensitivity; i++) {
        const Chartmesh__V1__Coding *one = tree.rules[0]->without_sensitivity[i];
        const struct table_code *code = table_sensitivity_find(one->system, one->code);
        assert_non_null(code);
        covered |= code->covers;
    }
    for (size_t i = 0; i < table_sensitivity.codes_len; i++) {
        assert_true(covered & table_sensitivity.codes[i].self);
    }
}

static void test_policy__a_grant_of_a_class_includes_the_identity_once(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    AUTO_ARENA(arena, 1 << 20);
    Chartmesh__V1__Coding *one[] = {coding(&arena, "urn:x", "lab")};
    Chartmesh__V1__Coding *both[] = {one[0], coding(&arena, POLICY_CLASS_SYSTEM, "patient")};
    const struct policy_scope scope = {.facility = LAB, .classes = one, .class_count = 1};
    const struct policy_scope named = {.facility = LAB, .classes = both, .class_count = 2};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    assert_ok(policy_grant(&tree, &scope, &arena, &id, &err));
    assert_ok(policy_grant(&tree, &named, &arena, &id, &err));
    assert_int_equal(tree.rules[0]->n_classes, 2);
    assert_string_equal(tree.rules[0]->classes[1]->code, "patient");
    assert_int_equal(tree.rules[1]->n_classes, 2);
    assert_ok(policy_deny(&tree, &scope, &arena, &id, &err));
    assert_int_equal(tree.rules[2]->n_classes, 1);
}

static void test_policy__sensitive_and_max_widen_a_grant(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    AUTO_ARENA(arena, 1 << 20);
    const struct policy_scope scope = {
        .facility = CLINIC, .sensitive = true, .max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    assert_ok(policy_grant(&tree, &scope, &arena, &id, &err));
    assert_int_equal(tree.rules[0]->n_without_sensitivity, 0);
    assert_words(tree.rules[0], "permit clinic.example, up to confidentiality R", &arena);
}

static void test_policy__a_denial_is_of_the_form_that_policies_allow(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    AUTO_ARENA(arena, 1 << 20);
    Chartmesh__V1__Coding *hiv[] = {coding(&arena, TABLES_SENSITIVITY_SYSTEM, "HIV")};
    const struct policy_scope scope = {.facility = CLINIC,
                                       .sensitivity = hiv,
                                       .sensitivity_count = 1,
                                       .max = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N,
                                       .min = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    assert_ok(policy_grant(&tree, &(struct policy_scope){.facility = CLINIC}, &arena, &id, &err));
    assert_ok(policy_deny(&tree, &scope, &arena, &id, &err));
    assert_words(tree.rules[1], "deny clinic.example, from confidentiality R up, of any sensitivity among HIV",
                 &arena);

    Chartmesh__V1__Policy policy = CHARTMESH__V1__POLICY__INIT;
    Chartmesh__V1__Head head = CHARTMESH__V1__HEAD__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__Dot dot = CHARTMESH__V1__DOT__INIT;
    Chartmesh__V1__Assertor assertor = CHARTMESH__V1__ASSERTOR__INIT;
    policy.head = &head;
    policy.subject = &subject;
    policy.dot = &dot;
    policy.assertor = &assertor;
    policy.rules = tree.rules;
    policy.n_rules = tree.count;
    assert_ok(policy_check(&policy, &err));
}

static void test_policy__revoking_takes_all_permits_of_one_facility_and_no_others(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    size_t changed;
    AUTO_ARENA(arena, 1 << 20);
    const struct policy_scope clinic = {.facility = CLINIC}, lab = {.facility = LAB};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    assert_ok(policy_grant(&tree, &clinic, &arena, &id, &err));        /* 1 */
    assert_ok(policy_grant(&tree, &lab, &arena, &id, &err));           /* 2 */
    assert_ok(policy_deny(&tree, &clinic, &arena, &id, &err));         /* 3, an exception of 1 */
    tree.rules[2]->parent = 1;
    assert_ok(policy_deny(&tree, &clinic, &arena, &id, &err));         /* 4, of its own */
    assert_ok(policy_grant(&tree, &clinic, &arena, &id, &err));        /* 5, for two facilities */
    ProtobufCBinaryData two[] = {{ID_LEN, (uint8_t *)(uintptr_t)LAB.bytes},
                                 {ID_LEN, (uint8_t *)(uintptr_t)CLINIC.bytes}};
    tree.rules[4]->facilities = two;
    tree.rules[4]->n_facilities = 2;
    assert_ok(policy_revoke(&tree, &CLINIC, &arena, &changed, &err));
    assert_int_equal(changed, 2);
    assert_int_equal(tree.count, 3);
    assert_int_equal(tree.rules[0]->id, 2);
    assert_int_equal(tree.rules[1]->id, 4);
    assert_int_equal(tree.rules[2]->n_facilities, 1);
    assert_err(ERR_NOT_FOUND, policy_revoke(&tree, &ANNA, &arena, &changed, &err));
    assert_ok(policy_grant(&tree, &clinic, &arena, &id, &err));
    assert_int_equal(id, 6);
}

static void test_policy__one_rule_goes_with_its_exceptions(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    AUTO_ARENA(arena, 1 << 20);
    const struct policy_scope clinic = {.facility = CLINIC};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    for (uint32_t i = 0; i < 4; i++) {
        assert_ok(policy_deny(&tree, &clinic, &arena, &id, &err));
        tree.rules[i]->parent = i == 3 ? 0 : i;          /* 1 above 2 above 3; 4 alone */
    }
    assert_err(ERR_NOT_FOUND, policy_drop(&tree, 9, &err));
    assert_int_equal(tree.count, 4);
    assert_ok(policy_drop(&tree, 1, &err));
    assert_int_equal(tree.count, 1);
    assert_int_equal(tree.rules[0]->id, 4);
}

static void test_policy__a_full_tree_takes_no_more(void **state)
{
    (void)state;
    struct err err;
    struct policy_tree tree;
    uint32_t id;
    AUTO_ARENA(arena, 4 << 20);
    const struct policy_scope clinic = {.facility = CLINIC};
    assert_ok(policy_tree_of(NULL, &tree, &err));
    for (size_t i = 0; i < POLICY_RULES_MAX; i++) {
        assert_ok(policy_deny(&tree, &clinic, &arena, &id, &err));
    }
    assert_err(ERR_TOO_MUCH, policy_deny(&tree, &clinic, &arena, &id, &err));
    assert_err(ERR_TOO_MUCH, policy_grant(&tree, &clinic, &arena, &id, &err));
    assert_int_equal(tree.count, POLICY_RULES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy__a_grant_is_narrow_unless_told_otherwise),
        cmocka_unit_test(test_policy__without_sensitivity_covers_every_code_of_the_table),
        cmocka_unit_test(test_policy__a_grant_of_a_class_includes_the_identity_once),
        cmocka_unit_test(test_policy__sensitive_and_max_widen_a_grant),
        cmocka_unit_test(test_policy__a_denial_is_of_the_form_that_policies_allow),
        cmocka_unit_test(test_policy__revoking_takes_all_permits_of_one_facility_and_no_others),
        cmocka_unit_test(test_policy__one_rule_goes_with_its_exceptions),
        cmocka_unit_test(test_policy__a_full_tree_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
