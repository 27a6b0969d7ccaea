#include "client/import/fhir.h"

#include <stdlib.h>

#include "client/import/fhir_facts.h"
#include "client/import/fhir_home.h"
#include "client/import/scan.h"

static const struct {
    const char *name;
    bool loses;
} REASONS[FHIR_REASON_COUNT] = {
    [FHIR_NOT_PATIENT_DATA] = {"not-patient-data", false},
    [FHIR_NO_RESOURCE] = {"no-resource", false},
    [FHIR_NOT_A_WRITE] = {"not-a-write", false},
    [FHIR_MALFORMED] = {"malformed", true},
    [FHIR_BAD_ID] = {"bad-id", true},
    [FHIR_OTHER_PATIENT] = {"other-patient", true},
    [FHIR_NO_PATIENT] = {"no-patient", true},
};

const char *fhir_reason_name(enum fhir_reason reason)
{
    return REASONS[reason].name;
}

bool fhir_reason_loses(enum fhir_reason reason)
{
    return REASONS[reason].loses;
}

/* -- reading */

static bool is_import(struct bytes type)
{
    return bytes_equal(type, BYTES_LIT("transaction")) || bytes_equal(type, BYTES_LIT("batch")) ||
           bytes_equal(type, BYTES_LIT("collection"));
}

static bool writes(struct bytes method)
{
    return !method.data || bytes_equal(method, BYTES_LIT("POST")) || bytes_equal(method, BYTES_LIT("PUT"));
}

/* Reads each resource, or says why it cannot be had. */
static bool read_resources(struct fhir_plan *plan, const struct resource_rules *rules, struct homes *homes,
                           struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < plan->bundle.count; i++) {
        const struct bundle_entry *entry = &plan->bundle.entries[i];
        struct err why = {0};
        homes->home[i] = HOME_SKIPPED;
        if (!entry->resource.data) {
            homes->reason[i] = FHIR_NO_RESOURCE;
        } else if (!resource_read(entry->resource, rules, arena, &plan->resources[i], &why)) {
            homes->reason[i] = FHIR_MALFORMED;
            if (why.code != ERR_INVALID) {
                *err = why;
                return err_wrap(err, "entry %zu", i);
            }
        } else if (!writes(entry->method)) {
            homes->reason[i] = FHIR_NOT_A_WRITE;
        } else {
            homes->home[i] = HOME_NONE;
        }
    }
    return true;
}

/* -- documents */

/* Counts what goes where: members[i] is how many resources entry i leads. */
static void count_members(struct fhir_plan *plan, const struct homes *homes, size_t *members)
{
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] >= 0) {
            plan->document_count += members[homes->home[i]]++ == 0;
        } else {
            plan->skip_count++;
        }
    }
}

static enum fhir_kind kind_of(const struct fhir_plan *plan, const struct homes *homes, size_t leader)
{
    if (leader == homes->patient) {
        return FHIR_IDENTITY;
    }
    return bytes_equal(plan->resources[leader].type, BYTES_LIT("Encounter")) ? FHIR_ENCOUNTER : FHIR_LIST;
}

static bool make_document(const struct fhir_plan *plan, const struct homes *homes, size_t leader, size_t members,
                          struct arena *arena, struct fhir_document *out, struct err *err)
{
    void *memory = NULL;
    if (!arena_array(arena, members, sizeof *out->entries, &memory, err)) {
        return false;
    }
    *out = (struct fhir_document){.kind = kind_of(plan, homes, leader), .entries = memory};
    return true;
}

/* The identity first, then encounters, then lists, each kind in the bundle's order; document[i] is where the
 * document led by entry i stands. */
