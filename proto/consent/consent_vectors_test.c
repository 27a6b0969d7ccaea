/* The decisions of the second implementation: format-vectors/consent.json. */
#include <stdlib.h>

#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/consent/consent.h"
#include "proto/consent/tables.h"
#include "tests/lib/test.h"
#include "tests/lib/vectors.h"

enum { ARENA_BUDGET = 64 << 20 };

static struct arena arena;
static struct err err;

static void *room(size_t count, size_t size)
{
    void *out;
    assert_ok(arena_array(&arena, count, size, &out, &err));
    return out;
}

/* -- JSON to messages */

#define INIT(name, type, prefix)                                                                                  \
    static type *name(void)                                                                                       \
    {                                                                                                             \
        type *message = room(1, sizeof *message);                                                                 \
        prefix##__init(message);                                                                                  \
        return message;                                                                                           \
    }
INIT(new_rule, Chartmesh__V1__Rule, chartmesh__v1__rule)
INIT(new_coding, Chartmesh__V1__Coding, chartmesh__v1__coding)
INIT(new_period, Chartmesh__V1__Period, chartmesh__v1__period)
INIT(new_instant, Chartmesh__V1__Instant, chartmesh__v1__instant)
INIT(new_policy, Chartmesh__V1__Policy, chartmesh__v1__policy)
INIT(new_head, Chartmesh__V1__Head, chartmesh__v1__head)
INIT(new_subject, Chartmesh__V1__Subject, chartmesh__v1__subject)
INIT(new_dot, Chartmesh__V1__Dot, chartmesh__v1__dot)
INIT(new_assertor, Chartmesh__V1__Assertor, chartmesh__v1__assertor)
INIT(new_author, Chartmesh__V1__Author, chartmesh__v1__author)
INIT(new_labels, Chartmesh__V1__Labels, chartmesh__v1__labels)
INIT(new_terms, Chartmesh__V1__Terms, chartmesh__v1__terms)
INIT(new_tree, Chartmesh__V1__Tree, chartmesh__v1__tree)
INIT(new_basis, Chartmesh__V1__Basis, chartmesh__v1__basis)
INIT(new_disclosure, Chartmesh__V1__Disclosure, chartmesh__v1__disclosure)

static int letter(const char *text, const char *names)
{
    const char *at = text && strlen(text) == 1 ? strchr(names, *text) : NULL;
    return at ? (int)(at - names) + 1 : 0;
}

static int one_of(const char *text, const char *const *names, size_t len)
{
    for (size_t i = 0; text && i < len; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (int)i + 1;
        }
    }
    if (text) {
        fail_msg("vector: '%s' is no value here", text);
    }
    return 0;
}

static int effect_of(const char *text)
{
    return one_of(text, (const char *const[]){"PERMIT", "DENY"}, 2);
}

static int action_of(const char *text)
{
    return one_of(text, (const char *const[]){"READ", "DISCLOSE", "SEARCH"}, 3);
}

static int confidentiality_of(const char *text)
{
    return letter(text, "ULMNRV");
}

static Chartmesh__V1__Coding *coding_of(const char *text)
{
    Chartmesh__V1__Coding *coding = new_coding();
    const char *bar = strrchr(text, '|');
    char *system;
    assert_non_null(bar);
    assert_ok(arena_string(&arena, BYTES(text, (size_t)(bar - text)), &system, &err));
    coding->system = system;
    coding->code = (char *)bar + 1;
    return coding;
}

static struct consent_coding consent_coding_of(const char *text)
{
    if (!text) {
        return (struct consent_coding){0};
    }
    Chartmesh__V1__Coding *coding = coding_of(text);
    return (struct consent_coding){coding->system, coding->code};
}

static size_t codings(const json_t *object, const char *field, Chartmesh__V1__Coding ***out)
{
    const json_t *list = json_object_get(object, field);
    *out = room(json_array_size(list), sizeof **out);
    for (size_t i = 0; i < json_array_size(list); i++) {
        (*out)[i] = coding_of(json_string_value(json_array_get(list, i)));
    }
    return json_array_size(list);
}

