#include "proto/consent/tree.h"

static void codes_add(struct tree_codes *codes, const struct table_code *code)
{
    codes->listed = true;
    codes->unknown |= !code;
    codes->covers |= code ? code->covers : 0;
}

static struct tree_codes sensitivity_codes(Chartmesh__V1__Coding *const *list, size_t len)
{
    struct tree_codes codes = {0};
    for (size_t i = 0; i < len; i++) {
        codes_add(&codes, table_sensitivity_find(list[i]->system, list[i]->code));
    }
    return codes;
}

static void rule_compile(const Chartmesh__V1__Rule *rule, struct tree_rule *out)
{
    out->rule = rule;
    out->effect = (enum consent_effect)rule->effect;
    for (size_t i = 0; i < rule->n_actions; i++) {
        out->actions |= 1u << (rule->actions[i] & 31);
    }
    for (size_t i = 0; i < rule->n_purposes; i++) {
        codes_add(&out->purposes, table_find(&table_purpose, rule->purposes[i]));
        out->lists_btg |= strcmp(rule->purposes[i], "BTG") == 0;
    }
    out->sensitivity = sensitivity_codes(rule->sensitivity, rule->n_sensitivity);
    out->without = sensitivity_codes(rule->without_sensitivity, rule->n_without_sensitivity);
}

static int place_of(const struct tree *tree, uint32_t id)
{
    for (size_t i = 0; id != 0 && i < tree->len; i++) {
        if (tree->rules[i].rule->id == id) {
            return (int)i;
        }
    }
    return -1;
}

bool tree_compile(Chartmesh__V1__Rule *const *rules, size_t len, struct arena *arena, struct tree **out,
                  struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof **out + len * sizeof(struct tree_rule), &memory, err)) {
        return false;
    }
    struct tree *tree = memory;
    for (size_t i = 0; i < len; i++) {
        rule_compile(rules[i], &tree->rules[i]);
        tree->rules[i].parent = place_of(tree, rules[i]->parent);
        tree->len = i + 1;
    }
    *out = tree;
    return true;
}

bool consent_policy_compile(const Chartmesh__V1__Policy *message, const struct hash *id, struct arena *arena,
                            struct consent_policy *out, struct err *err)
{
    struct tree *tree;
    if (!policy_check(message, err) || !tree_compile(message->rules, message->n_rules, arena, &tree, err)) {
        return false;
    }
    tree->policy = *id;
    tree->base = (enum consent_effect)message->base_effect;
    *out = (struct consent_policy){.id = *id, .message = message, .tree = tree};
    return true;
}

bool consent_copy_compile(const Chartmesh__V1__Disclosure *message, const struct hash *id, struct arena *arena,
                          struct consent_copy *out, struct err *err)
{
    const Chartmesh__V1__Terms *terms = message->terms;
    void *trees;
    if (!terms || message->n_basis != terms->n_trees) {
        return err_raise(err, ERR_INVALID, "disclosure: one tree for each policy of its basis");
    }
    if (!terms_check(terms, err) || !arena_array(arena, terms->n_trees, sizeof(struct tree *), &trees, err)) {
        return false;
    }
    for (size_t i = 0; i < terms->n_trees; i++) {
        const Chartmesh__V1__Tree *from = terms->trees[i];
        struct tree *tree;
        if (!tree_compile(from->rules, from->n_rules, arena, &tree, err)) {
            return false;
        }
        ProtobufCBinaryData policy = message->basis[i]->policy;
        if (!hash_from(BYTES(policy.data, policy.len), &tree->policy)) {
            return err_raise(err, ERR_INVALID, "disclosure: a policy's id has 32 bytes");
        }
        tree->base = (enum consent_effect)from->base_effect;
        tree->deny_only = from->deny_only;
        ((const struct tree **)trees)[i] = tree;
    }
    *out = (struct consent_copy){.disclosure = *id, .message = message, .trees = trees};
    return true;
}
