/* Connections between the facilities, and what can go wrong with them. */
#include <stdlib.h>

#include "tests/sim/sim.h"

enum { DELAY_MAX_MS = 40 };

static size_t place_of(struct sim *sim, const struct id *facility)
{
    for (size_t i = 0; i < SIM_NODES; i++) {
        if (id_equal(&sim->f->members[i].id, facility)) {
            return i;
        }
    }
    sim_broken(sim, "UNEXPECTED", "a facility nobody knows");
}

/* Frames of one wire and direction keep their order: each is due no earlier than the one before. */
static void enqueue(struct sim *sim, struct sim_frame frame)
{
    struct sim_frame *mine = malloc(sizeof *mine + frame.bytes.len), **place = &sim->frames;
    uint64_t least = world_sim_mono_ms(sim->room) + 1 + sim_choose(sim, DELAY_MAX_MS);
    if (!mine) {
        abort();
    }
    *mine = frame;
    mine->serial = sim->serial++;
    mine->bytes = BYTES(mine + 1, frame.bytes.len);
    if (frame.bytes.len) {
        memcpy(mine + 1, frame.bytes.data, frame.bytes.len);
    }
    for (struct sim_frame *f = sim->frames; f; f = f->next) {
        if (f->wire == frame.wire && f->to == frame.to && f->at_ms > least) {
            least = f->at_ms;
        }
    }
    mine->at_ms = least;
    while (*place && (*place)->at_ms <= least) {
        place = &(*place)->next;
    }
    mine->next = *place;
    *place = mine;
}

static struct wire *wire_find(struct sim *sim, size_t node, Chartmesh__V1__Lane lane, size_t other, uint64_t link,
                              size_t *end)
{
    for (size_t i = 0; i < SIM_WIRES; i++) {
        struct wire *w = &sim->wires[i];
        for (*end = 0; w->used && *end < 2; (*end)++) {
            if (w->lane == lane && w->ends[*end].known && !w->ends[*end].told && w->ends[*end].node == node &&
                w->ends[*end].link == link && w->ends[1 - *end].node == other) {
                return w;
            }
        }
    }
    return NULL;
}

static void wire_maybe_free(struct wire *w)
{
    bool done = !w->open && (w->ends[0].told || !w->ends[0].known) && (w->ends[1].told || !w->ends[1].known);
    w->used = w->used && !done;
}

/* Both ends learn of it, each in its own time; what is under way is lost. */
void wire_break(struct sim *sim, size_t at)
{
    struct wire *w = &sim->wires[at];
    struct sim_frame **place = &sim->frames;
    w->open = false;
    while (*place) {
        struct sim_frame *f = *place;
        if (f->wire == at) {
            *place = f->next;
            free(f);
        } else {
            place = &f->next;
        }
    }
    for (size_t end = 0; end < 2; end++) {
        if (w->ends[end].known && !w->ends[end].told) {
            enqueue(sim, (struct sim_frame){.wire = at, .to = end, .closed = true});
        }
    }
    wire_maybe_free(w);
}

/* ---- The transport of a node ---------------------------------------------------------------------------------------- */

static bool can_dial(void *context, const struct id *facility)
{
    (void)context;
    (void)facility;
    return true;
}

static void dial(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    for (size_t i = 0; i < SIM_WIRES; i++) {
        if (sim->wires[i].used) {
            continue;
        }
        sim->wires[i] = (struct wire){
            .used = true,
            .open = true,
            .lane = lane,
            .ends = {{.node = node->number, .link = link, .known = true}, {.node = place_of(sim, facility)}}};
        enqueue(sim, (struct sim_frame){.wire = i, .to = 1, .opened = true});
        return;
    }
    sim_broken(sim, "UNEXPECTED", "over %d connections", SIM_WIRES);
}

static void send(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                 struct bytes frame)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    size_t to = place_of(sim, facility), end;
    struct wire *w = wire_find(sim, node->number, lane, to, link, &end);
    rule_frame(node, to, lane, frame);
    sim->frames_sent++;
    if (!w || !w->open || sim->cut[node->number][to]) {
        return;
    }
    size_t at = (size_t)(w - sim->wires);
    if (!sim->quiet && sim_choose(sim, 300) == 0) {
        sim_say(sim, "wire %zu-%zu breaks", node->number, to);
        wire_break(sim, at);
        return;
    }
    enqueue(sim, (struct sim_frame){.wire = at, .to = 1 - end, .bytes = frame});
    if (!sim->quiet && sim_choose(sim, 200) == 0) {
        sim_say(sim, "a frame %zu-%zu comes twice", node->number, to);
        enqueue(sim, (struct sim_frame){.wire = at, .to = 1 - end, .bytes = frame});
    }
}

