/* node/server/journal.h - what the node tells whoever runs it: one JSON object a line, by jansson.
 *
 * Its fields: docs/operating/node.md, "Logs". It never has record content: texts come from `struct err`, which
 * carries ids and rules. The facility's audit log is another thing (node/log): this one is for operators, may be
 * lost, and proves nothing.
 *
 * Any thread. journal_write never waits: lines are queued for one worker; when JOURNAL_QUEUE_MAX of them wait,
 * further ones are dropped and counted, and the count is written when there is room again. */
#pragma once

#include "node/config/config.h"
#include "node/world/world.h"

struct journal;

enum { JOURNAL_QUEUE_MAX = 4096 };

/* journal_open appends to `file` (NULL: standard error) what is of `level` or above. `file` outlives the journal.
 * ERR_STATE: the file cannot be opened. */
NODISCARD bool journal_open(struct world *world, const char *file, enum config_level level, struct journal **out,
                            struct err *err);

/* journal_close writes what is queued. NULL is fine. */
void journal_close(struct journal *journal);

/* journal_reopen opens the file again under its name (it was rotated); on an error the old one stays. */
NODISCARD bool journal_reopen(struct journal *journal, struct err *err);

/* journal_level: from now on, what is of `level` or above. */
void journal_level(struct journal *journal, enum config_level level);

/* journal_dropped: how many lines came faster than they could be written, since the start. */
uint64_t journal_dropped(const struct journal *journal);

/* What is known; NULL and 0 are left out. */
struct journal_line {
    const char *event;               /* needed: "call", "start", "peer" */
    const char *request_id, *method, *principal;
    const char *peer, *lane;         /* a facility's id in hex; "control", "bulk" */
    const struct err *err;           /* code, reason, field, text, and where it was raised */
    const char *code;                /* where there is no err: "OK" */
    const char *text;
    uint64_t us, bytes_in, bytes_out;
};

bool journal_takes(const struct journal *journal, enum config_level level);
void journal_write(struct journal *journal, enum config_level level, const struct journal_line *line);

/* journal_reason returns the name of an ErrorReason as lines have it, "OVERLOADED"; NULL: none. */
const char *journal_reason(uint32_t reason);

/* journal_last writes an error at once, past the queue: for a process that is about to end. */
void journal_last(struct journal *journal, const struct journal_line *line);
