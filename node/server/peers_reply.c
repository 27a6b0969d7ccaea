#include "node/server/peers_reply.h"

static bool lane_reply(const struct lane_status *status, Chartmesh__V1__Lane lane, uint64_t queued,
                       struct arena *arena, Chartmesh__V1__PeerLane **out, struct err *err)
{
    if (!arena_alloc(arena, sizeof **out, (void **)out, err)) {
        return false;
    }
    chartmesh__v1__peer_lane__init(*out);
    (*out)->lane = lane;
    (*out)->connected = status->state == LANE_LIVE;
    (*out)->sent = status->numbered;
    (*out)->acked = status->acked;
    (*out)->received = status->stored;
    (*out)->queued = queued;
    return true;
}

static bool name_peer(struct chart *chart, Chartmesh__V1__Peer *out, const struct id *facility,
                      struct arena *arena, struct err *err)
{
    const struct trust *trust = chart_trust_take(chart);
    const struct member *member = trust_member(trust, facility);
    bool ok = !member || (arena_string(arena, bytes_str(member->domain), &out->domain, err) &&
                          arena_string(arena, bytes_str(member->name), &out->name, err));
    if (member) {
        out->status = member->message->status;
    }
    chart_trust_give(chart);
    return ok;
}

/* A lane that is down says why; one of them is enough. */
static const char *trouble_of(const struct peer_status *status)
{
    if (status->control.state != LANE_LIVE && status->control.last[0]) {
        return status->control.last;
    }
    return status->bulk.state != LANE_LIVE ? status->bulk.last : "";
}

static bool peer_reply(struct chart *chart, const struct peer_status *status, struct arena *arena,
                       Chartmesh__V1__Peer **out, struct err *err)
{
    Chartmesh__V1__Peer *peer;
    Chartmesh__V1__PeerLane **lanes;
    struct bytes facility;
    if (!arena_alloc(arena, sizeof *peer, (void **)&peer, err) ||
        !arena_array(arena, 2, sizeof *lanes, (void **)&lanes, err)) {
        return false;
    }
    chartmesh__v1__peer__init(peer);
    peer->lanes = lanes;
    peer->n_lanes = 2;
    peer->incarnation = status->control.peer_incarnation;
    peer->cosigned_size = status->witnessed;
    if (!arena_copy(arena, BYTES_OF(status->facility), &facility, err) ||
        !arena_string(arena, bytes_str(trouble_of(status)), &peer->trouble, err) ||
        !lane_reply(&status->control, CHARTMESH__V1__LANE__LANE_CONTROL, status->outbox_control, arena, &lanes[0],
                    err) ||
        !lane_reply(&status->bulk, CHARTMESH__V1__LANE__LANE_BULK, status->outbox_bulk, arena, &lanes[1], err)) {
        return false;
    }
    if (status->seen_ms) {
        if (!arena_alloc(arena, sizeof *peer->last_seen, (void **)&peer->last_seen, err)) {
            return false;
        }
        chartmesh__v1__instant__init(peer->last_seen);
        peer->last_seen->ms = (int64_t)status->seen_ms;
    }
    peer->facility = (ProtobufCBinaryData){facility.len, (uint8_t *)(uintptr_t)facility.data};
    *out = peer;
    return name_peer(chart, peer, &status->facility, arena, err);
}

bool peers_reply(struct peers *peers, struct chart *chart, struct arena *arena, Chartmesh__V1__PeersReply *out,
                 struct err *err)
{
    struct peer_status *list;
    size_t count;
    if (!peers_status(peers, arena, &list, &count, err) ||
        !arena_array(arena, count, sizeof *out->peers, (void **)&out->peers, err)) {
        return false;
    }
    for (out->n_peers = 0; out->n_peers < count; out->n_peers++) {
        if (!peer_reply(chart, &list[out->n_peers], arena, &out->peers[out->n_peers], err)) {
            return false;
        }
    }
    return true;
}
