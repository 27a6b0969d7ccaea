/* Peers cosign each other's checkpoints (C2SP tlog-witness over gRPC; formats 6). */
#include <stdio.h>
#include <stdlib.h>

#include "node/peer/inside.h"

enum { WITNESS_ARENA = 1 << 20, DOMAIN_MAX = 256 };

/* A member's keys, copied out of the trust. */
struct log_of {
    char domain[DOMAIN_MAX], witness[DOMAIN_MAX + 16];
    struct hash checkpoint_key, witness_key;
};

static bool log_of_member(struct peers *peers, const struct id *facility, struct log_of *out, struct err *err)
{
    struct chart *chart = peers->options.chart;
    const struct trust *trust = chart_trust_take(chart);
    const struct member *member = trust_member(trust, facility);
    bool active = member && member->active;
    if (active) {
        snprintf(out->domain, sizeof out->domain, "%s", member->domain);
        snprintf(out->witness, sizeof out->witness, "%s/witness", member->domain);
        out->checkpoint_key = member->checkpoint_key;
        out->witness_key = member->witness_key;
    }
    chart_trust_give(chart);
    return active || err_raise(err, ERR_DENIED, "checkpoint: not an active member");
}

/* ---- For others ------------------------------------------------------------------------------------------------------ */

/* Opens a note of that member's log: the origin line is "<domain>/log/<16 hex digits>". */
static bool log_note_open(const struct log_of *log, struct bytes note, char origin[DOMAIN_MAX + 32],
                          struct checkpoint *out, uint64_t *incarnation, struct err *err)
{
    const char *end = memchr(note.data, '\n', note.len);
    size_t len = end ? (size_t)(end - (const char *)note.data) : 0;
    size_t prefix = strlen(log->domain) + strlen("/log/");
    uint8_t number[8];
    if (len != prefix + 16) {
        return err_raise(err, ERR_INVALID, "checkpoint: not a log of %s", log->domain);
    }
    snprintf(origin, DOMAIN_MAX + 32, "%.*s", (int)len, (const char *)note.data);
    char expected[DOMAIN_MAX + 8];
    snprintf(expected, sizeof expected, "%s/log/", log->domain);
    if (strncmp(origin, expected, prefix) != 0 || !hex_decode(origin + prefix, number, 8, err)) {
        return err_raise(err, ERR_INVALID, "checkpoint: not a log of %s", log->domain);
    }
    *incarnation = get_u64be(number);
    const struct note_key key = {.name = origin, .type = NOTE_LOG, .public_key = log->checkpoint_key};
    return checkpoint_open(note, &key, 1, out, err) &&
           (out->signed_by_log || err_raise(err, ERR_INVALID, "checkpoint: not signed by its log"));
}

static bool path_read(const Chartmesh__V1__AddCheckpointRequest *request, struct hash *path, size_t *count,
                      struct err *err)
{
    bool ok = request->n_path <= 2 * MERKLE_PATH_MAX;
    for (size_t i = 0; ok && i < request->n_path; i++) {
        ok = hash_from(bytes_pb(request->path[i]), &path[i]);
    }
    *count = request->n_path;
    return ok || err_raise(err, ERR_INVALID, "checkpoint: a path of another shape");
}

/* The tree only grows: what we cosigned before is its beginning. */
static bool extends(const struct witness_row *held, const struct checkpoint *next,
                    const Chartmesh__V1__AddCheckpointRequest *request, struct err *err)
{
    struct hash path[2 * MERKLE_PATH_MAX];
    size_t count;
    if (!path_read(request, path, &count, err)) {
        return false;
    }
    if (held->size == 0) {
        return count == 0 || err_raise(err, ERR_INVALID, "checkpoint: a path from nothing");
    }
    if (next->size == held->size && !hash_equal(&next->root, &held->root)) {
        return err_raise(err, ERR_CORRUPT, "checkpoint: a fork at size %ju", (uintmax_t)held->size);
    }
    return (next->size >= held->size &&
            merkle_consistent(held->size, next->size, &held->root, &next->root, path, count)) ||
           err_raise(err, ERR_INVALID, "checkpoint: not consistent with size %ju", (uintmax_t)held->size);
}

static bool cosign(struct peers *peers, const struct id *facility, const struct witness_row *row,
                   struct arena *arena, struct bytes *line, struct err *err)
{
    struct chart *chart = peers->options.chart;
    char name[DOMAIN_MAX + 16];
    snprintf(name, sizeof name, "%s/witness", peers->options.domain);
    if (!checkpoint_cosign(row->note, name, world_now_ms(peers->world) / 1000, keys_witness(chart_keys(chart)),
                           arena, line, err)) {
        return false;
    }
    struct log_txn *txn = log_txn_new(chart_log(chart));
    if (!witness_put(peers, txn, facility, row, err)) {
        log_txn_free(txn);
        return false;
    }
    return log_commit(txn, NULL, err); /* what we cosigned is durable before the cosignature leaves */
}

