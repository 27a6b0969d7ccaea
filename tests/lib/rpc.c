#include "tests/lib/rpc.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void sleep_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

chunk_type chunk_of(uint64_t index, struct bytes coded)
{
    chunk_type chunk = CHARTMESH__V1__CHUNK__INIT;
    chunk.index = index;
    chunk.coded = (ProtobufCBinaryData){coded.len, (uint8_t *)coded.data};
    return chunk;
}

bool fixture_pin(void *ctx, struct bytes pem, struct hash *out)
{
    struct err err;
    (void)ctx;
    return cert_pin(pem, out, &err);
}

static struct cert_pair make(struct fixture *f, const struct cert_pair *ca, struct cert_request request)
{
    struct err err;
    struct cert_pair pair;
    int64_t now = (int64_t)time(NULL) * 1000;
    request.not_before_ms = now - 3600000;
    request.not_after_ms = now + 86400000;
    assert_ok(cert_make(&request, ca, &f->arena, &pair, &err));
    return pair;
}

struct cert_pair fixture_leaf(struct fixture *f, const struct cert_pair *ca, const char *spiffe, const char *dns)
{
    return make(
        f, ca,
        (struct cert_request){
            .common_name = "leaf", .spiffe_id = spiffe, .dns_name = dns, .server = dns != NULL, .client = true});
}

static void log_line(void *ctx, const char *line)
{
    (void)ctx;
    print_message("%s\n", line);
}

struct rpc_server *fixture_server(struct fixture *f, const struct rpc_service *services, size_t count,
                                  const struct rpc_server_config *config)
{
    struct err err;
    struct rpc_server *server;
    struct rpc_server_config full = config ? *config : (struct rpc_server_config){0};
    full.address = full.address ? full.address : "127.0.0.1:0";
    full.tls = (struct rpc_tls){f->ca.certificate, f->server_cert.certificate, f->server_cert.key};
    full.services = services;
    full.count = count;
    full.spki_pin = fixture_pin;
    full.descriptors = full.descriptors.len ? full.descriptors : rpc_descriptors();
    assert_ok(rpc_server_open(f->rpc, &full, &server, &err));
    return server;
}

struct rpc_channel *fixture_dial(struct fixture *f, const struct rpc_server *server, const struct cert_pair *who)
{
    struct err err;
    struct rpc_channel *channel;
    char target[64];
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(server));
    assert_ok(rpc_channel_open(f->rpc,
                               &(struct rpc_channel_config){
                                   .target = target,
                                   .tls = {f->ca.certificate, who->certificate, who->key},
                                   .server_name = "node.test",
                               },
                               &channel, &err));
    return channel;
}

struct fixture *fixture_begin_in(const struct rpc_config *runtime, const struct rpc_service *services,
                                 size_t count, const struct rpc_server_config *config)
{
    struct err err;
    struct rpc_config with_log = *runtime;
    with_log.log = log_line;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    arena_init(&f->arena, 64 << 20);
    f->ca = make(f, NULL, (struct cert_request){.common_name = "ca", .is_ca = true});
    f->foreign_ca = make(f, NULL, (struct cert_request){.common_name = "other ca", .is_ca = true});
    f->server_cert = fixture_leaf(f, &f->ca, NULL, "node.test");
    f->client_cert = fixture_leaf(f, &f->ca, CLIENT_ID, NULL);
    f->foreign_cert = fixture_leaf(f, &f->foreign_ca, CLIENT_ID, NULL);
    assert_ok(rpc_open(&with_log, &f->rpc, &err));
    f->server = fixture_server(f, services, count, config);
    f->channel = fixture_dial(f, f->server, &f->client_cert);
    snprintf(f->target, sizeof f->target, "127.0.0.1:%d", rpc_server_port(f->server));
    return f;
}

struct fixture *fixture_begin(const struct rpc_service *services, size_t count,
                              const struct rpc_server_config *config)
{
    const struct rpc_config usual = {.work_threads = 4, .work_queue = 8, .bulk_threads = 1, .bulk_queue = 1};
    return fixture_begin_in(&usual, services, count, config);
}

void fixture_end(struct fixture *f)
{
    rpc_channel_close(f->channel);
    rpc_server_close(f->server);
    rpc_close(f->rpc);
    arena_done(&f->arena);
    free(f);
}

bool fixture_call(struct rpc_channel *channel, const char *path, uint64_t index, struct bytes coded,
                  const struct rpc_options *options, struct arena *arena, const chunk_type **reply,
                  struct err *err)
{
    chunk_type request = chunk_of(index, coded);
    const ProtobufCMessage *message;
    if (!rpc_unary(channel, path, &request.base, CHUNK, options, arena, &message, err)) {
        return false;
    }
    *reply = (const void *)message;
    return true;
}

/* ---- programs of others ---- */

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void fixture_folder(const struct fixture *f, char folder[64])
{
    snprintf(folder, 64, "/tmp/rpc_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    put_file(folder, "ca.pem", f->ca.certificate);
    put_file(folder, "cakey.pem", f->ca.key);
    put_file(folder, "cert.pem", f->client_cert.certificate);
    put_file(folder, "key.pem", f->client_cert.key);
}

void fixture_folder_drop(const char *folder)
{
    DIR *list = opendir(folder);
    assert_non_null(list);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') {
            assert_int_equal(unlink(path), 0);
        }
    }
    closedir(list);
    assert_int_equal(rmdir(folder), 0);
}

bool fixture_run_begin(char *const argv[], struct program *out)
{
    int ends[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    bool ok = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = (struct program){pid, ends[0]};
    return ok;
}

bool fixture_run_end(struct program *program, char word[64])
{
    int status;
    FILE *end = fdopen(program->out, "r");
    if (fscanf(end, "%63s", word) != 1) {
        word[0] = 0;
    }
    fclose(end);
    return waitpid(program->pid, &status, 0) == program->pid && status == 0;
}

bool fixture_run(char *const argv[], char word[64])
{
    struct program program;
    word[0] = 0;
    return fixture_run_begin(argv, &program) && fixture_run_end(&program, word);
}

/* ---- memory ---- */

void peak_rss_reset(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    assert_non_null(file);
    fputs("5", file);
    fclose(file);
}

size_t peak_rss(void)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (kib == 0 && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %zu", &kib) != 1) {
            kib = 0;
        }
    }
    fclose(file);
    return kib;
}
