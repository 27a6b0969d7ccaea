/* The ladder: docs/protocol/04-consent.md, 3 and 8 to 10. */
#include "proto/consent/tree.h"

struct asked {
    const struct consent_request *request;
    const struct consent_context *context;
    struct facts facts;
    struct arena *arena;
};

void decision_set(struct consent_decision *out, enum consent_effect effect, unsigned step, enum consent_why why)
{
    *out = (struct consent_decision){.effect = effect, .step = step, .why = why};
}

bool decision_of_opinions(const struct opinion *opinions, size_t len, enum consent_effect effect, unsigned step,
                          enum consent_why why, struct arena *arena, struct consent_decision *out, struct err *err)
{
    void *basis;
    if (!arena_array(arena, len, sizeof *out->basis, &basis, err)) {
        return false;
    }
    decision_set(out, effect, step, why);
    out->basis = basis;
    for (size_t i = 0; i < len; i++) {
        if (opinions[i].effect == effect) {
            out->basis[out->basis_len++] = opinions[i].basis;
        }
    }
    return true;
}

bool decision_of_integrity(unsigned against, struct consent_decision *out)
{
    if (against == 0) {
        return false;
    }
    enum consent_why why = against & CONSENT_ERASED       ? CONSENT_WHY_ERASED
                           : against & CONSENT_FENCED     ? CONSENT_WHY_FENCED
                           : against & CONSENT_NOT_MEMBER ? CONSENT_WHY_NOT_MEMBER
                                                          : CONSENT_WHY_RECOVERY;
    decision_set(out, CONSENT_DENY, 0, why);
    return true;
}

/* One step's heads: *decided says whether the step does; `out` and the effect then hold. */
static bool heads_decide(const struct asked *a, const struct consent_policy *const *heads, size_t len,
                         unsigned step, bool deny_only, bool *decided, struct consent_decision *out,
                         struct err *err)
{
    struct opinion *opinions;
    *decided = false;
    if (len == 0) {
        return true;
    }
    if (!opinions_of_heads(heads, len, &a->facts, &a->context->origin, a->arena, &opinions, err)) {
        return false;
    }
    enum consent_effect effect = opinions_join(opinions, len);
    if (effect == CONSENT_NONE || (deny_only && effect != CONSENT_DENY)) {
        return true;
    }
    *decided = true;
    return decision_of_opinions(opinions, len, effect, step, step == 1 ? CONSENT_WHY_LAW : CONSENT_WHY_POLICY,
                                a->arena, out, err);
}

/* -- Step 2: at a holder */

/* The copy's pair against another's: (incarnation, generation), lexicographically. */
static int pair_compare(const struct consent_copy *a, const struct consent_copy *b)
{
    const Chartmesh__V1__Disclosure *x = a->message, *y = b->message;
    if (x->incarnation != y->incarnation) {
        return x->incarnation < y->incarnation ? -1 : 1;
    }
    return x->generation == y->generation ? 0 : x->generation < y->generation ? -1 : 1;
}

/* The next copy by id that has the highest pair; NULL: no more. */
static const struct consent_copy *next_governing(const struct consent_context *context,
                                                 const struct consent_copy *last)
{
    const struct consent_copy *highest = NULL, *next = NULL;
    for (size_t i = 0; i < context->copies_len; i++) {
        const struct consent_copy *copy = &context->copies[i];
        highest = !highest || pair_compare(copy, highest) > 0 ? copy : highest;
    }
    for (size_t i = 0; i < context->copies_len; i++) {
        const struct consent_copy *copy = &context->copies[i];
        bool later = !last || memcmp(copy->disclosure.bytes, last->disclosure.bytes, HASH_LEN) > 0;
        bool sooner = !next || memcmp(copy->disclosure.bytes, next->disclosure.bytes, HASH_LEN) < 0;
        if (pair_compare(copy, highest) == 0 && later && sooner) {
            next = copy;
        }
    }
    return next;
}

static bool inside(const Chartmesh__V1__Period *valid, int64_t lo, int64_t hi)
{
    return !valid || ((!valid->from || valid->from->ms <= lo) && (!valid->until || hi < valid->until->ms));
}

static bool lease_fresh(const struct consent_copy *copy, int64_t hi_ms)
{
    int64_t max_ms = (int64_t)copy->message->terms->max_age_s * 1000, age;
    if (max_ms == 0) {
        return true;
    }
    return copy->has_lease && !__builtin_sub_overflow(hi_ms, copy->lease_at_ms, &age) && age < max_ms &&
           age >= -300000;
}

