/* The invariants I10 to I14 over random policies, against an evaluator written a second time from the text of
 * docs/protocol/04-consent.md: with strings and recursion, sharing only messages and table texts. */
#include <stdio.h>
#include <time.h>

#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/consent/consent.h"
#include "proto/consent/tables.h"
#include "tests/lib/test.h"

enum { ROUNDS = 6000, BUDGET = 8 << 20 };

static struct arena arena;
static struct err err;
static uint64_t state_of_chance;

/* -- Chance, from a seed */

static uint64_t chance(uint64_t below)
{
    state_of_chance ^= state_of_chance << 13;
    state_of_chance ^= state_of_chance >> 7;
    state_of_chance ^= state_of_chance << 17;
    return (state_of_chance >> 11) % below;
}

static void *room(size_t count, size_t size)
{
    void *out;
    assert_ok(arena_array(&arena, count, size, &out, &err));
    return out;
}

static const char *const users[] = {"alice", "bob", "carol", ""};
static const char *const roles[] = {"physician", "nurse", "psychiatrist", "clerk", ""};
static const char *const purposes[] = {"TREAT",    "ETREAT", "BTG",      "HRESCH",
                                       "CLINTRCH", "HPAYMT", "XPURPOSE", "PurposeOfUse"};
static const char *const codes[] = {"PSY", "SUD", "ETHUD", "HIV", "XLABEL", "SPI"};
static const char *const classes[] = {"34133-9", "11502-2"};
static uint8_t bytes_of_ids[8][ID_LEN];

#define PICK(list) ((char *)(list)[chance(COUNT(list))])

static struct id id_number(size_t n)
{
    struct id id = {{[ID_LEN - 1] = (uint8_t)n}};
    return id;
}

static Chartmesh__V1__Coding *new_coding(const char *system, const char *code)
{
    Chartmesh__V1__Coding *coding = room(1, sizeof *coding);
    chartmesh__v1__coding__init(coding);
    coding->system = (char *)system;
    coding->code = (char *)code;
    return coding;
}

static Chartmesh__V1__Coding *any_code(void)
{
    return new_coding(chance(20) ? TABLES_SENSITIVITY_SYSTEM : "urn:x", PICK(codes));
}

static Chartmesh__V1__Instant *any_instant(uint64_t below)
{
    Chartmesh__V1__Instant *instant = room(1, sizeof *instant);
    chartmesh__v1__instant__init(instant);
    instant->ms = (int64_t)chance(below);
    return instant;
}

static Chartmesh__V1__Period *any_period(uint64_t below)
{
    Chartmesh__V1__Period *period = room(1, sizeof *period);
    chartmesh__v1__period__init(period);
    period->from = chance(3) ? any_instant(below) : NULL;
    period->until = !period->from || chance(2) ? any_instant(below) : NULL;
    if (period->from && period->until && period->from->ms >= period->until->ms) {
        period->until->ms = period->from->ms + 1;
    }
    return period;
}

static size_t any_ids(size_t first, size_t count, ProtobufCBinaryData **out)
{
    size_t len = 1 + chance(2);
    *out = room(len, sizeof **out);
    for (size_t i = 0; i < len; i++) {
        (*out)[i] = (ProtobufCBinaryData){ID_LEN, bytes_of_ids[first + chance(count)]};
    }
    return len;
}

#define ANY_LIST(field, n, make)                                                                                  \
    do {                                                                                                          \
        (n) = 1 + chance(2);                                                                                      \
        (field) = room((n), sizeof *(field));                                                                     \
        for (size_t k = 0; k < (n); k++) {                                                                        \
            (field)[k] = make;                                                                                    \
        }                                                                                                         \
    } while (0)

enum { FACILITIES = 1, DOCUMENTS = 4 };         /* ids 1 to 3: facilities, 1 the origin; 4 to 6: documents */

static void any_lists(Chartmesh__V1__Rule *rule)
{
    if (chance(4) == 0) {
        ANY_LIST(rule->actions, rule->n_actions, (Chartmesh__V1__Action)(1 + chance(3)));
    }
    if (chance(3) == 0) {
        ANY_LIST(rule->purposes, rule->n_purposes, PICK(purposes));
    }
    if (chance(3) == 0) {
        rule->n_facilities = any_ids(FACILITIES, 3, &rule->facilities);
    }
    if (chance(4) == 0) {
        ANY_LIST(rule->roles, rule->n_roles, new_coding("urn:role", roles[chance(4)]));
    }
    if (chance(5) == 0) {
        rule->n_users = 1;
        rule->users = room(1, sizeof *rule->users);
        rule->users[0] = (char *)users[chance(3)];
        (void)any_ids(FACILITIES, 3, &rule->facilities);
        rule->n_facilities = 1;
    }
    if (chance(5) == 0) {
        ANY_LIST(rule->sensitivity, rule->n_sensitivity, any_code());
    }
    if (chance(6) == 0) {
        ANY_LIST(rule->classes, rule->n_classes, new_coding("urn:class", PICK(classes)));
    }
}

