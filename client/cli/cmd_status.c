/* chartmesh status, reload, peer: for facility IT. */
#include <stdio.h>

#include "client/cli/commands.h"
#include "client/cli/node.h"

static json_t *concerns_json(const Chartmesh__V1__StatusReply *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_concerns; i++) {
        json_t *one = json_object();
        json_set(one, "key", json_text(s->concerns[i]->key));
        json_set(one, "text", json_text(s->concerns[i]->text));
        json_set(one, "advice", json_text(s->concerns[i]->advice));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *status_json(const Chartmesh__V1__StatusReply *s)
{
    json_t *result = json_object();
    json_set(result, "state", json_enum(&chartmesh__v1__node_state__descriptor, (int)s->state));
    json_set(result, "why", json_text(s->why));
    json_set(result, "advice", json_text(s->advice));
    json_set(result, "domain", json_text(s->domain));
    json_set(result, "facility", json_pb(s->facility));
    json_set(result, "network", json_pb(s->network));
    json_set(result, "network_version", json_integer((json_int_t)s->network_version));
    json_set(result, "roster_version", json_integer((json_int_t)s->roster_version));
    json_set(result, "log", json_text(s->log_origin));
    json_set(result, "log_size", json_integer((json_int_t)s->log_size));
    json_set(result, "map_epoch", json_integer((json_int_t)s->map_epoch));
    json_set(result, "subjects", json_integer((json_int_t)s->subjects));
    json_set(result, "documents", json_integer((json_int_t)s->documents));
    json_set(result, "versions", json_integer((json_int_t)s->versions));
    json_set(result, "open_cases", json_integer((json_int_t)s->open_cases));
    json_set(result, "counted", json_time(s->counted));
    json_set(result, "concerns", concerns_json(s));
    json_set(result, "started", json_time(s->started));
    json_set(result, "program", json_text(s->version));
    return result;
}

bool cmd_status(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_usage usage = {
        .name = "status",
        .about =
            "Shows the node's state and what else should be seen to, each with what the operator does about it.",
        .examples = "  chartmesh status --profile st-anna/clients/admin-it/profile\n"
                    "  chartmesh status --output json | jq -r .state\n",
        .connects = true,
    };
    Chartmesh__V1__StatusRequest request = CHARTMESH__V1__STATUS_REQUEST__INIT;
    const Chartmesh__V1__StatusReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err) ||
        !chartmesh_admin_status(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    cli_print(cli, status_json(reply), NULL);
    return true;
}

bool cmd_reload(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_usage usage = {
        .name = "reload",
        .about = "Has the node read its configuration, certificates and deny list again, as SIGHUP does, and "
                 "shows what\n"
                 "it took, what needs a restart, and what is wrong: there the old stays in force (exit 1).",
        .examples = "  chartmesh reload --profile st-anna/clients/admin-it/profile\n",
        .connects = true,
    };
    Chartmesh__V1__ReloadRequest request = CHARTMESH__V1__RELOAD_REQUEST__INIT;
    const Chartmesh__V1__ReloadReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err) ||
        !chartmesh_admin_reload(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *items = json_array();
    const char *refused = NULL;
    for (size_t i = 0; i < reply->n_items; i++) {
        const Chartmesh__V1__ReloadItem *item = reply->items[i];
        json_t *one = json_object();
        json_set(one, "key", json_text(item->key));
        json_set(one, "outcome", json_enum(&chartmesh__v1__reload_outcome__descriptor, (int)item->outcome));
        json_set(one, "text", json_text(item->text));
        json_array_append_new(items, one);
        refused = item->outcome == CHARTMESH__V1__RELOAD_OUTCOME__RELOAD_OUTCOME_REFUSED ? item->key : refused;
    }
    json_set(result, "items", items);
    cli_print(cli, result, NULL);
    return !refused || err_raise(err, ERR_STATE, "%s was refused: what was in force before still is", refused);
}

static json_t *lane_json(const Chartmesh__V1__PeerLane *lane)
{
    json_t *one = json_object();
    json_set(one, "lane", json_enum(&chartmesh__v1__lane__descriptor, (int)lane->lane));
    json_set(one, "connected", json_boolean(lane->connected));
    json_set(one, "sent", json_integer((json_int_t)lane->sent));
    json_set(one, "acked", json_integer((json_int_t)lane->acked));
    json_set(one, "received", json_integer((json_int_t)lane->received));
    json_set(one, "queued", json_integer((json_int_t)lane->queued));
    return one;
}

static json_t *peer_json(const Chartmesh__V1__Peer *peer)
{
    json_t *one = json_object(), *lanes = json_array();
    json_set(one, "domain", json_text(peer->domain));
    json_set(one, "name", json_text(peer->name));
    json_set(one, "facility", json_pb(peer->facility));
    json_set(one, "status", json_enum(&chartmesh__v1__status__descriptor, (int)peer->status));
    for (size_t i = 0; i < peer->n_lanes; i++) {
        json_array_append_new(lanes, lane_json(peer->lanes[i]));
    }
    json_set(one, "lanes", lanes);
    json_set(one, "last_seen", json_time(peer->last_seen));
    json_set(one, "trouble", json_text(peer->trouble));
    json_set(one, "cosigned_size", json_integer((json_int_t)peer->cosigned_size));
    return one;
}

bool cmd_peer_list(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_usage usage = {
        .name = "peer list",
        .about = "Shows the other facilities: connected or why not, and how far each lane of theirs is.",
        .examples = "  chartmesh peer list --profile st-anna/clients/admin-it/profile\n",
        .connects = true,
    };
    Chartmesh__V1__PeersRequest request = CHARTMESH__V1__PEERS_REQUEST__INIT;
    const Chartmesh__V1__PeersReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err) ||
        !chartmesh_admin_peers(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *peers = json_array();
    for (size_t i = 0; i < reply->n_peers; i++) {
        json_array_append_new(peers, peer_json(reply->peers[i]));
    }
    json_set(result, "peers", peers);
    cli_print(cli, result, NULL);
    return true;
}

bool cmd_peer_resume(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_usage usage = {
        .name = "peer resume",
        .args = "FACILITY",
        .args_min = 1,
        .args_max = 1,
        .about =
            "Lets the lanes to a facility that have stopped begin anew. First find out why they stopped (status,\n"
            "peer list) and see to it: what made them stop is looked at again at the next greeting.",
        .examples = "  chartmesh peer resume clinic.example --profile st-anna/clients/admin-it/profile\n",
        .connects = true,
    };
    Chartmesh__V1__ResumePeerRequest request = CHARTMESH__V1__RESUME_PEER_REQUEST__INIT;
    const Chartmesh__V1__ResumePeerReply *reply;
    struct cli_list args = {0};
    struct id facility;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_facility(cli, args.items[0], &facility, err) ||
        !cli_connect(cli, err)) {
        return false;
    }
    request.facility = (ProtobufCBinaryData){ID_LEN, facility.bytes};
    if (!chartmesh_admin_resume_peer(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "resumed", json_integer((json_int_t)reply->resumed));
    cli_print(cli, result, NULL);
    return true;
}
