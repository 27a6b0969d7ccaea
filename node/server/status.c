#include "node/server/status.h"

#include <stdio.h>

enum {
    CONCERNS_MAX = 64,
    WARN_DAYS = 30,              /* before a certificate runs out */
    JUMP_TOLD_MS = 24 * 3600 * 1000,     /* a jump of the clock is told for so long */
    DISK_SHARE = 10,             /* less than one part in so many free, or less than the next, is little */
    SILENT_MS = 3600 * 1000,     /* a peer that was not met for so long */
    BACKLOG = 1000,
};
#define DISK_FREE_MIN ((uint64_t)2 << 30)
#define DAY_MS INT64_C(86400000)
#define STATE(name) CHARTMESH__V1__NODE_STATE__NODE_STATE_##name

/* -- The state */

const char *status_state_name(Chartmesh__V1__NodeState state)
{
    static const char prefix[] = "NODE_STATE_";
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&chartmesh__v1__node_state__descriptor, (int)state);
    return value ? value->name + sizeof prefix - 1 : "";
}

Chartmesh__V1__NodeState status_state(struct server *server, const char **why, const char **advice)
{
    Chartmesh__V1__NodeState state = (Chartmesh__V1__NodeState)atomic_load(&server->state);
    *why = *advice = "";
    if (state == STATE(STARTING)) {
        *why = "store and log are being opened and checked";
        *advice = "wait; the log says what a start that takes long is doing";
    } else if (state == STATE(DRAINING)) {
        *why = "the node was told to stop";
        *advice = "wait until the process ends, or look into the log why it does not";
    } else if (server->isolated) {
        state = STATE(ISOLATED);
        *why =
            "a peer holds what this node signed and does not have: it was set back, or its keys are in two hands";
        *advice =
            "nothing is handed over to any peer. Find out which it was: look for a second node with these keys, "
            "restore the newest copy of the data folder; then chartmesh peer resume";
    }
    return state;
}

/* -- Concerns */

struct concerns {
    struct arena *arena;
    Chartmesh__V1__StatusReply *out;
};

static bool add(struct concerns *c, const char *key, const char *text, const char *advice, struct err *err)
{
    Chartmesh__V1__Concern *concern;
    if (c->out->n_concerns == CONCERNS_MAX) {
        return true;
    }
    if (!arena_alloc(c->arena, sizeof *concern, (void **)&concern, err)) {
        return false;
    }
    chartmesh__v1__concern__init(concern);
    c->out->concerns[c->out->n_concerns++] = concern;
    return arena_string(c->arena, bytes_str(key), &concern->key, err) &&
           arena_string(c->arena, bytes_str(text), &concern->text, err) &&
           arena_string(c->arena, bytes_str(advice), &concern->advice, err);
}

static bool certificates(struct server *server, struct concerns *c, struct err *err)
{
    static const char *const names[OWN_COUNT] = {"client.certificate", "client.ca", "peer.certificate"};
    int64_t now = (int64_t)world_now_ms(server->world);
    for (size_t i = 0; i < OWN_COUNT; i++) {
        char text[200], when[WORLD_TIME_TEXT];
        int64_t until = server->until_ms[i], left = until - now;
        if (left >= WARN_DAYS * DAY_MS) {
            continue;
        }
        snprintf(text, sizeof text, "%s %s on %s", names[i], left > 0 ? "runs out" : "ran out",
                 world_time_text((uint64_t)until, when));
        if (!add(c, left > 0 ? "certificate_expiring" : "certificate_expired", text,
                 "issue a new one, put it in its place, chartmesh reload; for peers the membership must pin its "
                 "key",
                 err)) {
            return false;
        }
    }
    return true;
}

static bool disk(const struct rounds_seen *seen, struct concerns *c, struct err *err)
{
    char text[200];
    bool little =
        seen->disk_size && (seen->disk_free < seen->disk_size / DISK_SHARE || seen->disk_free < DISK_FREE_MIN);
    snprintf(text, sizeof text, "%ju MiB of %ju MiB are free where the data folder is",
             (uintmax_t)(seen->disk_free >> 20), (uintmax_t)(seen->disk_size >> 20));
    return !little ||
           add(c, "disk_low", text, "make room or give it a larger disk: a full one stops the node", err);
}

