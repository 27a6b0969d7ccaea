/* Large content, both ways: what we pull from the peer by Want, and what they pull from us. */
#include "replication/lane_internal.h"

enum { RETRY_MS = 1000, WANT_MAX = 64 };

static void serve_next(struct step *step)
{
    struct serving *serve = &step->lane->serve;
    if (serve->out || serve->count == 0 || !step->lane->live) {
        return;
    }
    struct lane_update *update = step_update(step, LANE_DO_SERVE);
    update->serve =
        (struct lane_serve){serve->queue[0].version, serve->queue[0].disclosure, serve->queue[0].index};
    serve->out = true;
}

static void serve_drop(struct serving *serve)
{
    serve->count--;
    memmove(serve->queue, serve->queue + 1, serve->count * sizeof serve->queue[0]);
}

void pull_restart(struct step *step)
{
    step->lane->pull.running = false;
    step->lane->serve.count = 0;
    step->lane->serve.stale = step->lane->serve.out;
}

/* ---- What we want --------------------------------------------------------------------------------------------- */

static struct pull *pull_find(struct pulling *pulling, const struct hash *version)
{
    for (size_t i = 0; i < LANE_PULLS_MAX; i++) {
        if (pulling->pulls[i].used && hash_equal(&pulling->pulls[i].content.version, version)) {
            return &pulling->pulls[i];
        }
    }
    return NULL;
}

static struct pull *pull_free(struct pulling *pulling)
{
    for (size_t i = 0; i < LANE_PULLS_MAX; i++) {
        if (!pulling->pulls[i].used) {
            return &pulling->pulls[i];
        }
    }
    return NULL;
}

/* Asks for the next run of one content, by turns. */
static void run_start(struct step *step)
{
    struct pulling *pulling = &step->lane->pull;
    uint64_t now = step->event->now_ms;
    for (size_t i = 0; i < LANE_PULLS_MAX; i++) {
        size_t at = (pulling->turn + i) % LANE_PULLS_MAX;
        struct pull *pull = &pulling->pulls[at];
        if (!pull->used || now < pull->ready_ms) {
            continue;
        }
        uint32_t count = (uint32_t)MIN(pull->content.chunks - pull->content.next, (uint64_t)LANE_RUN_MAX);
        struct bytes frame;
        struct err err;
        if (!frame_want(&pull->content.version, &pull->content.disclosure, pull->content.next, count, step->arena,
                        &frame, &err)) {
            return; /* the arena is spent: the next tick asks */
        }
        step_send(step, step->lane->live, frame);
        pulling->running = true;
        pulling->active = at;
        pulling->arriving = pull->content.next;
        pulling->run_end = pull->content.next + count;
        pulling->deadline_ms = now + LANE_WANT_MS;
        pulling->turn = at + 1;
        return;
    }
}

/* A content that makes no progress gives its place to others; the node's rows remember it. */
void pull_pump(struct step *step)
{
    struct pulling *pulling = &step->lane->pull;
    uint64_t now = step->event->now_ms;
    if (!step->lane->live) {
        return;
    }
    if (pulling->running && now >= pulling->deadline_ms) {
        pulling->pulls[pulling->active].used = false;
        pulling->running = false;
        pulling->starved = true;
    }
    if (!pulling->running) {
        run_start(step);
    }
    if (pulling->starved && pull_free(pulling) && now >= pulling->refill_ms) {
        pulling->starved = false;
        pulling->refill_ms = now + LANE_REFILL_MS;
        step_update(step, LANE_DO_REFILL);
    }
}

void pull_wanted(struct step *step)
{
    struct pulling *pulling = &step->lane->pull;
    const struct lane_pull *wanted = &step->event->pull;
    struct pull *pull = pull_find(pulling, &wanted->version);
    if (pull && pull->content.next == wanted->next && pull->content.chunks == wanted->chunks) {
        pull->content.disclosure = wanted->disclosure;
        return;
    }
    if (pull) { /* it came anew: begin where the node says */
        pulling->running = pulling->running && pull != &pulling->pulls[pulling->active];
        pull->used = false;
    }
    pull = pull_free(pulling);
    if (!pull || wanted->next >= wanted->chunks) {
        pulling->starved = pulling->starved || !pull;
        return;
    }
    *pull = (struct pull){.used = true, .content = *wanted};
    pull_pump(step);
}

