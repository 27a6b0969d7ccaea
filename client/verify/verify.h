/* client/verify/verify.h - the offline verifier of evidence bundles (formats 7, docs/protocol/07-evidence.md).
 *
 * Pure: bytes in, a report out. It needs no network, no node and no clock, and trusts nothing but the id of the
 * first `network` statement that the caller gives. It says what is proved, what is not and why, and where the
 * first fault is. A claim is
 *
 *     CONTRADICTED   bytes that are present break a rule, a hash or a signature: frame and offset say where
 *     NOT PROVED     something needed is missing
 *     PROVED         neither
 *
 * The verdict is CONTRADICTED if any claim is, else that of "complete for log". */
#pragma once

#include <stdio.h>

#include "proto/base/arena.h"
#include "proto/base/builder.h"
#include "proto/base/bytes.h"
#include "proto/chartmesh/v1/log.pb-c.h"

enum verify_state { VERIFY_NOT_PROVED, VERIFY_PROVED, VERIFY_CONTRADICTED };

/* In the order in which they are checked and shown. */
enum verify_claim {
    VERIFY_FILE,               /* "file": frames in order, all of them under the signed answer */
    VERIFY_ENTRIES,            /* "entries included": each opens, is in the tree and belongs here */
    VERIFY_CHAIN,              /* "chain": the entries are the chain that the map holds, none left out */
    VERIFY_COMPLETE,           /* "complete for log": these are all, in this log, as of the map epoch */
    VERIFY_STATEMENTS, /* "statements signed": every statement that an entry names is here and verifies */
    VERIFY_DECISIONS, /* "decisions": each follows from the policies shown */
    VERIFY_AUTHORS, /* "author signatures": of every version that an entry names */
    VERIFY_TIMES, /* "time bounds": witnesses saw the log when they say */
    VERIFY_ALL_LOGS, /* "all logs": complete in every incarnation of this facility's log */
    VERIFY_CLAIMS,
};

const char *verify_claim_name(enum verify_claim claim);
const char *verify_state_name(enum verify_state state); /* "PROVED", "NOT PROVED", "CONTRADICTED" */

/* The exit code of a verdict: PROVED 0, NOT PROVED 3, CONTRADICTED 4 (2 is for usage). */
int verify_exit_code(enum verify_state verdict);

struct verify_options {
    const struct hash *network; /* id of the first `network` statement; NULL: nothing can be PROVED */
    uint64_t network_version, roster_version; /* the smallest that are accepted */
    uint32_t quorum; /* witnesses that must have cosigned; 0: 1 */
    const struct hash *query; /* id of the query that was sent; NULL: any */
    const struct bytes *earlier; /* bundles about the same subject or actor: of this log (this one must
                                  * extend them), or of earlier incarnations (for "all logs") */
    size_t earlier_len;
    const struct bytes *others; /* bundles of other facilities about the same patient: the other ends of
                                 * disclosures. What one side does not tell of is shown; it changes no
                                 * verdict */
    size_t others_len;
};

struct verify_finding {
    enum verify_state state;
    char text[240]; /* why not; "" when PROVED */
    bool placed; /* frame and offset say where */
    size_t frame, offset;
};

/* One entry, in words. Texts live in the arena or the bundle; NULL or "" where there is nothing to say. */
struct verify_row {
    uint64_t index;
    int64_t time_ms; /* the facility's claim */
    const char *kind; /* "READ", "DISCLOSE", … ; "WITHHELD" */
    const char *principal, *user; /* from the actor's enrolment; NULL: the node itself */
    const char *role, *purpose, *reason;
    const char *effect; /* "PERMIT", "DENY"; NULL: no decision */
    uint32_t step;
    const char *counterpart; /* domain of the other facility */
    const char *what; /* what it was about, as far as it is shown */
    size_t objects;
};

struct verify_witness {
    const char *name;
    uint64_t time_s;
};

/* One version handed over, as one side or both tell of it. */
struct verify_crossing {
    struct hash disclosure, version;
    bool sent, received; /* the sender's log tells of it; the receiver's */
};

struct verify_report {
    enum verify_state verdict;
    struct verify_finding claims[VERIFY_CLAIMS];
    struct hash query, network;
    const char *origin, *facility; /* of the log; its facility's name. "" until they are known */
    const char *asker, *purpose, *about; /* who asked, why, about whom */
    uint64_t size, map_epoch, count, withheld;
    int64_t map_time_ms;
    uint64_t network_version, roster_version;
    const struct verify_witness *witnesses;
    size_t witnesses_len;
    const struct verify_row *rows;
    size_t rows_len;
    const struct verify_crossing *crossings; /* only with options.others */
    size_t crossings_len, others_refused; /* other sides' bundles that do not hold, or are about something else */
    uint64_t decisions, recomputed; /* entries with a decision; of those, computed again here */
};

/* verify_bundle checks one bundle. *out lives in `arena` and refers to `file`. ERR_TOO_MUCH: the arena's budget
 * (64 MiB and 16 times the file are enough). A bundle that is wrong is an answer, not an error. */
NODISCARD bool verify_bundle(struct bytes file, const struct verify_options *options, struct arena *arena,
                             struct verify_report *out, struct err *err);

/* verify_text writes the report for people, with the limits that no verifier can lift; verify_json for programs.
 */
void verify_text(const struct verify_report *report, struct builder *out);
NODISCARD bool verify_json(const struct verify_report *report, struct builder *out, struct err *err);