/* Why a copy's terms as a whole let nobody read, whatever their trees; NONE: they may. */
static enum consent_why unreadable(const struct consent_copy *copy, const struct asked *a)
{
    const Chartmesh__V1__Terms *terms = copy->message->terms;
    if (!inside(terms->valid, a->facts.lo_ms, a->facts.hi_ms)) {
        return CONSENT_WHY_TERMS_PERIOD;
    }
    bool ours = terms->tables.len == 0 ||
                bytes_equal(BYTES(terms->tables.data, terms->tables.len), BYTES_OF(tables_sha256));
    return ours ? CONSENT_WHY_NONE : CONSENT_WHY_TERMS_TABLES;
}

/* What the governing copies say: every one must permit. */
struct copies_say {
    struct opinion *opinions;
    size_t len;
    enum consent_why against;            /* the first copy that does not permit, tree by tree or as a whole */
    bool stale;
    const char *notice;
};

static bool copies_ask(const struct asked *a, struct copies_say *out, struct err *err)
{
    void *memory;
    size_t trees = 0;
    for (size_t i = 0; i < a->context->copies_len; i++) {
        trees += a->context->copies[i].message->terms->n_trees;
    }
    if (!arena_array(a->arena, trees, sizeof(struct opinion), &memory, err)) {
        return false;
    }
    *out = (struct copies_say){.opinions = memory, .against = CONSENT_WHY_NO_COPY};
    const struct consent_copy *copy = next_governing(a->context, NULL);
    for (out->against = copy ? CONSENT_WHY_NONE : out->against; copy; copy = next_governing(a->context, copy)) {
        const Chartmesh__V1__Terms *terms = copy->message->terms;
        enum consent_why why = unreadable(copy, a);
        size_t first = out->len;
        for (size_t i = 0; i < terms->n_trees; i++, out->len++) {
            struct opinion *opinion = &out->opinions[out->len];
            *opinion = (struct opinion){.basis.policy = copy->trees[i]->policy};
            if (why == CONSENT_WHY_NONE) {
                *opinion = opinion_of(copy->trees[i], &a->facts, true);
            }
            opinion->basis.head = out->len;
        }
        if (why == CONSENT_WHY_NONE && opinions_join(&out->opinions[first], out->len - first) == CONSENT_NONE) {
            why = CONSENT_WHY_TERMS_SILENT;
        }
        out->against = out->against == CONSENT_WHY_NONE ? why : out->against;
        out->stale |= !lease_fresh(copy, a->facts.hi_ms);
        out->notice = terms->notice && *terms->notice ? terms->notice : out->notice;
    }
    return true;
}

static bool copies_decide(const struct asked *a, struct consent_decision *out, struct err *err)
{
    struct copies_say say;
    if (!copies_ask(a, &say, err)) {
        return false;
    }
    if (opinions_join(say.opinions, say.len) == CONSENT_DENY) {
        return decision_of_opinions(say.opinions, say.len, CONSENT_DENY, 2, CONSENT_WHY_TERMS, a->arena, out, err);
    }
    if (say.against != CONSENT_WHY_NONE) {
        decision_set(out, CONSENT_DENY, 2, say.against);
        return true;
    }
    if (say.stale) {
        decision_set(out, CONSENT_DENY, 3, CONSENT_WHY_LEASE);
        return true;
    }
    if (!decision_of_opinions(say.opinions, say.len, CONSENT_PERMIT, 2, CONSENT_WHY_TERMS, a->arena, out, err)) {
        return false;
    }
    out->notice = say.notice;
    out->obligations = say.notice ? CONSENT_SHOW_NOTICE : 0;
    return true;
}

/* -- Steps 4 and 5: the facility's own rules */

static bool has_role(const struct consent_coding *roles, size_t len, struct consent_coding role)
{
    for (size_t i = 0; role.code && i < len; i++) {
        if (coding_equal(role, roles[i].system, roles[i].code)) {
            return true;
        }
    }
    return false;
}