static size_t texts(const json_t *object, const char *field, char ***out)
{
    const json_t *list = json_object_get(object, field);
    *out = room(json_array_size(list), sizeof **out);
    for (size_t i = 0; i < json_array_size(list); i++) {
        (*out)[i] = (char *)json_string_value(json_array_get(list, i));
    }
    return json_array_size(list);
}

static ProtobufCBinaryData binary(struct bytes view)
{
    return (ProtobufCBinaryData){view.len, (uint8_t *)view.data};
}

static size_t ids(const json_t *object, const char *field, ProtobufCBinaryData **out)
{
    const json_t *list = json_object_get(object, field);
    *out = room(json_array_size(list), sizeof **out);
    for (size_t i = 0; i < json_array_size(list); i++) {
        (*out)[i] = binary(hex_value(json_array_get(list, i), &arena));
    }
    return json_array_size(list);
}

static Chartmesh__V1__Instant *instant_of(const json_t *object, const char *field)
{
    if (!vector_has(object, field)) {
        return NULL;
    }
    Chartmesh__V1__Instant *instant = new_instant();
    instant->ms = (int64_t)vector_u64(object, field);
    return instant;
}

static Chartmesh__V1__Period *period_of(const json_t *object, const char *field)
{
    if (!vector_has(object, field)) {
        return NULL;
    }
    Chartmesh__V1__Period *period = new_period();
    period->from = instant_of(vector_of(object, field), "from");
    period->until = instant_of(vector_of(object, field), "until");
    return period;
}

static Chartmesh__V1__Rule *rule_of(const json_t *json)
{
    static const char *const known[] = {
        "id",
        "parent",
        "effect",
        "actions",
        "purposes",
        "facilities",
        "roles",
        "users",
        "confidentiality_max",
        "sensitivity",
        "without_sensitivity",
        "classes",
        "documents",
        "authoring_facilities",
        "clinical",
        "valid",
        "deny_only",
        "confidentiality_min",
    };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value)
    {
        (void)one_of(key, known, COUNT(known));
    }
    Chartmesh__V1__Rule *rule = new_rule();
    rule->id = (uint32_t)vector_u64(json, "id");
    rule->parent = (uint32_t)vector_u64_or(json, "parent", 0);
    rule->effect = (Chartmesh__V1__Effect)effect_of(vector_text(json, "effect"));
    const json_t *actions = json_object_get(json, "actions");
    rule->n_actions = json_array_size(actions);
    rule->actions = room(rule->n_actions, sizeof *rule->actions);
    for (size_t i = 0; i < rule->n_actions; i++) {
        rule->actions[i] = (Chartmesh__V1__Action)action_of(json_string_value(json_array_get(actions, i)));
    }
    rule->n_purposes = texts(json, "purposes", &rule->purposes);
    rule->n_facilities = ids(json, "facilities", &rule->facilities);
    rule->n_roles = codings(json, "roles", &rule->roles);
    rule->n_users = texts(json, "users", &rule->users);
    rule->confidentiality_max =
        (Chartmesh__V1__Confidentiality)confidentiality_of(vector_text_or(json, "confidentiality_max", NULL));
    rule->confidentiality_min =
        (Chartmesh__V1__Confidentiality)confidentiality_of(vector_text_or(json, "confidentiality_min", NULL));
    rule->n_sensitivity = codings(json, "sensitivity", &rule->sensitivity);
    rule->n_without_sensitivity = codings(json, "without_sensitivity", &rule->without_sensitivity);
    rule->n_classes = codings(json, "classes", &rule->classes);
    rule->n_documents = ids(json, "documents", &rule->documents);
    rule->n_authoring_facilities = ids(json, "authoring_facilities", &rule->authoring_facilities);
    rule->clinical = period_of(json, "clinical");
    rule->valid = period_of(json, "valid");
    rule->deny_only = vector_bool(json, "deny_only");
    return rule;
}

