/* The simulator's schedule.
 *
 *     bazel test //tests/sim:sim_test                                          many short seeds
 *     bazel run //tests/sim:sim_test -- --seed=N --trace                       one of them, told as it happens
 *     bazel run //tests/sim:sim_test -- --from=N --count=M --steps=S           more, longer
 *     ./dev soak //tests/sim:sim_test                                          from another seed each time, for
 * long
 *
 * That it can fail was tried by breaking the node in these ways; each is found within the first 100 seeds:
 *   sent again without asking for the generation (I1) · chunks given without asking for it (I1) · the patient's
 * lock not held over the commit of a hand-off (I1) · the disclosure not written (I1) · no ledger row (I3) · no
 * fence at the receiver (I5) · a receipt without a purge (I5) · acknowledged before the place is durable (I24) ·
 * numbers not kept (I23) · the ledger moved by an ack about an older number (I26) · equal counters do not
 * supersede (I40) · one recipient left out of the outbox, a withdrawn item not queued anew, a contribution that
 * stays pending (convergence) · an order not queued, a receipt that closes no case (cases) Not found, because a
 * new grant queues it as well: an item refused as FENCED that is not queued anew. */
#include <stdlib.h>
#include <string.h>

#include "proto/crypto/random.h"
#include "tests/lib/soak.h"
#include "tests/sim/sim.h"

#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 60 };

/* A killed node's memory is lost, as a killed process's is. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#else
enum { SEEDS = 2000 };
#endif

enum { STEPS = 60, QUIET_MS = 500, QUIET_MAX = 400, HISTORY_MAX = 4 << 20 };

struct plan {
    uint64_t from, count, steps;
    bool trace;
};

/* ---- Telling ------------------------------------------------------------------------------------------------------------ */

void sim_say(struct sim *sim, const char *format, ...)
{
    va_list args;
    char line[400];
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    uint64_t ms = sim->room ? world_sim_mono_ms(sim->room) : 0;
    if (sim->trace) {
        printf("%8ju ms  %s\n", (uintmax_t)ms, line);
        fflush(stdout);
        return;
    }
    size_t room = sizeof line + 32;
    if (sim->history_len + room > sim->history_capacity && sim->history_capacity < HISTORY_MAX) {
        sim->history_capacity = sim->history_capacity * 2 + 64 * room;
        sim->history = realloc(sim->history, sim->history_capacity);
    }
    if (sim->history && sim->history_len + room <= sim->history_capacity) {
        sim->history_len +=
            (size_t)snprintf(sim->history + sim->history_len, room, "%8ju ms  %s\n", (uintmax_t)ms, line);
    }
}

void sim_broken(struct sim *sim, const char *rule, const char *format, ...)
{
    va_list args;
    if (sim->history) {
        fwrite(sim->history, 1, sim->history_len, stdout);
    }
    printf("BROKEN %s in seed %ju, step %ju: ", rule, (uintmax_t)sim->seed, (uintmax_t)sim->step);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\nagain: bazel run //tests/sim:sim_test -- --seed=%ju --trace\n", (uintmax_t)sim->seed);
    fflush(stdout);
    _Exit(1);
}

uint64_t sim_choose(struct sim *sim, uint64_t bound)
{
    return world_sim_choose(sim->room, bound);
}

static void from_seed(void *context, void *out, size_t len)
{
    uint64_t *state = context;
    for (size_t i = 0; i < len; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(*state >> 33);
    }
}

/* ---- One run ---------------------------------------------------------------------------------------------------------------- */

static void bury_the_dead(struct sim *sim)
{
    for (size_t i = 0; i < SIM_NODES; i++) {
        struct err why = {0};
        struct sim_node *node = &sim->nodes[i];
        if (node->up && world_sim_killed(node->world, &why)) {
            if (why.code != ERR_NONE && why.code != ERR_UNAVAILABLE) {
                sim_broken(sim, "FATAL", "%zu ended itself: %s (%s:%d)", i, why.text, why.file, why.line);
            }
            node_buried(node);
        }
    }
}

