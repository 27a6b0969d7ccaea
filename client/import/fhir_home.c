#include "client/import/fhir_home.h"

#include <stdlib.h>

enum { ROUNDS_MAX = 16 };

/* -- what references call an entry: its fullUrl, and its type/id */

struct called {
    struct bytes name;
    size_t entry;
};

struct index {
    struct called *names;
    size_t count;
};

static int compare_names(const void *a, const void *b)
{
    const struct called *left = a, *right = b;
    int order = bytes_compare(left->name, right->name);
    return order ? order : (left->entry > right->entry) - (left->entry < right->entry);
}

/* A fullUrl as a reference would write it: without quotes and with `\/` as `/`, the one escape that occurs. */
static bool url_text(struct bytes json, struct arena *arena, struct bytes *out, struct err *err)
{
    void *memory = NULL;
    struct bytes inner = BYTES(json.data + 1, json.len - 2);
    if (!memchr(inner.data, '\\', inner.len)) {
        *out = inner;
        return true;
    }
    if (!arena_alloc(arena, inner.len, &memory, err)) {
        return false;
    }
    uint8_t *text = memory;
    size_t len = 0;
    for (size_t i = 0; i < inner.len; i++) {
        bool skip = inner.data[i] == '\\' && i + 1 < inner.len && inner.data[i + 1] == '/';
        text[len] = inner.data[i];
        len += !skip;
    }
    *out = BYTES(text, len);
    return true;
}

static bool add_names(const struct fhir_plan *plan, size_t i, struct arena *arena, struct index *index,
                      struct err *err)
{
    const struct resource *resource = &plan->resources[i];
    struct bytes url = BYTES_NONE;
    char *name = NULL;
    if (plan->bundle.entries[i].full_url.data) {
        if (!url_text(plan->bundle.entries[i].full_url, arena, &url, err)) {
            return false;
        }
        index->names[index->count++] = (struct called){url, i};
    }
    if (resource->id.len > 0) {
        if (!arena_printf(arena, &name, err, "%.*s/%.*s", (int)resource->type.len,
                          (const char *)resource->type.data, (int)MIN(resource->id.len, 1024),
                          (const char *)resource->id.data)) {
            return false;
        }
        if (!bytes_equal(bytes_str(name), url)) {
            index->names[index->count++] = (struct called){bytes_str(name), i};
        }
    }
    return true;
}

/* FHIR R4, 3.1.0.7: within a transaction no identity occurs twice; a reference could mean either. */
static bool make_index(const struct fhir_plan *plan, const struct homes *homes, struct arena *arena,
                       struct index *out, struct err *err)
{
    void *memory = NULL;
    struct index index = {0};
    if (!arena_array(arena, plan->bundle.count * 2, sizeof *index.names, &memory, err)) {
        return false;
    }
    index.names = memory;
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] != HOME_SKIPPED && !add_names(plan, i, arena, &index, err)) {
            return false;
        }
    }
    if (index.count > 0) {
        qsort(index.names, index.count, sizeof *index.names, compare_names);
    }
    for (size_t i = 1; i < index.count; i++) {
        if (bytes_equal(index.names[i - 1].name, index.names[i].name)) {
            return err_raise(err, ERR_INVALID, "entries %zu and %zu have the same fullUrl or id",
                             index.names[i - 1].entry, index.names[i].entry);
        }
    }
    *out = index;
    return true;
}

static int compare_name_only(const void *a, const void *b)
{
    return bytes_compare(((const struct called *)a)->name, ((const struct called *)b)->name);
}

/* `Encounter/7/_history/2` names Encounter/7. */
static struct bytes without_version(struct bytes reference)
{
    const uint8_t *at = memmem(reference.data, reference.len, "/_history/", 10);
    return at ? BYTES(reference.data, (size_t)(at - reference.data)) : reference;
}

static int64_t find(const struct index *index, struct bytes reference)
{
    if (reference.len == 0 || index->count == 0) {
        return HOME_NONE;
    }
    struct called wanted = {.name = without_version(reference)};
    const struct called *found = bsearch(&wanted, index->names, index->count, sizeof wanted, compare_name_only);
    return found ? (int64_t)found->entry : HOME_NONE;
}

/* -- whose a resource is */

enum whose { OURS, NOBODYS, ANOTHERS, THINGS };

