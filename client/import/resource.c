#include "client/import/resource.h"

#include <jansson.h>

#include "client/import/fhir_time.h"
#include "client/import/scan.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/consent/tables.h"

#define CONFIDENTIALITY_SYSTEM "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
#define REPORT_SYSTEM "http://terminology.hl7.org/CodeSystem/v2-0074"
#define OBSERVATION_SYSTEM "http://terminology.hl7.org/CodeSystem/observation-category"

enum { LABEL_MAX = 64 };
enum { LABEL_CONFIDENTIALITY_UNKNOWN = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R };

struct reading {
    const struct resource_rules *rules;
    struct arena *arena;
    struct resource *out;
    struct ref **last_ref;
    struct err *err;
};

static struct bytes text_of(const json_t *value)
{
    return json_is_string(value) ? BYTES(json_string_value(value), json_string_length(value)) : BYTES_NONE;
}

static struct bytes text_in(const json_t *object, const char *name)
{
    return text_of(json_object_get(object, name));
}

static bool is_one_of(struct bytes text, const char *const *list, size_t count)
{
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        found = bytes_equal(text, bytes_str(list[i]));
    }
    return found;
}

bool resource_is_directory(struct bytes type)
{
    static const char *const TYPES[] = {
        "Organization",
        "OrganizationAffiliation",
        "Practitioner",
        "PractitionerRole",
        "Location",
        "HealthcareService",
        "Endpoint",
        "InsurancePlan",
        "Schedule",
        "Slot",
        "CodeSystem",
        "ValueSet",
        "ConceptMap",
        "StructureDefinition",
        "SearchParameter",
        "CapabilityStatement",
        "NamingSystem",
        "Library",
        "Measure",
        "PlanDefinition",
        "ActivityDefinition",
        "Questionnaire",
    };
    return is_one_of(type, TYPES, COUNT(TYPES));
}

static bool keep(struct reading *r, struct bytes text, struct bytes *out)
{
    *out = BYTES_NONE;
    return !text.data || arena_copy(r->arena, text, out, r->err);
}

static bool add_code(struct reading *r, struct code_item **list, struct bytes system, struct bytes code)
{
    void *memory = NULL;
    struct code_item item = {.next = *list};
    for (const struct code_item *have = *list; have; have = have->next) {
        if (bytes_equal(have->system, system) && bytes_equal(have->code, code)) {
            return true;
        }
    }
    if (!arena_alloc(r->arena, sizeof item, &memory, r->err) || !keep(r, system, &item.system) ||
        !keep(r, code, &item.code)) {
        return false;
    }
    *list = memory;
    **list = item;
    return true;
}

/* -- labels */

/* A label that decisions do not know could never be permitted: it restricts the resource (R) and is not kept. */
static bool add_label(struct reading *r, struct bytes code)
{
    char text[LABEL_MAX + 1] = "";
    memcpy(text, code.data, MIN(code.len, LABEL_MAX));
    if (code.len > LABEL_MAX || table_asked(&table_sensitivity, text) == 0) {
        r->out->labels_unknown = true;
        return true;
    }
    return add_code(r, &r->out->sensitivity, BYTES_NONE, code);
}

static bool match_rules(struct reading *r, struct bytes system, struct bytes code)
{
    uint64_t labels = sensitivity_match(r->rules->sensitivity, system, code);
    bool ok = true;
    for (unsigned i = 0; labels && ok; i++, labels >>= 1) {
        ok = !(labels & 1) || add_label(r, sensitivity_label(r->rules->sensitivity, i));
    }
    return ok;
}

static void raise_confidentiality(struct resource *out, struct bytes code)
{
    static const char CODES[] = "ULMNRV";
    const char *at = code.len == 1 ? memchr(CODES, code.data[0], sizeof CODES - 1) : NULL;
    uint32_t level = at ? (uint32_t)(at - CODES) + 1 : LABEL_CONFIDENTIALITY_UNKNOWN;
    out->labels_unknown = out->labels_unknown || !at;
    out->confidentiality = MAX(out->confidentiality, level);
}

static bool read_security(struct reading *r, const json_t *labels)
{
    for (size_t i = 0; i < json_array_size(labels); i++) {
        const json_t *label = json_array_get(labels, i);
        struct bytes system = text_in(label, "system"), code = text_in(label, "code");
        if (bytes_equal(system, BYTES_LIT(CONFIDENTIALITY_SYSTEM))) {
            raise_confidentiality(r->out, code);
        } else if (bytes_equal(system, BYTES_LIT(SENSITIVITY_SYSTEM)) && code.len > 0 && !add_label(r, code)) {
            return false;
        }
    }
    return true;
}

