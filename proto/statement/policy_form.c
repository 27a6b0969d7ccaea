#include "proto/statement/policy_form.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/statement/form.h"

typedef Chartmesh__V1__Rule Rule;

static bool wrong(const Rule *rule, const char *text, struct err *err)
{
    return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_POLICY_INVALID, "rules", "rule %u: %s",
                           (unsigned)rule->id, text);
}

/* The rules stand by id: the parent is before its child. */
static const Rule *parent_of(Rule *const *rules, size_t at)
{
    size_t low = 0, high = at;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rules[middle]->id < rules[at]->parent) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < at && rules[low]->id == rules[at]->parent ? rules[low] : NULL;
}

static bool check_effect(const Rule *rule, struct err *err)
{
    bool deny = rule->effect == CHARTMESH__V1__EFFECT__EFFECT_DENY;
    if (deny && (rule->confidentiality_max || rule->n_without_sensitivity)) {
        return wrong(rule, "a DENY has no confidentiality_max and no without_sensitivity", err);
    }
    return deny || !rule->confidentiality_min || wrong(rule, "a PERMIT has no confidentiality_min", err);
}

/* User names are local to a facility: exactly one facility in the rule's own list or one ancestor's. */
static bool one_facility(const Rule *const *path, size_t depth)
{
    for (size_t i = 0; i < depth; i++) {
        if (path[i]->n_facilities == 1) {
            return true;
        }
    }
    return false;
}

/* path[0] is the rule, then its ancestors up to a top rule. */
static bool check_rule(Rule *const *rules, size_t at, bool terms, struct err *err)
{
    const Rule *path[POLICY_DEPTH_MAX] = {rules[at]};
    size_t depth = 1, place = at;
    while (rules[place]->parent) {
        const Rule *parent = parent_of(rules, place);
        if (!parent) {
            return wrong(rules[place], "its parent is not there, or not before it", err);
        }
        if (depth == POLICY_DEPTH_MAX) {
            return wrong(rules[at], "more than four deep", err);
        }
        path[depth++] = parent;
        while (rules[place] != parent) {
            place--;
        }
    }
    if (!terms && rules[at]->deny_only) {
        return wrong(rules[at], "deny_only stands in terms only", err);
    }
    if (!terms && rules[at]->n_users && !one_facility(path, depth)) {
        return wrong(rules[at], "users without exactly one facility", err);
    }
    return check_effect(rules[at], err);
}

bool policy_form_rules(Rule *const *rules, size_t count, bool terms, struct err *err)
{
    if (count > POLICY_RULES_MAX) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_POLICY_INVALID, "rules",
                               "%zu rules, at most %d", count, POLICY_RULES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t before = i ? rules[i - 1]->id : 0;
        if (rules[i]->id <= before) {
            return wrong(rules[i], "ids do not ascend from 1", err);
        }
        if (!check_rule(rules, i, terms, err)) {
            return false;
        }
    }
    return true;
}

bool form_policy(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Policy *policy = (const void *)message;
    return form_signed_by_facility(message, err) &&
           form_context(message, policy->dot, policy->context, policy->n_context, err) &&
           policy_form_rules(policy->rules, policy->n_rules, false, err);
}

bool form_tree(const ProtobufCMessage *message, struct err *err)
{
    const Chartmesh__V1__Tree *tree = (const void *)message;
    return policy_form_rules(tree->rules, tree->n_rules, true, err);
}