static bool is_type(const struct fhir_plan *plan, int64_t entry, const char *type)
{
    return entry >= 0 && bytes_equal(plan->resources[entry].type, bytes_str(type));
}

static bool names_a_patient(struct bytes reference)
{
    return reference.len > 8 && memcmp(reference.data, "Patient/", 8) == 0;
}

static enum whose whose(const struct fhir_plan *plan, const struct homes *homes, size_t entry)
{
    bool ours = false, things = false;
    for (const struct ref *ref = plan->resources[entry].refs; ref; ref = ref->next) {
        bool us = ref->entry == (int64_t)homes->patient;
        bool says = ref->kind == REF_PATIENT || (ref->kind == REF_ACTOR && (us || names_a_patient(ref->target)));
        if (says && ref->entry < 0) {
            return ANOTHERS;
        }
        ours = ours || (us && (says || ref->kind == REF_UP));
        things = things || (says && !us);
    }
    return ours ? OURS : things ? THINGS : NOBODYS;
}

static void skip(struct homes *homes, size_t entry, enum fhir_reason reason)
{
    homes->home[entry] = HOME_SKIPPED;
    homes->reason[entry] = reason;
}

static bool usable_id(struct bytes id)
{
    bool ok = id.len >= 1 && id.len <= 64;       /* FHIR R4, 2.24.0.1: [A-Za-z0-9\-\.]{1,64} */
    for (size_t i = 0; i < id.len && ok; i++) {
        uint8_t c = id.data[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '.';
    }
    return ok;
}

static bool find_patient(const struct fhir_plan *plan, struct homes *homes, struct err *err)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] == HOME_NONE && is_type(plan, (int64_t)i, "Patient")) {
            homes->patient = i;
            count++;
        }
    }
    if (count != 1) {
        return err_raise(err, ERR_INVALID, "%zu Patient resources, a bundle of one patient is needed", count);
    }
    if (!usable_id(plan->resources[homes->patient].id)) {
        return err_raise(err, ERR_INVALID, "the Patient has no usable id");
    }
    homes->home[homes->patient] = (int64_t)homes->patient;
    return true;
}

/* -- the passes */

/* What is skipped at sight; whoever names no patient waits for somebody who refers to it. */
static void judge(const struct fhir_plan *plan, struct homes *homes, enum whose *of)
{
    for (size_t i = 0; i < plan->bundle.count; i++) {
        of[i] = OURS;
        if (homes->home[i] != HOME_NONE) {
            continue;
        }
        bool encounter = is_type(plan, (int64_t)i, "Encounter");
        of[i] = whose(plan, homes, i);
        if (resource_is_directory(plan->resources[i].type) || of[i] == THINGS) {
            skip(homes, i, FHIR_NOT_PATIENT_DATA);
        } else if (of[i] == ANOTHERS) {
            skip(homes, i, FHIR_OTHER_PATIENT);
        } else if (encounter && of[i] == NOBODYS) {
            skip(homes, i, FHIR_NO_PATIENT);
        } else if (encounter && !usable_id(plan->resources[i].id)) {
            skip(homes, i, FHIR_BAD_ID);
        } else if (encounter) {
            homes->home[i] = (int64_t)i;
        }
    }
}

/* Ties by an encounter of its own. *own says which have one, here or elsewhere: nothing else ties those. */
static void tie_to_encounters(const struct fhir_plan *plan, struct homes *homes, const enum whose *of, bool *own)
{
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] != HOME_NONE || of[i] != OURS) {
            continue;
        }
        for (const struct ref *ref = plan->resources[i].refs; ref && homes->home[i] < 0; ref = ref->next) {
            bool gone = ref->entry < 0 || homes->home[ref->entry] == HOME_SKIPPED;
            if (ref->kind == REF_ENCOUNTER && (gone || is_type(plan, ref->entry, "Encounter"))) {
                own[i] = true;
                homes->home[i] = gone ? HOME_NONE : ref->entry;
            }
        }
        homes->astray += own[i] && homes->home[i] == HOME_NONE;
    }
}

static bool may_adopt(const struct homes *homes, int64_t entry)
{
    return entry >= 0 && homes->home[entry] >= 0 && entry != (int64_t)homes->patient;
}

/* One round: each waiting resource goes where the first thing it builds on is, then where it is referred from.
 * What builds on the Patient itself stays with the lists. Returns whether anything moved. */
