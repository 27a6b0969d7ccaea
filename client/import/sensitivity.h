/* client/import/sensitivity.h - rules that give sensitivity labels to coded content.
 *
 * A rule file lists codes (system and code) and the labels of v3-ActCode that a resource gets which carries one
 * of them: the format is docs/protocol/10-import.md, 5 (the public "sensitivity rules" shape: name, updated_at,
 * settings, rules with basis, labels and codeSets). Codes match exactly; text is not read. */
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#define SENSITIVITY_SYSTEM "http://terminology.hl7.org/CodeSystem/v3-ActCode"

enum {
    SENSITIVITY_FILE_MAX = 16 << 20,
    SENSITIVITY_CODES_MAX = 200000,
    SENSITIVITY_LABELS_MAX = 64,     /* different ones in one file */
};

struct sensitivity;

/* sensitivity_read makes the rules of one file. Codes whose confidence is below `confidence_min` are left out; 0
 * keeps all of them, which is the careful choice. ERR_INVALID: not such a file, with the place in it;
 * ERR_TOO_MUCH: over a limit above. */
NODISCARD bool sensitivity_read(struct bytes json, double confidence_min, struct sensitivity **out,
                                struct err *err);
void sensitivity_free(struct sensitivity *rules);

/* sensitivity_match returns the set of labels of one code: bit i is sensitivity_label(i). NULL rules match
 * nothing. */
uint64_t sensitivity_match(const struct sensitivity *rules, struct bytes system, struct bytes code);

/* sensitivity_label returns a label's code, "HIV"; a view into the rules. */
struct bytes sensitivity_label(const struct sensitivity *rules, unsigned index);

size_t sensitivity_code_count(const struct sensitivity *rules);
