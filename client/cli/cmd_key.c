/* chartmesh key: keys that sign versions for an application, instead of the node. */
#include <unistd.h>

#include "client/cli/commands.h"
#include "client/cli/node.h"
#include "client/setup/files.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"

static json_t *key_json(struct cli *cli, const Chartmesh__V1__Envelope *envelope, ProtobufCBinaryData id)
{
    json_t *result = json_object();
    struct statement statement;
    struct err ignored;
    bool trusted;
    json_set(result, "key", json_pb(id));
    if (chartmesh_statement_check(envelope, STATEMENT_KEY, NULL, &cli->arena, &statement, &trusted, &ignored)) {
        const Chartmesh__V1__Key *key = (const Chartmesh__V1__Key *)(const void *)statement.message;
        json_set(result, "holder", json_text(key->holder));
        json_set(result, "from", json_time(key->valid->from));
        json_set(result, "until", json_time(key->valid->until));
    }
    return result;
}

/* The secret in the file, which is made where there is none. */
static bool open_secret(const char *path, struct signing_key **out, struct err *err)
{
    AUTO_WIPE_HASH(seed);
    if (access(path, F_OK) != 0) {
        seed = random_hash();
        if (!secret_file_create(path, &seed, err)) {
            return false;
        }
    }
    return secret_file_read(path, &seed, err) && signing_key_new(&seed, out, err);
}

static bool enrol(struct cli *cli, const char *path, const char *holder, const char *until,
                  const Chartmesh__V1__EnrolKeyReply **reply, struct err *err)
{
    const Chartmesh__V1__StatusRequest ask = CHARTMESH__V1__STATUS_REQUEST__INIT;
    const Chartmesh__V1__StatusReply *status;
    struct chartmesh_new_key about = {.holder = holder, .use = CHARTMESH__V1__USE__USE_AUTHOR};
    Chartmesh__V1__Instant *end = NULL;
    Chartmesh__V1__EnrolKeyRequest *request;
    struct signing_key *key;
    if ((until && !cli_time(cli, "--until", until, &end, err)) || !cli_connect(cli, err) ||
        !chartmesh_admin_status(cli->client, &ask, NULL, &cli->arena, &status, err)) {
        return false;
    }
    if (!id_from(bytes_pb(status->network), &about.network) ||
        !id_from(bytes_pb(status->facility), &about.facility)) {
        return err_raise(err, ERR_CORRUPT, "the node does not say whose it is");
    }
    about.now_ms = about.from_ms = cli_now_ms();
    about.until_ms = end ? end->ms : 0;
    if (!open_secret(path, &key, err)) {
        return false;
    }
    bool ok = chartmesh_key_request(&about, key, &cli->arena, &request, err) &&
              chartmesh_key_enrol(cli->client, request, NULL, &cli->arena, reply, err);
    signing_key_free(key);
    return ok;
}

bool cmd_key_enrol(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *holder = NULL, *until = NULL;
    struct cli_list args = {0};
    const struct cli_option table[] = {
        {"holder", "SPIFFE-ID", "the application: `principal` in its profile", .text = &holder, .needed = true},
        {"until", "TIME", "valid until then (no end)", .text = &until},
    };
    const struct cli_usage usage = {
        .name = "key enrol",
        .args = "FILE",
        .args_min = 1,
        .args_max = 1,
        .about =
            "Lets an application sign its versions itself, with the secret in FILE, which is made if it is not\n"
            "there; the facility signs the key too. For administrators.",
        .examples = "  chartmesh key enrol author.key --holder spiffe://…/st-anna.example/app/emr\n"
                    "  chartmesh put PATIENT note.json --class SYSTEM|CODE --sign-with author.key\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    const Chartmesh__V1__EnrolKeyReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) ||
        !enrol(cli, args.items[0], holder, until, &reply, err)) {
        return false;
    }
    cli_print(cli, key_json(cli, reply->statement, reply->key), NULL);
    return true;
}

bool cmd_key_revoke(struct cli *cli, int argc, char **argv, struct err *err)
{
    static const char *const names[] = {"RETIRED", "LOST", "COMPROMISED"};
    const char *reason = NULL, *since = NULL;
    struct cli_list args = {0};
    const struct cli_option table[] = {
        {"reason", "RETIRED|LOST|COMPROMISED", "why", .text = &reason, .needed = true},
        {"since", "TIME", "since when it counts no more (now)", .text = &since},
    };
    const struct cli_usage usage = {
        .name = "key revoke",
        .args = "KEY",
        .args_min = 1,
        .args_max = 1,
        .about = "Takes a key back: nothing that it signs from then on counts, here and at every member. What a\n"
                 "COMPROMISED key signed before counts no more either. For administrators.",
        .examples = "  chartmesh key revoke KEY --reason LOST\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__RevokeKeyRequest request = CHARTMESH__V1__REVOKE_KEY_REQUEST__INIT;
    const Chartmesh__V1__RevokeKeyReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err)) {
        return false;
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(reason, names[i]) == 0) {
            request.reason = (Chartmesh__V1__Reason)(i + 1);
        }
    }
    if (!request.reason) {
        return cli_usage_error(cli, err, "--reason: RETIRED, LOST or COMPROMISED");
    }
    if (!cli_hex(cli, "key", args.items[0], HASH_LEN, &request.key, err) ||
        (since && !cli_time(cli, "--since", since, &request.since, err)) || !cli_connect(cli, err) ||
        !chartmesh_key_revoke(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "revocation", json_pb(reply->revocation));
    cli_print(cli, result, NULL);
    return true;
}

bool cmd_key_list(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *holder = NULL;
    const struct cli_option table[] = {
        {"holder", "SPIFFE-ID", "only this one's", .text = &holder},
    };
    const struct cli_usage usage = {
        .name = "key list",
        .about = "Shows the keys that were enrolled, and which of them count now.",
        .examples = "  chartmesh key list\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__ListKeysRequest request = CHARTMESH__V1__LIST_KEYS_REQUEST__INIT;
    const Chartmesh__V1__ListKeysReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err)) {
        return false;
    }
    request.holder = (char *)(uintptr_t)(holder ? holder : "");
    if (!chartmesh_key_list(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *list = json_array();
    json_set(result, "keys", list);
    for (size_t i = 0; i < reply->n_keys; i++) {
        json_t *one = key_json(cli, reply->keys[i]->statement, reply->keys[i]->key);
        json_set(one, "usable", json_boolean(reply->keys[i]->usable));
        json_array_append_new(list, one);
    }
    cli_print(cli, result, NULL);
    return true;
}
