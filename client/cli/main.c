/* chartmesh - the command line: networks, facilities, records, consent, proof. */
#include <stdio.h>

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
    arena_done(&cli.arena);
    return ok ? CLI_OK : cli.exit;
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
