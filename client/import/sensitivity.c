#include "client/import/sensitivity.h"

#include <jansson.h>
#include <stdlib.h>

struct entry {
    struct bytes system, code;       /* views into the tree */
    uint64_t labels;
};

struct sensitivity {
    json_t *tree;
    struct bytes labels[SENSITIVITY_LABELS_MAX];
    unsigned label_count;
    struct entry *entries;           /* sorted, each (system, code) once */
    size_t count;
};

static struct bytes text_in(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? BYTES(json_string_value(value), json_string_length(value)) : BYTES_NONE;
}

static bool invalid(const char *what, size_t rule, struct err *err)
{
    return err_raise(err, ERR_INVALID, "rule %zu: %s", rule, what);
}

static bool add_label(struct sensitivity *rules, struct bytes code, uint64_t *set, size_t rule, struct err *err)
{
    unsigned i = 0;
    while (i < rules->label_count && !bytes_equal(rules->labels[i], code)) {
        i++;
    }
    if (i == SENSITIVITY_LABELS_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "rule %zu: more than %d different labels", rule,
                         SENSITIVITY_LABELS_MAX);
    }
    rules->labels[i] = code;
    rules->label_count = MAX(rules->label_count, i + 1);
    *set |= UINT64_C(1) << i;
    return true;
}

static bool read_labels(struct sensitivity *rules, const json_t *rule, size_t n, uint64_t *out, struct err *err)
{
    const json_t *labels = json_object_get(rule, "labels");
    uint64_t set = 0;
    for (size_t i = 0; i < json_array_size(labels); i++) {
        const json_t *label = json_array_get(labels, i);
        struct bytes code = text_in(label, "code");
        if (!bytes_equal(text_in(label, "system"), BYTES_LIT(SENSITIVITY_SYSTEM))) {
            return invalid("a label whose system is not v3-ActCode", n, err);
        }
        if (code.len == 0 || code.len > 64 || memchr(code.data, '|', code.len)) {
            return invalid("a label without a code", n, err);
        }
        if (!add_label(rules, code, &set, n, err)) {
            return false;
        }
    }
    *out = set;
    return set != 0 || invalid("no labels", n, err);
}

static bool read_codes(struct sensitivity *rules, const json_t *codes, uint64_t labels, double confidence_min,
                       size_t n, struct err *err)
{
    if (!json_is_array(codes)) {
        return invalid("a code set without codes", n, err);
    }
    for (size_t i = 0; i < json_array_size(codes); i++) {
        const json_t *code = json_array_get(codes, i);
        const json_t *confidence = json_object_get(code, "confidence");
        struct entry entry = {text_in(code, "system"), text_in(code, "code"), labels};
        if (entry.system.len == 0 || entry.code.len == 0 || !json_is_number(confidence)) {
            return invalid("a code without system, code or confidence", n, err);
        }
        if (json_number_value(confidence) >= confidence_min) {
            rules->entries[rules->count++] = entry;
        }
    }
    return true;
}

static bool read_rule(struct sensitivity *rules, const json_t *rule, double confidence_min, size_t n,
                      struct err *err)
{
    uint64_t labels = 0;
    const json_t *sets = json_object_get(rule, "codeSets");
    const json_t *basis = json_object_get(rule, "basis");
    if (text_in(rule, "id").len == 0) {
        return invalid("no id", n, err);
    }
    if (text_in(basis, "system").len == 0 || text_in(basis, "code").len == 0) {
        return invalid("no basis", n, err);
    }
    if (!json_is_array(sets)) {
        return invalid("no codeSets", n, err);
    }
    if (!read_labels(rules, rule, n, &labels, err)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(sets); i++) {
        const json_t *set = json_array_get(sets, i);
        if (text_in(set, "groupID").len == 0) {
            return invalid("a code set without groupID", n, err);
        }
        if (!read_codes(rules, json_object_get(set, "codes"), labels, confidence_min, n, err)) {
            return false;
        }
    }
    return true;
}

static size_t count_codes(const json_t *list)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *sets = json_object_get(json_array_get(list, i), "codeSets");
        for (size_t j = 0; j < json_array_size(sets); j++) {
            count += json_array_size(json_object_get(json_array_get(sets, j), "codes"));
        }
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    int code = bytes_compare(left->code, right->code);
    return code ? code : bytes_compare(left->system, right->system);
}

/* One entry for each code, with the labels of all the rules that list it. */
static void sort_and_join(struct sensitivity *rules)
{
    size_t kept = 0;
    if (rules->count > 0) {
        qsort(rules->entries, rules->count, sizeof *rules->entries, compare);
    }
    for (size_t i = 0; i < rules->count; i++) {
        if (kept > 0 && compare(&rules->entries[kept - 1], &rules->entries[i]) == 0) {
            rules->entries[kept - 1].labels |= rules->entries[i].labels;
        } else {
            rules->entries[kept++] = rules->entries[i];
        }
    }
    rules->count = kept;
}

static bool read_rules(struct sensitivity *rules, double confidence_min, struct err *err)
{
    const json_t *list = json_object_get(rules->tree, "rules");
    size_t count = count_codes(list);
    if (text_in(rules->tree, "name").len == 0 || text_in(rules->tree, "updated_at").len == 0 ||
        !json_is_boolean(json_object_get(json_object_get(rules->tree, "settings"), "editable")) ||
        !json_is_array(list)) {
        return err_raise(err, ERR_INVALID, "name, updated_at, settings.editable or rules is missing");
    }
    if (count > SENSITIVITY_CODES_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "%zu codes, at most %d", count, SENSITIVITY_CODES_MAX);
    }
    rules->entries = calloc(count + 1, sizeof *rules->entries);
    if (!rules->entries) {
        return err_raise(err, ERR_TOO_MUCH, "out of memory");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!read_rule(rules, json_array_get(list, i), confidence_min, i, err)) {
            return false;
        }
    }
    sort_and_join(rules);
    return true;
}

bool sensitivity_read(struct bytes json, double confidence_min, struct sensitivity **out, struct err *err)
{
    json_error_t where;
    if (json.len > SENSITIVITY_FILE_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "sensitivity rules: %zu bytes, at most %d", json.len,
                         SENSITIVITY_FILE_MAX);
    }
    struct sensitivity *rules = calloc(1, sizeof *rules);
    if (!rules) {
        return err_raise(err, ERR_TOO_MUCH, "sensitivity rules: out of memory");
    }
    rules->tree = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, &where);
    bool ok = rules->tree ? read_rules(rules, confidence_min, err)
                          : err_raise(err, ERR_INVALID, "line %d: %s", where.line, where.text);
    if (!ok) {
        sensitivity_free(rules);
        return err_wrap(err, "sensitivity rules");
    }
    *out = rules;
    return true;
}

void sensitivity_free(struct sensitivity *rules)
{
    if (rules) {
        json_decref(rules->tree);
        free(rules->entries);
        free(rules);
    }
}

uint64_t sensitivity_match(const struct sensitivity *rules, struct bytes system, struct bytes code)
{
    if (!rules || rules->count == 0) {
        return 0;
    }
    struct entry wanted = {.system = system, .code = code};
    const struct entry *found = bsearch(&wanted, rules->entries, rules->count, sizeof wanted, compare);
    return found ? found->labels : 0;
}

struct bytes sensitivity_label(const struct sensitivity *rules, unsigned index)
{
    return rules && index < rules->label_count ? rules->labels[index] : BYTES_NONE;
}

size_t sensitivity_code_count(const struct sensitivity *rules)
{
    return rules ? rules->count : 0;
}