static bool make_documents(struct fhir_plan *plan, const struct homes *homes, const size_t *members,
                           size_t *document, struct arena *arena, struct err *err)
{
    void *memory = NULL;
    size_t at = 0;
    if (!arena_array(arena, plan->document_count, sizeof *plan->documents, &memory, err)) {
        return false;
    }
    plan->documents = memory;
    for (enum fhir_kind kind = FHIR_IDENTITY; kind <= FHIR_LIST; kind++) {
        for (size_t i = 0; i < plan->bundle.count; i++) {
            if (members[i] == 0 || kind_of(plan, homes, i) != kind) {
                continue;
            }
            if (!make_document(plan, homes, i, members[i], arena, &plan->documents[at], err)) {
                return false;
            }
            document[i] = at++;
        }
    }
    return true;
}

static bool list_skips(struct fhir_plan *plan, const struct homes *homes, struct arena *arena, struct err *err)
{
    void *memory = NULL;
    size_t at = 0;
    if (!arena_array(arena, plan->skip_count, sizeof *plan->skips, &memory, err)) {
        return false;
    }
    plan->skips = memory;
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] < 0) {
            const struct resource *resource = &plan->resources[i];
            plan->skips[at++] = (struct fhir_skip){i, resource->type, resource->id, homes->reason[i]};
        }
    }
    return true;
}

static bool fill_key(const struct fhir_plan *plan, const struct homes *homes, size_t leader, struct bytes system,
                     struct arena *arena, struct fhir_document *document, struct err *err)
{
    char *key = NULL;
    struct bytes id = plan->resources[leader].id, type = plan->resources[leader].type;
    struct bytes patient = plan->resources[homes->patient].id;
    bool list = document->kind == FHIR_LIST;
    bool ok = list ? arena_printf(arena, &key, err, "Patient/%.*s/%.*s", (int)patient.len,
                                  (const char *)patient.data, (int)type.len, (const char *)type.data)
                   : arena_printf(arena, &key, err, "%.*s/%.*s", (int)type.len, (const char *)type.data,
                                  (int)id.len, (const char *)id.data);
    document->key_system = system;
    document->key_id = ok ? bytes_str(key) : BYTES_NONE;
    return ok;
}

static bool fill_documents(struct fhir_plan *plan, const struct homes *homes, const size_t *members,
                           const size_t *document, struct bytes system, struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] >= 0) {
            struct fhir_document *own = &plan->documents[document[homes->home[i]]];
            own->entries[own->entry_count++] = &plan->bundle.entries[i];
        }
    }
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (members[i] == 0) {
            continue;
        }
        struct fhir_document *own = &plan->documents[document[i]];
        own->content_len = own->kind == FHIR_IDENTITY ? own->entries[0]->resource.len
                                                      : fhir_bundle_written_len(own->entries, own->entry_count);
        if (!fill_key(plan, homes, i, system, arena, own, err) || !facts_fill(plan, i, arena, own, err)) {
            return false;
        }
    }
    return true;
}

/* -- facilities */

static int compare_ids(const void *a, const void *b)
{
    const struct fhir_facility *left = a, *right = b;
    int order = bytes_compare(left->id, right->id);
    return order ? order : bytes_compare(left->name, right->name);
}

static int compare_encounters(const void *a, const void *b)
{
    const struct fhir_facility *left = a, *right = b;
    int order = (left->encounters < right->encounters) - (left->encounters > right->encounters);
    return order ? order : compare_ids(a, b);
}

static bool list_facilities(struct fhir_plan *plan, struct arena *arena, struct err *err)
{
    void *memory = NULL;
    size_t count = 0, kept = 0;
    if (!arena_array(arena, plan->document_count, sizeof *plan->facilities, &memory, err)) {
        return false;
    }
    struct fhir_facility *list = memory;
    for (size_t i = 0; i < plan->document_count; i++) {
        const struct fhir_document *document = &plan->documents[i];
        if (document->kind == FHIR_ENCOUNTER && document->facility.len > 0) {
            list[count++] = (struct fhir_facility){document->facility, document->facility_name, 1};
        }
    }
    qsort(list, count, sizeof *list, compare_ids);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && bytes_equal(list[kept - 1].id, list[i].id)) {
            list[kept - 1].encounters++;
        } else {
            list[kept++] = list[i];
        }
    }
    qsort(list, kept, sizeof *list, compare_encounters);
    plan->facilities = list;
    plan->facility_count = kept;
    return true;
}