static Chartmesh__V1__Rule *any_rule(uint32_t id)
{
    Chartmesh__V1__Rule *rule = room(1, sizeof *rule);
    chartmesh__v1__rule__init(rule);
    rule->id = id;
    rule->effect = (Chartmesh__V1__Effect)(1 + chance(2));
    any_lists(rule);
    if (rule->effect == CHARTMESH__V1__EFFECT__EFFECT_PERMIT) {
        rule->confidentiality_max = chance(4) ? 0 : (Chartmesh__V1__Confidentiality)(1 + chance(6));
        if (chance(5) == 0) {
            ANY_LIST(rule->without_sensitivity, rule->n_without_sensitivity, any_code());
        }
    } else {
        rule->confidentiality_min = chance(5) ? 0 : (Chartmesh__V1__Confidentiality)(1 + chance(6));
    }
    if (chance(6) == 0) {
        rule->n_documents = any_ids(DOCUMENTS, 3, &rule->documents);
    }
    if (chance(8) == 0) {
        rule->n_authoring_facilities = any_ids(FACILITIES, 3, &rule->authoring_facilities);
    }
    rule->clinical = chance(7) ? NULL : any_period(100);
    rule->valid = chance(5) ? NULL : any_period(1000);
    return rule;
}

static size_t depth_of(Chartmesh__V1__Rule *const *rules, size_t len, uint32_t id)
{
    for (size_t i = 0; id != 0 && i < len; i++) {
        if (rules[i]->id == id) {
            return 1 + depth_of(rules, len, rules[i]->parent);
        }
    }
    return 0;
}

static size_t any_rules(size_t max, Chartmesh__V1__Rule ***out)
{
    size_t len = chance(max + 1);
    *out = room(len + 1, sizeof **out);          /* and room for a leaf more */
    for (size_t i = 0; i < len; i++) {
        (*out)[i] = any_rule((uint32_t)i + 1);
        uint32_t parent = (uint32_t)chance(i + 1);
        (*out)[i]->parent = depth_of(*out, i, parent) < CONSENT_DEPTH_MAX ? parent : 0;
    }
    return len;
}

static Chartmesh__V1__Policy *any_policy(uint64_t tag, bool law, size_t rules_max)
{
    struct {
        Chartmesh__V1__Policy policy;
        Chartmesh__V1__Head head;
        Chartmesh__V1__Subject subject;
        Chartmesh__V1__Dot dot;
        Chartmesh__V1__Assertor assertor;
        Chartmesh__V1__Author author;
    } *made = room(1, sizeof *made);
    chartmesh__v1__policy__init(&made->policy);
    chartmesh__v1__head__init(&made->head);
    chartmesh__v1__subject__init(&made->subject);
    chartmesh__v1__dot__init(&made->dot);
    chartmesh__v1__assertor__init(&made->assertor);
    chartmesh__v1__author__init(&made->author);
    Chartmesh__V1__Policy *policy = &made->policy;
    policy->head = &made->head;
    policy->subject = &made->subject;
    policy->dot = &made->dot;
    policy->assertor = &made->assertor;
    made->head.facility = (ProtobufCBinaryData){ID_LEN, bytes_of_ids[chance(3) ? 1 : 1 + chance(3)]};
    made->dot.tag = tag;
    made->dot.counter = 1;
    made->assertor.who = law ? CHARTMESH__V1__WHO__WHO_LAW : (Chartmesh__V1__Who)(1 + chance(3));
    made->assertor.author = &made->author;
    made->author.user = PICK(users);
    policy->base_effect = (Chartmesh__V1__Effect)(chance(3) ? 0 : 1 + chance(2));
    policy->n_rules = any_rules(rules_max, &policy->rules);
    return policy;
}

/* -- A whole case */

struct scene {
    Chartmesh__V1__Policy *policies[5];
    size_t policies_len;
    struct consent_request request;
    struct consent_version version;
    Chartmesh__V1__Labels labels, effective;
    struct consent_config config;
};

static const struct consent_coding clinical[] = {{"urn:role", "physician"}, {"urn:role", "nurse"}};
static const struct consent_coding sensitive[] = {{"urn:role", "psychiatrist"}};
static const struct consent_need table[] = {
    {{"urn:role", "physician"}, "TREAT", false},
    {{"urn:role", "physician"}, "HRESCH", false},
    {{"urn:role", "nurse"}, "TREAT", true},
    {{"urn:role", "nurse"}, "ETREAT", false},
    {{"urn:role", "psychiatrist"}, "PurposeOfUse", false},
};

static void any_labels(Chartmesh__V1__Labels *labels)
{
    chartmesh__v1__labels__init(labels);
    labels->confidentiality = (Chartmesh__V1__Confidentiality)(1 + chance(6));
    if (chance(3) == 0) {
        ANY_LIST(labels->sensitivity, labels->n_sensitivity,
                 chance(8) ? new_coding(TABLES_SENSITIVITY_SYSTEM, codes[chance(4)]) : any_code());
    }
}