static bool adopt_round(const struct fhir_plan *plan, struct homes *homes, const bool *waits, bool any_ref)
{
    bool moved = false;
    for (size_t i = 0; i < plan->bundle.count; i++) {
        for (const struct ref *ref = plan->resources[i].refs; ref; ref = ref->next) {
            if (ref->kind == REF_UP && ref->entry == (int64_t)homes->patient) {
                break;
            }
            if (ref->kind == REF_UP && waits[i] && homes->home[i] == HOME_NONE && may_adopt(homes, ref->entry)) {
                homes->home[i] = homes->home[ref->entry];
                moved = true;
            }
        }
    }
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (!may_adopt(homes, (int64_t)i)) {
            continue;
        }
        for (const struct ref *ref = plan->resources[i].refs; ref; ref = ref->next) {
            bool holds = ref->kind == REF_DOWN || any_ref;
            if (holds && ref->entry >= 0 && waits[ref->entry] && homes->home[ref->entry] == HOME_NONE) {
                homes->home[ref->entry] = homes->home[i];
                moved = true;
            }
        }
    }
    return moved;
}

static void adopt(const struct fhir_plan *plan, struct homes *homes, const bool *waits, bool any_ref)
{
    for (int round = 0; round < ROUNDS_MAX && adopt_round(plan, homes, waits, any_ref); round++) {
    }
}

struct typed {
    struct bytes type;
    size_t entry;
};

static int compare_typed(const void *a, const void *b)
{
    const struct typed *left = a, *right = b;
    int order = bytes_compare(left->type, right->type);
    return order ? order : (left->entry > right->entry) - (left->entry < right->entry);
}

/* What is the patient's and tied to no encounter: one list for each resource type, led by its first resource. */
static bool make_lists(const struct fhir_plan *plan, struct homes *homes, const enum whose *of,
                       struct arena *arena, struct err *err)
{
    void *memory = NULL;
    size_t count = 0;
    if (!arena_array(arena, plan->bundle.count, sizeof(struct typed), &memory, err)) {
        return false;
    }
    struct typed *list = memory;
    for (size_t i = 0; i < plan->bundle.count; i++) {
        if (homes->home[i] == HOME_NONE && of[i] == OURS) {
            list[count++] = (struct typed){plan->resources[i].type, i};
        }
    }
    if (count > 0) {
        qsort(list, count, sizeof *list, compare_typed);
    }
    for (size_t i = 0, first = 0; i < count; i++) {
        first = bytes_equal(list[first].type, list[i].type) ? first : i;
        homes->home[list[i].entry] = (int64_t)list[first].entry;
    }
    return true;
}

/* Two flags for each entry: `own` and `waits`. */
static bool run_passes(const struct fhir_plan *plan, struct homes *homes, struct arena *arena, struct err *err)
{
    void *whose_room = NULL, *flags = NULL;
    size_t count = plan->bundle.count;
    if (!arena_array(arena, count, sizeof(enum whose), &whose_room, err) ||
        !arena_array(arena, count, 2 * sizeof(bool), &flags, err)) {
        return false;
    }
    enum whose *of = whose_room;
    bool *own = flags, *waits = own + count;
    judge(plan, homes, of);
    tie_to_encounters(plan, homes, of, own);
    for (size_t i = 0; i < count; i++) {
        waits[i] = of[i] == OURS && !own[i];
    }
    adopt(plan, homes, waits, false);
    if (!make_lists(plan, homes, of, arena, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        waits[i] = of[i] == NOBODYS;
    }
    adopt(plan, homes, waits, true);
    for (size_t i = 0; i < count; i++) {
        if (homes->home[i] == HOME_NONE) {
            skip(homes, i, FHIR_NO_PATIENT);
        }
    }
    return true;
}

bool homes_find(struct fhir_plan *plan, struct arena *arena, struct homes *homes, struct err *err)
{
    struct index index;
    if (!make_index(plan, homes, arena, &index, err) || !find_patient(plan, homes, err)) {
        return false;
    }
    for (size_t i = 0; i < plan->bundle.count; i++) {
        for (struct ref *ref = plan->resources[i].refs; ref; ref = ref->next) {
            ref->entry = find(&index, ref->target);
        }
    }
    return run_passes(plan, homes, arena, err);
}
