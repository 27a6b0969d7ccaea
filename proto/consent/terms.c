/* Disclosing: docs/protocol/04-consent.md, 8. Heads are evaluated partially into terms; versions whose basis and
 * terms come out equal go together. */
#include "proto/consent/tree.h"

enum { DROPPED, KEPT, KEPT_DENY_ONLY };
enum { BELOW_PERMIT = 1 << CONSENT_PERMIT, BELOW_DENY = 1 << CONSENT_DENY };
enum { READING = 1 << CONSENT_READ, FINDING = 1 << CONSENT_SEARCH };

/* A head partially evaluated for one recipient and version. */
struct partial {
    const struct tree *tree;
    bool empty, deny_only;               /* empty: neither base nor rules are left */
    uint8_t keep[CONSENT_RULES_MAX];
};

static bool reaches(const struct tree_rule *rule, unsigned actions)
{
    return !rule->actions || rule->actions & actions;
}

/* What becomes of a rule that matches partly: a PERMIT stays for its exceptions only, a DENY that has one too. */
static uint8_t keep_partly(enum consent_effect effect, unsigned below)
{
    if (effect == CONSENT_PERMIT) {
        return below & BELOW_DENY ? KEPT_DENY_ONLY : DROPPED;
    }
    return below & BELOW_PERMIT ? KEPT_DENY_ONLY : KEPT;
}

static void rules_keep(const struct tree *tree, const struct facts *facts, uint8_t *keep)
{
    uint8_t match[CONSENT_RULES_MAX], below[CONSENT_RULES_MAX + 1];
    memset(below, 0, tree->len + 1);

    for (size_t i = 0; i < tree->len; i++) {
        const struct tree_rule *rule = &tree->rules[i];
        bool reached = rule->parent < 0 || match[rule->parent] != MATCH_NOT;
        match[i] = (uint8_t)(reached && reaches(rule, READING | FINDING) ? match_settled(rule, facts) : MATCH_NOT);
    }
    for (size_t i = tree->len; i-- > 0;) {
        const struct tree_rule *rule = &tree->rules[i];
        keep[i] = match[i] == MATCH_FULLY ? KEPT
                  : match[i] == MATCH_NOT ? DROPPED
                                          : keep_partly(rule->effect, below[i + 1]);
        if (keep[i] != DROPPED) {
            below[rule->parent + 1] |= (uint8_t)(below[i + 1] | 1u << rule->effect);
        }
    }
    for (size_t i = 0; i < tree->len; i++) {                     /* a dropped rule takes its children along */
        int parent = tree->rules[i].parent;
        keep[i] = parent >= 0 && keep[parent] == DROPPED ? DROPPED : keep[i];
    }
}

static void partial_of(const struct tree *tree, const struct facts *facts, bool counts, struct partial *out)
{
    out->tree = tree;
    out->deny_only = !counts;
    out->empty = false;
    rules_keep(tree, facts, out->keep);

    bool denies = tree->base == CONSENT_DENY;
    for (size_t i = 0; i < tree->len; i++) {
        denies |= out->keep[i] != DROPPED && tree->rules[i].effect == CONSENT_DENY;
    }
    if (!counts && !denies) {
        out->empty = true;
        out->deny_only = false;
        memset(out->keep, DROPPED, tree->len);
    }
}

/* By its form: a base or a rule that permits, down a way on which every rule lets a READ through. */
static bool could_permit_read(const struct partial *partial)
{
    const struct tree *tree = partial->tree;
    bool way[CONSENT_RULES_MAX];
    bool could = tree->base == CONSENT_PERMIT;

    for (size_t i = 0; i < tree->len; i++) {
        const struct tree_rule *rule = &tree->rules[i];
        bool known = !rule->purposes.listed || rule->purposes.covers;
        way[i] =
            (rule->parent < 0 || way[rule->parent]) && partial->keep[i] == KEPT && known && reaches(rule, READING);
        could |= way[i] && rule->effect == CONSENT_PERMIT;
    }
    return could && !partial->deny_only && !partial->empty;
}

