/* chartmesh patient: subjects and their identity documents. */
#include "client/cli/commands.h"
#include "client/cli/node.h"

enum { RESOURCE_MAX = 1 << 20 };

bool cmd_patient_register(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *confidentiality = NULL;
    struct cli_list sensitivity = {0}, args = {0};
    const struct cli_option options[] = {
        {"confidentiality", "U|L|M|N|R|V", "label of the identity (N)", .text = &confidentiality},
        {"sensitivity", "CODE", "and its sensitivity", .list = &sensitivity},
    };
    const struct cli_usage usage = {
        .name = "patient register",
        .args = "FILE",
        .args_min = 1,
        .args_max = 1,
        .about = "Registers a patient: FILE (- for standard input) is a FHIR R4 Patient resource as JSON, which\n"
                 "becomes the identity document. Prints the patient's id.",
        .examples = "  chartmesh patient register anna.json\n"
                    "  id=$(chartmesh patient register anna.json --output json | jq -r .patient)\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    const Chartmesh__V1__RegisterReply *reply;
    struct bytes resource;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) ||
        !cli_confidentiality(cli, confidentiality ? confidentiality : "N", &labels.confidentiality, err) ||
        !cli_sensitivities(cli, &sensitivity, &labels.sensitivity, &labels.n_sensitivity, err) ||
        !cli_input(cli, args.items[0], RESOURCE_MAX, &resource, err) || !cli_connect(cli, err)) {
        return false;
    }
    request.resource = pb_bytes(resource);
    request.labels = &labels;
    if (!chartmesh_patient_register(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "patient", json_subject(cli, reply->subject));
    json_set(result, "document", json_pb(reply->document));
    json_set(result, "version", json_pb(reply->version));
    json_set(result, "receipt", json_pb(reply->receipt));
    cli_print(cli, result, NULL);
    return true;
}

static bool get_patient(struct cli *cli, const char *text, const Chartmesh__V1__GetPatientReply **reply,
                        struct err *err)
{
    Chartmesh__V1__GetPatientRequest request = CHARTMESH__V1__GET_PATIENT_REQUEST__INIT;
    return cli_subject(cli, text, &request.subject, err) &&
           chartmesh_patient_get(cli->client, &request, NULL, &cli->arena, reply, err);
}

