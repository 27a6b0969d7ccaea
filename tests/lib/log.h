/* tests/lib/log.h - a log on a disk in memory, in a simulated world. */
#pragma once

#include "node/log/log.h"
#include "node/store/store_mem.h"
#include "tests/lib/world_sim.h"

/* A small file in memory: keyring or anchor. */
struct small {
    uint8_t bytes[4096];
    size_t len;
};

struct log_fixture {
    struct world_sim *sim;
    struct world *world;
    struct store_disk *disk;
    struct store *store;
    struct small keyring, anchor;
    struct keys_secrets secrets;
    struct keys *keys;
    struct log *log;
    struct id network, facility;
    struct subject subject;
    uint32_t linger_us, commit_entries; /* for the next log_fixture_open */
};

NODISCARD bool log_fixture_open(struct log_fixture *f, struct err *err);
void log_fixture_close(struct log_fixture *f);
int log_fixture_setup(void **state);
int log_fixture_teardown(void **state);

/* log_fixture_write commits one WRITE entry and returns its index. */
uint64_t log_fixture_write(struct log_fixture *f, const struct subject *subject, const struct log_who *who);
extern const struct log_who log_alice;