/* Lets things go on until nothing can at this moment, and what is due has been delivered. */
static void settle(struct sim *sim)
{
    do {
        world_sim_run(sim->room);
        bury_the_dead(sim);
    } while (wire_deliver(sim));
}

static void pass(struct sim *sim, uint64_t ms)
{
    uint64_t until = world_sim_mono_ms(sim->room) + ms;
    settle(sim);
    while (world_sim_mono_ms(sim->room) < until) {
        uint64_t now = world_sim_mono_ms(sim->room), next = until;
        if (sim->frames && sim->frames->at_ms < next) {
            next = MAX(sim->frames->at_ms, now + 1);
        }
        world_sim_advance(sim->room, next - now);
        settle(sim);
    }
}

static void trouble(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim_choose(sim, SIM_NODES)];
    size_t other = sim_choose(sim, SIM_NODES);
    switch (sim_choose(sim, 6)) {
    case 0:
        if (node->up && node->crash_in == 0) {
            node->crash_in = 1 + (unsigned)sim_choose(sim, 6);
            node->crash_how = sim_choose(sim, 2) ? DISK_KEPT : DISK_LOST;
        }
        break;
    case 1:
        if (node->up) {
            node_crash(node);
        }
        break;
    case 2:
        sim->cut[node->number][other] = sim->cut[other][node->number] = true;
        sim_say(sim, "partition between %zu and %zu", node->number, other);
        break;
    case 3:
        memset(sim->cut, 0, sizeof sim->cut);
        sim_say(sim, "partitions heal");
        break;
    default:
        for (size_t i = 0; i < SIM_NODES; i++) {
            if (!sim->nodes[i].up) {
                node_start(&sim->nodes[i]);
            }
        }
    }
}

static void step(struct sim *sim)
{
    uint64_t what = sim_choose(sim, 100);
    if (what < 60) {
        deed_any(&sim->nodes[sim_choose(sim, SIM_NODES)]);
    } else if (what < 70) {
        trouble(sim);
    }
    pass(sim, sim_choose(sim, what < 50 ? 3 : what < 90 ? 30 : 800));
    rule_step(sim);
}

static bool all_idle(struct sim *sim)
{
    bool idle = !sim->frames;
    for (size_t i = 0; i < SIM_NODES && idle; i++) {
        AUTO_ARENA(arena, 1 << 20);
        struct err err;
        struct peer_status *status;
        size_t count;
        idle = sim->nodes[i].up && !sim->nodes[i].busy && peers_idle(sim->nodes[i].peers);
        sim_must(sim, peers_status(sim->nodes[i].peers, &arena, &status, &count, &err));
        for (size_t p = 0; p < count && idle; p++) {
            idle = status[p].control.state == LANE_LIVE && status[p].bulk.state == LANE_LIVE &&
                   status[p].outbox_control == 0 && status[p].outbox_bulk == 0;
        }
    }
    return idle;
}

static void tell_unquiet(struct sim *sim)
{
    for (size_t i = 0; i < SIM_NODES; i++) {
        AUTO_ARENA(arena, 1 << 20);
        struct err err;
        struct peer_status *status;
        size_t count;
        sim_must(sim, peers_status(sim->nodes[i].peers, &arena, &status, &count, &err));
        for (size_t p = 0; p < count; p++) {
            const struct lane_status *both[] = {&status[p].control, &status[p].bulk};
            for (size_t l = 0; l < 2; l++) {
                sim_say(
                    sim,
                    "%zu: to %02x lane %zu: state %d, numbered %ju, sent %ju, acked %ju, stored %ju, %zu pulls, "
                    "owed %ju; %s",
                    i, status[p].facility.bytes[1] - 1, l, both[l]->state, (uintmax_t)both[l]->numbered,
                    (uintmax_t)both[l]->sent, (uintmax_t)both[l]->acked, (uintmax_t)both[l]->stored,
                    both[l]->pulls, (uintmax_t)(l ? status[p].outbox_bulk : status[p].outbox_control),
                    both[l]->last);
            }
        }
    }
}

