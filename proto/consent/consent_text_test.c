/* proto/vectors/consent.txt, in the format of proto/vectors/README.md. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/consent/consent.h"
#include "proto/consent/tables.h"
#include "tests/lib/test.h"

enum { BUDGET = 16 << 20, POLICIES = 4, TREES = 4, RULES = 8, VERSIONS = 4, ROWS = 16, LIST = 8 };

static struct arena arena;
static struct err err;

static void *room(size_t count, size_t size)
{
    void *out;
    assert_ok(arena_array(&arena, count, size, &out, &err));
    return out;
}

/* -- Words and fields of a line */

struct line {
    const char *text;        /* for messages */
    char *words[32];
    bool used[32];
    size_t len;
};

static struct line line_of(const char *text)
{
    struct line line = {.text = text};
    char *copy, *save = NULL;
    assert_ok(arena_string(&arena, bytes_str(text), &copy, &err));
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        assert_true(line.len < COUNT(line.words));
        line.words[line.len++] = word;
    }
    return line;
}

static char *word_at(struct line *line, size_t at)
{
    if (at >= line->len) {
        fail_msg("consent.txt: too short: %s", line->text);
    }
    line->used[at] = true;
    return line->words[at];
}

static char *field_of(struct line *line, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < line->len; i++) {
        if (strncmp(line->words[i], name, len) == 0 && line->words[i][len] == '=') {
            line->used[i] = true;
            return line->words[i] + len + 1;
        }
    }
    return NULL;
}

static void line_end(const struct line *line)
{
    for (size_t i = 0; i < line->len; i++) {
        if (!line->used[i]) {
            fail_msg("consent.txt: nobody reads '%s' in: %s", line->words[i], line->text);
        }
    }
}

static size_t list_of(char *text, const char *between, char **out)
{
    char *save = NULL;
    size_t len = 0;
    for (char *one = text ? strtok_r(text, between, &save) : NULL; one; one = strtok_r(NULL, between, &save)) {
        assert_true(len < LIST);
        out[len++] = one;
    }
    return len;
}

/* -- Values */

static int named(const char *text, const char *names)
{
    int place = 1;
    size_t len = text ? strlen(text) : 0;
    for (const char *at = names; text && *at; place++) {
        size_t one = strcspn(at, " ");
        if (one == len && memcmp(at, text, len) == 0) {
            return place;
        }
        at += one + (at[one] == ' ');
    }
    if (text) {
        fail_msg("consent.txt: '%s' is none of: %s", text, names);
    }
    return 0;
}

static int effect_of(const char *text)
{
    return named(text, "PERMIT DENY");
}

static int level_of(const char *text)
{
    return named(text, "U L M N R V");
}

/* "a0": fifteen zeros and this byte. */
static struct id id_of(const char *text)
{
    struct id id = {0};
    assert_ok(hex_decode(text, id.bytes + ID_LEN - 1, 1, &err));
    return id;
}

static ProtobufCBinaryData binary_id(const char *text)
{
    struct id *id = room(1, sizeof *id);
    *id = id_of(text);
    return (ProtobufCBinaryData){ID_LEN, id->bytes};
}

/* "PSY" in the usual system, or "system|code". */
static Chartmesh__V1__Coding *coding_of(char *text, const char *usual)
{
    Chartmesh__V1__Coding *coding = room(1, sizeof *coding);
    char *bar = strrchr(text, '|');
    chartmesh__v1__coding__init(coding);
    coding->system = bar ? text : (char *)usual;
    coding->code = bar ? bar + 1 : text;
    if (bar) {
        *bar = '\0';
    }
    return coding;
}

static struct consent_coding plain(const char *system, const char *code)
{
    return (struct consent_coding){code ? system : NULL, code};
}

static size_t codings(struct line *line, const char *field, const char *usual, Chartmesh__V1__Coding ***out)
{
    char *words[LIST];
    size_t len = list_of(field_of(line, field), ",", words);
    *out = room(len, sizeof **out);
    for (size_t i = 0; i < len; i++) {
        (*out)[i] = coding_of(words[i], usual);
    }
    return len;
}

