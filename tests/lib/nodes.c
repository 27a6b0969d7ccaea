#include "tests/lib/nodes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/setup/files.h"
#include "client/setup/network.h"

enum { READY_TRIES = 3000, NAP_NS = 10 * 1000 * 1000 };     /* half a minute in all */

extern char **environ;

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
}

static void free_address(char out[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    snprintf(out, 64, "127.0.0.1:%d", ntohs(address.sin_port));
}

/* -- Making */

static const char *name_in(struct nodes *nodes, const char *folder, const char *name)
{
    struct err err;
    const char *path;
    assert_ok(path_join(folder, name, &nodes->arena, &path, &err));
    return path;
}

static void make_facility(struct nodes *nodes, size_t i, const char *operators, int64_t now)
{
    struct err err;
    struct running *node = &nodes->list[i];
    snprintf(node->folder, sizeof node->folder, "%s/f%zu", nodes->folder, i);
    snprintf(node->domain, sizeof node->domain, "f%zu.example", i);
    free_address(node->client);
    free_address(node->peer);
    const struct facility_options options = {
        .trust = name_in(nodes, operators, "trust"),
        .domain = node->domain,
        .name = node->domain,
        .client_listen = node->client,
        .peer_listen = node->peer,
    };
    assert_ok(facility_init(node->folder, &options, now, &node->facility, &err));
    const char *membership = name_in(nodes, node->folder, "membership");
    assert_ok(network_add(operators, &membership, 1, now, &err));
}

struct nodes *nodes_new(const char *chartmeshd, size_t count)
{
    struct err err;
    struct hash network;
    struct nodes *nodes = calloc(1, sizeof *nodes);
    assert_non_null(nodes);
    setenv("LSAN_OPTIONS", "suppressions=tests/lib/lsan.supp:print_suppressions=0", 0); /* of sanitized nodes */
    arena_init(&nodes->arena, 64 << 20);
    nodes->chartmeshd = chartmeshd;
    nodes->count = count;
    snprintf(nodes->folder, sizeof nodes->folder, "/tmp/chartmesh-nodes.XXXXXX");
    assert_non_null(mkdtemp(nodes->folder));
    int64_t now = (int64_t)time(NULL) * 1000;
    const char *operators = name_in(nodes, nodes->folder, "operators");
    const struct network_options founding = {.name = "test", .operators = 1, .threshold = 1};
    assert_ok(network_found(operators, &founding, now, &network, &err));
    for (size_t i = 0; i < count; i++) {
        make_facility(nodes, i, operators, now);
    }
    for (size_t i = 0; i < count; i++) {
        assert_ok(facility_trust(nodes->list[i].folder, name_in(nodes, operators, "trust"), &err));
    }
    return nodes;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void nodes_free(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        if (nodes->list[i].pid) {
            nodes_stop(nodes, i, SIGKILL);
        }
    }
    nftw(nodes->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    arena_done(&nodes->arena);
    free(nodes);
}

/* -- Running */

static pid_t run(const struct nodes *nodes, const struct running *node, const char *ready)
{
    char config[300], log[300];
    snprintf(config, sizeof config, "%s/chartmeshd.conf", node->folder);
    snprintf(log, sizeof log, "%s/log", node->folder);
    char *argv[] = {
        (char *)(uintptr_t)nodes->chartmeshd, "--config", config, "--ready-file", (char *)(uintptr_t)ready, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int failed = posix_spawn(&pid, nodes->chartmeshd, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (failed) {
        fail_msg("%s: %s", nodes->chartmeshd, strerror(failed));
    }
    return pid;
}

static const char *ready_file(const struct running *node, char out[300])
{
    snprintf(out, 300, "%s/ready", node->folder);
    return out;
}

void nodes_begin(struct nodes *nodes, size_t i)
{
    struct running *node = &nodes->list[i];
    char ready[300];
    unlink(ready_file(node, ready));
    node->pid = run(nodes, node, ready);
}

void nodes_start(struct nodes *nodes, size_t i)
{
    struct running *node = &nodes->list[i];
    char ready[300];
    int status;
    nodes_begin(nodes, i);
    ready_file(node, ready);
    for (int tries = 0; access(ready, F_OK) != 0; tries++) {
        if (waitpid(node->pid, &status, WNOHANG) == node->pid || tries == READY_TRIES) {
            fail_msg("%s did not start: %s", node->domain, nodes_text(nodes, i, "log"));
        }
        nap();
    }
}

int nodes_stop(struct nodes *nodes, size_t i, int signal_number)
{
    struct running *node = &nodes->list[i];
    int status = 0;
    assert_true(node->pid != 0);
    kill(node->pid, signal_number);
    assert_int_equal(waitpid(node->pid, &status, 0), node->pid);
    node->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int nodes_ended(struct nodes *nodes, size_t i)
{
    struct running *node = &nodes->list[i];
    int status = 0;
    for (int tries = 0; waitpid(node->pid, &status, WNOHANG) != node->pid; tries++) {
        if (tries == READY_TRIES) {
            fail_msg("%s does not end", node->domain);
        }
        nap();
    }
    node->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int nodes_refused(struct nodes *nodes, size_t i)
{
    struct running *node = &nodes->list[i];
    char ready[300];
    int status = 0;
    snprintf(ready, sizeof ready, "%s/ready", node->folder);
    unlink(ready);
    pid_t pid = run(nodes, node, ready);
    for (int tries = 0; waitpid(pid, &status, WNOHANG) != pid; tries++) {
        if (access(ready, F_OK) == 0 || tries == READY_TRIES) {
            node->pid = pid;
            fail_msg("%s started", node->domain);
        }
        nap();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* -- Using */

struct profile nodes_profile(struct nodes *nodes, size_t i, enum client_kind kind, const char *name)
{
    struct err err;
    struct profile profile;
    char *path;
    const struct client_options options = {.kind = kind, .name = name};
    const char *made;
    assert_ok(arena_printf(&nodes->arena, &path, &err, "%s/clients/%s-%s/profile", nodes->list[i].folder,
                           client_kind_name(kind), name));
    if (access(path, F_OK) != 0) {
        assert_ok(facility_issue(nodes->list[i].folder, &options, (int64_t)time(NULL) * 1000, &nodes->arena, &made,
                                 &err));
    }
    assert_ok(profile_load(path, &nodes->arena, &profile, &err));
    return profile;
}

struct chartmesh *nodes_open(struct nodes *nodes, size_t i, enum client_kind kind, const char *name)
{
    struct err err;
    struct chartmesh *node;
    struct profile profile = nodes_profile(nodes, i, kind, name);
    assert_ok(chartmesh_open_profile(&profile, 20000, &node, &err));
    return node;
}

const char *nodes_text(struct nodes *nodes, size_t i, const char *name)
{
    struct err err;
    struct bytes whole;
    char *text;
    assert_ok(file_read(name_in(nodes, nodes->list[i].folder, name), 8 << 20, &nodes->arena, &whole, &err));
    assert_ok(arena_string(&nodes->arena, whole, &text, &err));
    return text;
}
