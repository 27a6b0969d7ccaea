/* chartmeshd - one facility's node: parse, open, announce ready, run, close. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "node/server/server.h"

#define VERSION "0.1.0"

/* Exit codes: docs/operating/node.md. A storage error ends the process with EX_SOFTWARE (node/world). */
enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_STUCK = EX_TEMPFAIL };

enum { CONFIG_MEMORY_MAX = 8 << 20, FDS_FOR_FILES = 1400 };

static const char usage[] =
    "chartmeshd - one facility's node\n"
    "\n"
    "  chartmeshd --config FILE              run, until SIGTERM or SIGINT\n"
    "  chartmeshd --check FILE               judge the configuration and the files it names, start nothing\n"
    "\n"
    "  -c, --config FILE      the configuration (docs/operating/chartmeshd.conf.md)\n"
    "      --check            only judge it\n"
    "      --ready-file FILE  also write the line that says the node is ready to FILE\n"
    "      --version          print the version\n"
    "  -h, --help             print this\n"
    "\n"
    "When it serves it prints one line: ready client=HOST:PORT peer=HOST:PORT pid=N [metrics=HOST:PORT]\n"
    "SIGHUP reads the configuration, certificates and deny list again and opens the log file again. What the log "
    "says and what each refusal to\n"
    "start means: docs/operating/node.md.\n";

struct arguments {
    const char *config, *ready_file;
    bool check;
};

enum { OPTION_CHECK = 256, OPTION_READY_FILE, OPTION_VERSION };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"ready-file", required_argument, NULL, OPTION_READY_FILE},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {0},
};

_Noreturn static void refuse_usage(void)
{
    fputs(usage, stderr);
    exit(EXIT_USAGE);
}

static struct arguments parse(int argc, char **argv)
{
    struct arguments out = {0};
    for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            out.config = optarg;
            break;
        case OPTION_CHECK:
            out.check = true;
            break;
        case OPTION_READY_FILE:
            out.ready_file = optarg;
            break;
        case OPTION_VERSION:
            puts("chartmeshd " VERSION);
            exit(EXIT_SUCCESS);
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            refuse_usage();
        }
    }
    if (!out.config && optind < argc) {
        out.config = argv[optind++];
    }
    if (!out.config || optind < argc) {
        refuse_usage();
    }
    return out;
}

/* -- The process: nothing of it is for others, and nothing of its memory reaches a disk */

static bool harden(struct err *err)
{
    const struct rlimit none = {0};
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    return (prctl(PR_SET_DUMPABLE, 0) == 0 && setrlimit(RLIMIT_CORE, &none) == 0) ||
           err_raise(err, ERR_STATE, "core dumps cannot be switched off: %s", strerror(errno));
}

/* Connections and the store's files need descriptors. Without them a listener starves (docs/operating/node.md). */
static bool raise_files(const struct config *config, struct err *err)
{
    struct rlimit files;
    rlim_t needed = config->max_connections + FDS_FOR_FILES;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return err_raise(err, ERR_STATE, "limit of open files: %s", strerror(errno));
    }
    if (files.rlim_max < needed) {
        return err_raise(err, ERR_STATE,
                         "limit of open files is %ju, %u connections need %ju: raise it (ulimit -n, "
                         "LimitNOFILE=) or lower limits.connections",
                         (uintmax_t)files.rlim_max, config->max_connections, (uintmax_t)needed);
    }
    files.rlim_cur = MAX(files.rlim_cur, needed);
    return setrlimit(RLIMIT_NOFILE, &files) == 0 ||
           err_raise(err, ERR_STATE, "limit of open files: %s", strerror(errno));
}

/* Every thread begun from here on leaves these to sigwait below. */
static sigset_t take_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return set;
}

/* -- Ready */

/* The file appears whole or not at all. */
static bool write_ready_file(const char *path, const char *line, struct err *err)
{
    char beside[4096];
    int len = snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = len > 0 && (size_t)len < sizeof beside ? fopen(beside, "we") : NULL;
    bool ok = file && fputs(line, file) >= 0;
    ok = file && fclose(file) == 0 && ok && rename(beside, path) == 0;
    return ok || err_raise(err, ERR_UNAVAILABLE, "ready file %s: %s", path, strerror(errno));
}

static bool announce(const struct server *server, const char *ready_file, struct err *err)
{
    char line[1000];
    const char *client, *peer, *metrics;
    server_addresses(server, &client, &peer, &metrics);
    snprintf(line, sizeof line, "ready client=%s peer=%s pid=%d%s%s\n", client, peer, (int)getpid(),
             metrics ? " metrics=" : "", metrics ? metrics : "");
    fputs(line, stdout);
    fflush(stdout);
    return !ready_file || write_ready_file(ready_file, line, err);
}

/* -- Run */

static void wait_for_end(struct server *server, const sigset_t *signals)
{
    for (int signal_number = 0; signal_number != SIGTERM && signal_number != SIGINT;) {
        if (sigwait(signals, &signal_number) == 0 && signal_number == SIGHUP) {
            server_reload(server);
        }
    }
}

static bool run(const struct config *config, const struct arguments *arguments, struct err *err)
{
    struct server *server;
    sigset_t signals = take_signals();
    const struct server_options server_options = {
        .config = config, .config_file = arguments->config, .version = VERSION};
    if (!server_open(&server_options, &server, err)) {
        return false;
    }
    bool ok = announce(server, arguments->ready_file, err);
    if (ok) {
        wait_for_end(server, &signals);
    }
    if (!server_drain(server)) {
        _exit(EXIT_STUCK);
    }
    server_close(server);
    return ok;
}

static void tell_problem(void *context, const struct err *problem)
{
    (void)context;
    fprintf(stderr, "chartmeshd: %s\n", problem->text);
}

/* Every problem has a line of its own. */
static int check(const struct config *config, const char *name)
{
    size_t problems = server_check(config, tell_problem, NULL);
    if (problems) {
        fprintf(stderr, "chartmeshd: %s: %zu problem%s, a start would be refused\n", name, problems,
                problems == 1 ? "" : "s");
        return EXIT_REFUSED;
    }
    printf("%s: fine\n", name);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct err err;
    struct config *config;
    AUTO_ARENA(arena, CONFIG_MEMORY_MAX);
    const struct arguments arguments = parse(argc, argv);
    bool ok = harden(&err) && config_load(arguments.config, &arena, &config, &err);
    if (ok && arguments.check) {
        return check(config, arguments.config);
    }
    ok = ok && config_check(config, &err) && raise_files(config, &err) && run(config, &arguments, &err);
    if (!ok) {
        fprintf(stderr, "chartmeshd: %s\n", err.text);
    }
    return ok ? EXIT_SUCCESS : EXIT_REFUSED;
}
