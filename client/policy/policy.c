#include "client/policy/policy.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/consent/tables.h"

#define PERMIT CHARTMESH__V1__EFFECT__EFFECT_PERMIT
#define DENY CHARTMESH__V1__EFFECT__EFFECT_DENY

bool policy_tree_of(const Chartmesh__V1__Policy *policy, struct policy_tree *out, struct err *err)
{
    *out = (struct policy_tree){0};
    if (!policy) {
        return true;
    }
    if (policy->n_rules > POLICY_RULES_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "policy: %zu rules, at most %d", policy->n_rules, POLICY_RULES_MAX);
    }
    out->base = policy->base_effect;
    for (size_t i = 0; i < policy->n_rules; i++) {
        out->rules[out->count++] = policy->rules[i];
    }
    return true;
}

/* -- one rule */

static bool copy_bytes(struct bytes view, struct arena *arena, ProtobufCBinaryData *out, struct err *err)
{
    struct bytes copy;
    if (!arena_copy(arena, view, &copy, err)) {
        return false;
    }
    *out = (ProtobufCBinaryData){.len = copy.len, .data = (uint8_t *)(uintptr_t)copy.data};
    return true;
}

static bool new_coding(const char *system, const char *code, struct arena *arena, Chartmesh__V1__Coding **out,
                       struct err *err)
{
    void *room;
    if (!arena_alloc(arena, sizeof **out, &room, err)) {
        return false;
    }
    *out = room;
    chartmesh__v1__coding__init(*out);
    (*out)->system = (char *)(uintptr_t)system;
    (*out)->code = (char *)(uintptr_t)code;
    return true;
}

static bool next_rule(struct policy_tree *tree, Chartmesh__V1__Effect effect, struct arena *arena,
                      Chartmesh__V1__Rule **out, struct err *err)
{
    void *room;
    if (tree->count == POLICY_RULES_MAX) {
        return err_raise_reason(err, ERR_TOO_MUCH, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_POLICY_INVALID,
                                "policy: it has %d rules already, as many as it may", POLICY_RULES_MAX);
    }
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Rule), &room, err)) {
        return false;
    }
    Chartmesh__V1__Rule *rule = room;
    chartmesh__v1__rule__init(rule);
    rule->id = tree->count ? tree->rules[tree->count - 1]->id + 1 : 1;
    rule->effect = effect;
    *out = rule;
    return true;
}

static bool is_identity(const Chartmesh__V1__Coding *class)
{
    return strcmp(class->system, POLICY_CLASS_SYSTEM) == 0 && strcmp(class->code, "patient") == 0;
}

static bool set_classes(Chartmesh__V1__Rule *rule, const struct policy_scope *scope, bool with_identity,
                        struct arena *arena, struct err *err)
{
    void *room;
    if (scope->class_count == 0) {
        return true;
    }
    if (!arena_array(arena, scope->class_count + 1, sizeof(Chartmesh__V1__Coding *), &room, err)) {
        return false;
    }
    rule->classes = room;
    for (size_t i = 0; i < scope->class_count; i++) {
        rule->classes[rule->n_classes++] = scope->classes[i];
        with_identity = with_identity && !is_identity(scope->classes[i]);
    }
    return !with_identity ||
           new_coding(POLICY_CLASS_SYSTEM, "patient", arena, &rule->classes[rule->n_classes++], err);
}

/* The codes that cover all others: the tops of the table. */
static bool set_nothing_sensitive(Chartmesh__V1__Rule *rule, struct arena *arena, struct err *err)
{
    void *room;
    if (!arena_array(arena, table_sensitivity.codes_len, sizeof(Chartmesh__V1__Coding *), &room, err)) {
        return false;
    }
    rule->without_sensitivity = room;
    for (size_t i = 0; i < table_sensitivity.codes_len; i++) {
        if (table_sensitivity.codes[i].parent < 0 &&
            !new_coding(TABLES_SENSITIVITY_SYSTEM, table_sensitivity.codes[i].code, arena,
                        &rule->without_sensitivity[rule->n_without_sensitivity++], err)) {
            return false;
        }
    }
    return true;
}

/* What both templates say alike. */
static bool set_scope(Chartmesh__V1__Rule *rule, const struct policy_scope *scope, bool with_identity,
                      struct arena *arena, struct err *err)
{
    void *room;
    if (!arena_alloc(arena, sizeof *rule->facilities, &room, err)) {
        return false;
    }
    rule->facilities = room;
    rule->n_facilities = 1;
    rule->purposes = (char **)(uintptr_t)scope->purposes;
    rule->n_purposes = scope->purpose_count;
    rule->roles = (Chartmesh__V1__Coding **)(uintptr_t)scope->roles;
    rule->n_roles = scope->role_count;
    rule->sensitivity = (Chartmesh__V1__Coding **)(uintptr_t)scope->sensitivity;
    rule->n_sensitivity = scope->sensitivity_count;
    rule->documents = (ProtobufCBinaryData *)(uintptr_t)scope->documents;
    rule->n_documents = scope->document_count;
    rule->valid = scope->valid;
    return copy_bytes(BYTES_OF(scope->facility), arena, &rule->facilities[0], err) &&
           set_classes(rule, scope, with_identity, arena, err);
}