static void any_scene(struct scene *scene, size_t policies_max, bool law)
{
    *scene = (struct scene){.policies_len = chance(policies_max + 1)};
    for (size_t i = 0; i < scene->policies_len; i++) {
        scene->policies[i] = any_policy(100 + i, law && chance(5) == 0, 6);
    }
    int64_t lo = (int64_t)chance(1000);
    const char *role = PICK(roles);
    scene->request = (struct consent_request){
        .action = chance(4) ? CONSENT_READ : CONSENT_SEARCH,
        .facility = id_number(chance(4) ? 1 : 2),
        .user = PICK(users),
        .purpose = PICK(purposes),
        .role = {*role ? "urn:role" : NULL, *role ? role : NULL},
        .lo_ms = lo,
        .hi_ms = lo + (int64_t)(chance(2) ? chance(60) : 0),
        .assigned = chance(2),
    };
    any_labels(&scene->labels);
    any_labels(&scene->effective);
    scene->version = (struct consent_version){
        .document = id_number(DOCUMENTS + chance(3)),
        .class = {"urn:class", PICK(classes)},
        .authoring = id_number(1 + chance(3)),
        .author_user = PICK(users),
        .labels = &scene->labels,
        .effective = chance(2) ? &scene->effective : NULL,
        .clinical = chance(2) ? any_period(100) : NULL,
    };
    scene->config = (struct consent_config){
        .facility = id_number(1),
        .clinical_roles = clinical,
        .clinical_roles_len = COUNT(clinical),
        .sensitive_roles = sensitive,
        .sensitive_roles_len = COUNT(sensitive),
        .table = table,
        .table_len = COUNT(table),
        .max_age_s = 3,
        .max_age_restricted_s = 2,
        .max_age_sensitive_s = 1,
    };
}

static struct hash policy_id(size_t i)
{
    return (struct hash){{(uint8_t)(i + 1)}};
}

static struct consent_heads heads_of(Chartmesh__V1__Policy *const *policies, size_t len)
{
    struct consent_policy *compiled = room(len, sizeof *compiled);
    struct consent_heads heads;
    for (size_t i = 0; i < len; i++) {
        struct hash id = policy_id(i);
        assert_ok(consent_policy_compile(policies[i], &id, &arena, &compiled[i], &err));
    }
    assert_ok(consent_heads_find(compiled, len, &arena, &heads, &err));
    return heads;
}

static struct consent_decision decide(const struct scene *scene)
{
    struct consent_heads heads = heads_of(scene->policies, scene->policies_len);
    struct consent_context context = {.config = &scene->config, .origin = id_number(1), .heads = &heads};
    struct consent_decision decision;
    assert_ok(consent_decide(&scene->request, &scene->version, &context, &arena, &decision, &err));
    return decision;
}

/* -- The evaluator from the text */

enum tri { NO, MAYBE, YES };

static enum tri lower(enum tri a, enum tri b)
{
    return a < b ? a : b;
}

static enum tri higher(enum tri a, enum tri b)
{
    return a > b ? a : b;
}

/* One row of a table's text: its parent, and whether it is abstract. */
static bool row_of(const struct table *from, const char *code, char *parent, bool *abstract)
{
    const char *line = (const char *)from->text.data;
    while ((line = strchr(line, '\n')) && *++line) {
        size_t len = strcspn(line, "\t");
        if (len == strlen(code) && memcmp(line, code, len) == 0) {
            const char *second = line + len + 1;
            size_t parent_len = strcspn(second, "\t");
            memcpy(parent, second, parent_len);
            parent[parent_len] = '\0';
            *abstract = second[parent_len + 1] == '1';
            return true;
        }
    }
    return false;
}

static bool concrete(const struct table *from, const char *code)
{
    char parent[128];
    bool abstract;
    return row_of(from, code, parent, &abstract) && !abstract;
}

static enum tri covers(const struct table *from, const char *listed, const char *asked)
{
    char at[128], parent[128];
    bool abstract;
    if (!row_of(from, listed, parent, &abstract) || !concrete(from, asked)) {
        return MAYBE;
    }
    snprintf(at, sizeof at, "%s", asked);
    while (*at) {
        if (strcmp(at, listed) == 0) {
            return YES;
        }
        assert_true(row_of(from, at, parent, &abstract));
        memcpy(at, parent, sizeof at);
    }
    return NO;
}

static enum tri covers_coding(const Chartmesh__V1__Coding *listed, const Chartmesh__V1__Coding *asked)
{
    bool ours =
        !strcmp(listed->system, TABLES_SENSITIVITY_SYSTEM) && !strcmp(asked->system, TABLES_SENSITIVITY_SYSTEM);
    return ours ? covers(&table_sensitivity, listed->code, asked->code) : MAYBE;
}