static bool chunk_read(const Chartmesh__V1__Chunk *message, struct arena *arena, struct lane_chunk **out,
                       struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof **out, &memory, err)) {
        return false;
    }
    struct lane_chunk *chunk = memory;
    bool ok = hash_from(bytes_pb(message->version), &chunk->version) &&
              hash_from(bytes_pb(message->disclosure), &chunk->disclosure) && message->coded.len > 0 &&
              message->coded.len <= CODED_MAX && message->n_path <= BATCH_PROOF_MAX;
    for (size_t i = 0; ok && i < message->n_path; i++) {
        ok = hash_from(bytes_pb(message->path[i]), &chunk->path[i]);
    }
    chunk->index = message->index;
    chunk->coded = bytes_pb(message->coded);
    chunk->path_len = message->n_path;
    *out = chunk;
    return ok || rule_broken(err, "CHUNK", "chunk with a field of the wrong length");
}

/* Chunks that were not asked for, or come twice, are passed over. */
bool pull_chunk(struct step *step, const Chartmesh__V1__Chunk *message, struct err *err)
{
    struct pulling *pulling = &step->lane->pull;
    struct lane_chunk *chunk;
    if (!chunk_read(message, step->arena, &chunk, err)) {
        return false;
    }
    if (!pulling->running || pulling->arriving == pulling->run_end || chunk->index != pulling->arriving ||
        !hash_equal(&chunk->version, &pulling->pulls[pulling->active].content.version)) {
        return true;
    }
    pulling->arriving++;
    pulling->deadline_ms = step->event->now_ms + LANE_WANT_MS;
    step_update(step, LANE_DO_TAKE)->chunk = chunk;
    return true;
}

/* "count 0: complete": they may note that we have it all. */
static bool pull_complete(struct step *step, struct pull *pull, struct err *err)
{
    struct bytes frame;
    pull->used = false;
    if (!step->lane->live) {
        return true;
    }
    if (!frame_want(&pull->content.version, &pull->content.disclosure, pull->content.chunks, 0, step->arena,
                    &frame, err)) {
        return false;
    }
    step_send(step, step->lane->live, frame);
    return true;
}

bool pull_taken(struct step *step, struct err *err)
{
    struct pulling *pulling = &step->lane->pull;
    const struct lane_taken *taken = &step->event->taken;
    struct pull *pull = pull_find(pulling, &taken->version);
    if (!pull) {
        return true;
    }
    bool active = pulling->running && pull == &pulling->pulls[pulling->active];
    bool ends = !taken->taken || !taken->wanted || taken->next == pulling->run_end;
    pulling->running = pulling->running && !(active && ends);
    pull->used = taken->wanted;
    pull->content.disclosure = taken->disclosure;
    pull->content.next = taken->next;
    pull->ready_ms = taken->taken ? 0 : step->event->now_ms + RETRY_MS;
    if (taken->wanted && taken->next == pull->content.chunks && !pull_complete(step, pull, err)) {
        return false;
    }
    pull_pump(step);
    return true;
}

/* ---- What they want ------------------------------------------------------------------------------------------- */

bool serve_want(struct step *step, const Chartmesh__V1__Want *message, struct err *err)
{
    struct serving *serve = &step->lane->serve;
    struct serve want = {.index = message->from, .left = message->count, .link = step->lane->live->id};
    if (!hash_from(bytes_pb(message->version), &want.version) ||
        !hash_from(bytes_pb(message->disclosure), &want.disclosure)) {
        return rule_broken(err, "WANT", "ids are 32 bytes");
    }
    if (message->count == 0) {
        step_update(step, LANE_DO_COMPLETE)->serve =
            (struct lane_serve){want.version, want.disclosure, message->from};
        return true;
    }
    if (message->count > WANT_MAX || message->from > CONTENT_MAX >> CHUNK_LOG2 ||
        serve->count == LANE_SERVES_MAX) {
        return rule_broken(err, "WANT", "over %d chunks or %d wants at once", WANT_MAX, LANE_SERVES_MAX);
    }
    serve->queue[serve->count++] = want;
    serve_next(step);
    return true;
}

bool serve_served(struct step *step, struct err *err)
{
    struct serving *serve = &step->lane->serve;
    if (!serve->out) {
        return err_raise(err, ERR_STATE, "SERVED a chunk that was not asked for");
    }
    serve->out = false;
    if (!serve->stale && serve->count > 0 && step->lane->live) {
        if (step->event->frame.len > 0) {
            step_send(step, step->lane->live, step->event->frame);
            serve->queue[0].index++;
            serve->queue[0].left--;
        }
        if (step->event->frame.len == 0 || serve->queue[0].left == 0) {
            serve_drop(serve);
        }
    }
    serve->stale = false;
    serve_next(step);
    return true;
}