static size_t texts(struct line *line, const char *field, char ***out)
{
    *out = room(LIST, sizeof **out);
    return list_of(field_of(line, field), ",", *out);
}

static size_t ids(struct line *line, const char *field, ProtobufCBinaryData **out)
{
    char *words[LIST];
    size_t len = list_of(field_of(line, field), ",", words);
    *out = room(len, sizeof **out);
    for (size_t i = 0; i < len; i++) {
        (*out)[i] = binary_id(words[i]);
    }
    return len;
}

static Chartmesh__V1__Instant *instant_of(const char *text, size_t len)
{
    if (len == 0) {
        return NULL;
    }
    Chartmesh__V1__Instant *instant = room(1, sizeof *instant);
    chartmesh__v1__instant__init(instant);
    instant->ms = strtoll(text, NULL, 10);
    return instant;
}

/* "400-600", "-600", "400-". */
static Chartmesh__V1__Period *period_of(const char *text)
{
    if (!text) {
        return NULL;
    }
    Chartmesh__V1__Period *period = room(1, sizeof *period);
    size_t from = strcspn(text, "-");
    chartmesh__v1__period__init(period);
    period->from = instant_of(text, from);
    period->until = instant_of(text + from + 1, strlen(text + from + 1));
    return period;
}

static void interval_of(const char *text, int64_t *lo, int64_t *hi)
{
    const char *dash = strchr(text, '-');
    *lo = strtoll(text, NULL, 10);
    *hi = dash ? strtoll(dash + 1, NULL, 10) : *lo;
}

static uint64_t number_of(const char *text)
{
    return text ? strtoull(text, NULL, 10) : 0;
}

#define ROLE "urn:chartmesh:role"
#define CLASS "http://loinc.org"

/* -- A case */

struct group {
    struct line line;
    size_t first_tree;
};

struct test {
    const char *what;
    bool refused;
    Chartmesh__V1__Policy policies[POLICIES];
    size_t policies_len;
    Chartmesh__V1__Disclosure copies[TREES];
    struct line copy_lines[TREES];
    size_t copies_len;
    Chartmesh__V1__Tree trees[TREES];            /* of copies, or expected of groups */
    size_t trees_len;
    Chartmesh__V1__Rule ***rules;                /* where the next rule goes */
    size_t *rules_len;
    struct consent_request request;
    struct consent_push push;
    bool has_push;
    unsigned integrity;
    struct consent_break_glass break_glass;
    struct consent_version versions[VERSIONS];
    size_t versions_len;
    struct line expects[VERSIONS];
    size_t expects_len;
    struct group groups[VERSIONS];
    size_t groups_len;
};

static struct consent_config config;
static struct consent_coding clinical[LIST], sensitive[LIST];
static struct consent_need needs[ROWS];

static void dot_of(const char *text, uint64_t tag, Chartmesh__V1__Dot *dot)
{
    chartmesh__v1__dot__init(dot);
    dot->tag = text ? number_of(text) : tag;
    dot->counter = text ? number_of(strchr(text, '.') + 1) : 1;
}

static void read_policy(struct test *test, struct line *line)
{
    assert_true(test->policies_len < POLICIES);
    Chartmesh__V1__Policy *policy = &test->policies[test->policies_len++];
    chartmesh__v1__policy__init(policy);
    policy->head = room(1, sizeof *policy->head);
    policy->subject = room(1, sizeof *policy->subject);
    policy->dot = room(1, sizeof *policy->dot);
    policy->assertor = room(1, sizeof *policy->assertor);
    chartmesh__v1__head__init(policy->head);
    chartmesh__v1__subject__init(policy->subject);
    chartmesh__v1__assertor__init(policy->assertor);
    policy->head->facility = binary_id(word_at(line, 1));
    policy->assertor->who = (Chartmesh__V1__Who)named(word_at(line, 2), "PATIENT PROXY STAFF LAW");
    char *user = field_of(line, "user"), *context = field_of(line, "context");
    if (user) {
        policy->assertor->author = room(1, sizeof *policy->assertor->author);
        chartmesh__v1__author__init(policy->assertor->author);
        policy->assertor->author->user = user;
    }
    policy->base_effect = (Chartmesh__V1__Effect)effect_of(field_of(line, "base"));
    dot_of(field_of(line, "dot"), 1000 + test->policies_len, policy->dot);
    if (context) {
        policy->context = room(1, sizeof *policy->context);
        policy->context[0] = room(1, sizeof **policy->context);
        dot_of(context, 0, policy->context[0]);
        policy->n_context = 1;
    }
    policy->rules = room(RULES, sizeof *policy->rules);
    test->rules = &policy->rules;
    test->rules_len = &policy->n_rules;
}

