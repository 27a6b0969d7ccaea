/* tests/lib/store_contract.h - what every store promises, as tests that each implementation runs. */
#pragma once

#include "node/store/store.h"

/* How an implementation gives a test a place of its own, and clears it away. */
struct store_place {
    void (*make)(struct store_options *out);
    void (*clear)(struct store_options *options);
};

/* store_contract_run runs all rules; returns the number of failures. */
int store_contract_run(const char *name, const struct store_place *place);

/* The same fixture for an implementation's own tests: an open store in a fresh place. */
struct store_fixture {
    struct store_options options;
    struct store *store;
    struct store_batch *batch;
    struct arena arena;
};

int store_fixture_setup(void **state);       /* after store_fixture_use */
int store_fixture_teardown(void **state);
void store_fixture_use(const struct store_place *place);

/* Commits one row, or the end of a row. */
void store_fixture_put(struct store_fixture *f, enum store_family family, const char *key, const char *value);
void store_fixture_delete(struct store_fixture *f, enum store_family family, const char *key);

/* store_fixture_value returns the row's value as text, "-" if there is none. */
const char *store_fixture_value(struct store_fixture *f, const struct store_snapshot *at, enum store_family family,
                                const char *key);
void store_fixture_reopen(struct store_fixture *f);
