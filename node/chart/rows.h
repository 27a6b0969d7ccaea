/* node/chart/rows.h - the keys of the chart's rows. Only node/chart's own files include it.
 *
 * FAMILY_RECORD   P doc 'v' version       header row (formats 8); flags VERSION_COMPLETE, VERSION_PENDING
 *                 P doc 'm' content       meta row (formats 8)
 *                 P doc 'd'               the facility's dot in this document: incarnation, tag, counter
 * FAMILY_CHUNK    content u64be i         sealed chunk (formats 8)
 * FAMILY_INDEX    's' P, 'i' P            own and incoming subjects: sealed facility, patient, identity, since
 *                 'g' P                   current generation of an own subject
 *                 'v' version             P, doc, the clock when it came to be known here
 *                 'h' HMAC P, 'H' P HMAC  identifier index, both ways
 *                 'k' HMAC                import key: sealed subject, doc, version, content hash
 *                 'p' P policy            a policy version
 *                 'q' P                   the facility's dot in the subject's policies
 * FAMILY_STREAM   'O' peer lane hlc       outbox
 *                 'L' P doc version peer  delivery ledger
 *                 'F' P doc|zeros         fence
 *                 'D' version disclosure  a copy's disclosures: incarnation, generation
 *                 'C' P order             cases
 * FAMILY_STATEMENT 's' id                 P, u32be year, sealed envelope
 *                 't' id                  trust statements that came after the trust file */
#pragma once

#include "node/chart/chart.h"
#include "proto/base/builder.h"
#include "proto/base/reader.h"

enum { CHART_LOCKS = 64, CHART_ROW_MAX = 128 };

/* Taken by one task, given by it or by another. */
struct patient_lock {
    struct world_lock *lock;     /* guards `taken` */
    struct world_event *free;
    bool taken;
};

struct chart {
    struct store *store;
    struct keys *keys;
    struct log *log;
    struct world *world;
    struct id facility, network;
    struct trust *trust;
    struct world_lock *trust_lock;
    struct hash *unsaved; /* under trust_lock: statements added since the start, not yet seen in the store */
    size_t unsaved_len, unsaved_capacity;
    struct patient_lock patients[CHART_LOCKS];
    struct world_lock *request_locks[CHART_LOCKS];
};

struct chart_row {
    uint8_t bytes[CHART_ROW_MAX];
    size_t len;
};

static inline struct bytes chart_row_view(const struct chart_row *row)
{
    return BYTES(row->bytes, row->len);
}

/* chart_row builds a key from pieces. */
struct chart_row chart_row_of(const struct bytes *parts, size_t count);
#define ROW(...) chart_row_of((const struct bytes[]){__VA_ARGS__}, COUNT(((const struct bytes[]){__VA_ARGS__})))
#define LETTER(c) BYTES_LIT(c)

/* The text of a u64 in a key. */
struct be64 {
    uint8_t bytes[8];
};
static inline struct be64 be64(uint64_t value)
{
    struct be64 out;
    put_u64be(out.bytes, value);
    return out;
}

/* Sealed by the facility's index key, bound to the row's key. */
NODISCARD bool chart_put_sealed(struct chart *chart, struct log_txn *txn, enum store_family family,
                                const struct chart_row *row, struct bytes plain, struct err *err);
NODISCARD bool chart_get_sealed(struct chart *chart, enum store_family family, const struct chart_row *row,
                                struct arena *arena, struct bytes *plain, struct err *err);

/* chart_row_wrap says of which row an error is, and returns false. */
bool chart_row_wrap(enum store_family family, const struct chart_row *row, struct err *err);

/* chart_each calls `fn` for every row with the prefix, in order, until it returns false (*stop) or fails. */
NODISCARD bool chart_each(struct chart *chart, enum store_family family, struct bytes prefix, struct bytes from,
                          bool (*fn)(void *context, struct bytes key, struct bytes value, bool *stop,
                                     struct err *err),
                          void *context, struct err *err);

/* Dots of a series whose row is given: chart_draw_dot takes the next, chart_next_dot only says which it is,
 * chart_take_dot takes a given one if it is the next. */
NODISCARD bool chart_next_dot(struct chart *chart, enum store_family family, const struct chart_row *row,
                              Chartmesh__V1__Dot *out, struct err *err);
NODISCARD bool chart_take_dot(struct chart *chart, struct log_txn *txn, enum store_family family,
                              const struct chart_row *row, const Chartmesh__V1__Dot *dot, bool *next,
                              struct err *err);
NODISCARD bool chart_draw_dot(struct chart *chart, struct log_txn *txn, enum store_family family,
                              const struct chart_row *row, Chartmesh__V1__Dot *out, struct err *err);

/* chart_count counts the rows with a prefix. */
NODISCARD bool chart_count(struct chart *chart, enum store_family family, struct bytes prefix, uint64_t *out,
                           struct err *err);

NODISCARD bool feed_row_put(struct log_txn *txn, const struct feed_row *row, struct err *err);
NODISCARD bool subject_row_put(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                               const struct id *identity, uint64_t since, struct err *err);
NODISCARD bool chart_subject_by_p(struct chart *chart, const struct id *p, struct chart_subject *out,
                                  struct err *err);
