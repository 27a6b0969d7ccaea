/* chartmesh - the command line: networks, facilities, records, consent, proof. */
#include <stdio.h>

#include "client/chartmesh.h"
#include "client/cli/commands.h"

static const struct command {
    const char *name;                /* one or two words */
    cli_run *run;
    const char *line;
} COMMANDS[] = {
    {"network init", cmd_network_init, "found a network: operators' keys, trust file"},
    {"network add", cmd_network_add, "operators list facilities"},
    {"network remove", cmd_network_remove, "operators take a facility off"},
    {"network show", cmd_network_show, "what a trust file says"},
    {"node init", cmd_node_init, "make a facility: keys, certificates, membership, configuration"},
    {"node trust", cmd_node_trust, "take a newer trust file"},
    {"node issue", cmd_node_issue, "client certificates and profiles"},
    {"status", cmd_status, "the node's state"},
    {"reload", cmd_reload, "have the node read configuration and certificates again"},
    {"peer list", cmd_peer_list, "the other facilities, and how far their lanes are"},
    {"peer resume", cmd_peer_resume, "let lanes that stopped go on"},
    {"patient register", cmd_patient_register, "a new patient, from a FHIR Patient resource"},
    {"patient update", cmd_patient_update, "a patient's identity, anew"},
    {"patient get", cmd_patient_get, "a patient's identity"},
    {"patient lookup", cmd_patient_lookup, "find a patient by an identifier"},
    {"patient incoming", cmd_patient_incoming, "patients of other facilities who share something"},
    {"put", cmd_put, "write a document, or a new version of one"},
    {"upload", cmd_upload, "the same for content of any size"},
    {"abort", cmd_abort, "give up an upload that is not finished"},
    {"get", cmd_get, "read a document, or several"},
    {"download", cmd_download, "the same for content of any size"},
    {"list", cmd_list, "a patient's documents"},
    {"history", cmd_history, "a document's versions"},
    {"merge", cmd_merge, "settle a conflict"},
    {"retract", cmd_retract, "entered in error"},
    {"relabel", cmd_relabel, "other labels, the same content"},
    {"watch", cmd_watch, "changes as they happen"},
    {"consent show", cmd_consent_show, "a patient's policy in words"},
    {"consent grant", cmd_consent_grant, "let another facility have copies"},
    {"consent deny", cmd_consent_deny, "forbid, whatever else is granted"},
    {"consent revoke", cmd_consent_revoke, "take a grant back"},
    {"consent explain", cmd_consent_explain, "would an act be permitted, and why"},
    {"consent history", cmd_consent_history, "every version of the policy"},
    {"consent cases", cmd_consent_cases, "what was ordered back, and the receipts"},
    {"authority grant", cmd_authority_grant, "let an auditor ask"},
    {"authority list", cmd_authority_list, "who may ask"},
    {"key enrol", cmd_key_enrol, "let an application sign for itself"},
    {"key revoke", cmd_key_revoke, "take a key back"},
    {"key list", cmd_key_list, "who signs"},
    {"audit query", cmd_audit_query, "one bundle: all that the log holds about a patient"},
    {"audit verify", cmd_audit_verify, "check a bundle, offline, trusting no node"},
    {"audit checkpoint", cmd_audit_checkpoint, "the log's newest checkpoint"},
    {"import", cmd_import, "FHIR bundles into records"},
};

enum { MEMORY_MAX = 1 << 30 };

static void print_commands(FILE *to)
{
    fprintf(to, "chartmesh COMMAND [options]        (chartmesh COMMAND --help says more)\n\n");
    for (size_t i = 0; i < COUNT(COMMANDS); i++) {
        fprintf(to, "  %-18s %s\n", COMMANDS[i].name, COMMANDS[i].line);
    }
    fprintf(
        to,
        "\nExit codes: 0 done, 1 failed, 2 wrong usage; audit verify: 0 PROVED, 3 NOT PROVED, 4 CONTRADICTED.\n");
}

/* How many words of the line are this command's name; 0: it is another. */
static int matches(const struct command *command, int argc, char **argv)
{
    const char *space = strchr(command->name, ' ');
    size_t first = space ? (size_t)(space - command->name) : strlen(command->name);
    if (argc < 2 || strlen(argv[1]) != first || memcmp(argv[1], command->name, first) != 0) {
        return 0;
    }
    return !space ? 1 : argc > 2 && strcmp(argv[2], space + 1) == 0 ? 2 : 0;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct cli cli = {.exit = CLI_FAILED};
    struct err err = {0};
    arena_init(&cli.arena, MEMORY_MAX);
    bool ok = command->run(&cli, argc, argv, &err);
    cli_progress_end();
    if (!ok && err.code != ERR_NONE) {
        fprintf(stderr, "chartmesh: %s%s%s%s\n", err.text, err.field[0] ? " (" : "", err.field,
                err.field[0] ? ")" : "");
    }
    chartmesh_close(cli.client);
    trust_free(cli.trust);
    arena_done(&cli.arena);
    return ok && cli.exit == CLI_FAILED ? CLI_OK : cli.exit;
}

int main(int argc, char **argv)
{
    bool help =
        argc > 1 && (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (argc < 2 || help) {
        print_commands(help ? stdout : stderr);
        return help ? CLI_OK : CLI_USAGE;
    }
    for (size_t i = 0; i < COUNT(COMMANDS); i++) {
        int words = matches(&COMMANDS[i], argc, argv);
        if (words) {
            return run(&COMMANDS[i], argc - words, argv + words);
        }
    }
    fprintf(stderr, "chartmesh: no such command: %s%s%s\n\n", argv[1], argc > 2 ? " " : "",
            argc > 2 ? argv[2] : "");
    print_commands(stderr);
    return CLI_USAGE;
}
