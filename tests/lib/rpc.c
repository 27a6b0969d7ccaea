#include "tests/lib/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

struct fixture *fixture_begin(const struct rpc_service *services, size_t count,
                              const struct rpc_server_config *config)
{
    struct err err;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    arena_init(&f->arena, 64 << 20);
    f->ca = make(f, NULL, (struct cert_request){.common_name = "ca", .is_ca = true});
    f->foreign_ca = make(f, NULL, (struct cert_request){.common_name = "other ca", .is_ca = true});
    f->server_cert = fixture_leaf(f, &f->ca, NULL, "node.test");
    f->client_cert = fixture_leaf(f, &f->ca, CLIENT_ID, NULL);
    f->foreign_cert = fixture_leaf(f, &f->foreign_ca, CLIENT_ID, NULL);
    assert_ok(rpc_open(
        &(struct rpc_config){
            .work_threads = 4, .work_queue = 8, .bulk_threads = 1, .bulk_queue = 1, .log = log_line},
        &f->rpc, &err));
    f->server = fixture_server(f, services, count, config);
    f->channel = fixture_dial(f, f->server, &f->client_cert);
    snprintf(f->target, sizeof f->target, "127.0.0.1:%d", rpc_server_port(f->server));
    return f;
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
