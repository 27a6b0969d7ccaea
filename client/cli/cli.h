/* client/cli/cli.h - what the commands of `chartmesh` share: options, help, output, progress, exit codes.
 *
 * A command is `bool cmd(struct cli *, int argc, char **argv, struct err *)`; main.c has the table of all. It
 * calls cli_parse first, prints its result once with cli_print, and returns. Errors come back to main, which says
 * them and ends with cli->exit. */
#pragma once

#include <jansson.h>

#include "client/setup/profile.h"
#include "proto/base/arena.h"
#include "proto/base/builder.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_NOT_PROVED = 3,      /* audit verify only */
    CLI_CONTRADICTED = 4,    /* audit verify only */
};

struct chartmesh;
struct trust;

struct cli {
    struct arena arena;              /* lives as long as the command */
    int exit;                        /* of the process, if the command fails or says so */
    bool json;
    struct profile profile;          /* of commands that connect: the file, overridden by options */
    uint32_t timeout_ms;             /* 0: as the library likes */
    struct chartmesh *client;        /* see client/cli/node.h; closed by main */
    struct trust *trust;
    bool trust_asked;
};

typedef bool cli_run(struct cli *cli, int argc, char **argv, struct err *err);

struct cli_list {
    const char **items;
    size_t count;
};

/* An option takes a value (text, or list when it may be repeated) or is a flag. */
struct cli_option {
    const char *name, *value, *help; /* "out", "DIR", "folder to make" */
    const char **text;
    struct cli_list *list;
    bool *flag;
    bool needed;
};

struct cli_usage {
    const char *name;                /* "network init" */
    const char *args;                /* "FILE…"; NULL: takes none */
    size_t args_min, args_max;
    const char *about;               /* what it does, in a few lines */
    const char *examples;            /* lines as they are typed */
    const struct cli_option *options;
    size_t option_count;
    bool connects;                   /* also --profile, --target, --user, --role, --purpose, --timeout */
};

/* cli_parse reads the options into where they say and the rest into *args (NULL: takes none). It may also end the
 * command: `--help` prints and returns false with an empty *err and exit 0; a mistake gives exit 2. */
NODISCARD bool cli_parse(struct cli *cli, const struct cli_usage *usage, int argc, char **argv,
                         struct cli_list *args, struct err *err);

/* cli_usage_error is err_raise with exit 2. */
#define cli_usage_error(cli, err, ...) ((cli)->exit = CLI_USAGE, err_raise((err), ERR_INVALID, __VA_ARGS__))

/* cli_print writes a result to standard output and takes it over: JSON, or by `text`, or (NULL) as `key: value`
 * lines. */
typedef void cli_text(const json_t *result);
void cli_print(const struct cli *cli, json_t *result, cli_text *text);

/* cli_note says something on standard error: what to do next, what went wrong on the way. */
void cli_note(const char *format, ...) PRINTF_LIKE(1, 2);

/* Progress of long work, one line that is redrawn, when standard error is a terminal. cli_progress_end clears it.
 */
void cli_progress(const char *what, uint64_t done, uint64_t total);
void cli_progress_end(void);

/* cli_now_ms: Unix ms. cli_number reads a whole decimal number within limits (exit 2). */
int64_t cli_now_ms(void);
NODISCARD bool cli_number(struct cli *cli, const char *option, const char *text, uint64_t min, uint64_t max,
                          uint64_t *out, struct err *err);

/* json_hex makes a JSON string of a view's hex; json_set puts a new value under a name, dropping NULL. */
json_t *json_hex(struct bytes view);
void json_set(json_t *object, const char *name, json_t *value);