static void read_rule(struct test *test, struct line *line)
{
    Chartmesh__V1__Rule *rule = room(1, sizeof *rule);
    char *place = word_at(line, 1), *under = strchr(place, '<'), *actions[LIST];
    chartmesh__v1__rule__init(rule);
    rule->id = (uint32_t)number_of(place);
    rule->parent = under ? (uint32_t)number_of(under + 1) : 0;
    rule->effect = (Chartmesh__V1__Effect)effect_of(word_at(line, 2));
    rule->n_actions = list_of(field_of(line, "actions"), ",", actions);
    rule->actions = room(rule->n_actions, sizeof *rule->actions);
    for (size_t i = 0; i < rule->n_actions; i++) {
        rule->actions[i] = (Chartmesh__V1__Action)named(actions[i], "READ DISCLOSE SEARCH");
    }
    rule->n_purposes = texts(line, "purposes", &rule->purposes);
    rule->n_facilities = ids(line, "facilities", &rule->facilities);
    rule->n_roles = codings(line, "roles", ROLE, &rule->roles);
    rule->n_users = texts(line, "users", &rule->users);
    rule->confidentiality_max = (Chartmesh__V1__Confidentiality)level_of(field_of(line, "confidentiality_max"));
    rule->confidentiality_min = (Chartmesh__V1__Confidentiality)level_of(field_of(line, "confidentiality_min"));
    rule->n_sensitivity = codings(line, "sensitivity", TABLES_SENSITIVITY_SYSTEM, &rule->sensitivity);
    rule->n_without_sensitivity =
        codings(line, "without_sensitivity", TABLES_SENSITIVITY_SYSTEM, &rule->without_sensitivity);
    rule->n_classes = codings(line, "classes", CLASS, &rule->classes);
    rule->n_documents = ids(line, "documents", &rule->documents);
    rule->n_authoring_facilities = ids(line, "authoring_facilities", &rule->authoring_facilities);
    rule->clinical = period_of(field_of(line, "clinical"));
    rule->valid = period_of(field_of(line, "valid"));
    rule->deny_only = field_of(line, "deny_only") != NULL;
    assert_true(test->rules && *test->rules_len < RULES);
    (*test->rules)[(*test->rules_len)++] = rule;
}

static void read_tree(struct test *test, struct line *line)
{
    assert_true(test->trees_len < TREES);
    Chartmesh__V1__Tree *tree = &test->trees[test->trees_len++];
    chartmesh__v1__tree__init(tree);
    tree->base_effect = (Chartmesh__V1__Effect)effect_of(field_of(line, "base"));
    tree->deny_only = field_of(line, "deny_only") != NULL;
    tree->rules = room(RULES, sizeof *tree->rules);
    test->rules = &tree->rules;
    test->rules_len = &tree->n_rules;
    if (test->copies_len > 0) {
        Chartmesh__V1__Disclosure *copy = &test->copies[test->copies_len - 1];
        copy->terms->trees[copy->terms->n_trees++] = tree;
        copy->basis[copy->n_basis] = room(1, sizeof **copy->basis);
        chartmesh__v1__basis__init(copy->basis[copy->n_basis]);
        copy->basis[copy->n_basis++]->policy = (ProtobufCBinaryData){HASH_LEN, room(1, HASH_LEN)};
    }
}