/* The version's codes, own and effective. */
static size_t all_codes(const struct consent_version *v, const Chartmesh__V1__Coding **out)
{
    size_t len = 0;
    for (size_t i = 0; i < v->labels->n_sensitivity; i++) {
        out[len++] = v->labels->sensitivity[i];
    }
    for (size_t i = 0; v->effective && i < v->effective->n_sensitivity; i++) {
        out[len++] = v->effective->sensitivity[i];
    }
    return len;
}

static int level_of(const struct consent_version *v)
{
    int own = (int)v->labels->confidentiality, joined = v->effective ? (int)v->effective->confidentiality : 0;
    return own > joined ? own : joined;
}

static bool any_unknown_code(const struct consent_version *v)
{
    const Chartmesh__V1__Coding *list[8];
    size_t len = all_codes(v, list);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(list[i]->system, TABLES_SENSITIVITY_SYSTEM) != 0 ||
            !concrete(&table_sensitivity, list[i]->code)) {
            return true;
        }
    }
    return false;
}

static enum tri covered_by_any(Chartmesh__V1__Coding *const *list, size_t len, const Chartmesh__V1__Coding *code)
{
    enum tri found = NO;
    for (size_t i = 0; i < len; i++) {
        found = higher(found, covers_coding(list[i], code));
    }
    return found;
}

static enum tri text_sensitivity(const Chartmesh__V1__Rule *r, const struct consent_version *v)
{
    const Chartmesh__V1__Coding *list[8];
    size_t len = all_codes(v, list);
    bool permit = r->effect == CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
    enum tri found = len == 0 ? NO : permit ? YES : NO;
    for (size_t i = 0; i < len; i++) {
        enum tri one = covered_by_any(r->sensitivity, r->n_sensitivity, list[i]);
        found = permit ? lower(found, one) : higher(found, one);
    }
    return r->n_sensitivity ? found : YES;
}

static enum tri text_without(const Chartmesh__V1__Rule *r, const struct consent_version *v)
{
    const Chartmesh__V1__Coding *list[8];
    size_t len = all_codes(v, list);
    enum tri found = YES;
    for (size_t i = 0; i < len; i++) {
        found = lower(found,
                      (enum tri)(YES - covered_by_any(r->without_sensitivity, r->n_without_sensitivity, list[i])));
    }
    return found;
}

static enum tri text_ids(const ProtobufCBinaryData *list, size_t len, struct id id)
{
    enum tri found = len ? NO : YES;
    for (size_t i = 0; i < len; i++) {
        found = memcmp(list[i].data, id.bytes, ID_LEN) == 0 ? YES : found;
    }
    return found;
}

static enum tri text_codings(Chartmesh__V1__Coding *const *list, size_t len, struct consent_coding asked)
{
    enum tri found = len == 0 ? YES : asked.code ? NO : MAYBE;
    for (size_t i = 0; asked.code && i < len; i++) {
        found = !strcmp(list[i]->system, asked.system) && !strcmp(list[i]->code, asked.code) ? YES : found;
    }
    return found;
}

/* How many of the instants of [lo, hi] lie in the period: none, some, all. */
static enum tri text_instants(const Chartmesh__V1__Period *p, int64_t lo, int64_t hi)
{
    int64_t inside = 0;
    for (int64_t t = lo; p && t <= hi; t++) {
        inside += (!p->from || p->from->ms <= t) && (!p->until || t < p->until->ms);
    }
    return !p || inside == hi - lo + 1 ? YES : inside > 0 ? MAYBE : NO;
}

static enum tri text_clinical(const Chartmesh__V1__Period *rule, const Chartmesh__V1__Period *v)
{
    if (!rule || !v) {
        return rule ? MAYBE : YES;
    }
    int64_t lo = v->from ? v->from->ms : -5000, hi = (v->until ? v->until->ms : 5000) - 1;
    return text_instants(rule, lo, hi);
}

static enum tri text_match(const Chartmesh__V1__Rule *r, const struct consent_request *q,
                           const struct consent_version *v)
{
    enum tri found = r->n_actions ? NO : YES;
    for (size_t i = 0; i < r->n_actions; i++) {
        found = (int)r->actions[i] == (int)q->action ? YES : found;
    }
    enum tri purpose = r->n_purposes ? NO : YES;
    for (size_t i = 0; i < r->n_purposes; i++) {
        purpose = higher(purpose, covers(&table_purpose, r->purposes[i], q->purpose));
    }
    enum tri user = r->n_users == 0 ? YES : *q->user ? NO : MAYBE;
    for (size_t i = 0; i < r->n_users; i++) {
        user = strcmp(r->users[i], q->user) == 0 ? YES : user;
    }
    bool level = (!r->confidentiality_max || level_of(v) <= (int)r->confidentiality_max) &&
                 (!r->confidentiality_min || level_of(v) >= (int)r->confidentiality_min);
    found = lower(found, lower(purpose, lower(user, level ? YES : NO)));
    found = lower(found, text_codings(r->roles, r->n_roles, q->role));
    found = lower(found, text_codings(r->classes, r->n_classes, v->class));
    found = lower(found, text_ids(r->facilities, r->n_facilities, q->facility));
    found = lower(found, text_ids(r->documents, r->n_documents, v->document));
    found = lower(found, text_ids(r->authoring_facilities, r->n_authoring_facilities, v->authoring));
    found = lower(found, lower(text_sensitivity(r, v), text_without(r, v)));
    found =
        lower(found, lower(text_clinical(r->clinical, v->clinical), text_instants(r->valid, q->lo_ms, q->hi_ms)));
    bool unknown = !concrete(&table_purpose, q->purpose) || any_unknown_code(v);
    return unknown ? lower(found, MAYBE) : found;
}

