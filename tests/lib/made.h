/* tests/lib/made.h - evidence bundles made without a node, right but for one thing each.
 *
 * The log is that of member 0 of a federation of at least two: its patient's version is written, a policy set, the
 * version disclosed to member 1, and an auditor asks. A call that fails ends the test. */
#pragma once

#include "tests/lib/federation.h"

/* What is wrong with a bundle; all zero: nothing. */
struct made_wrong {
    bool strange_entry;          /* another patient's entry in the chain */
    bool hidden_link;            /* one entry of the chain is not shown */
    bool hidden_first;           /* entry 0 is not shown */
    bool hidden_query;           /* nor the query's own */
    bool hidden_enrolment;
    bool enrolled_twice;
    bool late_entry;             /* an entry of the patient after the map epoch is shown */
    bool clock_back;
    bool other_root;             /* the map entry has another root */
    bool no_cosignature;
    bool early_witness;          /* it cosigned before some entries say that they happened */
    bool same_second;            /* nothing is wrong: it cosigned in the second of the newest entry */
    bool no_authority;           /* the authority statement is not shown */
    bool narrow_authority;       /* it is about another patient */
    bool other_purpose;
    bool old_authority;          /* it ended before the query */
    bool no_disclosure;
    bool other_recipient;        /* the entry tells of another recipient than the disclosure */
    bool no_version;
    bool unnamed;                /* a statement that nothing names */
    bool denied;                 /* the policy denies what was disclosed */
    bool bad_path;               /* the decision names a rule that is not there */
    bool other_epoch;            /* the epoch statement is of another incarnation */
    bool known_fork;             /* the asker knew another tree */
    bool restored;               /* the log has a predecessor */
    bool reads;                  /* two reads more: nothing wrong, but not to be decided again */
    bool predecessor;            /* it is the log before the restored one */
    bool not_told;               /* the log does not tell of the disclosure */
    bool absent;                 /* nothing is wrong: the log has no entry of the patient */
    bool actor;                  /* nothing is wrong: the query is about the doctor, not about the patient */
    bool receiver;               /* it is the log of the facility that the version was disclosed to */
};

/* made_bundle makes a whole bundle, in `arena`; the query's id goes to *query. */
struct bytes made_bundle(struct federation *f, const struct made_wrong *wrong, struct arena *arena,
                         struct hash *query);
