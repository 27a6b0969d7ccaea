/* client/verify/check.h - a verification under way. Internal to client/verify. */
#pragma once

#include "client/verify/verify.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/merkle/bundle.h"
#include "proto/merkle/checkpoint.h"
#include "proto/statement/statement.h"
#include "proto/statement/trust.h"

#define ENTRY_KIND(name) CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_##name

/* A frame 5, or the query, or the answer. */
struct given {
    struct bundle_frame frame;
    struct statement s;
    bool named;                            /* an entry, the answer or a statement shown here names it */
    bool verified;
};

/* A frame 4 or 6. */
struct shown {
    struct bundle_frame frame;
    uint64_t index;
    const Chartmesh__V1__Proof *at;
    struct hash commitment;
    const Chartmesh__V1__Entry *entry;     /* NULL: withheld */
    const Chartmesh__V1__WithheldFrame *withheld;
    struct bytes previous_chain;
    bool chained;                          /* it is a link of the chain that is asked for */
};

struct older {                             /* a frame 8 */
    struct bundle_frame frame;
    const Chartmesh__V1__ConsistencyFrame *message;
};

struct check {
    const struct verify_options *options;
    struct arena *arena;
    struct verify_report *report;
    bool decided[VERIFY_CLAIMS];           /* a finding stands: the first one stays */
    bool reached[VERIFY_CLAIMS];           /* nothing is left to look at */
    struct err *err;                       /* what ended the verification itself; code 0: nothing */

    struct given query, answer;
    const Chartmesh__V1__AuditQuery *asked;
    const Chartmesh__V1__AuditAnswer *said;
    struct bundle_frame note, map_frame;
    const Chartmesh__V1__MapFrame *map;
    const Chartmesh__V1__Entry *map_entry;
    struct given *given;
    size_t given_len;
    struct shown *shown;
    size_t shown_len;
    const struct shown **enrolled;         /* the ENROL entries, by actor */
    size_t enrolled_len;
    struct older *older;
    size_t older_len;

    struct trust *trust;                   /* NULL: keys cannot be traced */
    const struct member *member;           /* whose log it is, as of the answer; NULL: unknown */
    const Chartmesh__V1__Authority *authority;
    const Chartmesh__V1__Epoch *epoch;
    struct checkpoint checkpoint;
    uint64_t incarnation;
    uint64_t cosigned_ms;                  /* the earliest cosignature; 0: none */
    struct hash map_key;
    struct hash *chain;                    /* chain[i] after link first_k + i */
    struct hash chain_before;              /* the chain before its first link that is shown */
    uint64_t first_k;                      /* 0: the chain could not be followed */
    size_t links;
};

/* contradict notes a fault of a claim and where it is, lack what is missing for it; the first finding of a claim
 * stays, except that a contradiction replaces a lack. Both return false. */
bool contradict(struct check *c, enum verify_claim claim, const struct bundle_frame *frame, const char *format,
                ...) PRINTF_LIKE(4, 5);
bool lack(struct check *c, enum verify_claim claim, const char *format, ...) PRINTF_LIKE(3, 4);

/* judge turns the error of a check on a frame into a finding: what is unknown is lacking, a spent budget ends the
 * verification, anything else contradicts. Returns false. */
bool judge(struct check *c, enum verify_claim claim, const struct bundle_frame *frame, const struct err *why);

/* The stages, in this order; each returns false when nothing after it can be judged. */
bool check_frames(struct check *c, struct bytes file);          /* frames.c */
bool check_trust(struct check *c);                              /* signers.c: keys, query, answer */
bool check_checkpoint(struct check *c);                         /* signers.c */
bool check_map(struct check *c);                                /* entries.c */
bool check_entries(struct check *c);                            /* entries.c */
bool check_chain(struct check *c);                              /* entries.c */
bool check_complete(struct check *c);                           /* complete.c */
bool check_statements(struct check *c); /* statements.c: statements and author signatures */
bool check_decisions(struct check *c); /* decisions.c */
bool check_earlier(struct check *c); /* earlier.c: extension, all logs */
bool check_others(struct check *c);                             /* cross.c: the other ends of disclosures */
bool make_rows(struct check *c); /* rows.c */

/* verify_alone is verify_bundle without the earlier bundles; *c keeps what earlier.c compares. check_end frees. */
bool verify_alone(struct check *c, struct bytes file);
void check_end(struct check *c);

/* find_given returns the frame 5 with that id, and notes that it is named; NULL: not here. */
struct given *find_given(struct check *c, struct bytes id);
const struct shown *enrolment_of(const struct check *c, struct bytes actor);

static inline int64_t hlc_ms(uint64_t hlc)
{
    return (int64_t)(hlc >> 16);
}