/* The shipped default: treatment at the origin; up to N by clinical roles, else sensitive ones or the author. */
static bool matrix_permits(const struct asked *a)
{
    const struct consent_config *config = a->context->config;
    const struct facts *facts = &a->facts;
    const struct consent_version *version = facts->version;

    if (facts->partly || !id_equal(&facts->facility, &a->context->origin) ||
        !(table_find(&table_purpose, "TREAT")->covers & facts->purpose->self)) {
        return false;
    }
    if (!facts_above_normal(facts)) {
        return has_role(config->clinical_roles, config->clinical_roles_len, facts->role);
    }
    bool author = *facts->user && version->author_user && strcmp(version->author_user, facts->user) == 0 &&
                  id_equal(&version->authoring, &facts->facility);
    return author || has_role(config->sensitive_roles, config->sensitive_roles_len, facts->role);
}

/* The role's row for the nearest purpose at or above the request's; NULL: none. */
static const struct consent_need *need_of(const struct consent_config *config, const struct facts *facts)
{
    int at = facts->purpose ? (int)(facts->purpose - table_purpose.codes) : -1;
    for (; at >= 0; at = table_purpose.codes[at].parent) {
        for (size_t i = 0; i < config->table_len; i++) {
            const struct consent_need *need = &config->table[i];
            if (coding_equal(facts->role, need->role.system, need->role.code) &&
                strcmp(need->purpose, table_purpose.codes[at].code) == 0) {
                return need;
            }
        }
    }
    return NULL;
}

bool consent_listed(const struct consent_config *config, const char *system, const char *code, const char *purpose)
{
    const struct facts facts = {.role = {system, code}, .purpose = table_find(&table_purpose, purpose)};
    const struct consent_need *need = need_of(config, &facts);
    return need && !need->assigned;
}

/* Step 5 only denies. */
static void role_decide(const struct asked *a, struct consent_decision *out)
{
    const struct consent_need *need = need_of(a->context->config, &a->facts);
    if (!need) {
        decision_set(out, CONSENT_DENY, 5, CONSENT_WHY_ROLE);
    } else if (need->assigned && !a->request->assigned) {
        decision_set(out, CONSENT_DENY, 5, CONSENT_WHY_ASSIGNED);
    }
}

/* -- The ladder without break-glass, for READ */

static bool read_decide(const struct asked *a, bool holder, struct consent_decision *out, struct err *err)
{
    static const struct consent_heads none;
    const struct consent_context *context = a->context;
    const struct consent_heads *heads = context->heads ? context->heads : &none;
    bool decided;

    if (decision_of_integrity(context->integrity | a->facts.version->integrity, out)) {
        return true;
    }
    if (!heads_decide(a, heads->law, heads->law_len, 1, false, &decided, out, err)) {
        return false;
    }
    if (decided) {
        return true;
    }
    if (holder) {
        if (!copies_decide(a, out, err)) {
            return false;
        }
    } else {
        if (!heads_decide(a, heads->others, heads->others_len, 3, false, &decided, out, err)) {
            return false;
        }
        if (!decided) {
            bool permits = matrix_permits(a);
            decision_set(out, permits ? CONSENT_PERMIT : CONSENT_DENY, 4,
                         permits ? CONSENT_WHY_MATRIX : CONSENT_WHY_UNLISTED);
        }
    }
    if (out->effect == CONSENT_PERMIT) {
        role_decide(a, out);
    }
    return true;
}

/* SEARCH, after a READ that is permitted: denied if any head denies it; under a LAW PERMIT only LAW is asked. */
static bool search_decide(const struct asked *a, bool holder, struct consent_decision *out, struct err *err)
{
    static const struct consent_heads none;
    const struct consent_heads *heads = a->context->heads ? a->context->heads : &none;
    bool law_permits = out->step == 1, decided;
    struct copies_say say;

    if (!heads_decide(a, heads->law, heads->law_len, 1, true, &decided, out, err)) {
        return false;
    }
    if (decided || law_permits) {
        return true;
    }
    if (!holder) {
        return heads_decide(a, heads->others, heads->others_len, 3, true, &decided, out, err);
    }
    if (!copies_ask(a, &say, err)) {
        return false;
    }
    return opinions_join(say.opinions, say.len) != CONSENT_DENY ||
           decision_of_opinions(say.opinions, say.len, CONSENT_DENY, 2, CONSENT_WHY_TERMS, a->arena, out, err);
}

/* -- Step 6 */

static bool lists_btg(const struct tree_rule *rule, const struct facts *facts)
{
    (void)facts;
    return rule->lists_btg;
}

