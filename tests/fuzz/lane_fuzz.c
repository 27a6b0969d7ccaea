/* Target functions: lane_step, of a lane that is LIVE with a peer whose keys it knows. The input is what the peer
 * does then: a byte that says what, for a frame its length in two bytes (big endian) and its bytes. */
#include "replication/lane.h"

#include "proto/base/reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/federation.h"

enum { US, PEER, OUR_LINK = 1, PEER_LINK = 2, STEPS_MAX = 64, FRAMES_MAX = 64 };

static struct federation *network;
static struct bytes epochs[2];

struct meeting {
    struct arena arena;
    struct lane *lanes[2];
    uint64_t now_ms, hlc;
    uint64_t links[2];       /* each side's number of the one connection; 0: none */
    struct {
        int to;
        struct bytes bytes;
    } frames[FRAMES_MAX];    /* on their way */
    size_t first, last;
    bool served, alone;      /* alone: the peer is the input, its lane hears nothing more */
};

static void tell(struct meeting *m, int who, struct lane_event event);

static void answer(struct meeting *m, int who, const struct lane_update *u)
{
    struct lane_event event = {0};
    switch (u->kind) {
    case LANE_DO_DIAL:
        if (m->links[who]) { /* there is one: nothing answers a second time */
            tell(m, who, (struct lane_event){.kind = LANE_CLOSED, .link = u->link});
            return;
        }
        m->links[who] = u->link;
        m->links[!who] = PEER_LINK;
        tell(m, !who, (struct lane_event){.kind = LANE_ACCEPTED, .link = PEER_LINK});
        tell(m, who, (struct lane_event){.kind = LANE_OPENED, .link = u->link});
        return;
    case LANE_DO_SEND:
        if (m->last < FRAMES_MAX) {
            m->frames[m->last].to = !who;
            m->frames[m->last++].bytes = u->frame;
        }
        return;
    case LANE_DO_MAKE:
        event = (struct lane_event){.kind = LANE_NUMBERED, .numbered = {.again = u->make.again}};
        require(!u->make.again); /* nothing was ever numbered here */
        tell(m, who, event);
        return;
    case LANE_DO_STORE:
        tell(m, who, (struct lane_event){.kind = LANE_STORED, .stored = {.batch = u->batch}});
        return;
    case LANE_DO_TAKE:
        event = (struct lane_event){.kind = LANE_TAKEN,
                                    .taken = {.version = u->chunk->version, .disclosure = u->chunk->disclosure}};
        tell(m, who, event);
        return;
    case LANE_DO_SERVE:
        m->served = true;
        tell(m, who, (struct lane_event){.kind = LANE_SERVED});
        return;
    default:
        return;
    }
}

/* The node keeps the header's rules, so a step never fails, whatever the peer does. */
static void tell(struct meeting *m, int who, struct lane_event event)
{
    struct err err;
    void *memory;
    if (who == PEER && m->alone) {
        return;
    }
    event.now_ms = m->now_ms;
    event.hlc = ++m->hlc;
    event.trust = network->trust;
    require(arena_alloc(&m->arena, sizeof(struct lane_updates), &memory, &err));
    struct lane_updates *updates = memory;
    require(lane_step(m->lanes[who], &event, &m->arena, updates, &err));
    require(updates->count <= LANE_UPDATES_MAX);
    for (size_t i = 0; i < updates->count; i++) {
        answer(m, who, &updates->list[i]);
    }
}

static struct lane *side(int who)
{
    const struct lane_config config = {.network = network->network,
                                       .self = network->members[who].id,
                                       .peer = network->members[!who].id,
                                       .lane = CHARTMESH__V1__LANE__LANE_BULK,
                                       .incarnation = (uint64_t)who + 7,
                                       .epoch = epochs[who],
                                       .key = network->members[who].statement,
                                       .dials = who == US,
                                       .seed = (uint64_t)who + 1};
    return lane_new(&config, &(struct lane_kept){0});
}

static void meet(struct meeting *m)
{
    for (int who = 0; who < 2; who++) {
        m->lanes[who] = side(who);
    }
    for (int i = 0; i < 50 && lane_status(m->lanes[US]).state != LANE_LIVE; i++) {
        m->now_ms += 100;
        tell(m, US, (struct lane_event){.kind = LANE_TICK});
        tell(m, PEER, (struct lane_event){.kind = LANE_TICK});
        while (m->first < m->last) {
            int to = m->frames[m->first].to;
            struct bytes bytes = m->frames[m->first++].bytes;
            tell(m, to, (struct lane_event){.kind = LANE_RECEIVED, .link = m->links[to], .frame = bytes});
        }
    }
    require(lane_status(m->lanes[US]).state == LANE_LIVE);
    m->alone = true;
}

static void act(struct meeting *m, struct reader *r)
{
    static const uint64_t others[] = {4, 6};
    uint8_t what = read_u8(r);
    size_t len;
    switch (what % 8) {
    case 0:
        m->now_ms += 100 * what;
        tell(m, US, (struct lane_event){.kind = LANE_TICK});
        return;
    case 1:
        tell(m, US, (struct lane_event){.kind = LANE_WAKE});
        return;
    case 2:
        if (m->links[US]) {
            tell(m, US, (struct lane_event){.kind = LANE_CLOSED, .link = m->links[US]});
            m->links[US] = 0;
        }
        return;
    case 3:
        tell(m, US, (struct lane_event){.kind = LANE_ACCEPTED, .link = others[what / 128]});
        return;
    default:
        len = (size_t)read_u8(r) << 8;
        len |= read_u8(r);
        tell(m, US,
             (struct lane_event){.kind = LANE_RECEIVED,
                                 .link = what % 8 == 4 ? others[what / 128] : m->links[US],
                                 .frame = read_bytes(r, MIN(len, r->left.len))});
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct meeting m = {.now_ms = 1000, .hlc = FEDERATION_HLC + (1000 << 16)};
    struct reader r = reader_of(BYTES(data, size));
    if (!network) {
        network = federation_new(2);
        for (size_t who = 0; who < 2; who++) {
            epochs[who] = federation_sign_epoch(network, who, who + 7, &network->arena);
        }
    }
    arena_init(&m.arena, 64 << 20);
    meet(&m);
    for (int i = 0; i < STEPS_MAX && r.left.len > 0; i++) {
        act(&m, &r);
        require(lane_status(m.lanes[US]).stored == 0); /* nothing of it was signed by the peer */
    }
    if (m.served) {
        fuzz_reached(1);
    }
    lane_free(m.lanes[US]);
    lane_free(m.lanes[PEER]);
    arena_done(&m.arena);
    return 0;
}
