/* chartmesh node: a facility's own folder. */
#include "client/cli/commands.h"
#include "client/setup/facility.h"

bool cmd_node_init(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *out = NULL;
    struct facility_options facility = {0};
    struct cli_list endpoints = {0};
    const struct cli_option options[] = {
        {"out", "DIR", "folder to make", .text = &out, .needed = true},
        {"network", "TRUST", "the network's trust file", .text = &facility.trust, .needed = true},
        {"domain", "DOMAIN", "the facility's domain", .text = &facility.domain, .needed = true},
        {"name", "NAME", "its name, for people", .text = &facility.name, .needed = true},
        {"client-listen", "HOST:PORT", "where applications reach it", .text = &facility.client_listen,
         .needed = true},
        {"peer-listen", "HOST:PORT", "where other facilities reach it", .text = &facility.peer_listen,
         .needed = true},
        {"peer-endpoint", "HOST:PORT", "that address as others see it (--peer-listen)", .list = &endpoints},
    };
    const struct cli_usage usage = {
        .name = "node init",
        .about = "Makes a facility: draws its id and keys, makes its two certificate authorities and the node's\n"
                 "certificates, signs the membership for the operators, and writes the node's configuration.\n"
                 "The operators then list DIR/membership with `chartmesh network add`.",
        .examples = "  chartmesh node init --out st-anna --network operators/trust --domain st-anna.example \\\n"
                    "      --name \"St. Anna\" --client-listen 127.0.0.1:7443 --peer-listen 0.0.0.0:7444 \\\n"
                    "      --peer-endpoint node.st-anna.example:7444\n",
        .options = options,
        .option_count = COUNT(options),
    };
    struct id id;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err)) {
        return false;
    }
    facility.endpoints = endpoints.items;
    facility.endpoint_count = endpoints.count;
    if (!facility_init(out, &facility, cli_now_ms(), &id, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "folder", json_string(out));
    json_set(result, "domain", json_string(facility.domain));
    json_set(result, "facility", json_hex(BYTES_OF(id)));
    json_set(result, "membership", json_sprintf("%s/membership", out));
    json_set(result, "config", json_sprintf("%s/chartmeshd.conf", out));
    cli_print(cli, result, NULL);
    cli_note("Next: the operators run `chartmesh network add --network DIR %s/membership`, then here\n"
             "`chartmesh node trust --node %s TRUST`, then `chartmeshd --config %s/chartmeshd.conf`.",
             out, out, out);
    return true;
}

bool cmd_node_trust(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *node = NULL;
    const struct cli_option options[] = {
        {"node", "DIR", "the facility's folder", .text = &node, .needed = true},
    };
    const struct cli_usage usage = {
        .name = "node trust",
        .args = "TRUST-FILE",
        .args_min = 1,
        .args_max = 1,
        .about = "Takes a newer trust file of the same network, in which this facility is listed.",
        .examples = "  chartmesh node trust --node st-anna operators/trust\n",
        .options = options,
        .option_count = COUNT(options),
    };
    struct cli_list file = {0};
    if (!cli_parse(cli, &usage, argc, argv, &file, err) || !facility_trust(node, file.items[0], err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "trust", json_sprintf("%s/trust", node));
    cli_print(cli, result, NULL);
    return true;
}

static bool life_of(struct cli *cli, const char *days, const char *hours, uint32_t *out, struct err *err)
{
    uint64_t value = 0;
    if (days && hours) {
        return cli_usage_error(cli, err, "--days or --hours, not both");
    }
    if ((days && !cli_number(cli, "--days", days, 1, ISSUE_HOURS_MAX / 24, &value, err)) ||
        (hours && !cli_number(cli, "--hours", hours, 1, ISSUE_HOURS_MAX, &value, err))) {
        return false;
    }
    *out = (uint32_t)(days ? value * 24 : value);
    return true;
}

bool cmd_node_issue(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *node = NULL, *profile, *days = NULL, *hours = NULL;
    struct client_options client = {0};
    const struct cli_option options[] = {
        {"node", "DIR", "the facility's folder", .text = &node, .needed = true},
        {"out", "DIR", "folder to make (NODE/clients/KIND-NAME)", .text = &client.out},
        {"target", "HOST:PORT", "the node's address as the client sees it", .text = &client.target},
        {"user", "NAME", "the profile's user (the name)", .text = &client.user},
        {"role", "SYSTEM|CODE", "the profile's role (what suits the kind)", .text = &client.role},
        {"purpose", "CODE", "the profile's purpose (what suits the kind)", .text = &client.purpose},
        {"days", "N", "how long the certificate holds (90)", .text = &days},
        {"hours", "N", "the same in hours", .text = &hours},
    };
    const struct cli_usage usage = {
        .name = "node issue",
        .args = "app|auditor|admin|patient NAME",
        .args_min = 2,
        .args_max = 2,
        .about = "Makes a client certificate of this facility, its key, and a profile to use them with; for an\n"
                 "auditor also the key that signs audit queries.",
        .examples = "  chartmesh node issue --node st-anna app emr\n"
                    "  chartmesh node issue --node st-anna --hours 12 app night-shift\n"
                    "  chartmesh node issue --node st-anna auditor miller\n"
                    "  CHARTMESH_PROFILE=st-anna/clients/app-emr/profile chartmesh status\n",
        .options = options,
        .option_count = COUNT(options),
    };
    struct cli_list args = {0};
    if (!cli_parse(cli, &usage, argc, argv, &args, err)) {
        return false;
    }
    if (!client_kind_of(args.items[0], &client.kind)) {
        return cli_usage_error(cli, err, "%s: the kind is app, auditor, admin or patient", args.items[0]);
    }
    client.name = args.items[1];
    if (!life_of(cli, days, hours, &client.hours, err)) {
        return false;
    }
    if (!facility_issue(node, &client, cli_now_ms(), &cli->arena, &profile, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "profile", json_string(profile));
    json_set(result, "kind", json_string(client_kind_name(client.kind)));
    json_set(result, "name", json_string(client.name));
    cli_print(cli, result, NULL);
    return true;
}