/* -- the plan */

static bool build(struct fhir_plan *plan, const struct fhir_options *options, struct homes *homes,
                  struct arena *arena, struct err *err)
{
    void *members = NULL, *document = NULL;
    size_t count = plan->bundle.count;
    if (!read_resources(plan, &options->rules, homes, arena, err) || !homes_find(plan, arena, homes, err)) {
        return false;
    }
    struct bytes system =
        options->system.len > 0 ? options->system : plan->resources[homes->patient].identifier_system;
    if (system.len == 0) {
        return err_raise(err, ERR_INVALID,
                         "no source system is given, and the Patient has no identifier to take it from");
    }
    if (!arena_array(arena, count, sizeof(size_t), &members, err) ||
        !arena_array(arena, count, sizeof(size_t), &document, err)) {
        return false;
    }
    count_members(plan, homes, members);
    plan->astray = homes->astray;
    for (size_t i = 0; i < count; i++) {
        plan->labels_unknown += plan->resources[i].labels_unknown;
    }
    return make_documents(plan, homes, members, document, arena, err) &&
           fill_documents(plan, homes, members, document, system, arena, err) &&
           list_skips(plan, homes, arena, err) && list_facilities(plan, arena, err);
}

bool fhir_plan(struct bytes text, const struct fhir_options *options, struct arena *arena, struct fhir_plan *out,
               struct err *err)
{
    struct fhir_plan plan = {0};
    struct homes homes = {0};
    void *resources = NULL, *home = NULL, *reason = NULL;
    if (!fhir_bundle_read(text, arena, &plan.bundle, err)) {
        return err_wrap(err, "import");
    }
    if (!is_import(plan.bundle.type)) {
        return err_raise(err, ERR_INVALID,
                         "import: a bundle of type '%.*s'; transaction, batch or collection is needed",
                         (int)MIN(plan.bundle.type.len, 32), (const char *)plan.bundle.type.data);
    }
    if (!arena_array(arena, plan.bundle.count, sizeof *plan.resources, &resources, err) ||
        !arena_array(arena, plan.bundle.count, sizeof *homes.home, &home, err) ||
        !arena_array(arena, plan.bundle.count, sizeof *homes.reason, &reason, err)) {
        return err_wrap(err, "import");
    }
    plan.resources = resources;
    homes.home = home;
    homes.reason = reason;
    if (!build(&plan, options, &homes, arena, err)) {
        return err_wrap(err, "import");
    }
    *out = plan;
    return true;
}

void fhir_content(const struct fhir_document *document, struct builder *out)
{
    if (document->kind == FHIR_IDENTITY) {
        build_bytes(out, document->entries[0]->resource);
    } else {
        fhir_bundle_write(document->entries, document->entry_count, out);
    }
}

static bool resource_type(struct bytes content, struct bytes *out, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    struct bytes type = BYTES_NONE;
    bool more = true;
    if (!scan_object(content, &scan, err)) {
        return false;
    }
    while (more) {
        if (!scan_next(&scan, &item, &more, err)) {
            return false;
        }
        if (more && bytes_equal(item.name, BYTES_LIT("resourceType"))) {
            type = item.value;
        }
    }
    *out = type;
    return true;
}

bool fhir_resources(struct bytes content, struct arena *arena, struct bundle *out, struct err *err)
{
    struct bytes type;
    void *memory = NULL;
    if (!resource_type(content, &type, err)) {
        return err_wrap(err, "document");
    }
    if (!bytes_equal(type, BYTES_LIT("\"Patient\""))) {
        return fhir_bundle_read(content, arena, out, err) || err_wrap(err, "document");
    }
    if (!arena_alloc(arena, sizeof(struct bundle_entry), &memory, err)) {
        return err_wrap(err, "document");
    }
    struct bundle_entry *entry = memory;
    entry->resource = content;
    *out = (struct bundle){.type = BYTES_LIT("collection"), .entries = entry, .count = 1};
    return true;
}