static int text_eval(const Chartmesh__V1__Policy *p, const Chartmesh__V1__Rule *rule,
                     const struct consent_request *q, const struct consent_version *v)
{
    bool unknown = !concrete(&table_purpose, q->purpose) || any_unknown_code(v);
    enum tri match = rule ? text_match(rule, q, v) : unknown ? MAYBE : YES;
    if (match == NO) {
        return CONSENT_NONE;
    }
    int says = CONSENT_NONE;
    for (size_t i = 0; i < p->n_rules; i++) {
        if (p->rules[i]->parent == (rule ? rule->id : 0)) {
            int one = text_eval(p, p->rules[i], q, v);
            says = one > says ? one : says;
        }
    }
    if (says == CONSENT_NONE) {
        says = rule ? (int)rule->effect : (int)p->base_effect;
    }
    return match == MAYBE && says != CONSENT_DENY ? CONSENT_NONE : says;
}

static bool recorded_by_beneficiary(const Chartmesh__V1__Policy *p, const struct consent_request *q)
{
    int who = (int)p->assertor->who;
    bool here = memcmp(p->head->facility.data, q->facility.bytes, ID_LEN) == 0,
         origin = q->facility.bytes[15] == 1;
    return (who == CHARTMESH__V1__WHO__WHO_STAFF || who == CHARTMESH__V1__WHO__WHO_PROXY) && here &&
           (!origin || strcmp(p->assertor->author->user, q->user) == 0);
}

static bool above_normal(const struct consent_version *v)
{
    const Chartmesh__V1__Coding *list[8];
    return level_of(v) > CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N || all_codes(v, list) > 0;
}

static int text_heads(const struct scene *s, bool law, enum consent_action action)
{
    struct consent_request q = s->request;
    int says = CONSENT_NONE;
    q.action = action;
    for (size_t i = 0; i < s->policies_len; i++) {
        const Chartmesh__V1__Policy *p = s->policies[i];
        if ((p->assertor->who == CHARTMESH__V1__WHO__WHO_LAW) != law) {
            continue;
        }
        int one = text_eval(p, NULL, &q, &s->version);
        bool staff_elsewhere =
            p->assertor->who == CHARTMESH__V1__WHO__WHO_STAFF && p->head->facility.data[15] != 1;
        bool beneficiary = recorded_by_beneficiary(p, &q) && above_normal(&s->version);
        one = one == CONSENT_PERMIT && (staff_elsewhere || beneficiary) ? CONSENT_NONE : one;
        says = one > says ? one : says;
    }
    return says;
}

static bool has(const struct consent_coding *list, size_t len, struct consent_coding role)
{
    for (size_t i = 0; role.code && i < len; i++) {
        if (strcmp(list[i].code, role.code) == 0) {
            return true;
        }
    }
    return false;
}

static bool text_matrix(const struct scene *s)
{
    const struct consent_request *q = &s->request;
    if (!concrete(&table_purpose, q->purpose) || any_unknown_code(&s->version) || q->facility.bytes[15] != 1 ||
        covers(&table_purpose, "TREAT", q->purpose) != YES) {
        return false;
    }
    bool author = *q->user && strcmp(q->user, s->version.author_user) == 0 && s->version.authoring.bytes[15] == 1;
    return above_normal(&s->version) ? has(sensitive, COUNT(sensitive), q->role) || author
                                     : has(clinical, COUNT(clinical), q->role);
}

static bool text_role(const struct scene *s)
{
    char at[128], parent[128];
    bool abstract;
    for (snprintf(at, sizeof at, "%s", s->request.purpose); *at; memcpy(at, parent, sizeof at)) {
        for (size_t i = 0; i < COUNT(table); i++) {
            if (has(&table[i].role, 1, s->request.role) && strcmp(table[i].purpose, at) == 0) {
                return !table[i].assigned || s->request.assigned;
            }
        }
        if (!row_of(&table_purpose, at, parent, &abstract)) {
            return false;
        }
    }
    return false;
}