/* -- references and codes, at any depth */

static bool add_ref(struct reading *r, enum ref_kind kind, struct bytes target)
{
    void *memory = NULL;
    if (target.len > 0 && target.data[0] == '#') {
        return true;                 /* into the resource itself */
    }
    if (!arena_alloc(r->arena, sizeof(struct ref), &memory, r->err)) {
        return false;
    }
    struct ref *ref = memory;
    *ref = (struct ref){.kind = kind};
    *r->last_ref = ref;
    r->last_ref = &ref->next;
    return keep(r, target, &ref->target);
}

static bool walk(struct reading *r, enum ref_kind kind, const json_t *value)
{
    const char *name = NULL;
    json_t *member = NULL;
    size_t i = 0;
    bool ok = true;
    if (json_is_array(value)) {
        json_array_foreach(value, i, member)
        {
            ok = ok && walk(r, kind, member);
        }
        return ok;
    }
    if (!json_is_object(value)) {
        return true;
    }
    struct bytes target = text_in(value, "reference"), system = text_in(value, "system");
    if (target.data) {
        ok = add_ref(r, kind, target);
    }
    if (ok && system.data) {
        ok = match_rules(r, system, text_in(value, "code"));
    }
    json_object_foreach((json_t *)value, name, member)
    {
        ok = ok && walk(r, kind, member);
    }
    return ok;
}

/* The members whose references say more than that something is mentioned. */
static enum ref_kind kind_of(struct bytes type, const char *name)
{
    static const struct {
        const char *type, *name;     /* type NULL: any */
        enum ref_kind kind;
    } KINDS[] = {
        {NULL, "subject", REF_PATIENT},
        {NULL, "patient", REF_PATIENT},
        {NULL, "beneficiary", REF_PATIENT},
        {NULL, "individual", REF_PATIENT},
        {"Task", "for", REF_PATIENT},
        {"AppointmentResponse", "actor", REF_ACTOR},
        {NULL, "encounter", REF_ENCOUNTER},
        {NULL, "claim", REF_UP},
        {"ClaimResponse", "request", REF_UP},
        {NULL, "partOf", REF_UP},
        {NULL, "basedOn", REF_UP},
        {NULL, "derivedFrom", REF_UP},
        {"Provenance", "target", REF_UP},
        {NULL, "authorizingPrescription", REF_UP},
        {"DiagnosticReport", "result", REF_DOWN},
        {"DiagnosticReport", "specimen", REF_DOWN},
        {"DiagnosticReport", "imagingStudy", REF_DOWN},
        {"DiagnosticReport", "media", REF_DOWN},
        {"Observation", "hasMember", REF_DOWN},
        {"Encounter", "diagnosis", REF_DOWN},
    };
    for (size_t i = 0; i < COUNT(KINDS); i++) {
        if (strcmp(name, KINDS[i].name) == 0 && (!KINDS[i].type || bytes_equal(type, bytes_str(KINDS[i].type)))) {
            return KINDS[i].kind;
        }
    }
    return REF_OTHER;
}

/* `context` is the encounter itself (MedicationAdministration), or holds it (DocumentReference). */
static bool walk_context(struct reading *r, const json_t *context)
{
    const char *name = NULL;
    json_t *member = NULL;
    bool ok = true;
    if (!json_is_object(context) || json_object_get(context, "reference")) {
        return walk(r, REF_ENCOUNTER, context);
    }
    json_object_foreach((json_t *)context, name, member)
    {
        ok = ok && walk(r, strcmp(name, "encounter") == 0 ? REF_ENCOUNTER : REF_OTHER, member);
    }
    return ok;
}

/* Claims and benefits name their encounter in their first item. */
static bool walk_items(struct reading *r, const json_t *items)
{
    const json_t *first = json_array_get(json_object_get(json_array_get(items, 0), "encounter"), 0);
    struct bytes target = text_in(first, "reference");
    return (!target.data || add_ref(r, REF_ENCOUNTER, target)) && walk(r, REF_OTHER, items);
}

static bool walk_participants(struct reading *r, const json_t *participants)
{
    bool ok = true;
    for (size_t i = 0; i < json_array_size(participants) && ok; i++) {
        struct bytes target = text_in(json_object_get(json_array_get(participants, i), "actor"), "reference");
        ok = !target.data || add_ref(r, REF_ACTOR, target);
    }
    return ok && walk(r, REF_OTHER, participants);
}

static bool names_without_literal(const json_t *value)
{
    return json_is_object(value) && !json_object_get(value, "reference") &&
           (json_object_get(value, "identifier") || json_object_get(value, "display"));
}