static void read_copy(struct test *test, struct line *line)
{
    assert_true(test->copies_len < TREES);
    Chartmesh__V1__Disclosure *copy = &test->copies[test->copies_len];
    char *pair = word_at(line, 1);
    chartmesh__v1__disclosure__init(copy);
    copy->incarnation = number_of(pair);
    copy->generation = number_of(strchr(pair, '.') + 1);
    copy->terms = room(1, sizeof *copy->terms);
    chartmesh__v1__terms__init(copy->terms);
    copy->terms->trees = room(TREES, sizeof *copy->terms->trees);
    copy->basis = room(TREES, sizeof *copy->basis);
    copy->terms->max_age_s = (uint32_t)number_of(field_of(line, "max_age"));
    copy->terms->valid = period_of(field_of(line, "valid"));
    (void)field_of(line, "lease");
    test->copy_lines[test->copies_len++] = *line;
}

static Chartmesh__V1__Labels *labels_of(char *text)
{
    char *words[LIST];
    size_t len = list_of(text, ",", words);
    if (len == 0) {
        return NULL;
    }
    Chartmesh__V1__Labels *labels = room(1, sizeof *labels);
    chartmesh__v1__labels__init(labels);
    labels->confidentiality = (Chartmesh__V1__Confidentiality)level_of(words[0]);
    labels->n_sensitivity = len - 1;
    labels->sensitivity = room(len, sizeof *labels->sensitivity);
    for (size_t i = 1; i < len; i++) {
        labels->sensitivity[i - 1] = coding_of(words[i], TABLES_SENSITIVITY_SYSTEM);
    }
    return labels;
}

static void read_version(struct test *test, struct line *line)
{
    assert_true(test->versions_len < VERSIONS);
    test->versions[test->versions_len++] = (struct consent_version){
        .document = id_of(word_at(line, 1)),
        .authoring = id_of(word_at(line, 2)),
        .class = plain(CLASS, field_of(line, "class")),
        .author_user = field_of(line, "author"),
        .labels = labels_of(field_of(line, "labels")),
        .effective = labels_of(field_of(line, "effective")),
        .clinical = period_of(field_of(line, "clinical")),
    };
}

static void read_request(struct test *test, struct line *line)
{
    test->request = (struct consent_request){
        .action = (enum consent_action)named(word_at(line, 1), "READ DISCLOSE SEARCH"),
        .facility = id_of(word_at(line, 2)),
        .user = field_of(line, "user"),
        .role = plain(ROLE, field_of(line, "role")),
        .purpose = field_of(line, "purpose"),
        .assigned = field_of(line, "assigned") != NULL,
    };
    interval_of(field_of(line, "time"), &test->request.lo_ms, &test->request.hi_ms);
    char *integrity = field_of(line, "integrity");
    test->integrity = integrity ? 1u << (named(integrity, "ERASED FENCED NOT_MEMBER RECOVERY") - 1) : 0;
}

static void read_push(struct test *test, struct line *line)
{
    test->has_push = true;
    test->push.recipient = id_of(word_at(line, 1));
    interval_of(field_of(line, "time"), &test->push.lo_ms, &test->push.hi_ms);
}

static void read_break_glass(struct test *test, struct line *line)
{
    struct id *document = room(1, sizeof *document);
    *document = id_of(word_at(line, 2));
    test->break_glass.user = word_at(line, 1);
    test->break_glass.documents = document;
    test->break_glass.documents_len = 1;
    interval_of(word_at(line, 3), &test->break_glass.from_ms, &test->break_glass.until_ms);
}

static void read_expect(struct test *test, struct line *line)
{
    assert_true(test->expects_len < VERSIONS);
    for (size_t i = 0; i < line->len; i++) {
        line->used[i] = true;
    }
    test->expects[test->expects_len++] = *line;
}

static void read_group(struct test *test, struct line *line)
{
    assert_true(test->groups_len < VERSIONS);
    for (size_t i = 0; i < line->len; i++) {
        line->used[i] = true;
    }
    test->groups[test->groups_len++] = (struct group){*line, test->trees_len};
}