static void end_wire(void *context, const struct id *facility, Chartmesh__V1__Lane lane, uint64_t link,
                     const char *rule, const char *text)
{
    struct sim_node *node = context;
    size_t end;
    struct wire *w = wire_find(node->sim, node->number, lane, place_of(node->sim, facility), link, &end);
    (void)text;
    sim_say(node->sim, "%zu: closes its link: %s", node->number, rule);
    if (w) {
        w->ends[end].told = true;
        wire_break(node->sim, (size_t)(w - node->sim->wires));
    }
}

static bool add_checkpoint(void *context, const struct id *facility,
                           const Chartmesh__V1__AddCheckpointRequest *request, struct arena *arena,
                           const Chartmesh__V1__AddCheckpointReply **reply, struct err *err)
{
    (void)context;
    (void)facility;
    (void)request;
    (void)arena;
    (void)reply;
    return err_raise(err, ERR_UNAVAILABLE, "no witnesses in this simulation");
}

struct peer_transport wire_transport(struct sim_node *node)
{
    return (struct peer_transport){can_dial, dial, send, end_wire, add_checkpoint, node};
}

/* ---- Delivery ---------------------------------------------------------------------------------------------------------- */

static void deliver_open(struct sim *sim, size_t at)
{
    struct wire *w = &sim->wires[at];
    struct sim_node *from = &sim->nodes[w->ends[0].node], *to = &sim->nodes[w->ends[1].node];
    struct err err;
    bool up = w->open && from->up && to->up && !sim->cut[from->number][to->number];
    if (!up || !peers_accept(to->peers, &sim->f->members[from->number].id, w->lane, &w->ends[1].link, &err)) {
        wire_break(sim, at);
        return;
    }
    w->ends[1].known = true;
    peers_opened(from->peers, &sim->f->members[to->number].id, w->lane, w->ends[0].link);
}

static void deliver_one(struct sim *sim, const struct sim_frame *f)
{
    struct wire *w = &sim->wires[f->wire];
    if (f->opened) {
        deliver_open(sim, f->wire);
        return;
    }
    struct wire_end *end = &w->ends[f->to];
    struct sim_node *to = &sim->nodes[end->node];
    const struct id *from = &sim->f->members[w->ends[1 - f->to].node].id;
    if (f->closed) {
        end->told = true;
        if (to->up) {
            peers_closed(to->peers, from, w->lane, end->link);
        }
        wire_maybe_free(w);
    } else if (w->open && end->known && !end->told && to->up &&
               !peers_frame(to->peers, from, w->lane, end->link, f->bytes)) {
        sim_broken(sim, "QUEUE", "an honest peer sent more than its credits");
    }
}

/* Now and then two neighbours change places: a stream never does that, and a receiver must not mind. */
static struct sim_frame *next_frame(struct sim *sim)
{
    struct sim_frame *first = sim->frames, *second = first->next;
    bool swap = !sim->quiet && second && second->wire == first->wire && second->to == first->to &&
                !second->closed && !first->opened && !first->closed && sim_choose(sim, 200) == 0;
    if (swap) {
        sim_say(sim, "two frames change places");
        first->next = second->next;
        second->next = first;
        sim->frames = first;
        return second;
    }
    sim->frames = second;
    return first;
}

bool wire_deliver(struct sim *sim)
{
    if (!sim->frames || sim->frames->at_ms > world_sim_mono_ms(sim->room)) {
        return false;
    }
    struct sim_frame *f = next_frame(sim);
    f->next = NULL;
    deliver_one(sim, f);
    free(f);
    return true;
}

/* The other side learns of it now or, as when a machine loses power, not at all. */
void wires_of_dead(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (size_t i = 0; i < SIM_WIRES; i++) {
        struct wire *w = &sim->wires[i];
        for (size_t end = 0; w->used && end < 2; end++) {
            if (w->ends[end].node != node->number) {
                continue;
            }
            w->ends[end].told = true;
            if (sim->quiet || sim_choose(sim, 4)) {
                wire_break(sim, i);
            } else {
                w->open = false;
            }
        }
    }
}

void wires_free(struct sim *sim)
{
    while (sim->frames) {
        struct sim_frame *f = sim->frames;
        sim->frames = f->next;
        free(f);
    }
}