static bool walk_member(struct reading *r, const char *name, const json_t *value)
{
    if (strcmp(name, "context") == 0) {
        return walk_context(r, value);
    }
    if (strcmp(name, "item") == 0) {
        return walk_items(r, value);
    }
    if (strcmp(name, "participant") == 0) {
        return walk_participants(r, value);
    }
    enum ref_kind kind = kind_of(r->out->type, name);
    if (kind == REF_PATIENT && names_without_literal(value)) {
        return add_ref(r, REF_PATIENT, BYTES_NONE);  /* of somebody, but nobody can say whom */
    }
    return walk(r, kind, value);
}

/* -- facts */

static bool read_concept_codes(struct reading *r, const json_t *concept)
{
    const json_t *codings = json_object_get(concept, "coding");
    for (size_t i = 0; i < json_array_size(codings); i++) {
        struct bytes system = text_in(json_array_get(codings, i), "system");
        struct bytes code = text_in(json_array_get(codings, i), "code");
        if (system.len > 0 && code.len > 0 && !add_code(r, &r->out->categories, system, code)) {
            return false;
        }
    }
    return true;
}

static bool read_categories(struct reading *r, const json_t *root)
{
    const json_t *category = json_object_get(root, "category");
    if (json_is_object(category) && !read_concept_codes(r, category)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(category); i++) {
        if (!read_concept_codes(r, json_array_get(category, i))) {
            return false;
        }
    }
    const json_t *class = json_object_get(root, "class");
    struct bytes system = text_in(class, "system"), code = text_in(class, "code");
    return !bytes_equal(r->out->type, BYTES_LIT("Encounter")) || system.len == 0 || code.len == 0 ||
           add_code(r, &r->out->categories, system, code);
}

static bool in_category(const struct resource *resource, const char *system, const char *code)
{
    for (const struct code_item *item = resource->categories; item; item = item->next) {
        if (bytes_equal(item->system, bytes_str(system)) && bytes_equal(item->code, bytes_str(code))) {
            return true;
        }
    }
    return false;
}

static enum resource_part part_of(const struct resource *resource)
{
    static const char *const NEUTRAL[] = {"Encounter",      "Claim",    "ClaimResponse", "ExplanationOfBenefit",
                                          "ServiceRequest", "Specimen", "Provenance"};
    if (is_one_of(resource->type, NEUTRAL, COUNT(NEUTRAL))) {
        return PART_NEUTRAL;
    }
    if (in_category(resource, REPORT_SYSTEM, "LAB") || in_category(resource, OBSERVATION_SYSTEM, "laboratory")) {
        return PART_LABORATORY;
    }
    if (bytes_equal(resource->type, BYTES_LIT("ImagingStudy")) || in_category(resource, REPORT_SYSTEM, "RAD") ||
        in_category(resource, OBSERVATION_SYSTEM, "imaging")) {
        return PART_IMAGING;
    }
    return PART_CARE;
}

static void note_authored(struct resource *out, struct bytes text)
{
    struct fhir_time time;
    if (fhir_time_read(text, &time) && (!out->has_authored || time.from > out->authored)) {
        out->has_authored = true;
        out->authored = time.from;
    }
}

static void read_authored(struct resource *out, const json_t *root)
{
    static const char *const MEMBERS[] = {"issued",       "authoredOn", "recordedDate", "recorded",
                                          "dateAsserted", "date",       "created"};
    note_authored(out, text_in(json_object_get(root, "meta"), "lastUpdated"));
    for (size_t i = 0; i < COUNT(MEMBERS); i++) {
        note_authored(out, text_in(root, MEMBERS[i]));
    }
}

/* A concept in words: its text, else the first display. */
static struct bytes words_of(const json_t *concept)
{
    struct bytes text = text_in(concept, "text");
    const json_t *codings = json_object_get(concept, "coding");
    for (size_t i = 0; i < json_array_size(codings) && text.len == 0; i++) {
        text = text_in(json_array_get(codings, i), "display");
    }
    return text;
}

static bool read_person_name(struct reading *r, const json_t *name)
{
    char *text = NULL;
    struct bytes prefix = text_of(json_array_get(json_object_get(name, "prefix"), 0));
    struct bytes given = text_of(json_array_get(json_object_get(name, "given"), 0));
    struct bytes family = text_in(name, "family");
    if (text_in(name, "text").len > 0) {
        return keep(r, text_in(name, "text"), &r->out->name);
    }
    if (!arena_printf(r->arena, &text, r->err, "%.*s%s%.*s%s%.*s", (int)MIN(prefix.len, 64),
                      (const char *)prefix.data, prefix.len ? " " : "", (int)MIN(given.len, 64),
                      (const char *)given.data, given.len ? " " : "", (int)MIN(family.len, 64),
                      (const char *)family.data)) {
        return false;
    }
    r->out->name = bytes_str(text);
    return true;
}

