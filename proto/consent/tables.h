/* proto/consent/tables.h - the HL7 code tables: what a code covers, and their hash.
 *
 * Built in from proto/consent/tables/ as shipped. Pure and constant. A set of codes of one table is 64 bits, one
 * for each row; a listed code covers itself and its descendants (docs/protocol/04-consent.md, 2). */
#pragma once

#include "proto/base/bytes.h"

/* The code system of sensitivity codes; another system's codes are unknown. */
#define TABLES_SENSITIVITY_SYSTEM "http://terminology.hl7.org/CodeSystem/v3-ActCode"

struct table_code {
    const char *code;
    bool abstract;           /* known in rules, unknown in requests and on versions */
    uint64_t self, covers;   /* its own bit; its own and its descendants' */
    int parent;              /* row, -1: top */
};

struct table {
    const char *name;        /* the file's, without ending: "purpose-of-use" */
    struct bytes text;       /* the file as shipped */
    struct hash sha256;      /* of the text */
    const struct table_code *codes;
    size_t codes_len;        /* <= 64 */
};

extern const struct table table_purpose, table_confidentiality, table_sensitivity;

/* tables_sha256 is Terms.tables: SHA-256 of the three files joined: purpose, confidentiality, sensitivity. */
extern const struct hash tables_sha256;

/* table_find returns the row of a code, abstract ones too, or NULL when the table does not know it. */
const struct table_code *table_find(const struct table *table, const char *code);

/* table_asked returns the bit of a code that a request or a version names; 0: unknown or abstract. */
uint64_t table_asked(const struct table *table, const char *code);

/* table_sensitivity_find is table_find for a Coding's system and code: NULL for another system. */
const struct table_code *table_sensitivity_find(const char *system, const char *code);