bool cmd_patient_get(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *out = NULL;
    struct cli_list args = {0};
    const struct cli_option options[] = {
        {"out", "FILE", "write the Patient resource there (- for standard output)", .text = &out},
    };
    const struct cli_usage usage = {
        .name = "patient get",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about = "Shows a patient's identity document. PATIENT is an own patient's id, or FACILITY/ID.",
        .examples = "  chartmesh patient get 00112233445566778899aabbccddeeff --out -\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    const Chartmesh__V1__GetPatientReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !get_patient(cli, args.items[0], &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *heads = json_array();
    json_set(result, "patient", json_subject(cli, reply->subject));
    json_set(result, "document", json_pb(reply->document));
    json_set(result, "heads", heads);
    json_set(result, "receipt", json_pb(reply->receipt));
    for (size_t i = 0; i < reply->n_heads; i++) {
        json_t *head;
        if (!json_version(cli, reply->heads[i], cli->json, &head, err)) {
            json_decref(result);
            return false;
        }
        json_array_append_new(heads, head);
    }
    if (!out) {
        cli_print(cli, result, NULL);
        return true;
    }
    json_decref(result);
    return reply->n_heads == 1
               ? cli_output(out, bytes_pb(reply->heads[0]->content), err)
               : err_raise(err, ERR_STATE, "the identity has %zu heads: see `chartmesh get`", reply->n_heads);
}

bool cmd_patient_update(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct cli_list heads = {0}, args = {0};
    const struct cli_option options[] = {
        {"if-head", "VERSION", "only if these are its heads (as they are now)", .list = &heads},
    };
    const struct cli_usage usage = {
        .name = "patient update",
        .args = "PATIENT FILE",
        .args_min = 2,
        .args_max = 2,
        .about = "Replaces a patient's identity by another FHIR Patient resource.",
        .examples = "  chartmesh patient update 00112233445566778899aabbccddeeff anna.json\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    Chartmesh__V1__UpdateRequest request = CHARTMESH__V1__UPDATE_REQUEST__INIT;
    const Chartmesh__V1__GetPatientReply *now;
    const Chartmesh__V1__UpdateReply *reply;
    struct bytes resource;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err) ||
        !cli_input(cli, args.items[1], RESOURCE_MAX, &resource, err) ||
        !cli_hexes(cli, "--if-head", &heads, HASH_LEN, &request.if_heads, &request.n_if_heads, err)) {
        return false;
    }
    if (heads.count == 0) {
        if (!get_patient(cli, args.items[0], &now, err) ||
            !cli_heads(cli, now->heads, now->n_heads, &request.if_heads, &request.n_if_heads, err)) {
            return false;
        }
    }
    request.resource = pb_bytes(resource);
    if (!chartmesh_patient_update(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "version", json_pb(reply->version));
    json_set(result, "receipt", json_pb(reply->receipt));
    cli_print(cli, result, NULL);
    return true;
}

bool cmd_patient_lookup(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct cli_list args = {0};
    const struct cli_usage usage = {
        .name = "patient lookup",
        .args = "SYSTEM VALUE",
        .args_min = 2,
        .args_max = 2,
        .about = "Finds own patients by an identifier of their Patient resource.",
        .examples = "  chartmesh patient lookup http://hospital.example/mrn 4711\n",
        .connects = true,
    };
    Chartmesh__V1__LookupRequest request = CHARTMESH__V1__LOOKUP_REQUEST__INIT;
    const Chartmesh__V1__LookupReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err)) {
        return false;
    }
    request.system = (char *)(uintptr_t)args.items[0];
    request.value = (char *)(uintptr_t)args.items[1];
    if (!chartmesh_patient_lookup(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *patients = json_array();
    for (size_t i = 0; i < reply->n_subjects; i++) {
        json_array_append_new(patients, json_subject(cli, reply->subjects[i]));
    }
    json_set(result, "patient", patients);
    json_set(result, "receipt", json_pb(reply->receipt));
    cli_print(cli, result, NULL);
    return true;
}

static bool add_incoming(struct cli *cli, const Chartmesh__V1__IncomingReply *reply, json_t *list, struct err *err)
{
    for (size_t i = 0; i < reply->n_subjects; i++) {
        const Chartmesh__V1__IncomingSubject *subject = reply->subjects[i];
        json_t *one = json_object(), *identity = NULL;
        json_array_append_new(list, one);
        json_set(one, "patient", json_subject(cli, subject->subject));
        json_set(one, "from", json_text(subject->domain));
        json_set(one, "documents", json_integer(subject->documents));
        json_set(one, "since", json_time(subject->since));
        if (subject->identity && !json_version(cli, subject->identity, cli->json, &identity, err)) {
            return false;
        }
        json_set(one, "identity", identity);
    }
    return true;
}

bool cmd_patient_incoming(struct cli *cli, int argc, char **argv, struct err *err)
{
    const struct cli_usage usage = {
        .name = "patient incoming",
        .about = "Lists patients of other facilities who share something with this one.",
        .examples = "  chartmesh patient incoming --output json | jq -r '.patients[].patient'\n",
        .connects = true,
    };
    Chartmesh__V1__IncomingRequest request = CHARTMESH__V1__INCOMING_REQUEST__INIT;
    const Chartmesh__V1__IncomingReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, NULL, err) || !cli_connect(cli, err)) {
        return false;
    }
    json_t *result = json_object(), *list = json_array();
    json_set(result, "patients", list);
    request.page_size = 100;
    do {
        if (!chartmesh_patient_incoming(cli->client, &request, NULL, &cli->arena, &reply, err) ||
            !add_incoming(cli, reply, list, err)) {
            json_decref(result);
            return false;
        }
        request.page_token = reply->next_page_token;
    } while (request.page_token.len);
    cli_print(cli, result, NULL);
    return true;
}
