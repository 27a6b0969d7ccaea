#include "client/import/report.h"

#include <jansson.h>
#include <stdlib.h>

static const char *const OUTCOMES[IMPORT_OUTCOME_COUNT] = {"put", "unchanged", "elsewhere", "failed"};

void report_init(struct import_report *report, struct arena *arena)
{
    *report = (struct import_report){.arena = arena};
    report->last_skip = &report->skips;
    report->last_failure = &report->failures;
}

static bool keep(struct import_report *report, struct bytes text, const char **out, struct err *err)
{
    char *copy = NULL;
    if (!arena_string(report->arena, BYTES(text.data, MIN(text.len, 256)), &copy, err)) {
        return false;
    }
    *out = copy;
    return true;
}

static bool type_of(struct import_report *report, struct bytes name, struct report_type **out, struct err *err)
{
    void *memory = NULL;
    struct report_type **at = &report->types;
    while (*at && !bytes_equal(bytes_str((*at)->name), name)) {
        at = &(*at)->next;
    }
    if (!*at) {
        const char *copy = NULL;
        if (!arena_alloc(report->arena, sizeof **at, &memory, err) || !keep(report, name, &copy, err)) {
            return false;
        }
        *at = memory;
        (*at)->name = copy;
    }
    *out = *at;
    return true;
}

static bool add_skip(struct import_report *report, const char *source, const struct fhir_skip *skip,
                     struct err *err)
{
    void *memory = NULL;
    struct report_type *type = NULL;
    struct report_skip item = {.source = source, .entry = skip->entry, .reason = skip->reason};
    if (!arena_alloc(report->arena, sizeof item, &memory, err) || !keep(report, skip->type, &item.type, err) ||
        !keep(report, skip->id, &item.id, err) || !type_of(report, skip->type, &type, err)) {
        return false;
    }
    type->skipped++;
    report->skipped[skip->reason]++;
    *report->last_skip = memory;
    **report->last_skip = item;
    report->last_skip = &(*report->last_skip)->next;
    return true;
}

bool report_plan(struct import_report *report, const char *source, const struct fhir_plan *plan, struct err *err)
{
    const char *name = NULL;
    if (!keep(report, bytes_str(source), &name, err)) {
        return err_wrap(err, "report");
    }
    for (size_t i = 0; i < plan->skip_count; i++) {
        if (!add_skip(report, name, &plan->skips[i], err)) {
            return err_wrap(err, "report");
        }
    }
    report->bundles++;
    report->entries += plan->bundle.count;
    report->astray += plan->astray;
    report->labels_unknown += plan->labels_unknown;
    return true;
}

static bool add_failure(struct import_report *report, const char *source, struct bytes key, const struct err *why,
                        struct err *err)
{
    void *memory = NULL;
    struct report_failure item = {.code = why->code};
    if (!arena_alloc(report->arena, sizeof item, &memory, err) ||
        !keep(report, bytes_str(source), &item.source, err) || !keep(report, key, &item.key, err) ||
        !keep(report, bytes_str(why->text), &item.text, err)) {
        return false;
    }
    *report->last_failure = memory;
    **report->last_failure = item;
    report->last_failure = &(*report->last_failure)->next;
    return true;
}

bool report_document(struct import_report *report, const char *source, const struct fhir_plan *plan,
                     const struct fhir_document *document, enum import_outcome outcome, const struct err *why,
                     struct err *err)
{
    struct report_type *type = NULL;
    if (outcome == IMPORT_FAILED && !add_failure(report, source, document->key_id, why, err)) {
        return err_wrap(err, "report");
    }
    for (size_t i = 0; i < document->entry_count; i++) {
        const struct resource *resource = &plan->resources[document->entries[i] - plan->bundle.entries];
        if (!type_of(report, resource->type, &type, err)) {
            return err_wrap(err, "report");
        }
        type->put[outcome]++;
    }
    report->documents[outcome]++;
    report->resources[outcome] += document->entry_count;
    report->bytes_put += outcome == IMPORT_PUT ? document->content_len : 0;
    return true;
}

bool report_bundle_failed(struct import_report *report, const char *source, const struct err *why, struct err *err)
{
    if (!add_failure(report, source, BYTES_NONE, why, err)) {
        return err_wrap(err, "report");
    }
    report->bundles_failed++;
    return true;
}

bool report_complete(const struct import_report *report)
{
    bool complete = !report->failures;
    for (enum fhir_reason reason = 0; reason < FHIR_REASON_COUNT; reason++) {
        complete = complete && (report->skipped[reason] == 0 || !fhir_reason_loses(reason));
    }
    return complete;
}

/* -- text */

