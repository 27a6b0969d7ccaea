/* node/config/inside.h - what config.c (the form of the file) and tree.c (its meaning) share. Nobody else includes
 * it. */
#pragma once

#include <confuse.h>

#include "node/config/config.h"
#include "node/config/judge.h"

enum { ROWS_MAX = 1024 };

#define AT(field) offsetof(struct config, field)

/* A number, its limits, and where it goes: 32 bits, or with `shift` (MiB: 20) 64. */
struct number {
    const char *section, *name;
    long min, max;
    size_t at;
    unsigned shift;
};
extern const struct number NUMBERS[], QUOTA_NUMBERS[]; /* of struct config; of struct config_quota */
extern const size_t NUMBERS_LEN, QUOTA_NUMBERS_LEN;

struct reading {
    cfg_t *cfg;
    const char *name; /* of the file */
    struct arena *arena;
    struct config *config;
};

/* tree_read fills r->config from r->cfg. ERR_INVALID: what is missing, or does not fit together. */
NODISCARD bool tree_read(const struct reading *r, struct err *err);
