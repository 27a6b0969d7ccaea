/* Admin: how the node is. */
#include "node/service/service_inside.h"

enum { MEMBERS_MAX = 1024 };

static bool trust_versions(struct service_call *call, Chartmesh__V1__StatusReply *out)
{
    const struct trust *trust = chart_trust_take(call->service->chart);
    out->roster_version = trust_roster_version(trust);
    out->network_version = trust_network_version(trust);
    chart_trust_give(call->service->chart);
    return true;
}

static bool texts(struct service_call *call, Chartmesh__V1__StatusReply *out, struct err *err)
{
    struct service *service = call->service;
    return arena_string(call->arena, bytes_str(service->config->domain), &out->domain, err) &&
           arena_string(call->arena, bytes_str(log_origin(service->log)), &out->log_origin, err) &&
           arena_string(call->arena, bytes_str(service->version ? service->version : ""), &out->version, err);
}

/* A node that nobody looks after counts what it has. */
static bool counts(struct service_call *call, Chartmesh__V1__StatusReply *out, struct err *err)
{
    struct service *service = call->service;
    out->state = CHARTMESH__V1__NODE_STATE__NODE_STATE_SERVING;
    return chart_counts(service->chart, &out->subjects, &out->documents, &out->versions, &out->open_cases, err);
}

static bool status(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    Chartmesh__V1__StatusReply *out = (void *)reply;
    struct service *service = call->service;
    void *memory;
    (void)in;
    if (!texts(call, out, err) || !trust_versions(call, out) ||
        !arena_alloc(call->arena, sizeof *out->started, &memory, err) ||
        !reply_bytes(call, BYTES_OF(*chart_network(service->chart)), &out->network, err) ||
        !reply_bytes(call, BYTES_OF(*chart_facility(service->chart)), &out->facility, err)) {
        return false;
    }
    out->started = memory;
    chartmesh__v1__instant__init(out->started);
    out->started->ms = (int64_t)service->started_ms;
    out->incarnation = log_incarnation(service->log);
    out->log_size = log_size(service->log).size;
    out->map_epoch = log_map_epoch(service->log);
    return service->status ? service->status(service->context, call->arena, out, err) : counts(call, out, err);
}

/* ---- Peers ---------------------------------------------------------------------------------------------------------- */

static bool peer_fill(struct service_call *call, const struct member *member, Chartmesh__V1__Peer **out,
                      struct err *err)
{
    void *memory;
    if (!arena_alloc(call->arena, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__peer__init(*out);
    (*out)->status = member->message->status;
    return reply_bytes(call, BYTES_OF(member->facility), &(*out)->facility, err) &&
           arena_string(call->arena, bytes_str(member->domain), &(*out)->domain, err) &&
           arena_string(call->arena, bytes_str(member->name), &(*out)->name, err);
}

static bool members_fill(struct service_call *call, const struct trust *trust, Chartmesh__V1__PeersReply *out,
                         struct err *err)
{
    const struct member *members[MEMBERS_MAX];
    size_t count = trust_members(trust, members, MEMBERS_MAX);
    void *memory;
    if (!arena_array(call->arena, count, sizeof *out->peers, &memory, err)) {
        return false;
    }
    out->peers = memory;
    for (size_t i = 0; i < MIN(count, (size_t)MEMBERS_MAX); i++) {
        if (!id_equal(&members[i]->facility, chart_facility(call->service->chart)) &&
            !peer_fill(call, members[i], &out->peers[out->n_peers++], err)) {
            return false;
        }
    }
    return true;
}

/* A node without a peer side knows its roster only. */
static bool peers(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    struct service *service = call->service;
    (void)in;
    if (service->peers) {
        return service->peers(service->context, call->arena, (void *)reply, err);
    }
    const struct trust *trust = chart_trust_take(service->chart);
    bool ok = members_fill(call, trust, (void *)reply, err);
    chart_trust_give(service->chart);
    return ok;
}

static bool reload(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    struct service *service = call->service;
    (void)in;
    return service->reload ? service->reload(service->context, call->arena, (void *)reply, err)
                           : err_raise_reason(err, ERR_STATE, REASON(STATE), "this node has nothing to reload");
}

static bool resume_peer(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                        struct err *err)
{
    const Chartmesh__V1__ResumePeerRequest *request = (const void *)in;
    Chartmesh__V1__ResumePeerReply *out = (void *)reply;
    struct service *service = call->service;
    struct id facility;
    unsigned resumed;
    if (!field_id(request->facility, "facility", &facility, err)) {
        return false;
    }
    if (!service->resume) {
        return err_raise_reason(err, ERR_STATE, REASON(STATE), "this node has no peers");
    }
    if (!service->resume(service->context, &facility, call->arena, &resumed, err)) {
        return false;
    }
    out->resumed = resumed;
    return true;
}

size_t admin_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {.path = "/chartmesh.v1.Admin/Status",
         .name = "Admin.Status",
         .shape = METHOD_UNARY,
         .in = &chartmesh__v1__status_request__descriptor,
         .out = &chartmesh__v1__status_reply__descriptor,
         .kinds = SERVICE_ADMIN | SERVICE_APP,
         .max_request = SERVICE_SMALL_MAX,
         .unary = status},
        {.path = "/chartmesh.v1.Admin/Peers",
         .name = "Admin.Peers",
         .shape = METHOD_UNARY,
         .in = &chartmesh__v1__peers_request__descriptor,
         .out = &chartmesh__v1__peers_reply__descriptor,
         .kinds = SERVICE_ADMIN | SERVICE_APP,
         .max_request = SERVICE_SMALL_MAX,
         .unary = peers},
        {.path = "/chartmesh.v1.Admin/Reload",
         .name = "Admin.Reload",
         .shape = METHOD_UNARY,
         .in = &chartmesh__v1__reload_request__descriptor,
         .out = &chartmesh__v1__reload_reply__descriptor,
         .kinds = SERVICE_ADMIN,
         .max_request = SERVICE_SMALL_MAX,
         .unary = reload},
        {.path = "/chartmesh.v1.Admin/ResumePeer",
         .name = "Admin.ResumePeer",
         .shape = METHOD_UNARY,
         .in = &chartmesh__v1__resume_peer_request__descriptor,
         .out = &chartmesh__v1__resume_peer_reply__descriptor,
         .kinds = SERVICE_ADMIN,
         .max_request = SERVICE_SMALL_MAX,
         .unary = resume_peer},
    };
    *out = methods;
    return COUNT(methods);
}