static bool tree_forbids(const struct tree *tree, const struct facts *facts)
{
    struct verdict verdict;
    uint32_t path[CONSENT_DEPTH_MAX];
    size_t len;
    tree_eval(tree, facts, &verdict);
    return verdict.root == CONSENT_DENY && tree_path(tree, &verdict, lists_btg, facts, path, &len);
}

/* A policy forbids break-glass by a DENY, asked for BTG, one of whose paths lists it. */
static bool break_glass_forbidden(const struct asked *a, bool holder)
{
    const struct consent_context *context = a->context;
    struct facts facts = a->facts;
    facts.purpose = table_find(&table_purpose, "BTG");
    facts.partly = facts.codes_unknown;

    bool forbidden = false;
    for (size_t i = 0; context->heads && i < context->heads->law_len; i++) {
        forbidden |= tree_forbids(context->heads->law[i]->tree, &facts);
    }
    for (size_t i = 0; !holder && context->heads && i < context->heads->others_len; i++) {
        forbidden |= tree_forbids(context->heads->others[i]->tree, &facts);
    }
    const struct consent_copy *copy = holder ? next_governing(context, NULL) : NULL;
    for (; copy; copy = next_governing(context, copy)) {
        for (size_t i = 0; i < copy->message->terms->n_trees; i++) {
            forbidden |= tree_forbids(copy->trees[i], &facts);
        }
    }
    return forbidden;
}

static bool break_glass_covers(const struct asked *a)
{
    const struct consent_break_glass *opened = a->context->break_glass;
    const struct facts *facts = &a->facts;
    int64_t lasts;

    if (!opened || !*facts->user || strcmp(opened->user, facts->user) != 0 || !facts->purpose ||
        !(table_find(&table_purpose, "ETREAT")->covers & facts->purpose->self)) {
        return false;
    }
    if (__builtin_sub_overflow(opened->until_ms, opened->from_ms, &lasts) || lasts > CONSENT_BREAK_GLASS_MS ||
        facts->lo_ms < opened->from_ms || facts->hi_ms >= opened->until_ms) {
        return false;
    }
    for (size_t i = 0; i < opened->documents_len; i++) {
        if (id_equal(&opened->documents[i], &facts->version->document)) {
            return true;
        }
    }
    return false;
}

bool consent_decide(const struct consent_request *request, const struct consent_version *version,
                    const struct consent_context *context, struct arena *arena, struct consent_decision *out,
                    struct err *err)
{
    if (request->action != CONSENT_READ && request->action != CONSENT_SEARCH) {
        return err_raise(err, ERR_INTERNAL, "consent: READ or SEARCH is decided, DISCLOSE disclosed");
    }
    struct asked a = {.request = request, .context = context, .arena = arena};
    bool holder = !id_equal(&context->config->facility, &context->origin);
    struct consent_decision decision;

    facts_version(version, &a.facts);
    facts_request(request, &a.facts);
    a.facts.action = CONSENT_READ;
    if (!read_decide(&a, holder, &decision, err)) {
        return false;
    }
    if (request->action == CONSENT_SEARCH) {
        a.facts.action = CONSENT_SEARCH;
        if (decision.effect == CONSENT_PERMIT && !search_decide(&a, holder, &decision, err)) {
            return false;
        }
    } else if (decision.effect == CONSENT_DENY && decision.step >= 3 && break_glass_covers(&a) &&
               !break_glass_forbidden(&a, holder)) {
        decision_set(&decision, CONSENT_PERMIT, 6, CONSENT_WHY_BREAK_GLASS);
        decision.obligations = CONSENT_NOTIFY_AND_REVIEW;
    }
    *out = decision;
    return true;
}

struct consent_version consent_version_of(const Chartmesh__V1__Version *version,
                                          const Chartmesh__V1__Version *content,
                                          const Chartmesh__V1__Labels *effective)
{
    const Chartmesh__V1__Version *by = content ? content : version;
    struct consent_version out = {
        .labels = version->labels,
        .effective = effective,
        .clinical = version->clinical,
        .author_user = by->author ? by->author->user : NULL,
    };
    if (version->class_) {
        out.class = (struct consent_coding){version->class_->system, version->class_->code};
    }
    (void)!id_from(BYTES(version->document.data, version->document.len), &out.document);
    (void)!id_from(BYTES(by->head->facility.data, by->head->facility.len), &out.authoring);
    return out;
}
