#include "client/import/fhir_facts.h"

#include <stdlib.h>

#include "client/import/fhir_time.h"
#include "proto/chartmesh/v1/statement.pb-c.h"

enum {
    NORMAL = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N,
    RESTRICTED = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R,
    CODE_MAX = 256,                  /* of a Coding, docs/protocol: both parts 1 to 256 bytes, no `|` in code */
};

static const struct resource *resource_of(const struct fhir_plan *plan, const struct bundle_entry *entry)
{
    return &plan->resources[entry - plan->bundle.entries];
}

/* -- class and title */

static const struct {
    const char *type, *code, *title;
} LISTS[] = {
    {"AllergyIntolerance", "allergies", "Allergies"},
    {"CarePlan", "care-plans", "Care plans"},
    {"CareTeam", "care-teams", "Care teams"},
    {"Condition", "problems", "Problems"},
    {"Consent", "consents", "Consents"},
    {"Coverage", "coverage", "Coverage"},
    {"Device", "devices", "Devices"},
    {"DiagnosticReport", "reports", "Diagnostic reports"},
    {"DocumentReference", "documents", "Documents"},
    {"FamilyMemberHistory", "family-history", "Family history"},
    {"Goal", "goals", "Goals"},
    {"ImagingStudy", "imaging", "Imaging studies"},
    {"Immunization", "immunizations", "Immunizations"},
    {"MedicationRequest", "medications", "Medication requests"},
    {"MedicationStatement", "medication-statements", "Medications in use"},
    {"Observation", "observations", "Observations"},
    {"Procedure", "procedures", "Procedures"},
};

/* "RelatedPerson" → "related-person". */
static bool kebab(struct bytes type, struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(text, 256);
    for (size_t i = 0; i < type.len; i++) {
        bool upper = type.data[i] >= 'A' && type.data[i] <= 'Z';
        if (upper && i > 0) {
            build_u8(&text, '-');
        }
        build_u8(&text, upper ? (uint8_t)(type.data[i] - 'A' + 'a') : type.data[i]);
    }
    return builder_copy(&text, arena, out, err);
}

static bool name_list(struct bytes type, struct arena *arena, struct fhir_document *document, struct err *err)
{
    for (size_t i = 0; i < COUNT(LISTS); i++) {
        if (bytes_equal(type, bytes_str(LISTS[i].type))) {
            document->class.code = bytes_str(LISTS[i].code);
            document->title = bytes_str(LISTS[i].title);
            return true;
        }
    }
    document->title = type;
    return kebab(type, arena, &document->class.code, err);
}

/* An encounter is of a narrower class only if everything in it is. */
static struct bytes encounter_class(const struct fhir_plan *plan, const struct fhir_document *document)
{
    size_t parts[PART_IMAGING + 1] = {0};
    for (size_t i = 0; i < document->entry_count; i++) {
        parts[resource_of(plan, document->entries[i])->part]++;
    }
    if (parts[PART_CARE] > 0 || (parts[PART_LABORATORY] > 0) == (parts[PART_IMAGING] > 0)) {
        return BYTES_LIT("encounter");
    }
    return parts[PART_LABORATORY] > 0 ? BYTES_LIT("laboratory") : BYTES_LIT("imaging");
}

static struct bytes cut(struct bytes text, size_t max)
{
    size_t len = MIN(text.len, max);
    while (len > 0 && len < text.len && (text.data[len] & 0xc0) == 0x80) {
        len--;
    }
    return BYTES(text.data, len);
}

/* -- sets: categories and labels */

static int compare_codings(const void *a, const void *b)
{
    const struct fhir_coding *left = a, *right = b;
    int order = bytes_compare(left->system, right->system);
    return order ? order : bytes_compare(left->code, right->code);
}

static bool fits(const struct code_item *item)
{
    return item->system.len <= CODE_MAX && item->code.len <= CODE_MAX &&
           !memchr(item->code.data, '|', item->code.len);
}

/* put_coding adds to a set of at most `max`; what does not fit any more is left out. */
static void put_coding(struct fhir_coding *set, size_t *count, size_t max, struct fhir_coding coding)
{
    for (size_t i = 0; i < *count; i++) {
        if (compare_codings(&set[i], &coding) == 0) {
            return;
        }
    }
    if (*count < max) {
        set[(*count)++] = coding;
    }
}

static bool gather_categories(const struct fhir_plan *plan, struct arena *arena, struct fhir_document *document,
                              struct err *err)
{
    struct fhir_coding set[FHIR_CATEGORY_MAX];
    size_t count = 0;
    void *memory = NULL;
    for (size_t i = 0; i < document->entry_count; i++) {
        const struct code_item *item = resource_of(plan, document->entries[i])->categories;
        for (; item; item = item->next) {
            if (fits(item)) {
                put_coding(set, &count, FHIR_CATEGORY_MAX, (struct fhir_coding){item->system, item->code});
            }
        }
    }
    if (!arena_array(arena, count, sizeof *set, &memory, err)) {
        return false;
    }
    qsort(set, count, sizeof *set, compare_codings);
    document->category = memcpy(memory, set, count * sizeof *set);
    document->category_count = count;
    return true;
}

