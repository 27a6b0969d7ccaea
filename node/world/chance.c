#include "node/world/world.h"

struct id world_random_id(struct world *world)
{
    struct id id;
    world_random(world, id.bytes, sizeof id.bytes);
    return id;
}

uint64_t world_random_u64(struct world *world)
{
    uint8_t bytes[8];
    world_random(world, bytes, sizeof bytes);
    return get_u64be(bytes);
}