/* Effect and step of READ and SEARCH at the origin. */
static void text_decide(const struct scene *s, int *effect, unsigned *step)
{
    int law = text_heads(s, true, CONSENT_READ), subject = text_heads(s, false, CONSENT_READ);
    *step = law ? 1 : subject ? 3 : 4;
    *effect = law ? law : subject ? subject : text_matrix(s) ? CONSENT_PERMIT : CONSENT_DENY;
    if (*effect == CONSENT_PERMIT && *step != 1 && !text_role(s)) {
        *effect = CONSENT_DENY;
        *step = 5;
    }
    if (s->request.action != CONSENT_SEARCH || *effect == CONSENT_DENY) {
        return;
    }
    if (text_heads(s, true, CONSENT_SEARCH) == CONSENT_DENY) {
        *effect = CONSENT_DENY;
        *step = 1;
    } else if (*step != 1 && text_heads(s, false, CONSENT_SEARCH) == CONSENT_DENY) {
        *effect = CONSENT_DENY;
        *step = 3;
    }
}

/* -- The rules */

static void begin(uint64_t seed)
{
    arena_init(&arena, BUDGET);
    state_of_chance = 0x9e3779b97f4a7c15 + seed * 0x2545f4914f6cdd1d;
    for (size_t i = 0; i < COUNT(bytes_of_ids); i++) {
        struct id id = id_number(i);
        memcpy(bytes_of_ids[i], id.bytes, ID_LEN);
    }
}

static void same_decision(const struct consent_decision *a, const struct consent_decision *b, uint64_t seed)
{
    bool same = a->effect == b->effect && a->step == b->step && a->why == b->why && a->basis_len == b->basis_len;
    for (size_t i = 0; same && i < a->basis_len; i++) {
        same = hash_equal(&a->basis[i].policy, &b->basis[i].policy) &&
               a->basis[i].rules_len == b->basis[i].rules_len &&
               memcmp(a->basis[i].rules, b->basis[i].rules, sizeof a->basis[i].rules) == 0;
    }
    if (!same) {
        fail_msg("seed %ju: two decisions differ", (uintmax_t)seed);
    }
}

static void test_consent__I10_a_decision_is_that_of_the_text_and_the_same_again(void **state)
{
    (void)state;
    size_t permits = 0, denies[7] = {0};
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        int effect;
        unsigned step;
        begin(seed);
        any_scene(&scene, 3, true);
        struct consent_decision first = decide(&scene), again = decide(&scene);
        same_decision(&first, &again, seed);
        text_decide(&scene, &effect, &step);
        if ((int)first.effect != effect || first.step != step) {
            char *words;
            assert_ok(consent_reason(&first, &arena, &words, &err));
            fail_msg("seed %ju: the text says %d at step %u; %s", (uintmax_t)seed, effect, step, words);
        }
        permits += effect == CONSENT_PERMIT;
        denies[step] += effect == CONSENT_DENY;
        arena_done(&arena);
    }
    print_message("%d random decisions: %zu permits; denied at 1: %zu, 3: %zu, 4: %zu, 5: %zu\n", ROUNDS, permits,
                  denies[1], denies[3], denies[4], denies[5]);
    assert_true(permits > ROUNDS / 100);
}

static void test_consent__I11_a_deny_leaf_more_never_turns_deny_into_permit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        begin(seed);
        any_scene(&scene, 3, true);
        struct consent_decision before = decide(&scene);
        if (scene.policies_len > 0 && before.effect == CONSENT_DENY) {
            Chartmesh__V1__Policy *policy = scene.policies[chance(scene.policies_len)];
            Chartmesh__V1__Rule *leaf = any_rule((uint32_t)policy->n_rules + 1);
            leaf->effect = CHARTMESH__V1__EFFECT__EFFECT_DENY;
            leaf->confidentiality_max = 0;
            leaf->n_without_sensitivity = 0;
            uint32_t parent = (uint32_t)chance(policy->n_rules + 1);
            leaf->parent = depth_of(policy->rules, policy->n_rules, parent) < CONSENT_DEPTH_MAX ? parent : 0;
            policy->rules[policy->n_rules++] = leaf;
            struct consent_decision after = decide(&scene);
            if (after.effect != CONSENT_DENY) {
                fail_msg("seed %ju: a deny leaf more lifted a DENY", (uintmax_t)seed);
            }
        }
        arena_done(&arena);
    }
}

static void test_consent__I11_a_further_head_never_lifts_the_deny_of_another(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        begin(seed);
        any_scene(&scene, 3, false);
        struct consent_decision before = decide(&scene);
        if (before.effect == CONSENT_DENY && before.step == 3) {
            scene.policies[scene.policies_len] = any_policy(900, false, 6);
            scene.policies_len++;
            struct consent_decision after = decide(&scene);
            if (after.effect != CONSENT_DENY || after.step != 3) {
                fail_msg("seed %ju: a further head lifted a DENY", (uintmax_t)seed);
            }
        }
        arena_done(&arena);
    }
}