/* Everybody comes back, nothing goes wrong any more: the network has until then to make good on everything. */
static void become_quiet(struct sim *sim)
{
    sim_say(sim, "quiet from here");
    sim->quiet = true;
    memset(sim->cut, 0, sizeof sim->cut);
    for (size_t i = 0; i < SIM_NODES; i++) {
        sim->nodes[i].crash_in = 0;
    }
    settle(sim);
    for (size_t i = 0; i < SIM_NODES; i++) {
        if (!sim->nodes[i].up) {
            node_start(&sim->nodes[i]);
        }
    }
    size_t calm = 0;
    for (size_t i = 0; i < QUIET_MAX && calm < 3; i++) {
        pass(sim, QUIET_MS);
        calm = all_idle(sim) ? calm + 1 : 0;
    }
    if (calm < 3) {
        tell_unquiet(sim);
        sim_broken(sim, "LIVENESS", "still not quiet after %d s", QUIET_MAX * QUIET_MS / 1000);
    }
}

static void run(uint64_t seed, const struct plan *plan, struct sim *total)
{
    uint64_t chance = seed * 2 + 1;
    struct sim sim = {.seed = seed, .trace = plan->trace};
    random_replace(from_seed, &chance);
    sim.room = world_sim_new(seed);
    sim.f = federation_new(SIM_NODES);
    for (size_t i = 0; i < SIM_NODES; i++) {
        sim.nodes[i] = (struct sim_node){.sim = &sim, .number = i, .disk = store_disk_new()};
        node_start(&sim.nodes[i]);
    }
    for (sim.step = 1; sim.step <= plan->steps; sim.step++) {
        step(&sim);
    }
    become_quiet(&sim);
    rule_quiet(&sim);
    total->frames_sent += sim.frames_sent;
    total->items_sent += sim.items_sent;
    total->chunks_sent += sim.chunks_sent;
    total->crashes += sim.crashes;
    total->acked_count += sim.acked_count;
    for (size_t i = 0; i < SIM_NODES; i++) {
        node_end(&sim.nodes[i]);
        for (size_t j = 0; j < SIM_NODES; j++) {
            free(sim.numbers[i][j][0].digests);
            free(sim.numbers[i][j][1].digests);
        }
    }
    wires_free(&sim);
    world_sim_free(sim.room);
    federation_free(sim.f);
    free(sim.history);
}

static bool option(const char *arg, const char *name, uint64_t *out)
{
    size_t len = strlen(name);
    if (strncmp(arg, name, len) != 0 || arg[len] != '=') {
        return false;
    }
    *out = strtoull(arg + len + 1, NULL, 10);
    return true;
}

int main(int argc, char **argv)
{
    struct plan plan = {.from = soak_seed(1), .count = SEEDS, .steps = STEPS};
    static struct sim total;
    uint64_t seed;
    for (int i = 1; i < argc; i++) {
        if (option(argv[i], "--seed", &seed)) {
            plan.from = seed;
            plan.count = 1;
        } else if (strcmp(argv[i], "--trace") == 0) {
            plan.trace = true;
        } else if (!option(argv[i], "--from", &plan.from) && !option(argv[i], "--count", &plan.count) &&
                   !option(argv[i], "--steps", &plan.steps)) {
            fprintf(stderr, "usage: sim_test [--seed=N] [--trace] [--from=N] [--count=N] [--steps=N]\n");
            return 2;
        }
    }
    uint64_t done = 0;
    for (; soak_goes_on() || done < plan.count; done++) {
        run(plan.from + done, &plan, &total);
    }
    printf("%ju seeds from %ju: %zu writes acknowledged, %ju items and %ju chunks in %ju frames, %ju crashes\n",
           (uintmax_t)done, (uintmax_t)plan.from, total.acked_count, (uintmax_t)total.items_sent,
           (uintmax_t)total.chunks_sent, (uintmax_t)total.frames_sent, (uintmax_t)total.crashes);
    return 0;
}