static bool period_until(int64_t until_ms, struct arena *arena, Chartmesh__V1__Period **out, struct err *err)
{
    struct {
        Chartmesh__V1__Period period;
        Chartmesh__V1__Instant until;
    } *made;
    if (!arena_alloc(arena, sizeof *made, (void **)&made, err)) {
        return false;
    }
    chartmesh__v1__period__init(&made->period);
    chartmesh__v1__instant__init(&made->until);
    made->until.ms = until_ms;
    made->period.until = &made->until;
    *out = &made->period;
    return true;
}

/* Settled fields are cleared; purposes, roles, users, actions and valid stay. */
static Chartmesh__V1__Rule rule_settled(const Chartmesh__V1__Rule *from, bool deny_only)
{
    Chartmesh__V1__Rule rule = CHARTMESH__V1__RULE__INIT;
    rule.id = from->id;
    rule.parent = from->parent;
    rule.effect = from->effect;
    rule.n_actions = from->n_actions;
    rule.actions = from->actions;
    rule.n_purposes = from->n_purposes;
    rule.purposes = from->purposes;
    rule.n_roles = from->n_roles;
    rule.roles = from->roles;
    rule.n_users = from->n_users;
    rule.users = from->users;
    rule.valid = from->valid;
    rule.deny_only = deny_only;
    return rule;
}

static bool tree_message(const struct partial *partial, struct arena *arena, Chartmesh__V1__Tree **out,
                         struct err *err)
{
    const struct tree *tree = partial->tree;
    void *message, *rules, *list;
    size_t kept = 0;
    for (size_t i = 0; i < tree->len; i++) {
        kept += partial->keep[i] != DROPPED;
    }
    if (!arena_alloc(arena, sizeof **out, &message, err) ||
        !arena_array(arena, kept, sizeof(Chartmesh__V1__Rule), &rules, err) ||
        !arena_array(arena, kept, sizeof(Chartmesh__V1__Rule *), &list, err)) {
        return false;
    }
    *out = message;
    chartmesh__v1__tree__init(*out);
    (*out)->base_effect = (Chartmesh__V1__Effect)(partial->empty ? CONSENT_NONE : tree->base);
    (*out)->deny_only = partial->deny_only;
    (*out)->rules = list;
    for (size_t i = 0; i < tree->len; i++) {
        if (partial->keep[i] != DROPPED) {
            Chartmesh__V1__Rule *rule = (Chartmesh__V1__Rule *)rules + (*out)->n_rules;
            *rule = rule_settled(tree->rules[i].rule, partial->keep[i] == KEPT_DENY_ONLY);
            (*out)->rules[(*out)->n_rules++] = rule;
        }
    }
    return true;
}

/* -- One version */

struct push {
    const struct consent_push *push;
    const struct consent_context *context;
    struct arena *arena;
    struct partial *partials;            /* of the version at hand */
};

struct outcome {
    const struct opinion *opinions;      /* of the step that decided */
    size_t heads_len;
    unsigned step;
    uint32_t max_age_s;
};

static bool opinions_name(const struct opinion *opinions, size_t len)
{
    bool names = false;
    for (size_t i = 0; i < len; i++) {
        names |= opinions[i].names;
    }
    return names;
}

static uint32_t max_age_of(const struct consent_config *config, const struct facts *facts)
{
    if (facts->codes || facts->codes_unknown ||
        facts->confidentiality >= CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_V) {
        return config->max_age_sensitive_s;
    }
    return facts->confidentiality > CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N
               ? config->max_age_restricted_s
               : config->max_age_s;
}

