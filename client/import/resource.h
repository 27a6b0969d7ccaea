/* client/import/resource.h - what an import must know of one FHIR R4 resource, read from its bytes.
 *
 * Reading looks at references, codes, labels and a few dates; it never changes or re-writes the resource. The
 * tree of the JSON lives only while resource_read runs. */
#pragma once

#include "client/import/sensitivity.h"
#include "proto/base/arena.h"

enum ref_kind {
    REF_OTHER,
    REF_PATIENT,             /* says whose resource this is: subject, patient, beneficiary, for, individual */
    REF_ACTOR,               /* a participant, who may be the patient */
    REF_ENCOUNTER,           /* encounter, context, context.encounter, item[0].encounter[0] */
    REF_UP,                  /* what it builds on: claim, request, partOf, basedOn, derivedFrom, target … */
    REF_DOWN,                /* what it holds: result, specimen, imagingStudy, media, hasMember, diagnosis */
};

struct ref {
    struct ref *next;
    enum ref_kind kind;
    struct bytes target;     /* the reference as written; none: it has no literal one */
    int64_t entry;           /* for the planner: the entry that it names; negative: none here */
};

struct code_item {           /* a list of codes; system is none for sensitivity labels */
    struct code_item *next;
    struct bytes system, code;
};

enum resource_part {         /* what the resource makes of its document, docs/protocol/10-import.md, 4 */
                     PART_CARE,
                     PART_NEUTRAL,
                     PART_LABORATORY,
                     PART_IMAGING,
};

struct resource {
    struct bytes type, id;           /* id: none when absent */
    struct ref *refs;                /* in the order of the text within each member */
    enum resource_part part;
    struct code_item *categories, *sensitivity;
    uint32_t confidentiality;        /* a Confidentiality of statement.proto; 0: it says none */
    bool labels_unknown;             /* a label that decisions do not know: restricted, the label not kept */
    bool has_authored;
    int64_t authored;                /* the latest time of writing it names, Unix ms */
    struct bytes title;              /* Encounter: its type in words */
    struct bytes name;               /* Organization, Practitioner: for people */
    struct bytes start, end;         /* Encounter.period, as written */
    struct bytes provider, provider_name;        /* Encounter.serviceProvider, Patient.managingOrganization */
    struct bytes participant, participant_name;  /* Encounter: the first participant's individual */
    struct bytes identifier_system;  /* Patient: of its first identifier */
};

struct resource_rules {
    const struct sensitivity *sensitivity; /* NULL: no rule file */
};

/* resource_read fills *out; its views lie in `arena`. ERR_INVALID: not a resource, or JSON that readers may take
 * in different ways (a member twice, a lone surrogate, U+0000); ERR_TOO_MUCH: the arena's budget. */
NODISCARD bool resource_read(struct bytes raw, const struct resource_rules *rules, struct arena *arena,
                             struct resource *out, struct err *err);

/* resource_is_directory: about places and staff, of no patient (Organization, Practitioner, Location …). */
bool resource_is_directory(struct bytes type);
