/* The machine room of tests/lib/world_sim.h with the machine's own threads and clocks: for fixtures that many
 * threads call at once. Of that header, what makes and ends worlds is here; who steps time or kills does not link.
 */
#include "proto/crypto/random.h"
#include "tests/lib/test.h"
#include "tests/lib/world_sim.h"

struct world_sim {
    int unused;
};

static struct world_sim room;

struct world_sim *world_sim_new(uint64_t seed)
{
    (void)seed;
    return &room;
}

void world_sim_free(struct world_sim *sim)
{
    (void)sim;
}

static void fill(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

struct world *world_sim_world(struct world_sim *sim, int64_t skew_ms)
{
    struct err err;
    struct world *world;
    const struct world_options options = {.random = fill};
    (void)sim;
    assert_int_equal(skew_ms, 0);
    assert_ok(world_open(&options, &world, &err));
    return world;
}