/* One step's heads. Decided: a DENY, or a PERMIT that names the recipient, under terms that could let it read. */
static bool heads_push(const struct push *p, const struct facts *facts, const struct consent_policy *const *heads,
                       size_t len, unsigned step, struct consent_decision *answer, struct outcome *out,
                       struct err *err)
{
    enum consent_why why = step == 1 ? CONSENT_WHY_LAW : CONSENT_WHY_POLICY;
    struct opinion *opinions;
    if (!opinions_of_heads(heads, len, facts, &p->context->origin, p->arena, &opinions, err)) {
        return false;
    }
    enum consent_effect effect = opinions_join(opinions, len);
    if (effect == CONSENT_DENY) {
        return decision_of_opinions(opinions, len, effect, step, why, p->arena, answer, err);
    }
    if (effect == CONSENT_NONE) {
        return true;
    }
    if (!opinions_name(opinions, len)) {
        decision_set(answer, CONSENT_NONE, 4, CONSENT_WHY_NOT_NAMED);
        return true;
    }
    bool readable = false;
    for (size_t i = 0; i < len; i++) {
        partial_of(heads[i]->tree, facts, opinions[i].counts, &p->partials[i]);
        readable |= could_permit_read(&p->partials[i]);
    }
    if (!readable) {
        decision_set(answer, CONSENT_DENY, 4, CONSENT_WHY_UNREADABLE);
        return true;
    }
    *out = (struct outcome){opinions, len, step, max_age_of(p->context->config, facts)};
    return decision_of_opinions(opinions, len, effect, step, why, p->arena, answer, err);
}

/* DISCLOSE of one version: its answer; when permitted also the outcome, with p->partials. */
static bool version_push(const struct push *p, const struct consent_version *version,
                         struct consent_decision *answer, struct outcome *out, struct err *err)
{
    static const struct consent_heads none;
    const struct consent_heads *heads = p->context->heads ? p->context->heads : &none;
    struct facts facts = {
        .action = CONSENT_DISCLOSE,
        .facility = p->push->recipient,
        .user = "",
        .lo_ms = p->push->lo_ms,
        .hi_ms = p->push->hi_ms,
    };
    facts_version(version, &facts);
    decision_set(answer, CONSENT_NONE, 4, CONSENT_WHY_UNLISTED);
    if (decision_of_integrity(p->context->integrity | version->integrity, answer)) {
        return true;
    }
    if (!heads_push(p, &facts, heads->law, heads->law_len, 1, answer, out, err)) {
        return false;
    }
    if (answer->effect == CONSENT_NONE &&
        !heads_push(p, &facts, heads->others, heads->others_len, 3, answer, out, err)) {
        return false;
    }
    if (answer->effect == CONSENT_NONE) {
        answer->effect = CONSENT_DENY;
    }
    return true;
}

/* -- Groups */

/* What makes two outcomes equal: everything that basis and terms are made of. */
struct print {
    unsigned step;
    uint32_t max_age_s;
    size_t heads_len;
    struct head_print {
        bool empty, deny_only;
        struct consent_basis basis;
        const uint8_t *keep;
    } *heads;
};

static bool head_equal(const struct head_print *head, const struct opinion *opinion, const struct partial *partial)
{
    const struct consent_basis *a = &head->basis, *b = &opinion->named;
    return head->empty == partial->empty && head->deny_only == partial->deny_only &&
           a->rules_len == b->rules_len && memcmp(a->rules, b->rules, a->rules_len * sizeof *a->rules) == 0 &&
           memcmp(head->keep, partial->keep, partial->tree->len) == 0;
}

static bool print_equal(const struct print *print, const struct outcome *outcome, const struct partial *partials)
{
    bool equal = print->step == outcome->step && print->max_age_s == outcome->max_age_s;
    for (size_t i = 0; equal && i < print->heads_len; i++) {
        equal = head_equal(&print->heads[i], &outcome->opinions[i], &partials[i]);
    }
    return equal;
}

static bool print_make(const struct outcome *outcome, const struct partial *partials, struct arena *arena,
                       struct print *out, struct err *err)
{
    void *heads;
    if (!arena_array(arena, outcome->heads_len, sizeof *out->heads, &heads, err)) {
        return false;
    }
    *out = (struct print){outcome->step, outcome->max_age_s, outcome->heads_len, heads};
    for (size_t i = 0; i < outcome->heads_len; i++) {
        struct bytes keep;
        if (!arena_copy(arena, BYTES(partials[i].keep, partials[i].tree->len), &keep, err)) {
            return false;
        }
        out->heads[i] = (struct head_print){
            .empty = partials[i].empty,
            .deny_only = partials[i].deny_only,
            .basis = outcome->opinions[i].named,
            .keep = keep.data,
        };
    }
    return true;
}