static int compare_views(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* put_label refuses what would not fit: a label is never left out silently. */
static bool put_label(struct bytes *set, size_t *count, struct bytes code, struct err *err)
{
    for (size_t i = 0; i < *count; i++) {
        if (bytes_equal(set[i], code)) {
            return true;
        }
    }
    if (*count == FHIR_LABEL_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "a document with more than %d sensitivity labels", FHIR_LABEL_MAX);
    }
    set[(*count)++] = code;
    return true;
}

/* Confidentiality is the highest of the resources', each N unless it says; anything sensitive is at least R. */
static bool gather_labels(const struct fhir_plan *plan, struct arena *arena, struct fhir_document *document,
                          struct err *err)
{
    struct bytes set[FHIR_LABEL_MAX];
    size_t count = 0;
    uint32_t level = 0;
    void *memory = NULL;
    for (size_t i = 0; i < document->entry_count; i++) {
        const struct resource *resource = resource_of(plan, document->entries[i]);
        uint32_t own = resource->confidentiality ? resource->confidentiality : (uint32_t)NORMAL;
        bool sensitive = resource->sensitivity || resource->labels_unknown;
        level = MAX(level, sensitive ? MAX(own, (uint32_t)RESTRICTED) : own);
        for (const struct code_item *item = resource->sensitivity; item; item = item->next) {
            if (!put_label(set, &count, item->code, err)) {
                return false;
            }
        }
    }
    if (!arena_array(arena, count, sizeof *set, &memory, err)) {
        return false;
    }
    qsort(set, count, sizeof *set, compare_views);
    document->sensitivity = memcpy(memory, set, count * sizeof *set);
    document->sensitivity_count = count;
    document->confidentiality = level;
    return true;
}

/* -- times, author, facility */

/* A Period of statement.proto has instants from 1970 on and from < until. */
static struct fhir_period clinical_of(const struct resource *encounter)
{
    struct fhir_period period = {0};
    struct fhir_time start, end;
    if (fhir_time_read(encounter->start, &start) && start.from >= 0) {
        period.has_from = true;
        period.from = start.from;
    }
    if (fhir_time_read(encounter->end, &end)) {
        period.has_until = true;
        period.until = MAX(end.until, 0);
    }
    if (period.has_from && period.has_until && period.until <= period.from) {
        period.until = period.from + 1;
    }
    return period;
}

static void gather_authored(const struct fhir_plan *plan, struct fhir_document *document)
{
    for (size_t i = 0; i < document->entry_count; i++) {
        const struct resource *resource = resource_of(plan, document->entries[i]);
        if (resource->has_authored && resource->authored >= 0 &&
            (!document->has_authored || resource->authored > document->authored)) {
            document->has_authored = true;
            document->authored = resource->authored;
        }
    }
    if (!document->has_authored && document->clinical.has_from) {
        document->has_authored = true;
        document->authored = document->clinical.from;
    }
}

/* The resource that leads the document is where its own references were resolved: take the entry from there. */
static const struct resource *referred(const struct fhir_plan *plan, const struct resource *from,
                                       struct bytes reference)
{
    for (const struct ref *ref = from->refs; ref; ref = ref->next) {
        if (ref->entry >= 0 && bytes_equal(ref->target, reference)) {
            return &plan->resources[ref->entry];
        }
    }
    return NULL;
}

/* What stands behind the last `/` or `:` of a reference that leads out of the bundle. */
static struct bytes last_part(struct bytes reference)
{
    size_t at = reference.len;
    while (at > 0 && reference.data[at - 1] != '/' && reference.data[at - 1] != ':') {
        at--;
    }
    return at == 0 ? reference : BYTES(reference.data + at, reference.len - at);
}

void facts_facility(const struct fhir_plan *plan, const struct resource *resource, struct bytes *id,
                    struct bytes *name)
{
    const struct resource *organization = referred(plan, resource, resource->provider);
    *id = organization && organization->id.len > 0 ? organization->id : last_part(resource->provider);
    *name = organization && organization->name.len > 0 ? organization->name : resource->provider_name;
}

static struct bytes author_of(const struct fhir_plan *plan, const struct resource *encounter)
{
    const struct resource *who = referred(plan, encounter, encounter->participant);
    if (who && who->name.len > 0) {
        return who->name;
    }
    return encounter->participant_name.len > 0 ? encounter->participant_name : encounter->participant;
}

bool facts_fill(const struct fhir_plan *plan, size_t leader, struct arena *arena, struct fhir_document *document,
                struct err *err)
{
    const struct resource *first = &plan->resources[leader];
    document->class.system = BYTES_LIT(FHIR_CLASS_SYSTEM);
    switch (document->kind) {
    case FHIR_IDENTITY:
        document->class.code = BYTES_LIT("patient");
        document->title = BYTES_LIT("Patient");
        facts_facility(plan, first, &document->facility, &document->facility_name);
        break;
    case FHIR_ENCOUNTER:
        document->class.code = encounter_class(plan, document);
        document->title = first->title.len > 0 ? cut(first->title, FHIR_TITLE_MAX) : BYTES_LIT("Encounter");
        document->clinical = clinical_of(first);
        document->author = cut(author_of(plan, first), FHIR_TITLE_MAX);
        facts_facility(plan, first, &document->facility, &document->facility_name);
        break;
    case FHIR_LIST:
        if (!name_list(first->type, arena, document, err)) {
            return false;
        }
        break;
    }
    gather_authored(plan, document);
    return gather_categories(plan, arena, document, err) && gather_labels(plan, arena, document, err);
}