static void read_config(struct line *line)
{
    const char *what = line->words[0];
    for (size_t i = 0; i < line->len; i++) {
        line->used[i] = true;
    }
    if (strcmp(what, "need") == 0) {
        assert_true(config.table_len < ROWS && line->len == 4);
        needs[config.table_len++] = (struct consent_need){plain(ROLE, line->words[1]), line->words[2],
                                                          strcmp(line->words[3], "assigned") == 0};
    } else if (strcmp(what, "max_age") == 0) {
        config.max_age_s = (uint32_t)number_of(word_at(line, 1));
        config.max_age_restricted_s = (uint32_t)number_of(word_at(line, 2));
        config.max_age_sensitive_s = (uint32_t)number_of(word_at(line, 3));
    } else {
        bool above = strcmp(what, "sensitive") == 0;
        struct consent_coding *list = above ? sensitive : clinical;
        for (size_t i = 1; i < line->len && i <= LIST; i++) {
            list[i - 1] = plain(ROLE, line->words[i]);
        }
        *(above ? &config.sensitive_roles_len : &config.clinical_roles_len) = line->len - 1;
    }
}

/* -- Checking */

/* "0:1,2": head 0, path 1, 2. */
static bool basis_equal(const char *text, size_t head, const uint32_t *path, size_t len)
{
    char said[64];
    size_t at = (size_t)snprintf(said, sizeof said, "%zu:", head);
    for (size_t i = 0; i < len; i++) {
        at += (size_t)snprintf(said + at, sizeof said - at, i ? ",%u" : "%u", path[i]);
    }
    return strcmp(said, text) == 0;
}

static struct hash numbered(size_t i)
{
    return (struct hash){{(uint8_t)i}};
}

static void check_decision(const struct test *test, const struct line *expect,
                           const struct consent_decision *decision, bool holder)
{
    bool right = expect->len == 3 + decision->basis_len && effect_of(expect->words[1]) == (int)decision->effect &&
                 number_of(expect->words[2]) == decision->step;
    for (size_t i = 0; right && i < decision->basis_len; i++) {
        const struct consent_basis *basis = &decision->basis[i];
        right = basis_equal(expect->words[3 + i], holder ? basis->head : basis->policy.bytes[0], basis->rules,
                            basis->rules_len);
    }
    if (!right) {
        char *words;
        assert_ok(consent_reason(decision, &arena, &words, &err));
        fail_msg("consent.txt: %s\n  %s\n  decided: %s", test->what, expect->text, words);
    }
}

static bool tree_equal(const Chartmesh__V1__Tree *a, const Chartmesh__V1__Tree *b)
{
    uint8_t left[4096], right[4096];
    assert_true(chartmesh__v1__tree__get_packed_size(a) <= sizeof left);
    assert_true(chartmesh__v1__tree__get_packed_size(b) <= sizeof right);
    return bytes_equal(BYTES(left, chartmesh__v1__tree__pack(a, left)),
                       BYTES(right, chartmesh__v1__tree__pack(b, right)));
}

static void check_group(const struct test *test, size_t at, const struct consent_group *group)
{
    struct line line = test->groups[at].line;
    char *versions[LIST], *basis[LIST];
    bool right = list_of(line.words[1], ",", versions) == group->versions_len &&
                 list_of(field_of(&line, "basis"), ";", basis) == group->basis_len &&
                 number_of(field_of(&line, "max_age")) == group->terms->max_age_s;
    for (size_t i = 0; right && i < group->versions_len; i++) {
        right = number_of(versions[i]) == group->versions[i];
    }
    size_t trees = (at + 1 < test->groups_len ? test->groups[at + 1].first_tree : test->trees_len) -
                   test->groups[at].first_tree;
    right = right && trees == group->terms->n_trees && trees == group->basis_len;
    for (size_t i = 0; right && i < trees; i++) {
        const Chartmesh__V1__Basis *one = group->basis[i];
        right = basis_equal(basis[i], one->policy.data[0], one->rules, one->n_rules) &&
                tree_equal(&test->trees[test->groups[at].first_tree + i], group->terms->trees[i]);
    }
    if (!right) {
        fail_msg("consent.txt: %s: group %zu differs", test->what, at);
    }
}