static bool jumps(struct server *server, const struct rounds_seen *seen, struct concerns *c, struct err *err)
{
    char text[200], when[WORLD_TIME_TEXT];
    uint64_t now = world_now_ms(server->world);
    if (seen->last_jump_at_ms && now < seen->last_jump_at_ms + JUMP_TOLD_MS) {
        snprintf(text, sizeof text, "the machine's clock jumped %s by %jd s at %s",
                 seen->last_jump_ms > 0 ? "forward" : "back",
                 (intmax_t)((seen->last_jump_ms > 0 ? seen->last_jump_ms : -seen->last_jump_ms) / 1000),
                 world_time_text(seen->last_jump_at_ms, when));
        if (!add(c, "clock_jumped", text, "see to the machine's time synchronisation", err)) {
            return false;
        }
    }
    if (seen->behind_ms <= MAX((uint64_t)server->config->clock_error_ms, (uint64_t)1000)) {
        return true;
    }
    snprintf(text, sizeof text, "the machine's clock is %ju s behind what this node has stamped before",
             (uintmax_t)(seen->behind_ms / 1000));
    return add(
        c, "clock_behind", text,
        "set the clock right: until then permits that have ended stay ended, and new stamps stand in the future",
        err);
}

static const char *peer_name(struct server *server, const struct id *facility, char out[300])
{
    const struct trust *trust = chart_trust_take(server->chart);
    const struct member *member = trust_member(trust, facility);
    char hex[2 * ID_LEN + 1];
    snprintf(out, 300, "%s", member ? member->domain : bytes_hex(BYTES_OF(*facility), hex));
    chart_trust_give(server->chart);
    return out;
}

static bool peer_concern(struct server *server, const struct peer_status *peer, struct concerns *c,
                         struct err *err)
{
    char text[512], name[300];
    const struct lane_status *stopped = peer->control.state == LANE_HALTED ? &peer->control : &peer->bulk;
    peer_name(server, &peer->facility, name);
    if (stopped->state == LANE_HALTED) {
        snprintf(text, sizeof text, "%s is stopped: %s", name, stopped->last);
        return add(c, "peer_stopped", text, "find out why and see to it, then chartmesh peer resume", err);
    }
    uint64_t now = world_now_ms(server->world), behind = peer->outbox_control + peer->outbox_bulk +
                                                         peer->control.numbered - peer->control.acked +
                                                         peer->bulk.numbered - peer->bulk.acked;
    bool silent =
        peer->control.state != LANE_LIVE && now > MAX(peer->seen_ms, server->service.started_ms) + SILENT_MS;
    if (!silent && behind < BACKLOG) {
        return true;
    }
    snprintf(text, sizeof text, "%s %s, %ju items wait for it%s%s", name,
             peer->control.state == LANE_LIVE ? "is connected" : "is not connected", (uintmax_t)behind,
             peer->control.last[0] ? ": " : "", peer->control.last);
    return add(c, silent ? "peer_silent" : "peer_behind", text,
               silent ? "see whether its node runs and the network between you is open (chartmesh peer list)"
                      : "nothing, while the number falls; else look at the peer's node",
               err);
}

static bool peers(struct server *server, struct concerns *c, struct err *err)
{
    struct peer_status *list;
    size_t count;
    if (!server->peers) {
        return true;
    }
    if (!peers_status(server->peers, c->arena, &list, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!peer_concern(server, &list[i], c, err)) {
            return false;
        }
    }
    return true;
}

static bool cases(const struct rounds_seen *seen, struct concerns *c, struct err *err)
{
    char text[100];
    snprintf(text, sizeof text, "%ju orders to give copies back have no receipt yet", (uintmax_t)seen->open_cases);
    return seen->open_cases == 0 ||
           add(c, "cases_open", text, "chartmesh consent cases names them; ask the facility that stays silent",
               err);
}

/* -- The reply */

static bool counts(const struct rounds_seen *seen, struct arena *arena, Chartmesh__V1__StatusReply *out,
                   struct err *err)
{
    if (seen->counted_ms == 0) {
        return true;
    }
    out->subjects = seen->subjects;
    out->documents = seen->documents;
    out->versions = seen->versions;
    out->open_cases = seen->open_cases;
    if (!arena_alloc(arena, sizeof *out->counted, (void **)&out->counted, err)) {
        return false;
    }
    chartmesh__v1__instant__init(out->counted);
    out->counted->ms = (int64_t)seen->counted_ms;
    return true;
}

bool status_reply(struct server *server, struct arena *arena, Chartmesh__V1__StatusReply *out, struct err *err)
{
    const char *why, *advice;
    struct concerns c = {.arena = arena, .out = out};
    const struct rounds_seen seen = rounds_seen(server->rounds);
    out->state = status_state(server, &why, &advice);
    return arena_string(arena, bytes_str(why), &out->why, err) &&
           arena_string(arena, bytes_str(advice), &out->advice, err) && counts(&seen, arena, out, err) &&
           arena_array(arena, CONCERNS_MAX, sizeof *out->concerns, (void **)&out->concerns, err) &&
           certificates(server, &c, err) && disk(&seen, &c, err) && jumps(server, &seen, &c, err) &&
           peers(server, &c, err) && cases(&seen, &c, err);
}
