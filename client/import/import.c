#include "client/import/import.h"

enum { FACTS_BUDGET = 1 << 20 };

/* -- messages */

static bool text(struct arena *arena, struct bytes view, char **out, struct err *err)
{
    return view.len == 0 || arena_string(arena, view, out, err);
}

static bool new_coding(struct bytes system, struct bytes code, struct arena *arena, Chartmesh__V1__Coding **out,
                       struct err *err)
{
    void *memory = NULL;
    if (!arena_alloc(arena, sizeof **out, &memory, err)) {
        return false;
    }
    Chartmesh__V1__Coding *coding = memory;
    chartmesh__v1__coding__init(coding);
    *out = coding;
    return text(arena, system, &coding->system, err) && text(arena, code, &coding->code, err);
}

static bool new_instant(int64_t ms, struct arena *arena, Chartmesh__V1__Instant **out, struct err *err)
{
    void *memory = NULL;
    if (!arena_alloc(arena, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__instant__init(*out);
    (*out)->ms = ms;
    return true;
}

static bool new_labels(const struct fhir_document *document, struct arena *arena, Chartmesh__V1__Labels **out,
                       struct err *err)
{
    void *memory = NULL, *list = NULL;
    if (!arena_alloc(arena, sizeof **out, &memory, err) ||
        !arena_array(arena, document->sensitivity_count, sizeof(Chartmesh__V1__Coding *), &list, err)) {
        return false;
    }
    Chartmesh__V1__Labels *labels = memory;
    chartmesh__v1__labels__init(labels);
    labels->confidentiality = (Chartmesh__V1__Confidentiality)document->confidentiality;
    labels->sensitivity = list;
    labels->n_sensitivity = document->sensitivity_count;
    for (size_t i = 0; i < document->sensitivity_count; i++) {
        if (!new_coding(BYTES_LIT(SENSITIVITY_SYSTEM), document->sensitivity[i], arena, &labels->sensitivity[i],
                        err)) {
            return false;
        }
    }
    *out = labels;
    return true;
}

static bool new_period(struct fhir_period period, struct arena *arena, Chartmesh__V1__Period **out,
                       struct err *err)
{
    void *memory = NULL;
    if (!period.has_from && !period.has_until) {
        return true;
    }
    if (!arena_alloc(arena, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__period__init(*out);
    return (!period.has_from || new_instant(period.from, arena, &(*out)->from, err)) &&
           (!period.has_until || new_instant(period.until, arena, &(*out)->until, err));
}

static bool new_categories(const struct fhir_document *document, struct arena *arena, Chartmesh__V1__Facts *facts,
                           struct err *err)
{
    void *list = NULL;
    if (!arena_array(arena, document->category_count, sizeof(Chartmesh__V1__Coding *), &list, err)) {
        return false;
    }
    facts->category = list;
    facts->n_category = document->category_count;
    for (size_t i = 0; i < document->category_count; i++) {
        if (!new_coding(document->category[i].system, document->category[i].code, arena, &facts->category[i],
                        err)) {
            return false;
        }
    }
    return true;
}

static bool new_facts(const struct fhir_document *document, struct arena *arena, Chartmesh__V1__Facts **out,
                      struct err *err)
{
    void *memory = NULL;
    if (!arena_alloc(arena, sizeof **out, &memory, err)) {
        return false;
    }
    Chartmesh__V1__Facts *facts = memory;
    chartmesh__v1__facts__init(facts);
    *out = facts;
    return text(arena, BYTES_LIT(FHIR_MEDIA_TYPE), &facts->media_type, err) &&
           new_coding(document->class.system, document->class.code, arena, &facts->class_, err) &&
           new_categories(document, arena, facts, err) && new_labels(document, arena, &facts->labels, err) &&
           (!document->has_authored || new_instant(document->authored, arena, &facts->authored, err)) &&
           new_period(document->clinical, arena, &facts->clinical, err) &&
           text(arena, document->title, &facts->title, err);
}

bool import_facts(const struct fhir_document *document, struct arena *arena, Chartmesh__V1__Facts **facts,
                  Chartmesh__V1__ImportKey **key, struct err *err)
{
    void *memory = NULL;
    Chartmesh__V1__Facts *made = NULL;
    if (!new_facts(document, arena, &made, err) || !arena_alloc(arena, sizeof **key, &memory, err)) {
        return err_wrap(err, "facts");
    }
    Chartmesh__V1__ImportKey *import_key = memory;
    chartmesh__v1__import_key__init(import_key);
    if (!text(arena, document->key_system, &import_key->system, err) ||
        !text(arena, document->key_id, &import_key->id, err)) {
        return err_wrap(err, "facts");
    }
    *facts = made;
    *key = import_key;
    return true;
}

/* -- the run */

struct run {
    const char *source;
    const struct fhir_plan *plan;
    const struct import_calls *calls;
    const struct import_options *options;
    struct import_report *report;
    struct id patient;
    struct err hopeless;     /* why every further call would fail; code ERR_NONE: it would not */
};

/* Whether the next document would meet the same end. */
static bool is_hopeless(enum err_code code)
{
    return code == ERR_UNAUTHENTICATED || code == ERR_UNAVAILABLE || code == ERR_DEADLINE || code == ERR_CANCELLED;
}

static bool call(struct run *run, const struct fhir_document *document, struct import_put *put,
                 struct import_done *done, struct err *err)
{
    const struct import_calls *calls = run->calls;
    if (document->kind == FHIR_IDENTITY) {
        put->facts = NULL;
        return calls->register_patient(calls->context, put, &run->patient, done, err);
    }
    put->patient = run->patient;
    return put->content.len > IMPORT_INLINE_MAX ? calls->upload(calls->context, put, done, err)
                                                : calls->put(calls->context, put, done, err);
}

static bool carry_out(struct run *run, const struct fhir_document *document, struct import_done *done,
                      struct err *err)
{
    AUTO_ARENA(arena, FACTS_BUDGET);
    AUTO_BUILDER(content, document->content_len + 1);
    Chartmesh__V1__Facts *facts = NULL;
    Chartmesh__V1__ImportKey *key = NULL;
    fhir_content(document, &content);
    if (!content.ok) {
        return err_raise(err, ERR_TOO_MUCH, "a document of %zu bytes", document->content_len);
    }
    if (!import_facts(document, &arena, &facts, &key, err)) {
        return false;
    }
    struct import_put put = {.document = document,
                             .facts = facts,
                             .labels = facts->labels,
                             .key = key,
                             .content = builder_view(&content)};
    return call(run, document, &put, done, err);
}

static bool selected(const struct run *run, const struct fhir_document *document)
{
    return document->kind == FHIR_IDENTITY || !run->options->select ||
           run->options->select(run->options->context, document);
}

static bool run_document(struct run *run, const struct fhir_document *document, struct err *err)
{
    struct import_done done = {0};
    struct err why = run->hopeless;
    enum import_outcome outcome = IMPORT_ELSEWHERE;
    if (selected(run, document)) {
        bool ok = why.code == ERR_NONE && carry_out(run, document, &done, &why);
        outcome = !ok ? IMPORT_FAILED : done.unchanged ? IMPORT_UNCHANGED : IMPORT_PUT;
        if (!ok && (is_hopeless(why.code) || document->kind == FHIR_IDENTITY)) {
            run->hopeless = why;
        }
    }
    return report_document(run->report, run->source, run->plan, document, outcome, &why, err);
}

bool import_run(const char *source, const struct fhir_plan *plan, const struct import_calls *calls,
                const struct import_options *options, struct import_report *report, struct err *err)
{
    struct run run = {.source = source, .plan = plan, .calls = calls, .options = options, .report = report};
    if (!report_plan(report, source, plan, err)) {
        return false;
    }
    for (size_t i = 0; i < plan->document_count; i++) {
        if (!run_document(&run, &plan->documents[i], err)) {
            return false;
        }
        if (options->progress) {
            options->progress(options->context, i + 1, plan->document_count, &plan->documents[i]);
        }
    }
    if (is_hopeless(run.hopeless.code)) {
        *err = run.hopeless;
        return err_wrap(err, "import '%s'", source);
    }
    return true;
}
