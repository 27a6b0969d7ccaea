/* tests/demo/patients.h - made-up patients for the demo: FHIR R4 transaction bundles and X-ray images.
 *
 * All people, places and numbers are invented here. Equal seeds give equal bytes. What lies where is in
 * tests/demo/README.md. */
#pragma once

#include "proto/base/builder.h"

enum patients_place { PLACE_HOSPITAL, PLACE_CLINIC, PLACE_LABORATORY, PLACE_COUNT };

enum { PATIENTS_COUNT = 8, PATIENTS_BUNDLE_MAX = 4 << 20, PATIENTS_IMAGE_MAX = 4 << 20 };

struct patients_person {
    const char *name;            /* of files: "mira-tolvanen" */
    const char *given, *family, *gender, *born;
    const char *number;          /* the number that all places know the person by */
    bool at[PLACE_COUNT];        /* where there is a chart */
    bool xray;                   /* an image is made, at the hospital */
    const char *remark;          /* what is special, for people */
};

extern const struct patients_person patients[PATIENTS_COUNT];
extern const char *const patients_place_name[PLACE_COUNT];     /* "hospital" */

/* patients_bundle appends the person's chart at one place. */
void patients_bundle(size_t person, enum patients_place place, uint64_t seed, struct builder *out);

/* patients_image appends the person's chest X-ray, a PNG of about 1.5 MB. */
void patients_image(size_t person, uint64_t seed, struct builder *out);
