/* client/import/import.h - carrying out a plan: Register, then Put or Upload for each document.
 *
 * Idempotent and resumable by import keys alone: each call carries its document's key, and a node answers a key
 * with known bytes by `unchanged`. So a broken run is simply run again, and there is no state file to lose.
 * The calls are a port: the CLI fills it with the client library, tests with a fake. */
#pragma once

#include "client/import/report.h"
#include "proto/chartmesh/v1/patients.pb-c.h"

enum { IMPORT_INLINE_MAX = 1 << 20 };            /* of PutRequest.content; larger content goes by upload */

struct import_done {
    bool unchanged;
};

/* What the calls are given; views and messages live until the call returns. */
struct import_put {
    const struct fhir_document *document;
    struct id patient;                           /* what `register_patient` gave; zero for itself */
    const Chartmesh__V1__Facts *facts;           /* NULL for register_patient */
    const Chartmesh__V1__Labels *labels;
    const Chartmesh__V1__ImportKey *key;
    struct bytes content;
};

/* All three must be there. Each may take its time and retry what can be retried (ERR_UNAVAILABLE, ERR_CONFLICT);
 * what it returns is final for this run. An upload id must depend only on key and content, so that a later run
 * goes on where this one broke off: the first 16 bytes of SHA-256 over both will do. */
struct import_calls {
    void *context;
    bool (*register_patient)(void *context, const struct import_put *, struct id *patient, struct import_done *,
                             struct err *);
    bool (*put)(void *context, const struct import_put *, struct import_done *, struct err *);
    bool (*upload)(void *context, const struct import_put *, struct import_done *, struct err *);
};

struct import_options {
    /* Which documents to put; NULL: all. The identity is always registered. For a node that takes one facility's
     * encounters out of a bundle: compare document->facility. */
    bool (*select)(void *context, const struct fhir_document *);
    void (*progress)(void *context, size_t done, size_t total, const struct fhir_document *); /* may be NULL */
    void *context;
};

/* import_run carries out `plan`, of the bundle called `source`, and counts everything in *report. A document that
 * fails is reported and the others go on; if the patient cannot be registered, all its documents count as failed.
 * It fails only where going on is useless, with the call's own error and the rest counted as failed:
 * ERR_UNAUTHENTICATED, ERR_UNAVAILABLE, ERR_DEADLINE, ERR_CANCELLED; and with ERR_TOO_MUCH when a budget is
 * spent. Then run again. */
NODISCARD bool import_run(const char *source, const struct fhir_plan *plan, const struct import_calls *calls,
                          const struct import_options *options, struct import_report *report, struct err *err);

/* import_facts makes the messages that a document is put with, in `arena`: what register_patient, put and upload
 * are given. ERR_TOO_MUCH. */
NODISCARD bool import_facts(const struct fhir_document *document, struct arena *arena,
                            Chartmesh__V1__Facts **facts, Chartmesh__V1__ImportKey **key, struct err *err);