static bool read_encounter(struct reading *r, const json_t *root)
{
    const json_t *period = json_object_get(root, "period");
    const json_t *provider = json_object_get(root, "serviceProvider");
    const json_t *who = json_object_get(json_array_get(json_object_get(root, "participant"), 0), "individual");
    struct resource *out = r->out;
    return keep(r, words_of(json_array_get(json_object_get(root, "type"), 0)), &out->title) &&
           keep(r, text_in(period, "start"), &out->start) && keep(r, text_in(period, "end"), &out->end) &&
           keep(r, text_in(provider, "reference"), &out->provider) &&
           keep(r, text_in(provider, "display"), &out->provider_name) &&
           keep(r, text_in(who, "reference"), &out->participant) &&
           keep(r, text_in(who, "display"), &out->participant_name);
}

static bool read_patient(struct reading *r, const json_t *root)
{
    const json_t *identifiers = json_object_get(root, "identifier");
    const json_t *manager = json_object_get(root, "managingOrganization");
    return keep(r, text_in(json_array_get(identifiers, 0), "system"), &r->out->identifier_system) &&
           keep(r, text_in(manager, "reference"), &r->out->provider) &&
           keep(r, text_in(manager, "display"), &r->out->provider_name);
}

static bool read_own(struct reading *r, const json_t *root)
{
    if (bytes_equal(r->out->type, BYTES_LIT("Encounter"))) {
        return read_encounter(r, root);
    }
    if (bytes_equal(r->out->type, BYTES_LIT("Patient"))) {
        return read_patient(r, root);
    }
    if (bytes_equal(r->out->type, BYTES_LIT("Practitioner"))) {
        return read_person_name(r, json_array_get(json_object_get(root, "name"), 0));
    }
    return !bytes_equal(r->out->type, BYTES_LIT("Organization")) || keep(r, text_in(root, "name"), &r->out->name);
}

static bool valid_type(struct bytes type)
{
    bool ok = type.len >= 2 && type.len <= 64 && type.data[0] >= 'A' && type.data[0] <= 'Z';
    for (size_t i = 1; i < type.len && ok; i++) {
        ok = (type.data[i] >= 'a' && type.data[i] <= 'z') || (type.data[i] >= 'A' && type.data[i] <= 'Z');
    }
    return ok;
}

static bool read_tree(struct reading *r, const json_t *root)
{
    const char *name = NULL;
    json_t *value = NULL;
    bool ok = true;
    struct bytes type = text_in(root, "resourceType");
    if (!valid_type(type)) {
        return err_raise(r->err, ERR_INVALID, "resource: no resourceType");
    }
    if (json_object_get(root, "id") && text_in(root, "id").len == 0) {
        return err_raise(r->err, ERR_INVALID, "resource: its id is not a string");
    }
    if (!keep(r, type, &r->out->type) || !keep(r, text_in(root, "id"), &r->out->id)) {
        return false;
    }
    json_object_foreach((json_t *)root, name, value)
    {
        ok = ok && walk_member(r, name, value);
    }
    if (!ok || !read_security(r, json_object_get(json_object_get(root, "meta"), "security")) ||
        !read_categories(r, root) || !read_own(r, root)) {
        return false;
    }
    read_authored(r->out, root);
    r->out->part = part_of(r->out);
    return true;
}

/* The walk that will give the resource back from a document's content finds its members too: none is written with
 * escapes. */
static bool names_plain(struct bytes raw, struct err *err)
{
    struct scan scan;
    struct scan_item item;
    bool more = true;
    if (!scan_object(raw, &scan, err)) {
        return err_wrap(err, "resource");
    }
    while (more) {
        if (!scan_next(&scan, &item, &more, err)) {
            return err_wrap(err, "resource");
        }
    }
    return true;
}

bool resource_read(struct bytes raw, const struct resource_rules *rules, struct arena *arena, struct resource *out,
                   struct err *err)
{
    json_error_t where;
    struct resource resource = {0};
    struct reading reading = {rules, arena, &resource, &resource.refs, err};
    json_t *root =
        json_loadb((const char *)raw.data, raw.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &where);
    if (!root) {
        return err_raise(err, ERR_INVALID, "resource: line %d, column %d: not JSON, or a member twice", where.line,
                         where.column);
    }
    bool ok = names_plain(raw, err) && read_tree(&reading, root);
    json_decref(root);
    if (ok) {
        *out = resource;
    }
    return ok;
}