static size_t rules_of(const json_t *json, Chartmesh__V1__Rule ***out)
{
    const json_t *list = vector_array(json, "rules");
    *out = room(json_array_size(list), sizeof **out);
    for (size_t i = 0; i < json_array_size(list); i++) {
        (*out)[i] = rule_of(json_array_get(list, i));
    }
    return json_array_size(list);
}

static Chartmesh__V1__Dot *dot_of(const json_t *json, uint64_t tag)
{
    Chartmesh__V1__Dot *dot = new_dot();
    dot->tag = json ? vector_u64(json, "tag") : tag;
    dot->counter = json ? vector_u64(json, "counter") : 1;
    return dot;
}

/* Versions without a dot are of different writers. */
static Chartmesh__V1__Policy *policy_of(const json_t *json, uint64_t tag)
{
    Chartmesh__V1__Policy *policy = new_policy();
    const json_t *assertor = vector_object(json, "assertor"), *context = json_object_get(json, "context");
    policy->head = new_head();
    policy->head->facility = binary(vector_hex(json, "facility", &arena));
    policy->subject = new_subject();
    policy->dot = dot_of(json_object_get(json, "dot"), tag);
    policy->n_context = json_array_size(context);
    policy->context = room(policy->n_context, sizeof *policy->context);
    for (size_t i = 0; i < policy->n_context; i++) {
        policy->context[i] = dot_of(json_array_get(context, i), 0);
    }
    policy->base_effect = (Chartmesh__V1__Effect)effect_of(vector_text_or(json, "base_effect", NULL));
    policy->n_rules = rules_of(json, &policy->rules);
    policy->assertor = new_assertor();
    policy->assertor->who = (Chartmesh__V1__Who)one_of(
        vector_text(assertor, "who"), (const char *const[]){"PATIENT", "PROXY", "STAFF", "LAW"}, 4);
    if (vector_has(assertor, "author")) {
        policy->assertor->author = new_author();
        policy->assertor->author->user = (char *)vector_text_or(vector_of(assertor, "author"), "user", "");
    }
    return policy;
}

static struct hash numbered(uint8_t base, size_t i)
{
    return (struct hash){{base, (uint8_t)(i >> 8), (uint8_t)i}};
}

static struct consent_heads heads_of(const json_t *test)
{
    const json_t *list = json_object_get(test, "policies");
    struct consent_policy *policies = room(json_array_size(list), sizeof *policies);
    struct consent_heads heads;
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct hash id = numbered(1, i);
        assert_ok(
            consent_policy_compile(policy_of(json_array_get(list, i), 1000 + i), &id, &arena, &policies[i], &err));
    }
    assert_ok(consent_heads_find(policies, json_array_size(list), &arena, &heads, &err));
    return heads;
}

static struct consent_version version_of(const json_t *json)
{
    const json_t *labels = vector_object(json, "labels");
    Chartmesh__V1__Labels *effective = new_labels();
    effective->confidentiality =
        (Chartmesh__V1__Confidentiality)confidentiality_of(vector_text(labels, "confidentiality"));
    effective->n_sensitivity = codings(labels, "sensitivity", &effective->sensitivity);
    return (struct consent_version){
        .document = vector_id(json, "document"),
        .class = consent_coding_of(vector_text(json, "class")),
        .authoring = vector_id(json, "facility"),
        .author_user = vector_text_or(vector_object(json, "author"), "user", ""),
        .effective = effective,
        .clinical = period_of(json, "clinical"),
    };
}

