/* client/import/fhir.h - the plan of an import: one FHIR R4 Bundle in, the documents to put out. Pure.
 *
 * One bundle is one patient. Its Patient resource becomes the identity document, every encounter with all that
 * points at it one document, and what belongs to no encounter one document for each resource type. Every
 * resource is in exactly one document or in the list of skipped ones with its reason, and a document holds its
 * resources' original bytes. The rules are docs/protocol/10-import.md. */
#pragma once

#include "client/import/bundle.h"
#include "client/import/resource.h"

#define FHIR_MEDIA_TYPE "application/fhir+json"
#define FHIR_CLASS_SYSTEM "urn:chartmesh:class"

/* An arena with this budget plans any bundle of ordinary shape within the limits of bundle.h. */
enum { FHIR_PLAN_BUDGET = 512 << 20, FHIR_TITLE_MAX = 256, FHIR_CATEGORY_MAX = 16, FHIR_LABEL_MAX = 32 };

enum fhir_kind {
    FHIR_IDENTITY,           /* content: the Patient resource itself, for Patients.Register */
    FHIR_ENCOUNTER,
    FHIR_LIST,
};

enum fhir_reason {           /* why a resource is in no document */
                   FHIR_NOT_PATIENT_DATA, /* a directory's (Organization, Practitioner …), or about a group, device
                                             or place */
                   FHIR_NO_RESOURCE, /* the entry holds none */
                   FHIR_NOT_A_WRITE, /* the entry asks to delete, read or patch */
                   FHIR_MALFORMED, /* not a resource, or JSON that readers may take in different ways */
                   FHIR_BAD_ID, /* an Encounter without an id by which it could be found again */
                   FHIR_OTHER_PATIENT, /* says it is of somebody who is not this bundle's Patient */
                   FHIR_NO_PATIENT, /* says of nobody, and nothing here refers to it */
                   FHIR_REASON_COUNT,
};

struct fhir_coding {
    struct bytes system, code;
};

struct fhir_period { /* half open, Unix ms, never before 1970: what lies there leaves `from` open */
    bool has_from, has_until;
    int64_t from, until;
};

struct fhir_document {
    enum fhir_kind kind;
    struct bytes key_system, key_id; /* the import key: equal in every run */
    struct fhir_coding class;
    struct fhir_coding *category; /* a set, sorted */
    size_t category_count;
    uint32_t confidentiality; /* a Confidentiality of statement.proto */
    struct bytes *sensitivity; /* codes of v3-ActCode: a set, sorted */
    size_t sensitivity_count;
    bool has_authored;
    int64_t authored; /* Unix ms */
    struct fhir_period clinical; /* without ends: none */
    struct bytes title;
    struct bytes author; /* a hint: the encounter's first participant, by name or id */
    struct bytes facility, facility_name; /* the managing Organization's id and name; none: not said */
    const struct bundle_entry **entries; /* its resources, in the bundle's order */
    size_t entry_count;
    size_t content_len;
};

struct fhir_skip {
    size_t entry; /* its place in the bundle */
    struct bytes type, id; /* none where it could not be read */
    enum fhir_reason reason;
};

struct fhir_facility {
    struct bytes id, name;
    size_t encounters;
};

struct fhir_plan {
    struct bundle bundle;
    struct resource *resources; /* of each entry; type is none where it could not be read */
    struct fhir_document *documents; /* the identity first, then encounters, then lists */
    size_t document_count;
    struct fhir_skip *skips;
    size_t skip_count;
    struct fhir_facility *facilities; /* that the encounters name, most encounters first */
    size_t facility_count;
    size_t astray; /* resources whose encounter is not in the bundle: they are in the lists */
    size_t labels_unknown; /* resources with a label that is not known: restricted (R), the label not written */
};

struct fhir_options {
    struct bytes system; /* the source system of import keys; none: the system of the
                          * Patient's first identifier */
    struct resource_rules rules;
};

/* fhir_plan makes the plan of `text`, a Bundle of type transaction, batch or collection. The plan's views lie in
 * `text` and `arena`, which must outlive it.
 * ERR_INVALID: not such a bundle, no Patient or two, the same fullUrl or type and id twice, no source system;
 * ERR_TOO_MUCH: over a limit of bundle.h or the arena's budget. */
NODISCARD bool fhir_plan(struct bytes text, const struct fhir_options *options, struct arena *arena,
                         struct fhir_plan *out, struct err *err);

/* fhir_content appends a document's content to `out`: exactly content_len bytes. */
void fhir_content(const struct fhir_document *document, struct builder *out);

/* fhir_resources gives back what a document's content holds, byte for byte as it came: one entry for each resource
 * (an identity document is one entry). ERR_INVALID: no content of an import. */
NODISCARD bool fhir_resources(struct bytes content, struct arena *arena, struct bundle *out, struct err *err);

/* fhir_reason_name returns "not-patient-data". fhir_reason_loses: somebody should look at it, for it may be the
 * patient's data and is not stored. */
const char *fhir_reason_name(enum fhir_reason reason);
bool fhir_reason_loses(enum fhir_reason reason);
