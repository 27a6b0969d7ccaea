#include "proto/consent/consent.h"

#define PERMIT CHARTMESH__V1__EFFECT__EFFECT_PERMIT
#define DENY CHARTMESH__V1__EFFECT__EFFECT_DENY

struct place {
    unsigned depth;
    bool one_facility;       /* its own or an ancestor's facilities are exactly one */
};

static bool effect_check(const Chartmesh__V1__Rule *rule, struct err *err)
{
    if (rule->effect != PERMIT && rule->effect != DENY) {
        return err_raise(err, ERR_INVALID, "rule %u: no effect", rule->id);
    }
    if (rule->effect == DENY && (rule->confidentiality_max != 0 || rule->n_without_sensitivity != 0)) {
        return err_raise(err, ERR_INVALID, "rule %u: a DENY has no confidentiality_max and no without_sensitivity",
                         rule->id);
    }
    if (rule->effect == PERMIT && rule->confidentiality_min != 0) {
        return err_raise(err, ERR_INVALID, "rule %u: a PERMIT has no confidentiality_min", rule->id);
    }
    return true;
}

/* Finds the place of a rule among those before it. */
static bool place_check(Chartmesh__V1__Rule *const *rules, size_t at, struct place *places, struct err *err)
{
    const Chartmesh__V1__Rule *rule = rules[at];
    struct place above = {0};

    if (rule->id == 0 || (at > 0 && rule->id <= rules[at - 1]->id)) {
        return err_raise(err, ERR_INVALID, "rule %u: ids ascend from 1", rule->id);
    }
    if (rule->parent != 0) {
        size_t parent = 0;
        while (parent < at && rules[parent]->id != rule->parent) {
            parent++;
        }
        if (parent == at) {
            return err_raise(err, ERR_INVALID, "rule %u: parent %u is missing or not smaller", rule->id,
                             rule->parent);
        }
        above = places[parent];
    }
    places[at] = (struct place){
        .depth = above.depth + 1,
        .one_facility = above.one_facility || rule->n_facilities == 1,
    };
    return places[at].depth <= CONSENT_DEPTH_MAX ||
           err_raise(err, ERR_INVALID, "rule %u: more than %d deep", rule->id, CONSENT_DEPTH_MAX);
}

static bool rules_check(Chartmesh__V1__Rule *const *rules, size_t len, bool terms, struct err *err)
{
    struct place places[CONSENT_RULES_MAX];

    if (len > CONSENT_RULES_MAX) {
        return err_raise(err, ERR_INVALID, "%zu rules, at most %d", len, CONSENT_RULES_MAX);
    }
    for (size_t i = 0; i < len; i++) {
        if (!place_check(rules, i, places, err) || !effect_check(rules[i], err)) {
            return false;
        }
        if (!terms && rules[i]->deny_only) {
            return err_raise(err, ERR_INVALID, "rule %u: deny_only is for terms", rules[i]->id);
        }
        if (!terms && rules[i]->n_users != 0 && !places[i].one_facility) {
            return err_raise(err, ERR_INVALID,
                             "rule %u: users need exactly one facility in its own or an ancestor's facilities",
                             rules[i]->id);
        }
    }
    return true;
}

static bool base_check(Chartmesh__V1__Effect base, struct err *err)
{
    return (unsigned)base <= (unsigned)DENY || err_raise(err, ERR_INVALID, "base_effect is no effect");
}

bool policy_check(const Chartmesh__V1__Policy *policy, struct err *err)
{
    if (!policy->head || !policy->subject || !policy->dot || !policy->assertor) {
        return err_raise(err, ERR_INVALID, "policy: head, subject, dot and assertor are required");
    }
    if (!base_check(policy->base_effect, err) || !rules_check(policy->rules, policy->n_rules, false, err)) {
        return err_wrap(err, "policy");
    }
    return true;
}

bool terms_check(const Chartmesh__V1__Terms *terms, struct err *err)
{
    if (terms->tables.len != 0 && terms->tables.len != HASH_LEN) {
        return err_raise(err, ERR_INVALID, "terms: tables is a SHA-256");
    }
    for (size_t i = 0; i < terms->n_trees; i++) {
        const Chartmesh__V1__Tree *tree = terms->trees[i];
        if (!base_check(tree->base_effect, err) || !rules_check(tree->rules, tree->n_rules, true, err)) {
            return err_wrap(err, "terms: tree %zu", i);
        }
    }
    return true;
}