static bool add(struct peers *peers, const struct id *facility, const Chartmesh__V1__AddCheckpointRequest *request,
                struct arena *arena, Chartmesh__V1__AddCheckpointReply *reply, struct err *err)
{
    struct log_of log;
    char origin[DOMAIN_MAX + 32];
    struct checkpoint next;
    struct witness_row held, row = {.note = bytes_pb(request->checkpoint)};
    struct bytes line;
    if (!log_of_member(peers, facility, &log, err) ||
        !log_note_open(&log, row.note, origin, &next, &row.incarnation, err) ||
        !witness_get(peers, facility, arena, &held, err)) {
        return false;
    }
    if (row.incarnation < held.incarnation) {
        return err_raise(err, ERR_INVALID, "checkpoint: of an earlier incarnation");
    }
    if (row.incarnation > held.incarnation) {
        held = (struct witness_row){.incarnation = row.incarnation};
    }
    reply->size = held.size;
    if (request->old_size != held.size) {
        return true; /* the asker goes on from the size that we hold */
    }
    row.size = next.size;
    row.root = next.root;
    if (!extends(&held, &next, request, err) || !cosign(peers, facility, &row, arena, &line, err)) {
        return false;
    }
    reply->size = 0;
    reply->cosignature = pb_bytes(line);
    return true;
}

bool peers_add_checkpoint(struct peers *peers, const struct id *facility,
                          const Chartmesh__V1__AddCheckpointRequest *request, struct arena *arena,
                          Chartmesh__V1__AddCheckpointReply *reply, struct err *err)
{
    AUTO_LOCKED(held, peers->witness_lock); /* two at once must not both extend the same size */
    return add(peers, facility, request, arena, reply, err) || err_wrap(err, "add checkpoint");
}

/* ---- For us ----------------------------------------------------------------------------------------------------------- */

/* Takes the line only if it is that member's cosignature of this very note. */
static bool line_take(struct peers *peers, const struct log_of *witness, struct bytes note, uint64_t size,
                      struct bytes line, struct arena *arena, struct err *err)
{
    struct log *log = chart_log(peers->options.chart);
    struct bytes cosigned;
    struct checkpoint opened;
    const struct note_key key = {
        .name = witness->witness, .type = NOTE_WITNESS, .public_key = witness->witness_key};
    if (!checkpoint_add(note, line, arena, &cosigned, err) || !checkpoint_open(cosigned, &key, 1, &opened, err)) {
        return false;
    }
    if (opened.cosigners != 1) {
        return err_raise(err, ERR_INVALID, "cosignature: not of %s", witness->witness);
    }
    world_witnessed(peers->world, opened.cosigned[0].time_s * 1000);
    return log_cosignature(log, size, witness->witness, line, err);
}

static bool ask(struct peers *peers, struct peer *peer, const struct log_of *witness, struct bytes note,
                uint64_t size, struct arena *arena, struct err *err)
{
    struct log *log = chart_log(peers->options.chart);
    const struct peer_transport *t = &peers->options.transport;
    struct hash path[2 * MERKLE_PATH_MAX];
    ProtobufCBinaryData fields[2 * MERKLE_PATH_MAX];
    size_t count = 0;
    Chartmesh__V1__AddCheckpointRequest request = CHARTMESH__V1__ADD_CHECKPOINT_REQUEST__INIT;
    const Chartmesh__V1__AddCheckpointReply *reply;
    if (peer->witnessed > 0 && !log_consistency(log, peer->witnessed, size, path, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        fields[i] = pb_bytes(BYTES_OF(path[i]));
    }
    request.old_size = peer->witnessed;
    request.path = fields;
    request.n_path = count;
    request.checkpoint = pb_bytes(note);
    if (!t->add_checkpoint(t->context, &peer->facility, &request, arena, &reply, err)) {
        return false;
    }
    if (reply->cosignature.len == 0) {
        peer->witnessed = MIN(reply->size, size); /* it holds that much: the next tick goes on from there */
        return true;
    }
    peer->witnessed = size;
    return line_take(peers, witness, note, size, bytes_pb(reply->cosignature), arena, err);
}

/* Asks every connected peer that has not cosigned the newest checkpoint. Runs on the clock's worker: a slow peer
 * delays the next tick, not local work. */
void witness_ask(struct peers *peers)
{
    AUTO_ARENA(arena, WITNESS_ARENA);
    struct log *log = chart_log(peers->options.chart);
    struct bytes note;
    struct checkpoint newest;
    struct err err;
    const struct note_key none = {.name = log_origin(log),
                                  .type = NOTE_LOG,
                                  .public_key =
                                      *signing_key_public(keys_checkpoint(chart_keys(peers->options.chart)))};
    if (!log_checkpoint(log, &arena, &note, &err) || !checkpoint_open(note, &none, 1, &newest, &err)) {
        return;
    }
    for (size_t i = 0; i < peers->count; i++) {
        struct peer *peer = peers->list[i];
        struct log_of witness;
        world_lock_take(peer->control.lock);
        bool live = peer->control.status.state == LANE_LIVE;
        world_lock_give(peer->control.lock);
        if (!live || peer->witnessed >= newest.size || !log_of_member(peers, &peer->facility, &witness, &err)) {
            continue;
        }
        AUTO_ARENA(one, WITNESS_ARENA);
        if (!ask(peers, peer, &witness, note, newest.size, &one, &err)) {
            channel_log(&peer->control, "cosign", err.text);
        }
    }
}