static struct consent_request request_of(const json_t *json, bool assigned)
{
    const json_t *time = vector_object(json, "time");
    return (struct consent_request){
        .action = (enum consent_action)action_of(vector_text(json, "action")),
        .facility = vector_id(json, "facility"),
        .user = vector_text_or(json, "user", NULL),
        .purpose = vector_text_or(json, "purpose", NULL),
        .role = consent_coding_of(vector_text_or(json, "role", NULL)),
        .lo_ms = (int64_t)vector_u64(time, "lo"),
        .hi_ms = (int64_t)vector_u64(time, "hi"),
        .assigned = assigned,
    };
}

/* -- The configuration and context of all cases */

struct world {
    json_t *file;
    struct consent_config config;
    struct id origin;
    struct hash tables;                  /* theirs, which ours stand in for */
};

static size_t roles_of(const json_t *json, const char *field, const struct consent_coding **out)
{
    const json_t *list = vector_array(json, field);
    struct consent_coding *roles = room(json_array_size(list), sizeof *roles);
    for (size_t i = 0; i < json_array_size(list); i++) {
        roles[i] = consent_coding_of(json_string_value(json_array_get(list, i)));
    }
    *out = roles;
    return json_array_size(list);
}

static bool world_open(struct world *world)
{
    arena_init(&arena, ARENA_BUDGET);
    *world = (struct world){0};
    if (!vectors_load("format-vectors/consent.json", &world->file)) {
        return false;
    }
    const json_t *config = vector_object(world->file, "config"), *ages = vector_object(config, "max_age_s");
    const json_t *table = vector_array(config, "table");
    struct consent_need *needs = room(json_array_size(table), sizeof *needs);
    for (size_t i = 0; i < json_array_size(table); i++) {
        const json_t *row = json_array_get(table, i);
        needs[i] = (struct consent_need){
            .role = consent_coding_of(vector_text(row, "role")),
            .purpose = vector_text(row, "purpose"),
            .assigned = strcmp(vector_text(row, "needs"), "assigned") == 0,
        };
    }
    world->config = (struct consent_config){
        .table = needs,
        .table_len = json_array_size(table),
        .max_age_s = (uint32_t)vector_u64(ages, "N"),
        .max_age_restricted_s = (uint32_t)vector_u64(ages, "R"),
        .max_age_sensitive_s = (uint32_t)vector_u64(ages, "sensitive"),
    };
    world->config.clinical_roles_len = roles_of(config, "clinical_roles", &world->config.clinical_roles);
    world->config.sensitive_roles_len = roles_of(config, "sensitive_roles", &world->config.sensitive_roles);
    world->origin = vector_id(world->file, "origin");
    world->tables = vector_hash(world->file, "terms_tables");
    return true;
}

static void world_close(struct world *world)
{
    json_decref(world->file);
    arena_done(&arena);
}

static unsigned integrity_of(const struct world *world, const json_t *test, struct id facility)
{
    const json_t *list = json_object_get(test, "integrity"), *members = vector_array(world->file, "members");
    bool member = false;
    for (size_t i = 0; i < json_array_size(members); i++) {
        struct bytes one = hex_value(json_array_get(members, i), &arena);
        member |= bytes_equal(one, BYTES_OF(facility));
    }
    unsigned against = member ? 0 : CONSENT_NOT_MEMBER;
    for (size_t i = 0; i < json_array_size(list); i++) {
        against |= 1u << (one_of(json_string_value(json_array_get(list, i)),
                                 (const char *const[]){"ERASED", "FENCED", "NOT_MEMBER", "RECOVERY"}, 4) -
                          1);
    }
    return against;
}