static bool terms_make(const struct push *p, const struct outcome *outcome, Chartmesh__V1__Terms **out,
                       struct err *err)
{
    const struct consent_config *config = p->context->config;
    void *message, *trees;
    if (!arena_alloc(p->arena, sizeof **out, &message, err) ||
        !arena_array(p->arena, outcome->heads_len, sizeof(Chartmesh__V1__Tree *), &trees, err)) {
        return false;
    }
    Chartmesh__V1__Terms *terms = message;
    chartmesh__v1__terms__init(terms);
    terms->trees = trees;
    terms->n_trees = outcome->heads_len;
    for (size_t i = 0; i < outcome->heads_len; i++) {
        if (!tree_message(&p->partials[i], p->arena, &terms->trees[i], err)) {
            return false;
        }
    }
    if (config->max_disclosure_days != 0 &&
        !period_until(p->push->lo_ms + config->max_disclosure_days * INT64_C(86400000), p->arena, &terms->valid,
                      err)) {
        return false;
    }
    if (config->notice) {
        terms->notice = (char *)config->notice;
    }
    terms->max_age_s = outcome->max_age_s;
    terms->tables = (ProtobufCBinaryData){HASH_LEN, (uint8_t *)tables_sha256.bytes};
    *out = terms;
    return true;
}

static bool group_make(const struct push *p, const struct outcome *outcome, size_t versions_max,
                       struct consent_group *out, struct err *err)
{
    void *versions, *basis;
    if (!arena_array(p->arena, versions_max, sizeof *out->versions, &versions, err) ||
        !arena_array(p->arena, outcome->heads_len, sizeof *out->basis, &basis, err)) {
        return false;
    }
    *out = (struct consent_group){.versions = versions, .basis = basis, .basis_len = outcome->heads_len};
    for (size_t i = 0; i < outcome->heads_len; i++) {
        if (!basis_message_of(&outcome->opinions[i].named, p->arena, &out->basis[i], err)) {
            return false;
        }
    }
    return terms_make(p, outcome, &out->terms, err);
}

struct groups {
    struct consent_group *groups;
    struct print *prints;
    size_t len;
};

static bool groups_add(const struct push *p, struct groups *groups, const struct outcome *outcome, size_t version,
                       size_t versions_len, struct err *err)
{
    size_t at = 0;
    while (at < groups->len && !print_equal(&groups->prints[at], outcome, p->partials)) {
        at++;
    }
    if (at == groups->len) {
        if (!print_make(outcome, p->partials, p->arena, &groups->prints[at], err) ||
            !group_make(p, outcome, versions_len - version, &groups->groups[at], err)) {
            return false;
        }
        groups->len++;
    }
    struct consent_group *group = &groups->groups[at];
    group->versions[group->versions_len++] = version;
    return true;
}

bool consent_disclose(const struct consent_push *push, const struct consent_version *versions, size_t versions_len,
                      const struct consent_context *context, struct arena *arena, struct consent_disclosure *out,
                      struct err *err)
{
    const struct consent_heads *heads = context->heads;
    struct push p = {.push = push, .context = context, .arena = arena};
    void *answers, *groups_memory, *prints, *partials;

    size_t heads_max = heads ? MAX(heads->law_len, heads->others_len) : 0;
    if (!arena_array(arena, versions_len, sizeof *out->answers, &answers, err) ||
        !arena_array(arena, versions_len, sizeof *out->groups, &groups_memory, err) ||
        !arena_array(arena, versions_len, sizeof(struct print), &prints, err) ||
        !arena_array(arena, heads_max, sizeof(struct partial), &partials, err)) {
        return false;
    }
    p.partials = partials;
    struct groups groups = {.groups = groups_memory, .prints = prints};
    struct consent_decision *answer = answers;
    for (size_t i = 0; i < versions_len; i++) {
        struct outcome outcome;
        if (!version_push(&p, &versions[i], &answer[i], &outcome, err)) {
            return false;
        }
        if (answer[i].effect == CONSENT_PERMIT && !groups_add(&p, &groups, &outcome, i, versions_len, err)) {
            return false;
        }
    }
    *out = (struct consent_disclosure){.answers = answer, .groups = groups.groups, .groups_len = groups.len};
    return true;
}