static void test_consent__I12_a_permit_of_its_beneficiary_is_never_the_sole_basis_above_normal(void **state)
{
    (void)state;
    size_t seen = 0;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        begin(seed);
        any_scene(&scene, 3, false);
        struct consent_decision decision = decide(&scene);
        bool permitted = decision.effect == CONSENT_PERMIT && decision.step == 3 && above_normal(&scene.version);
        for (size_t i = 0; permitted && i < decision.basis_len; i++) {
            const Chartmesh__V1__Policy *policy = scene.policies[decision.basis[i].policy.bytes[0] - 1];
            seen++;
            if (recorded_by_beneficiary(policy, &scene.request)) {
                fail_msg("seed %ju: its own beneficiary's permit counts", (uintmax_t)seed);
            }
        }
        arena_done(&arena);
    }
    assert_true(seen > 0);
}

static void test_consent__I13_a_dominated_policy_version_never_matters(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        begin(seed);
        any_scene(&scene, 3, true);
        struct consent_decision without = decide(&scene);
        if (scene.policies_len > 0) {
            Chartmesh__V1__Policy *head = scene.policies[0];
            bool law = head->assertor->who == CHARTMESH__V1__WHO__WHO_LAW;
            Chartmesh__V1__Policy *old = any_policy(900, law, 6);
            head->context = room(1, sizeof *head->context);
            head->context[0] = old->dot;
            head->n_context = 1;
            scene.policies[scene.policies_len++] = old;
            struct consent_decision with = decide(&scene);
            same_decision(&without, &with, seed);
        }
        arena_done(&arena);
    }
}

static void test_consent__I14_an_unknown_purpose_matches_every_deny_and_no_permit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        begin(seed);
        any_scene(&scene, 3, true);
        struct consent_decision known = decide(&scene);
        bool denied = known.effect == CONSENT_DENY && known.step == 3 && scene.request.action == CONSENT_READ;
        scene.request.purpose = chance(2) ? "XPURPOSE" : chance(2) ? "PurposeOfUse" : "";
        struct consent_decision unknown = decide(&scene);
        if (unknown.effect != CONSENT_DENY || (denied && unknown.step != 3 && unknown.step != 1)) {
            fail_msg("seed %ju: an unknown purpose", (uintmax_t)seed);
        }
        arena_done(&arena);
    }
}

static void test_consent__I14_an_unknown_label_matches_every_deny_and_no_permit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct scene scene;
        begin(seed);
        any_scene(&scene, 3, true);
        ANY_LIST(scene.effective.sensitivity, scene.effective.n_sensitivity, new_coding("urn:x", "PSY"));
        scene.version.effective = &scene.effective;
        struct consent_decision decision = decide(&scene);
        if (decision.effect != CONSENT_DENY) {
            fail_msg("seed %ju: an unknown label was permitted", (uintmax_t)seed);
        }
        arena_done(&arena);
    }
}

/* -- Terms */

static struct consent_copy copy_of(const struct consent_group *group)
{
    Chartmesh__V1__Disclosure *message = room(1, sizeof *message);
    struct hash id = {{7}};
    struct consent_copy copy;
    chartmesh__v1__disclosure__init(message);
    message->terms = group->terms;
    message->basis = group->basis;
    message->n_basis = group->basis_len;
    assert_ok(consent_copy_compile(message, &id, &arena, &copy, &err));
    copy.has_lease = true;
    return copy;
}

/* One request at the origin and, under the terms, at the recipient: the heads' answer is the trees'. */
static bool holder_agrees(const struct scene *scene, const struct consent_copy *copy, size_t *permits)
{
    struct scene at = *scene;
    at.request.facility = id_number(2);
    int heads = text_heads(&at, false, CONSENT_READ);
    if (at.request.action == CONSENT_SEARCH && heads == CONSENT_PERMIT &&
        text_heads(&at, false, CONSENT_SEARCH) == CONSENT_DENY) {
        heads = CONSENT_DENY;
    }
    struct consent_need everything[COUNT(roles)];
    for (size_t i = 0; i < COUNT(roles); i++) {
        everything[i] = (struct consent_need){{"urn:role", roles[i]}, "PurposeOfUse", false};
    }
    at.config.facility = at.request.facility;
    at.config.table = everything;
    at.config.table_len = COUNT(everything);
    struct consent_copy fresh = *copy;
    fresh.lease_at_ms = at.request.hi_ms;
    struct consent_context context = {
        .config = &at.config, .origin = id_number(1), .copies = &fresh, .copies_len = 1};
    struct consent_decision decision;
    assert_ok(consent_decide(&at.request, &at.version, &context, &arena, &decision, &err));
    *permits += decision.effect == CONSENT_PERMIT;
    return decision.step == 5 || (decision.effect == CONSENT_PERMIT) == (heads == CONSENT_PERMIT);
}