static Chartmesh__V1__Terms *terms_of(const struct world *world, const json_t *json)
{
    Chartmesh__V1__Terms *terms = new_terms();
    const json_t *trees = vector_array(json, "trees");
    terms->n_trees = json_array_size(trees);
    terms->trees = room(terms->n_trees, sizeof *terms->trees);
    for (size_t i = 0; i < terms->n_trees; i++) {
        const json_t *tree = json_array_get(trees, i);
        terms->trees[i] = new_tree();
        terms->trees[i]->base_effect = (Chartmesh__V1__Effect)effect_of(vector_text_or(tree, "base_effect", NULL));
        terms->trees[i]->n_rules = rules_of(tree, &terms->trees[i]->rules);
        terms->trees[i]->deny_only = vector_bool(tree, "deny_only");
    }
    terms->valid = period_of(json, "valid");
    terms->max_age_s = (uint32_t)vector_u64_or(json, "max_age_s", 0);
    if (vector_has(json, "tables")) {
        struct bytes tables = vector_hex(json, "tables", &arena);
        terms->tables = binary(bytes_equal(tables, BYTES_OF(world->tables)) ? BYTES_OF(tables_sha256) : tables);
    }
    return terms;
}

static struct consent_copy copy_of(const struct world *world, const json_t *terms, uint64_t incarnation,
                                   uint64_t generation, size_t number)
{
    Chartmesh__V1__Disclosure *message = new_disclosure();
    struct hash id = numbered(2, number);
    struct consent_copy copy;
    message->terms = terms_of(world, terms);
    message->incarnation = incarnation;
    message->generation = generation;
    message->n_basis = message->terms->n_trees;
    message->basis = room(message->n_basis, sizeof *message->basis);
    for (size_t i = 0; i < message->n_basis; i++) {
        struct hash *policy = room(1, sizeof *policy);
        *policy = numbered(3, i);
        message->basis[i] = new_basis();
        message->basis[i]->policy = binary(BYTES_OF(*policy));
    }
    assert_ok(consent_copy_compile(message, &id, &arena, &copy, &err));
    return copy;
}

static size_t copies_of(const struct world *world, const json_t *json, struct consent_copy **out)
{
    const json_t *list = json_object_get(json, "disclosures");
    size_t len = list ? json_array_size(list) : 1;
    *out = room(len, sizeof **out);
    for (size_t i = 0; i < len; i++) {
        const json_t *one = list ? json_array_get(list, i) : json;
        (*out)[i] = copy_of(world, vector_object(one, "terms"), vector_u64_or(one, "incarnation", 1),
                            vector_u64_or(one, "generation", 1), i);
        (*out)[i].has_lease = vector_has(json, "lease_at");
        (*out)[i].lease_at_ms = (int64_t)vector_u64_or(json, "lease_at", 0);
    }
    return len;
}

static const struct consent_break_glass *break_glass_of(const json_t *test)
{
    if (!vector_has(test, "break_glass")) {
        return NULL;
    }
    const json_t *json = vector_object(test, "break_glass"), *list = vector_array(json, "documents");
    struct consent_break_glass *opened = room(1, sizeof *opened);
    struct id *documents = room(json_array_size(list), sizeof *documents);
    for (size_t i = 0; i < json_array_size(list); i++) {
        assert_true(id_from(hex_value(json_array_get(list, i), &arena), &documents[i]));
    }
    *opened = (struct consent_break_glass){
        .user = vector_text(json, "user"),
        .documents = documents,
        .documents_len = json_array_size(list),
        .from_ms = (int64_t)vector_u64(json, "from"),
        .until_ms = (int64_t)vector_u64(json, "until"),
    };
    return opened;
}

/* -- What is expected */

static bool path_equal(const json_t *rules, const uint32_t *path, size_t len)
{
    bool equal = json_array_size(rules) == len;
    for (size_t i = 0; equal && i < len; i++) {
        equal = (uint32_t)json_integer_value(json_array_get(rules, i)) == path[i];
    }
    return equal;
}

/* A head's place in the case: policies by their ids, trees by counting through. */
static size_t place_of(const struct consent_basis *basis, bool holder)
{
    return holder ? basis->head : (size_t)basis->policy.bytes[1] << 8 | basis->policy.bytes[2];
}

