/* chartmesh network: the operators' part. */
#include "client/cli/commands.h"
#include "client/setup/network.h"
#include "proto/statement/trust.h"

static json_t *members_json(const struct trust *trust)
{
    enum { MEMBERS_MAX = 10000 };
    static const struct member *members[MEMBERS_MAX];
    size_t count = trust_members(trust, members, MEMBERS_MAX);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *one = json_object();
        json_set(one, "domain", json_string(members[i]->domain));
        json_set(one, "name", json_string(members[i]->name));
        json_set(one, "facility", json_hex(BYTES_OF(members[i]->facility)));
        json_set(one, "listed", json_boolean(members[i]->listed));
        json_set(one, "active", json_boolean(members[i]->active));
        json_array_append_new(list, one);
    }
    return list;
}

/* What a trust file says; the same after each change. */
static bool print_trust(struct cli *cli, const char *path, struct err *err)
{
    struct trust *trust;
    if (!trust_load(path, &trust, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "trust", json_string(path));
    json_set(result, "network", json_hex(BYTES_OF(*trust_network_id(trust))));
    json_set(result, "name", json_string(trust_newest_network(trust, NULL)->name));
    json_set(result, "network_version", json_integer((json_int_t)trust_network_version(trust)));
    json_set(result, "roster_version", json_integer((json_int_t)trust_roster_version(trust)));
    json_set(result, "member", members_json(trust));
    trust_free(trust);
    cli_print(cli, result, NULL);
    return true;
}

static bool print_folder(struct cli *cli, const char *folder, struct err *err)
{
    char *path;
    return arena_printf(&cli->arena, &path, err, "%s/trust", folder) && print_trust(cli, path, err);
}

bool cmd_network_init(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *out = NULL, *name = NULL, *operators = "1", *threshold = NULL;
    const char *given_operators = NULL;
    const struct cli_option options[] = {
        {"out", "DIR", "folder to make", .text = &out, .needed = true},
        {"name", "NAME", "the network's name, for people", .text = &name, .needed = true},
        {"operators", "N", "how many operators, each with a key (1)", .text = &given_operators},
        {"threshold", "T", "how many of them must sign (all)", .text = &threshold},
    };
    const struct cli_usage usage = {
        .name = "network init",
        .about = "Founds a network: draws the operators' keys, signs the first network statement and an empty\n"
                 "roster, and writes the trust file that every node starts from.",
        .examples =
            "  chartmesh network init --out operators --name \"Lake district\"\n"
            "  chartmesh network init --out operators --name \"Lake district\" --operators 3 --threshold 2\n",
        .options = options,
        .option_count = COUNT(options),
    };
    uint64_t n = 0, t = 0;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) ||
        !cli_number(cli, "operators", given_operators ? given_operators : operators, 1, OPERATORS_MAX, &n, err)) {
        return false;
    }
    t = n;
    if (threshold && !cli_number(cli, "threshold", threshold, 1, n, &t, err)) {
        return false;
    }
    const struct network_options network = {.name = name, .operators = (unsigned)n, .threshold = (unsigned)t};
    struct hash id;
    return network_found(out, &network, cli_now_ms(), &id, err) && print_folder(cli, out, err);
}

bool cmd_network_add(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *network = NULL;
    const struct cli_option options[] = {
        {"network", "DIR", "the operators' folder", .text = &network, .needed = true},
    };
    const struct cli_usage usage = {
        .name = "network add",
        .args = "MEMBERSHIP-FILE…",
        .args_min = 1,
        .args_max = 10000,
        .about =
            "Lists facilities: checks that each membership is of this network and signed by each of its keys,\n"
            "signs a new roster with the operators' keys, and writes the new trust file. Hand it to every\n"
            "facility (`chartmesh node trust`); running nodes also take it from their peers.",
        .examples = "  chartmesh network add --network operators st-anna/membership clinic/membership\n",
        .options = options,
        .option_count = COUNT(options),
    };
    struct cli_list files = {0};
    return cli_parse(cli, &usage, argc, argv, &files, err) &&
           network_add(network, files.items, files.count, cli_now_ms(), err) && print_folder(cli, network, err);
}

bool cmd_network_remove(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *network = NULL;
    const struct cli_option options[] = {
        {"network", "DIR", "the operators' folder", .text = &network, .needed = true},
    };
    const struct cli_usage usage = {
        .name = "network remove",
        .args = "DOMAIN",
        .args_min = 1,
        .args_max = 1,
        .about = "Takes a facility off the roster, as of now. What it signed before stays valid.",
        .examples = "  chartmesh network remove --network operators clinic.example\n",
        .options = options,
        .option_count = COUNT(options),
    };
    struct cli_list domain = {0};
    return cli_parse(cli, &usage, argc, argv, &domain, err) &&
           network_remove(network, domain.items[0], cli_now_ms(), err) && print_folder(cli, network, err);
}

bool cmd_network_show(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_usage usage = {
        .name = "network show",
        .args = "TRUST-FILE",
        .args_min = 1,
        .args_max = 1,
        .about = "Shows what a trust file says: the network, its roster and the members.",
        .examples = "  chartmesh network show operators/trust\n",
    };
    struct cli_list file = {0};
    return cli_parse(cli, &usage, argc, argv, &file, err) && print_trust(cli, file.items[0], err);
}
