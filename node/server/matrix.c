#include "node/server/matrix.h"

static bool coding_of(const char *text, struct arena *arena, struct consent_coding *out, struct err *err)
{
    char *copy;
    if (!arena_string(arena, bytes_str(text), &copy, err)) {
        return false;
    }
    char *bar = strrchr(copy, '|');
    if (!bar) {
        return err_raise(err, ERR_INVALID, "configuration: role \"%s\" is not system|code", text);
    }
    *bar = '\0';
    *out = (struct consent_coding){.system = copy, .code = bar + 1};
    return true;
}

static bool codings_of(const struct config_strings *list, struct arena *arena, const struct consent_coding **out,
                       size_t *count, struct err *err)
{
    struct consent_coding *codings;
    if (!arena_array(arena, list->count, sizeof *codings, (void **)&codings, err)) {
        return false;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (!coding_of(list->items[i], arena, &codings[i], err)) {
            return false;
        }
    }
    *out = codings;
    *count = list->count;
    return true;
}

/* What a holder's application shows beside a copy; no disclosure goes without (I7). */
static const char NOTICE[] =
    "Disclosed with the patient's consent, for the permitted purpose only. It is not passed on.";

bool matrix_of(const struct config *config, struct arena *arena, struct consent_config *out, struct err *err)
{
    struct consent_need *table;
    if (!arena_array(arena, config->rule_count, sizeof *table, (void **)&table, err)) {
        return false;
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct config_rule *rule = &config->rules[i];
        if (!coding_of(rule->role, arena, &table[i].role, err)) {
            return false;
        }
        table[i].purpose = rule->purpose;
        table[i].assigned = rule->needs == CONFIG_NEEDS_ASSIGNED;
    }
    *out = (struct consent_config){
        .facility = config->facility,
        .notice = NOTICE,
        .table = table,
        .table_len = config->rule_count,
        .max_age_s = config->max_age_normal_s,
        .max_age_restricted_s = config->max_age_restricted_s,
        .max_age_sensitive_s = config->max_age_sensitive_s,
        .max_disclosure_days = config->max_disclosure_days,
    };
    return codings_of(&config->clinical_roles, arena, &out->clinical_roles, &out->clinical_roles_len, err) &&
           codings_of(&config->sensitive_roles, arena, &out->sensitive_roles, &out->sensitive_roles_len, err);
}