static bool decision_equal(const json_t *expect, const struct consent_decision *decision, bool holder)
{
    const json_t *basis = vector_array(expect, "basis");
    bool equal = effect_of(vector_text(expect, "effect")) == (int)decision->effect &&
                 vector_u64(expect, "step") == decision->step && json_array_size(basis) == decision->basis_len;
    for (size_t i = 0; equal && i < decision->basis_len; i++) {
        const json_t *one = json_array_get(basis, i);
        equal = vector_u64(one, "policy") == place_of(&decision->basis[i], holder) &&
                path_equal(vector_array(one, "rules"), decision->basis[i].rules, decision->basis[i].rules_len);
    }
    return equal;
}

static bool decision_check(const json_t *test, const json_t *expect, const struct consent_decision *decision,
                           bool holder)
{
    if (decision_equal(expect, decision, holder)) {
        return true;
    }
    char *words, *wanted = json_dumps(expect, JSON_COMPACT);
    assert_ok(consent_reason(decision, &arena, &words, &err));
    print_error("%s\n  expected %s\n  decided %s\n", vector_text(test, "what"), wanted, words);
    free(wanted);
    return false;
}

static bool decide_one(const struct world *world, const json_t *test)
{
    bool holder = vector_has(test, "copy");
    struct consent_request request = request_of(vector_object(test, "request"), vector_bool(test, "assigned"));
    struct consent_version version = version_of(vector_object(vector_of(test, "request"), "version"));
    struct consent_config config = world->config;
    struct consent_heads heads = heads_of(test);
    struct consent_copy *copies = NULL;
    struct consent_decision decision;

    config.facility = holder ? request.facility : world->origin;
    struct consent_context context = {
        .config = &config,
        .origin = world->origin,
        .integrity = integrity_of(world, test, request.facility),
        .heads = &heads,
        .copies_len = holder ? copies_of(world, vector_object(test, "copy"), &copies) : 0,
        .break_glass = break_glass_of(test),
    };
    context.copies = copies;
    assert_ok(consent_decide(&request, &version, &context, &arena, &decision, &err));
    return decision_check(test, vector_object(test, "expect"), &decision, holder);
}

static void decide_all(const char *section)
{
    struct world world;
    size_t i, wrong = 0;
    json_t *test;
    if (!world_open(&world)) {
        return;
    }
    json_array_foreach(vector_array(world.file, section), i, test)
    {
        wrong += !decide_one(&world, test);
    }
    print_message("consent.json: %zu of %zu cases of '%s' decided as expected\n", i - wrong, i, section);
    assert_int_equal(wrong, 0);
    world_close(&world);
}

static void test_consent__named_cases_are_decided_as_the_second_implementation_does(void **state)
{
    (void)state;
    decide_all("named");
}

static void test_consent__random_cases_are_decided_as_the_second_implementation_does(void **state)
{
    (void)state;
    decide_all("random");
}

/* -- Disclosures */

static struct bytes packed(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *out = room(len + 1, 1);
    return BYTES(out, protobuf_c_message_pack(message, out));
}

static bool group_equal(const struct world *world, const json_t *expect, const struct consent_group *group)
{
    const json_t *versions = vector_array(expect, "versions"), *basis = vector_array(expect, "basis");
    bool equal = json_array_size(versions) == group->versions_len && json_array_size(basis) == group->basis_len;
    for (size_t i = 0; equal && i < group->versions_len; i++) {
        equal = (size_t)json_integer_value(json_array_get(versions, i)) == group->versions[i];
    }
    for (size_t i = 0; equal && i < group->basis_len; i++) {
        const json_t *one = json_array_get(basis, i);
        equal = vector_u64(one, "policy") == group->basis[i]->policy.data[2] &&
                path_equal(vector_array(one, "rules"), group->basis[i]->rules, group->basis[i]->n_rules);
    }
    const Chartmesh__V1__Terms *terms = terms_of(world, vector_object(expect, "terms"));
    return equal && bytes_equal(packed(&terms->base), packed(&group->terms->base)) && terms_check(terms, &err);
}