static void text_types(const struct import_report *report, struct builder *out)
{
    build_text(out, "\n  %-24s %9s %9s %9s %9s %9s\n", "resources", "put", "unchanged", "elsewhere", "failed",
               "skipped");
    for (const struct report_type *type = report->types; type; type = type->next) {
        build_text(out, "  %-24s %9zu %9zu %9zu %9zu %9zu\n", type->name[0] ? type->name : "(unreadable)",
                   type->put[IMPORT_PUT], type->put[IMPORT_UNCHANGED], type->put[IMPORT_ELSEWHERE],
                   type->put[IMPORT_FAILED], type->skipped);
    }
}

static void text_skips(const struct import_report *report, bool every, struct builder *out)
{
    for (enum fhir_reason reason = 0; reason < FHIR_REASON_COUNT; reason++) {
        if (report->skipped[reason] > 0) {
            build_text(out, "  skipped, %s: %zu\n", fhir_reason_name(reason), report->skipped[reason]);
        }
    }
    for (const struct report_skip *skip = report->skips; skip; skip = skip->next) {
        if (every || fhir_reason_loses(skip->reason)) {
            build_text(out, "    %s entry %zu %s/%s: %s\n", skip->source, skip->entry, skip->type, skip->id,
                       fhir_reason_name(skip->reason));
        }
    }
}

void report_text(const struct import_report *report, bool every, struct builder *out)
{
    build_text(out, "%zu bundles read, %zu refused; %zu entries\n", report->bundles, report->bundles_failed,
               report->entries);
    build_text(out, "documents: %zu put (%ju bytes), %zu unchanged, %zu elsewhere, %zu failed\n",
               report->documents[IMPORT_PUT], (uintmax_t)report->bytes_put, report->documents[IMPORT_UNCHANGED],
               report->documents[IMPORT_ELSEWHERE], report->documents[IMPORT_FAILED]);
    text_types(report, out);
    text_skips(report, every, out);
    if (report->astray > 0) {
        build_text(out, "  %zu resources name an encounter that is not in their bundle: they are in the lists\n",
                   report->astray);
    }
    if (report->labels_unknown > 0) {
        build_text(out, "  %zu resources have a label that is not known: restricted\n", report->labels_unknown);
    }
    for (const struct report_failure *failure = report->failures; failure; failure = failure->next) {
        build_text(out, "  FAILED %s %s: %s: %s\n", failure->source, failure->key, err_code_name(failure->code),
                   failure->text);
    }
}

/* -- JSON */

static json_t *json_counts(const size_t *counts)
{
    json_t *object = json_object();
    for (size_t i = 0; i < IMPORT_OUTCOME_COUNT; i++) {
        json_object_set_new(object, OUTCOMES[i], json_integer((json_int_t)counts[i]));
    }
    return object;
}

static json_t *json_types(const struct import_report *report)
{
    json_t *types = json_object();
    for (const struct report_type *type = report->types; type; type = type->next) {
        json_t *counts = json_counts(type->put);
        json_object_set_new(counts, "skipped", json_integer((json_int_t)type->skipped));
        json_object_set_new(types, type->name, counts);
    }
    return types;
}

static json_t *json_skips(const struct import_report *report)
{
    json_t *list = json_array();
    for (const struct report_skip *skip = report->skips; skip; skip = skip->next) {
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:s, s:s}", "source", skip->source, "entry",
                                              (json_int_t)skip->entry, "type", skip->type, "id", skip->id,
                                              "reason", fhir_reason_name(skip->reason)));
    }
    return list;
}

static json_t *json_failures(const struct import_report *report)
{
    json_t *list = json_array();
    for (const struct report_failure *failure = report->failures; failure; failure = failure->next) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s}", "source", failure->source, "key", failure->key,
                                        "code", err_code_name(failure->code), "text", failure->text));
    }
    return list;
}

bool report_json(const struct import_report *report, struct builder *out, struct err *err)
{
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:b}", "bundles", (json_int_t)report->bundles,
        "bundles_refused", (json_int_t)report->bundles_failed, "entries", (json_int_t)report->entries, "documents",
        json_counts(report->documents), "resources", json_counts(report->resources), "bytes_put",
        (json_int_t)report->bytes_put, "astray", (json_int_t)report->astray, "labels_unknown",
        (json_int_t)report->labels_unknown, "types", json_types(report), "skipped", json_skips(report), "failures",
        json_failures(report), "complete", (int)report_complete(report));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) {
        return err_raise(err, ERR_TOO_MUCH, "report: out of memory");
    }
    build_bytes(out, bytes_str(text));
    build_bytes(out, BYTES_LIT("\n"));
    free(text);
    return out->ok || err_raise(err, ERR_TOO_MUCH, "report: more than %zu bytes", out->max);
}
