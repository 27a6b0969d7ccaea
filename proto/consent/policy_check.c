#include "proto/consent/consent.h"

#define PERMIT CHARTMESH__V1__EFFECT__EFFECT_PERMIT
#define DENY CHARTMESH__V1__EFFECT__EFFECT_DENY

/* A message may come from anywhere: that an effect is one, canonical form says of what was signed only. */
static bool rules_check(Chartmesh__V1__Rule *const *rules, size_t len, bool terms, struct err *err)
{
    for (size_t i = 0; i < len; i++) {
        if (rules[i]->effect != PERMIT && rules[i]->effect != DENY) {
            return err_raise(err, ERR_INVALID, "rule %u: no effect", rules[i]->id);
        }
    }
    return policy_form_rules(rules, len, terms, err);
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