static void test_consent__a_holder_decides_under_the_terms_as_the_origin_would(void **state)
{
    (void)state;
    size_t disclosed = 0, permits = 0;
    for (uint64_t seed = 0; seed < 5 * ROUNDS; seed++) {
        struct scene scene, later;
        begin(seed);
        any_scene(&scene, 3, false);
        scene.version.integrity = 0;
        struct consent_heads heads = heads_of(scene.policies, scene.policies_len);
        struct consent_context context = {.config = &scene.config, .origin = id_number(1), .heads = &heads};
        struct consent_push push = {id_number(2), scene.request.lo_ms, scene.request.hi_ms};
        struct consent_disclosure out;
        assert_ok(consent_disclose(&push, &scene.version, 1, &context, &arena, &out, &err));
        if (out.groups_len == 1) {
            struct consent_copy copy = copy_of(&out.groups[0]);
            disclosed++;
            for (size_t i = 0; i < 20; i++) {
                any_scene(&later, 0, false);
                later.version = scene.version;
                memcpy(later.policies, scene.policies, sizeof scene.policies);
                later.policies_len = scene.policies_len;
                if (!holder_agrees(&later, &copy, &permits)) {
                    fail_msg("seed %ju, request %zu: the holder decides otherwise", (uintmax_t)seed, i);
                }
            }
        }
        arena_done(&arena);
    }
    print_message("%zu disclosures, %zu reads permitted under their terms\n", disclosed, permits);
    assert_true(disclosed > 100 && permits > 100);
}

/* -- Memory and time */

static void test_consent__an_arena_too_small_is_told_and_nothing_is_decided(void **state)
{
    (void)state;
    struct scene scene;
    begin(5);
    any_scene(&scene, 0, false);
    scene.policies[0] = any_policy(1, false, 6);
    scene.policies[0]->base_effect = CHARTMESH__V1__EFFECT__EFFECT_DENY;
    scene.policies_len = 1;
    struct consent_heads heads = heads_of(scene.policies, 1);
    struct consent_context context = {.config = &scene.config, .origin = id_number(1), .heads = &heads};
    struct arena none = {0};
    struct consent_decision decision = {.step = 99};
    assert_err(ERR_TOO_MUCH, consent_decide(&scene.request, &scene.version, &context, &none, &decision, &err));
    assert_int_equal(decision.step, 99);
    arena_done(&none);
    arena_done(&arena);
}

static void test_consent__fifty_rules_are_decided_in_microseconds(void **state)
{
    (void)state;
    enum { DECISIONS = 20000 };
    struct scene scene;
    begin(11);
    any_scene(&scene, 0, false);
    scene.policies[0] = any_policy(1, false, 0);
    scene.policies[0]->rules = room(50, sizeof(Chartmesh__V1__Rule *));
    for (uint32_t i = 0; i < 50; i++) {
        scene.policies[0]->rules[i] = any_rule(i + 1);
        scene.policies[0]->rules[i]->parent = i % 5 ? i : 0;
        scene.policies[0]->rules[i]->parent = i % 5 == 4 ? i - 1 : scene.policies[0]->rules[i]->parent;
    }
    scene.policies[0]->n_rules = 50;
    scene.policies_len = 1;
    struct consent_heads heads = heads_of(scene.policies, 1);
    struct consent_context context = {.config = &scene.config, .origin = id_number(1), .heads = &heads};
    struct timespec from, until;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < DECISIONS; i++) {
        AUTO_ARENA(scratch, 1 << 16);
        struct consent_decision decision;
        scene.request.purpose = purposes[i % 6];
        assert_ok(consent_decide(&scene.request, &scene.version, &context, &scratch, &decision, &err));
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    double ns = (double)(until.tv_sec - from.tv_sec) * 1e9 + (double)(until.tv_nsec - from.tv_nsec);
    print_message("a decision over 50 rules: %.2f us\n", ns / DECISIONS / 1000);
    assert_true(ns / DECISIONS < 100000);        /* loose: any machine, any build */
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consent__I10_a_decision_is_that_of_the_text_and_the_same_again),
        cmocka_unit_test(test_consent__I11_a_deny_leaf_more_never_turns_deny_into_permit),
        cmocka_unit_test(test_consent__I11_a_further_head_never_lifts_the_deny_of_another),
        cmocka_unit_test(test_consent__I12_a_permit_of_its_beneficiary_is_never_the_sole_basis_above_normal),
        cmocka_unit_test(test_consent__I13_a_dominated_policy_version_never_matters),
        cmocka_unit_test(test_consent__I14_an_unknown_purpose_matches_every_deny_and_no_permit),
        cmocka_unit_test(test_consent__I14_an_unknown_label_matches_every_deny_and_no_permit),
        cmocka_unit_test(test_consent__a_holder_decides_under_the_terms_as_the_origin_would),
        cmocka_unit_test(test_consent__an_arena_too_small_is_told_and_nothing_is_decided),
        cmocka_unit_test(test_consent__fifty_rules_are_decided_in_microseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
