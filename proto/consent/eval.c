/* Evaluation: docs/protocol/04-consent.md, 5 to 7. */
#include "proto/consent/tree.h"

enum { SEEN_PERMIT = 1 << CONSENT_PERMIT, SEEN_DENY = 1 << CONSENT_DENY };

/* What a rule says that matched, given what its children said. */
static enum consent_effect result(unsigned seen, enum consent_effect own, bool partly)
{
    enum consent_effect effect = seen & SEEN_DENY ? CONSENT_DENY : seen & SEEN_PERMIT ? CONSENT_PERMIT : own;
    return partly && effect != CONSENT_DENY ? CONSENT_NONE : effect;
}

void tree_eval(const struct tree *tree, const struct facts *facts, struct verdict *out)
{
    uint8_t match[CONSENT_RULES_MAX], seen[CONSENT_RULES_MAX + 1];
    memset(seen, 0, tree->len + 1);

    for (size_t i = 0; i < tree->len; i++) {                     /* parents before children */
        int parent = tree->rules[i].parent;
        bool reached = parent < 0 || match[parent] != MATCH_NOT;
        match[i] = (uint8_t)(reached ? match_rule(&tree->rules[i], facts) : MATCH_NOT);
    }
    for (size_t i = tree->len; i-- > 0;) {                       /* and back; place -1 is the base */
        const struct tree_rule *rule = &tree->rules[i];
        out->rules[i] = match[i] == MATCH_NOT
                            ? CONSENT_NONE
                            : (uint8_t)result(seen[i + 1], rule->effect, match[i] == MATCH_PARTLY);
        seen[rule->parent + 1] |= (uint8_t)(1u << out->rules[i]);
    }
    out->root = result(seen[0], tree->base, facts->partly || tree->deny_only);
}

struct walk {
    const struct tree *tree;
    const struct verdict *verdict;
    tree_wanted *wanted;
    const struct facts *facts;
    uint32_t *path;
    size_t len;
};

/* Below `at`, in order: the rules that say what the root says; where none does, the path ends. */
static bool walk_down(struct walk *w, int at, size_t depth, bool met)
{
    bool end = true;
    for (size_t i = (size_t)(at + 1); i < w->tree->len; i++) {
        const struct tree_rule *rule = &w->tree->rules[i];
        if (rule->parent != at || w->verdict->rules[i] != w->verdict->root) {
            continue;
        }
        end = false;
        w->path[depth] = rule->rule->id;
        if (walk_down(w, (int)i, depth + 1, met || w->wanted(rule, w->facts))) {
            return true;
        }
    }
    w->len = depth;
    return end && met;
}

bool tree_path(const struct tree *tree, const struct verdict *verdict, tree_wanted *wanted,
               const struct facts *facts, uint32_t path[CONSENT_DEPTH_MAX], size_t *len)
{
    uint32_t found[CONSENT_DEPTH_MAX] = {0};
    struct walk w = {tree, verdict, wanted, facts, found, 0};
    if (verdict->root == CONSENT_NONE || !walk_down(&w, -1, 0, !wanted)) {
        return false;
    }
    memcpy(path, found, sizeof found);
    *len = w.len;
    return true;
}

struct opinion opinion_of(const struct tree *tree, const struct facts *facts, bool counts)
{
    struct verdict verdict;
    struct opinion opinion = {.counts = counts, .basis.policy = tree->policy};

    tree_eval(tree, facts, &verdict);
    if (verdict.root == CONSENT_NONE || (verdict.root == CONSENT_PERMIT && !counts)) {
        opinion.named = opinion.basis;
        return opinion;
    }
    opinion.effect = verdict.root;
    (void)tree_path(tree, &verdict, NULL, facts, opinion.basis.rules, &opinion.basis.rules_len);
    opinion.named = opinion.basis;
    if (facts->action == CONSENT_DISCLOSE && opinion.effect == CONSENT_PERMIT) {
        opinion.names =
            tree_path(tree, &verdict, match_names, facts, opinion.named.rules, &opinion.named.rules_len);
    }
    return opinion;
}

/* The assertion rules: a STAFF permit counts only if the custodian's; one that its beneficiary recorded never
 * above N and never for anything sensitive (I12). */
static bool permit_counts(const struct consent_policy *policy, const struct facts *facts, const struct id *origin)
{
    const Chartmesh__V1__Assertor *assertor = policy->message->assertor;
    struct bytes recorder = BYTES(policy->message->head->facility.data, policy->message->head->facility.len);
    bool staff = assertor->who == CHARTMESH__V1__WHO__WHO_STAFF;

    if (staff && !bytes_equal(recorder, BYTES_OF(*origin))) {
        return false;
    }
    if ((!staff && assertor->who != CHARTMESH__V1__WHO__WHO_PROXY) ||
        !bytes_equal(recorder, BYTES_OF(facts->facility))) {
        return true;
    }
    const char *user = assertor->author && assertor->author->user ? assertor->author->user : "";
    bool beneficiary = !id_equal(&facts->facility, origin) || strcmp(user, facts->user) == 0;
    return !beneficiary || !facts_above_normal(facts);
}

bool opinions_of_heads(const struct consent_policy *const *heads, size_t len, const struct facts *facts,
                       const struct id *origin, struct arena *arena, struct opinion **out, struct err *err)
{
    void *memory;
    if (!arena_array(arena, len, sizeof **out, &memory, err)) {
        return false;
    }
    struct opinion *opinions = memory;
    for (size_t i = 0; i < len; i++) {
        opinions[i] = opinion_of(heads[i]->tree, facts, permit_counts(heads[i], facts, origin));
        opinions[i].basis.head = opinions[i].named.head = i;
    }
    *out = opinions;
    return true;
}

enum consent_effect opinions_join(const struct opinion *opinions, size_t len)
{
    enum consent_effect joined = CONSENT_NONE;
    for (size_t i = 0; i < len; i++) {
        joined = MAX(joined, opinions[i].effect);                /* NONE < PERMIT < DENY */
    }
    return joined;
}