static bool disclose_one(const struct world *world, const json_t *test)
{
    const json_t *list = vector_array(test, "versions"), *expect = vector_object(test, "expect");
    const json_t *answers = vector_array(expect, "answers"), *groups = vector_array(expect, "groups");
    struct consent_version *versions = room(json_array_size(list), sizeof *versions);
    struct consent_push push = {
        .recipient = vector_id(test, "recipient"),
        .lo_ms = (int64_t)vector_u64(vector_of(test, "time"), "lo"),
        .hi_ms = (int64_t)vector_u64(vector_of(test, "time"), "hi"),
    };
    struct consent_config config = world->config;
    struct consent_heads heads = heads_of(test);
    struct consent_disclosure out;
    for (size_t i = 0; i < json_array_size(list); i++) {
        versions[i] = version_of(json_array_get(list, i));
    }
    config.facility = world->origin;
    struct consent_context context = {
        .config = &config,
        .origin = world->origin,
        .integrity = integrity_of(world, test, push.recipient),
        .heads = &heads,
    };
    assert_ok(consent_disclose(&push, versions, json_array_size(list), &context, &arena, &out, &err));

    bool right = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        right &= decision_check(test, json_array_get(answers, i), &out.answers[i], false);
    }
    if (json_array_size(groups) != out.groups_len) {
        print_error("%s: %zu groups, expected %zu\n", vector_text(test, "what"), out.groups_len,
                    json_array_size(groups));
        return false;
    }
    for (size_t i = 0; i < out.groups_len; i++) {
        if (!group_equal(world, json_array_get(groups, i), &out.groups[i])) {
            print_error("%s: group %zu differs\n", vector_text(test, "what"), i);
            right = false;
        }
    }
    return right;
}

static void test_consent__disclosures_and_their_terms_are_those_of_the_second_implementation(void **state)
{
    (void)state;
    struct world world;
    size_t i, wrong = 0;
    json_t *test;
    if (!world_open(&world)) {
        return;
    }
    json_array_foreach(vector_array(world.file, "disclosures"), i, test)
    {
        wrong += !disclose_one(&world, test);
    }
    print_message("consent.json: %zu of %zu cases of 'disclosures' as expected\n", i - wrong, i);
    assert_int_equal(wrong, 0);
    world_close(&world);
}

static void test_consent__policies_that_the_format_refuses_are_refused(void **state)
{
    (void)state;
    struct world world;
    size_t i;
    json_t *test;
    if (!world_open(&world)) {
        return;
    }
    json_array_foreach(vector_array(world.file, "refused"), i, test)
    {
        assert_err(ERR_INVALID, policy_check(policy_of(vector_object(test, "policy"), 1), &err));
        assert_non_null(strstr(err.text, "rule "));
    }
    print_message("consent.json: %zu cases of 'refused' refused\n", i);
    world_close(&world);
}

static void test_consent__the_tables_shipped_are_those_of_the_vectors(void **state)
{
    (void)state;
    struct world world;
    if (!world_open(&world)) {
        return;
    }
    const json_t *tables = vector_object(world.file, "tables");
    struct hash purpose = vector_hash(tables, "purpose-of-use");
    struct hash sensitivity = vector_hash(tables, "information-sensitivity");
    assert_true(hash_equal(&table_purpose.sha256, &purpose));
    assert_true(hash_equal(&table_sensitivity.sha256, &sensitivity));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consent__named_cases_are_decided_as_the_second_implementation_does),
        cmocka_unit_test(test_consent__random_cases_are_decided_as_the_second_implementation_does),
        cmocka_unit_test(test_consent__disclosures_and_their_terms_are_those_of_the_second_implementation),
        cmocka_unit_test(test_consent__policies_that_the_format_refuses_are_refused),
        cmocka_unit_test(test_consent__the_tables_shipped_are_those_of_the_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
