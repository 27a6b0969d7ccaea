/* chartmesh audit, chartmesh authority: proof. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "client/cli/commands.h"
#include "client/cli/node.h"
#include "client/setup/files.h"
#include "client/verify/verify.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/crypto/seal.h"

enum { BUNDLE_MAX = 1 << 30, QUORUM_USUAL = 1 };

/* -- authorities */

static bool authority_json(struct cli *cli, const Chartmesh__V1__Envelope *envelope, json_t **out, struct err *err)
{
    struct statement statement;
    bool trusted;
    if (!chartmesh_statement_check(envelope, STATEMENT_AUTHORITY, cli_trust_of(cli), &cli->arena, &statement,
                                   &trusted, err)) {
        return false;
    }
    const Chartmesh__V1__Authority *authority = (const Chartmesh__V1__Authority *)(const void *)statement.message;
    json_t *one = json_object(), *subjects = json_array(), *purposes = json_array();
    for (size_t i = 0; i < authority->n_subjects; i++) {
        json_array_append_new(subjects, json_subject(cli, authority->subjects[i]));
    }
    for (size_t i = 0; i < authority->n_purposes; i++) {
        json_array_append_new(purposes, json_string(authority->purposes[i]));
    }
    json_set(one, "authority", json_hex(BYTES_OF(statement.id)));
    json_set(one, "duty", json_enum(&chartmesh__v1__duty__descriptor, (int)authority->duty));
    json_set(one, "holder", json_text(authority->holder));
    json_set(one, "subjects", authority->n_subjects ? subjects : (json_decref(subjects), json_string("all")));
    json_set(one, "purposes", authority->n_purposes ? purposes : (json_decref(purposes), json_string("all")));
    json_set(one, "valid_from", json_time(authority->valid->from));
    json_set(one, "valid_until", json_time(authority->valid->until));
    json_set(one, "version_headers", json_boolean(authority->version_headers));
    json_set(one, "signature", json_string(trusted ? "verified" : "unknown signer"));
    *out = one;
    return true;
}

struct grant_options {
    const char *holder, *key, *from, *until;
    struct cli_list patients, purposes, without;
    bool no_headers;
};

/* The key is 64 hex digits, or a file with them (what `node issue auditor` writes as audit.pub). */
static bool read_public_key(struct cli *cli, const char *text, ProtobufCBinaryData *out, struct err *err)
{
    struct bytes file;
    if (strlen(text) == 2 * HASH_LEN) {
        return cli_hex(cli, "--key", text, HASH_LEN, out, err);
    }
    if (!file_read(text, 4096, &cli->arena, &file, err)) {
        return false;
    }
    ((char *)(uintptr_t)file.data)[file.len && file.data[file.len - 1] == '\n' ? file.len - 1 : file.len] = '\0';
    return cli_hex(cli, "--key", (const char *)file.data, HASH_LEN, out, err);
}

static bool grant_subjects(struct cli *cli, const struct cli_list *patients,
                           Chartmesh__V1__GrantAuthorityRequest *request, struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, patients->count, sizeof *request->subjects, &room, err)) {
        return false;
    }
    request->subjects = room;
    for (size_t i = 0; i < patients->count; i++) {
        if (!cli_whole_subject(cli, patients->items[i], &request->subjects[i], err)) {
            return false;
        }
    }
    request->n_subjects = patients->count;
    return true;
}

static bool grant_request(struct cli *cli, const struct grant_options *options,
                          Chartmesh__V1__GrantAuthorityRequest *request, struct err *err)
{
    request->duty = CHARTMESH__V1__DUTY__DUTY_AUDIT;
    request->holder = (char *)(uintptr_t)options->holder;
    request->purposes = (char **)(uintptr_t)options->purposes.items;
    request->n_purposes = options->purposes.count;
    request->version_headers = !options->no_headers;
    if (strncmp(options->holder, "spiffe://", strlen("spiffe://")) != 0) {
        return cli_usage_error(cli, err, "--holder is a SPIFFE id: the `principal` in the auditor's profile");
    }
    return read_public_key(cli, options->key, &request->key, err) &&
           grant_subjects(cli, &options->patients, request, err) &&
           cli_sensitivities(cli, &options->without, &request->without_sensitivity,
                             &request->n_without_sensitivity, err) &&
           cli_period(cli, options->from, options->until, &request->valid, err);
}

