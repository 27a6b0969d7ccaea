/* node/config/judge.h - what a single value of the configuration must look like. */
#pragma once

#include "proto/base/bytes.h"

enum judge_kind {
    JUDGE_FILE,              /* not empty, no control characters */
    JUDGE_ID,                /* 32 hex digits */
    JUDGE_DOMAIN,            /* lower-case letters, digits, hyphens; at least one dot */
    JUDGE_LISTEN,            /* host:port, port 0 to 65535 */
    JUDGE_DIAL,              /* host:port, port 1 to 65535 */
    JUDGE_LEVEL,
    JUDGE_ROLE,              /* system|code */
    JUDGE_ROLE_ANY,          /* or "*" */
    JUDGE_PURPOSE,           /* an ActReason code */
    JUDGE_PURPOSE_ANY,       /* or "*" */
    JUDGE_NEEDS,
    JUDGE_RPC,               /* a writing one */
    JUDGE_PRINCIPAL,         /* kind/name, a last "*" open */
    JUDGE_SWITCH,
    JUDGE_COUNT
};

bool judge(enum judge_kind kind, const char *value);

/* judge_wants says what would be right: "'role' or 'assigned'". */
const char *judge_wants(enum judge_kind kind);