static size_t copies_compile(struct test *test, struct consent_copy *out)
{
    for (size_t i = 0; i < test->copies_len; i++) {
        struct hash id = numbered(i);
        const char *lease = field_of(&test->copy_lines[i], "lease");
        assert_ok(consent_copy_compile(&test->copies[i], &id, &arena, &out[i], &err));
        out[i].has_lease = lease != NULL;
        out[i].lease_at_ms = (int64_t)number_of(lease);
    }
    return test->copies_len;
}

static void check(struct test *test)
{
    struct consent_policy policies[POLICIES];
    struct consent_copy copies[TREES];
    struct consent_heads heads;
    if (test->refused) {
        assert_err(ERR_INVALID, policy_check(&test->policies[0], &err));
        return;
    }
    for (size_t i = 0; i < test->policies_len; i++) {
        struct hash id = numbered(i);
        assert_ok(consent_policy_compile(&test->policies[i], &id, &arena, &policies[i], &err));
    }
    assert_ok(consent_heads_find(policies, test->policies_len, &arena, &heads, &err));
    struct consent_context context = {
        .config = &config,
        .origin = id_of("a0"),
        .integrity = test->integrity,
        .heads = &heads,
        .copies = copies,
        .copies_len = copies_compile(test, copies),
        .break_glass = test->break_glass.user ? &test->break_glass : NULL,
    };
    assert_int_equal(test->expects_len, test->versions_len);
    if (test->has_push) {
        struct consent_disclosure out;
        config.facility = context.origin;
        assert_ok(consent_disclose(&test->push, test->versions, test->versions_len, &context, &arena, &out, &err));
        for (size_t i = 0; i < test->versions_len; i++) {
            check_decision(test, &test->expects[i], &out.answers[i], false);
        }
        assert_int_equal(out.groups_len, test->groups_len);
        for (size_t i = 0; i < out.groups_len; i++) {
            check_group(test, i, &out.groups[i]);
        }
        return;
    }
    struct consent_decision decision;
    config.facility = test->request.facility;
    assert_ok(consent_decide(&test->request, &test->versions[0], &context, &arena, &decision, &err));
    check_decision(test, &test->expects[0], &decision, !id_equal(&config.facility, &context.origin));
}

/* -- The file */

static const struct {
    const char *name;
    void (*read)(struct test *, struct line *);
} lines[] = {
    {"policy", read_policy},   {"rule", read_rule},
    {"copy", read_copy},       {"tree", read_tree},
    {"request", read_request}, {"push", read_push},
    {"version", read_version}, {"expect", read_expect},
    {"group", read_group},     {"break_glass", read_break_glass},
};

static void read_line(struct test *test, const char *text)
{
    struct line line = line_of(text);
    (void)word_at(&line, 0);
    for (size_t i = 0; i < COUNT(lines); i++) {
        if (strcmp(lines[i].name, line.words[0]) == 0) {
            lines[i].read(test, &line);
            line_end(&line);
            return;
        }
    }
    if (test->what || !strstr(" clinical sensitive need max_age ", line.words[0])) {
        fail_msg("consent.txt: no such line: %s", text);
    }
    read_config(&line);
}

static void test_consent__the_text_vectors_hold(void **state)
{
    (void)state;
    FILE *file = fopen("proto/vectors/consent.txt", "r");
    char text[512];
    size_t cases = 0;
    assert_non_null(file);
    arena_init(&arena, BUDGET);
    config = (struct consent_config){.clinical_roles = clinical, .sensitive_roles = sensitive, .table = needs};
    struct test *test = room(1, sizeof *test);
    while (fgets(text, sizeof text, file)) {
        text[strcspn(text, "\n")] = '\0';
        bool refused = strncmp(text, "refuse ", 7) == 0;
        char *kept;
        assert_ok(arena_string(&arena, bytes_str(text), &kept, &err));
        if (strncmp(text, "case ", 5) == 0 || refused) {
            if (test->what) {
                check(test);
            }
            test = room(1, sizeof *test);
            test->what = kept + (refused ? 7 : 5);
            test->refused = refused;
            cases++;
        } else if (*text && *text != '#') {
            read_line(test, kept);
        }
    }
    check(test);
    fclose(file);
    print_message("consent.txt: %zu cases\n", cases);
    assert_true(cases > 40);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consent__the_text_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