static void add(struct policy_tree *tree, Chartmesh__V1__Rule *rule, uint32_t *id)
{
    tree->rules[tree->count++] = rule;
    *id = rule->id;
}

bool policy_grant(struct policy_tree *tree, const struct policy_scope *scope, struct arena *arena, uint32_t *id,
                  struct err *err)
{
    Chartmesh__V1__Rule *rule;
    if (!next_rule(tree, PERMIT, arena, &rule, err) || !set_scope(rule, scope, true, arena, err)) {
        return false;
    }
    rule->confidentiality_max = scope->max ? scope->max : CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    if (!scope->sensitive && !set_nothing_sensitive(rule, arena, err)) {
        return false;
    }
    add(tree, rule, id);
    return true;
}

bool policy_deny(struct policy_tree *tree, const struct policy_scope *scope, struct arena *arena, uint32_t *id,
                 struct err *err)
{
    Chartmesh__V1__Rule *rule;
    if (!next_rule(tree, DENY, arena, &rule, err) || !set_scope(rule, scope, false, arena, err)) {
        return false;
    }
    rule->confidentiality_min = scope->min;
    add(tree, rule, id);
    return true;
}

/* -- taking away */

/* Takes away a rule and all below it; parents come before their children. */
static void take_away(struct policy_tree *tree, uint32_t id)
{
    bool gone[POLICY_RULES_MAX] = {false};
    size_t kept = 0;
    for (size_t i = 0; i < tree->count; i++) {
        const Chartmesh__V1__Rule *rule = tree->rules[i];
        gone[i] = rule->id == id;
        for (size_t j = 0; j < i && !gone[i]; j++) {
            gone[i] = gone[j] && rule->parent == tree->rules[j]->id;
        }
    }
    Chartmesh__V1__Rule *rules[POLICY_RULES_MAX];
    for (size_t i = 0; i < tree->count; i++) {
        if (!gone[i]) {
            rules[kept++] = tree->rules[i];
        }
    }
    memcpy(tree->rules, rules, kept * sizeof *rules);
    tree->count = kept;
}

bool policy_drop(struct policy_tree *tree, uint32_t id, struct err *err)
{
    size_t before = tree->count;
    take_away(tree, id);
    return tree->count < before || err_raise(err, ERR_NOT_FOUND, "policy: it has no rule %u", id);
}

static bool names(const Chartmesh__V1__Rule *rule, const struct id *facility, size_t *place)
{
    for (size_t i = 0; i < rule->n_facilities; i++) {
        if (bytes_equal(BYTES(rule->facilities[i].data, rule->facilities[i].len), BYTES_OF(*facility))) {
            *place = i;
            return true;
        }
    }
    return false;
}

/* A rule for several facilities stays for the others. */
static bool without_facility(struct policy_tree *tree, size_t at, size_t place, struct arena *arena,
                             struct err *err)
{
    void *rule_room, *room;
    Chartmesh__V1__Rule *old = tree->rules[at];
    if (!arena_alloc(arena, sizeof *old, &rule_room, err) ||
        !arena_array(arena, old->n_facilities, sizeof *old->facilities, &room, err)) {
        return false;
    }
    Chartmesh__V1__Rule *rule = rule_room;
    *rule = *old;
    rule->facilities = room;
    rule->n_facilities = 0;
    for (size_t i = 0; i < old->n_facilities; i++) {
        if (i != place) {
            rule->facilities[rule->n_facilities++] = old->facilities[i];
        }
    }
    tree->rules[at] = rule;
    return true;
}

bool policy_revoke(struct policy_tree *tree, const struct id *facility, struct arena *arena, size_t *changed,
                   struct err *err)
{
    size_t touched = 0, place;
    for (size_t i = 0; i < tree->count;) {
        const Chartmesh__V1__Rule *rule = tree->rules[i];
        if (rule->effect != PERMIT || !names(rule, facility, &place)) {
            i++;
        } else if (rule->n_facilities == 1) {
            take_away(tree, rule->id);       /* what stands at i now is another rule */
            touched++;
        } else {
            if (!without_facility(tree, i, place, arena, err)) {
                return false;
            }
            touched++;
            i++;
        }
    }
    *changed = touched;
    return touched > 0 || err_raise(err, ERR_NOT_FOUND, "policy: no rule permits that facility anything");
}