bool cmd_authority_grant(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct grant_options options = {0};
    struct cli_list args = {0};
    const char *from = NULL;
    const struct cli_option table[] = {
        {"holder", "SPIFFE-ID", "the auditor: `principal` in its profile", .text = &options.holder,
         .needed = true},
        {"key", "FILE|HEX", "its public key: audit.pub", .text = &options.key, .needed = true},
        {"patient", "PATIENT", "only about this patient (all)", .list = &options.patients},
        {"for-purpose", "CODE", "only for this purpose (any)", .list = &options.purposes},
        {"without-sensitivity", "CODE", "not what has such a label", .list = &options.without},
        {"from", "TIME", "valid from then (now)", .text = &from},
        {"until", "TIME", "valid until then", .text = &options.until},
        {"no-version-headers", NULL, "bundles leave out versions: less is proved", .flag = &options.no_headers},
    };
    const struct cli_usage usage = {
        .name = "authority grant",
        .about = "Lets an auditor ask about the history of records, within limits; the facility signs it. For\n"
                 "administrators.",
        .examples = "  chartmesh authority grant --holder spiffe://…/st-anna.example/auditor/miller \\\n"
                    "      --key st-anna/clients/auditor-miller/audit.pub --until 2030-01-01\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__GrantAuthorityRequest request = CHARTMESH__V1__GRANT_AUTHORITY_REQUEST__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant now = CHARTMESH__V1__INSTANT__INIT;
    const Chartmesh__V1__GrantAuthorityReply *reply;
    json_t *result;
    if (!cli_parse(cli, &usage, argc, argv, &args, err)) {
        return false;
    }
    options.from = from;
    if (!grant_request(cli, &options, &request, err) || !cli_connect(cli, err)) {
        return false;
    }
    now.ms = cli_now_ms();
    request.valid = request.valid ? request.valid : &valid;
    request.valid->from = request.valid->from ? request.valid->from : &now;
    if (!chartmesh_authority_grant(cli->client, &request, NULL, &cli->arena, &reply, err) ||
        !authority_json(cli, reply->statement, &result, err)) {
        return false;
    }
    cli_print(cli, result, NULL);
    return true;
}

bool cmd_authority_list(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *holder = NULL;
    const struct cli_option table[] = {
        {"holder", "SPIFFE-ID", "only this one's", .text = &holder},
    };
    const struct cli_usage usage = {
        .name = "authority list",
        .about = "Shows who may ask about the history of records, and within which limits.",
        .examples = "  chartmesh authority list\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__ListAuthoritiesRequest request = CHARTMESH__V1__LIST_AUTHORITIES_REQUEST__INIT;
    const Chartmesh__V1__ListAuthoritiesReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err)) {
        return false;
    }
    request.holder = (char *)(uintptr_t)(holder ? holder : "");
    if (!chartmesh_authority_list(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *list = json_array();
    json_set(result, "authorities", list);
    for (size_t i = 0; i < reply->n_authorities; i++) {
        json_t *one;
        if (!authority_json(cli, reply->authorities[i], &one, err)) {
            json_decref(result);
            return false;
        }
        json_array_append_new(list, one);
    }
    cli_print(cli, result, NULL);
    return true;
}

/* -- query */

struct query_options {
    const char *out, *args, *authority, *actor, *document, *from, *until, *map_epoch;
    const char *patient;
};

/* The newest authority of this caller's that is valid now. */
static bool find_authority(struct cli *cli, ProtobufCBinaryData *out, struct err *err)
{
    Chartmesh__V1__ListAuthoritiesRequest request = CHARTMESH__V1__LIST_AUTHORITIES_REQUEST__INIT;
    const Chartmesh__V1__ListAuthoritiesReply *reply;
    uint64_t newest = 0;
    int64_t now = cli_now_ms();
    request.holder = (char *)(uintptr_t)cli->profile.principal;
    if (!chartmesh_authority_list(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    for (size_t i = 0; i < reply->n_authorities; i++) {
        struct statement statement;
        struct bytes id;
        bool trusted;
        if (!chartmesh_statement_check(reply->authorities[i], STATEMENT_AUTHORITY, cli_trust_of(cli), &cli->arena,
                                       &statement, &trusted, err) ||
            !arena_copy(&cli->arena, BYTES_OF(statement.id), &id, err)) {
            return false;
        }
        const Chartmesh__V1__Authority *one = (const Chartmesh__V1__Authority *)(const void *)statement.message;
        bool valid = (!one->valid->from || one->valid->from->ms <= now) &&
                     (!one->valid->until || now < one->valid->until->ms) &&
                     one->duty == CHARTMESH__V1__DUTY__DUTY_AUDIT;
        if (valid && one->head->hlc >= newest) {
            newest = one->head->hlc;
            *out = pb_bytes(id);
        }
    }
    return newest != 0 || err_raise(err, ERR_NOT_FOUND,
                                    "no authority to ask is valid now: an administrator gives one "
                                    "with `chartmesh authority grant`");
}

static bool fill_query(struct cli *cli, const struct query_options *options, Chartmesh__V1__AuditQuery *query,
                       struct err *err)
{
    struct id network, facility;
    const struct profile *profile = &cli->profile;
    if (!profile->network || !profile->facility || !profile->principal || !profile->audit_key) {
        return cli_usage_error(cli, err,
                               "audit queries need an auditor's profile (`chartmesh node issue … auditor`)");
    }
    if (!hex_decode(profile->network, network.bytes, ID_LEN, err) ||
        !hex_decode(profile->facility, facility.bytes, ID_LEN, err) ||
        !head_make(&network, &facility, (uint64_t)cli_now_ms() << 16, &cli->arena, &query->head, err)) {
        return false;
    }
    query->principal = (char *)(uintptr_t)profile->principal;
    query->purpose = (char *)(uintptr_t)(profile->purpose ? profile->purpose : "");
    return cli_hex(cli, "facility", profile->facility, ID_LEN, &query->facility, err) &&
           (!options->patient || cli_whole_subject(cli, options->patient, &query->subject, err)) &&
           (!options->actor || cli_hex(cli, "--actor", options->actor, HASH_LEN, &query->actor, err)) &&
           (!options->document || cli_hex(cli, "--document", options->document, ID_LEN, &query->document, err)) &&
           cli_period(cli, options->from, options->until, &query->period, err) &&
           (!options->map_epoch ||
            cli_number(cli, "map-epoch", options->map_epoch, 1, UINT64_MAX, &query->map_epoch, err)) &&
           (options->authority ? cli_hex(cli, "--authority", options->authority, HASH_LEN, &query->authority, err)
                               : find_authority(cli, &query->authority, err));
}

static bool sign_query(struct cli *cli, Chartmesh__V1__AuditQuery *query, struct statement *out, struct err *err)
{
    AUTO_WIPE_HASH(seed);
    struct signing_key *key;
    if (!secret_file_read(cli->profile.audit_key, &seed, err) || !signing_key_new(&seed, &key, err)) {
        return false;
    }
    const struct signing_key *keys[] = {key};
    bool ok = statement_sign(STATEMENT_AUDIT_QUERY, &query->base, keys, 1, &cli->arena, out, err);
    signing_key_free(key);
    return ok;
}

static bool write_piece(void *context, uint64_t offset, struct bytes piece, struct err *err)
{
    const int *fd = context;
    (void)offset;
    for (size_t done = 0; done < piece.len;) {
        ssize_t put = write(*fd, piece.data + done, piece.len - done);
        if (put <= 0) {
            return err_raise(err, ERR_STATE, "the bundle cannot be written");
        }
        done += (size_t)put;
    }
    return true;
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    cli_progress("bundle", done, total);
}

static bool fetch_bundle(struct cli *cli, const struct statement *query, const char *path, uint64_t *entries,
                         struct err *err)
{
    Chartmesh__V1__QueryRequest request = CHARTMESH__V1__QUERY_REQUEST__INIT;
    ProtobufCMessage *envelope;
    if (!message_unpack(&chartmesh__v1__envelope__descriptor, query->envelope, &cli->arena, &envelope, err)) {
        return false;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_raise(err, ERR_EXISTS, "%s cannot be made: it is there already, or the folder is not", path);
    }
    const struct chartmesh_sink sink = {write_piece, show_progress, &fd};
    request.query = (Chartmesh__V1__Envelope *)(void *)envelope;
    bool ok = chartmesh_audit_query(cli->client, &request, &sink, NULL, entries, err) &&
              (fsync(fd) == 0 || err_raise(err, ERR_STATE, "%s cannot be written", path));
    close(fd);
    if (!ok) {
        unlink(path);
    }
    cli_progress_end();
    return ok;
}

/* What `audit verify` has to be told, on one line. */
static bool verify_args(struct cli *cli, const struct statement *query, char **out, struct err *err)
{
    const struct trust *trust = cli_trust_of(cli);
    if (!trust) {
        return arena_printf(&cli->arena, out, err, "--quorum %d --query %s", QUORUM_USUAL,
                            hex_of(BYTES_OF(query->id), &cli->arena));
    }
    return arena_printf(
        &cli->arena, out, err, "--network %s --network-version %llu --roster-version %llu --quorum %d --query %s",
        hex_of(BYTES_OF(*trust_network_id(trust)), &cli->arena), (unsigned long long)trust_network_version(trust),
        (unsigned long long)trust_roster_version(trust), QUORUM_USUAL, hex_of(BYTES_OF(query->id), &cli->arena));
}

static bool write_args(struct cli *cli, const char *path, const char *args, struct err *err)
{
    char *line;
    return !path ||
           (arena_printf(&cli->arena, &line, err, "%s\n", args) && file_replace(path, bytes_str(line), 0600, err));
}

bool cmd_audit_query(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct query_options options = {0};
    struct cli_list args = {0};
    const struct cli_option table[] = {
        {"out", "FILE", "where the bundle goes", .text = &options.out, .needed = true},
        {"args", "FILE", "write there, on one line, what `audit verify` needs", .text = &options.args},
        {"actor", "ID", "about an actor instead of a patient", .text = &options.actor},
        {"document", "DOCUMENT", "show only this one's entries", .text = &options.document},
        {"from", "TIME", "from then on", .text = &options.from},
        {"until", "TIME", "show only what is older", .text = &options.until},
        {"map-epoch", "N", "as of this map epoch (the newest)", .text = &options.map_epoch},
        {"authority", "ID", "which authority allows it (the newest valid one)", .text = &options.authority},
    };
    const struct cli_usage usage = {
        .name = "audit query",
        .args = "[PATIENT]",
        .args_max = 1,
        .about =
            "Asks the node for all that its log holds about a patient: one signed bundle, to be verified without\n"
            "any network. The question itself is logged. Needs an auditor's profile.",
        .examples = "  chartmesh audit query PATIENT --out evidence.cmevid --args verify.args\n"
                    "  chartmesh audit verify evidence.cmevid $(cat verify.args)\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__AuditQuery query = CHARTMESH__V1__AUDIT_QUERY__INIT;
    struct statement statement;
    uint64_t entries;
    char *line;
    if (!cli_parse(cli, &usage, argc, argv, &args, err)) {
        return false;
    }
    options.patient = args.count ? args.items[0] : NULL;
    if (!options.patient == !options.actor) {
        return cli_usage_error(cli, err, "give PATIENT or --actor");
    }
    if (!cli_connect(cli, err) || !fill_query(cli, &options, &query, err) ||
        !sign_query(cli, &query, &statement, err) || !verify_args(cli, &statement, &line, err) ||
        !write_args(cli, options.args, line, err) || !fetch_bundle(cli, &statement, options.out, &entries, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "bundle", json_string(options.out));
    json_set(result, "entries", json_integer((json_int_t)entries));
    json_set(result, "query", json_hex(BYTES_OF(statement.id)));
    json_set(result, "verify", json_sprintf("chartmesh audit verify %s %s", options.out, line));
    cli_print(cli, result, NULL);
    return true;
}

bool cmd_audit_checkpoint(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *out = NULL;
    const struct cli_option table[] = {
        {"out", "FILE", "write the note there (- for standard output)", .text = &out},
    };
    const struct cli_usage usage = {
        .name = "audit checkpoint",
        .about =
            "Fetches the newest checkpoint of the node's log with the cosignatures that came: a C2SP signed note.",
        .examples = "  chartmesh audit checkpoint\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__CheckpointRequest request = CHARTMESH__V1__CHECKPOINT_REQUEST__INIT;
    const Chartmesh__V1__CheckpointReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err) ||
        !chartmesh_audit_checkpoint(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    if (out || !cli->json) {
        return cli_output(out ? out : "-", bytes_pb(reply->note), err);
    }
    json_t *result = json_object();
    json_set(result, "note", json_stringn((const char *)reply->note.data, reply->note.len));
    cli_print(cli, result, NULL);
    return true;
}

/* -- verify: no network, no profile */

struct verify_texts {
    const char *network, *network_version, *roster_version, *quorum, *query;
    struct cli_list earlier, others, args;
};

static bool hash_option(struct cli *cli, const char *what, const char *text, struct hash *room,
                        const struct hash **out, struct err *err)
{
    if (!text) {
        return true;
    }
    if (!hex_decode(text, room->bytes, HASH_LEN, err)) {
        return cli_usage_error(cli, err, "%s is 64 hex digits", what);
    }
    *out = room;
    return true;
}

static bool read_bundles(struct cli *cli, const struct cli_list *paths, const struct bytes **out, size_t *count,
                         struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, paths->count, sizeof(struct bytes), &room, err)) {
        return false;
    }
    struct bytes *list = room;
    for (size_t i = 0; i < paths->count; i++) {
        if (!file_read(paths->items[i], BUNDLE_MAX, &cli->arena, &list[i], err)) {
            return false;
        }
    }
    *out = list;
    *count = paths->count;
    return true;
}

static bool verify_numbers(struct cli *cli, const struct verify_texts *texts, struct verify_options *out,
                           struct err *err)
{
    uint64_t quorum = QUORUM_USUAL;
    if ((texts->network_version &&
         !cli_number(cli, "network-version", texts->network_version, 1, UINT64_MAX, &out->network_version, err)) ||
        (texts->roster_version &&
         !cli_number(cli, "roster-version", texts->roster_version, 1, UINT64_MAX, &out->roster_version, err)) ||
        (texts->quorum && !cli_number(cli, "quorum", texts->quorum, 1, 1000, &quorum, err))) {
        return false;
    }
    out->quorum = (uint32_t)quorum;
    return true;
}

/* The options' files are read before: what cannot be read is a failure, never a verdict. */
static bool verify_file(struct cli *cli, const char *path, const struct verify_options *options, struct err *err)
{
    struct bytes file;
    struct verify_report report;
    if (!file_read(path, BUNDLE_MAX, &cli->arena, &file, err)) {
        return false;
    }
    size_t budget = ((size_t)64 << 20) + 16 * file.len;
    for (size_t i = 0; i < options->earlier_len + options->others_len; i++) {
        budget += 16 * (i < options->earlier_len ? options->earlier[i].len
                                                 : options->others[i - options->earlier_len].len);
    }
    AUTO_ARENA(arena, budget);
    AUTO_BUILDER(text, 1 << 30);
    if (!verify_bundle(file, options, &arena, &report, err)) {
        return false;
    }
    if (!cli->json) {
        verify_text(&report, &text);
    } else if (!verify_json(&report, &text, err)) {
        return false;
    }
    if (!cli_output("-", builder_view(&text), err)) {
        return false;
    }
    cli->exit = verify_exit_code(report.verdict);
    return true;
}

bool cmd_audit_verify(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct verify_texts texts = {0};
    struct verify_options options = {0};
    struct hash network, query;
    const struct cli_option table[] = {
        {"network", "ID", "the first network statement, 64 hex digits: without it nothing is PROVED",
         .text = &texts.network},
        {"network-version", "N", "the smallest network version to accept", .text = &texts.network_version},
        {"roster-version", "N", "the smallest roster version to accept", .text = &texts.roster_version},
        {"quorum", "N", "how many witnesses must have cosigned (1)", .text = &texts.quorum},
        {"query", "ID", "the query that was sent", .text = &texts.query},
        {"earlier", "FILE", "an earlier bundle that this one must extend", .list = &texts.earlier},
        {"other", "FILE", "the other facility's bundle, to compare both ends", .list = &texts.others},
    };
    const struct cli_usage usage = {
        .name = "audit verify",
        .args = "FILE",
        .args_min = 1,
        .args_max = 1,
        .about =
            "Verifies an evidence bundle offline, trusting no node: is this all that the log holds about the\n"
            "patient as of the map epoch, is every entry opened and included, the chain unbroken, every\n"
            "signature traced to the network's operators. Says PROVED, NOT PROVED and why, or CONTRADICTED and\n"
            "where. Exit codes: 0 PROVED, 3 NOT PROVED, 4 CONTRADICTED, 2 wrong usage or a file that cannot be "
            "read.",
        .examples = "  chartmesh audit verify evidence.cmevid $(cat verify.args)\n"
                    "  chartmesh audit verify today.cmevid --network ID --earlier yesterday.cmevid\n",
        .options = table,
        .option_count = COUNT(table),
    };
    if (!cli_parse(cli, &usage, argc, argv, &texts.args, err)) {
        return false;
    }
    cli->exit = CLI_USAGE;
    return verify_numbers(cli, &texts, &options, err) &&
           hash_option(cli, "--network", texts.network, &network, &options.network, err) &&
           hash_option(cli, "--query", texts.query, &query, &options.query, err) &&
           read_bundles(cli, &texts.earlier, &options.earlier, &options.earlier_len, err) &&
           read_bundles(cli, &texts.others, &options.others, &options.others_len, err) &&
           verify_file(cli, texts.args.items[0], &options, err);
}
