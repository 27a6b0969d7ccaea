#include "tests/bench/echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/chartmesh/v1/replication.pb-c.h"
#include "proto/crypto/x509.h"

#define ECHO_PATH "/chartmesh.bench/Echo"
#define STREAM_PATH "/chartmesh.bench/Stream"

enum { CONTENT_MAX_LEN = 256 << 10 };

static uint8_t content[CONTENT_MAX_LEN];

/* ---- Certificates ------------------------------------------------------------------------------------------------ */

static struct cert_pair cert(struct cert_request request, const struct cert_pair *issuer, struct arena *arena)
{
    struct err err;
    struct cert_pair out;
    int64_t now = (int64_t)time(NULL) * 1000;
    request.not_before_ms = now - 3600000;
    request.not_after_ms = now + 86400000;
    bench_must(cert_make(&request, issuer, arena, &out, &err), &err, "a certificate");
    return out;
}

void bench_certs_make(struct arena *arena, struct bench_certs *out)
{
    struct cert_pair ca = cert((struct cert_request){.common_name = "ca", .is_ca = true}, NULL, arena);
    struct cert_pair server =
        cert((struct cert_request){.common_name = "server", .dns_name = "node.bench", .server = true}, &ca, arena);
    struct cert_pair client =
        cert((struct cert_request){.common_name = "client",
                                   .spiffe_id = "spiffe://00112233445566778899aabbccddeeff/node.bench/app/bench",
                                   .client = true},
             &ca, arena);
    *out = (struct bench_certs){ca.certificate, server.certificate, server.key, client.certificate, client.key};
}

/* ---- The other process ------------------------------------------------------------------------------------------- */

static bool answer(struct rpc_call *call, void *context, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct err *err)
{
    const Chartmesh__V1__Chunk *in = (const void *)request;
    Chartmesh__V1__Chunk *out = (void *)reply;
    (void)call;
    (void)context;
    (void)err;
    out->coded = (ProtobufCBinaryData){MIN(in->index, sizeof content), content};
    return true;
}

/* A stream's message is answered by its number. */
static void stream_answer(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    struct err err;
    Chartmesh__V1__Chunk reply = CHARTMESH__V1__CHUNK__INIT;
    reply.index = ((const Chartmesh__V1__Chunk *)message)->index;
    (void)arg;
    bench_must(rpc_stream_offer(stream, &reply.base, &err), &err, "an answer");
}

static void stream_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    (void)arg;
    (void)why;
}

static bool stream_open(struct rpc_call *stream, void *context, const ProtobufCMessage *none, struct err *err)
{
    static const struct rpc_events events = {.message = stream_answer, .closed = stream_closed};
    (void)context;
    (void)none;
    (void)err;
    rpc_stream_listen(stream, &events, NULL);
    return true;
}

_Noreturn static void serve(const struct bench_certs *certs, int port_to, int life)
{
    static const struct rpc_method methods[] = {{
                                                    .path = ECHO_PATH,
                                                    .kind = RPC_UNARY,
                                                    .lane = RPC_INLINE,
                                                    .run = answer,
                                                    .in = &chartmesh__v1__chunk__descriptor,
                                                    .out = &chartmesh__v1__chunk__descriptor,
                                                },
                                                {
                                                    .path = STREAM_PATH,
                                                    .kind = RPC_BIDI,
                                                    .lane = RPC_INLINE,
                                                    .open = stream_open,
                                                    .in = &chartmesh__v1__chunk__descriptor,
                                                    .out = &chartmesh__v1__chunk__descriptor,
                                                }};
    static const struct rpc_service service = {.methods = methods, .count = COUNT(methods)};
    const struct rpc_server_config config = {
        .address = "127.0.0.1:0",
        .tls = {certs->ca, certs->server, certs->server_key},
        .services = &service,
        .count = 1,
    };
    struct err err;
    struct rpc *rpc;
    struct rpc_server *server;
    char end;
    bench_must(rpc_open(&(struct rpc_config){0}, &rpc, &err), &err, "the runtime");
    bench_must(rpc_server_open(rpc, &config, &server, &err), &err, "the echo server");
    int port = rpc_server_port(server);
    bench_must(write(port_to, &port, sizeof port) == sizeof port, NULL, "telling the port");
    while (read(life, &end, 1) > 0) {
    }
    _exit(0);
}

void echo_begin(struct echo *echo)
{
    struct err err;
    struct bench_certs certs;
    int port_pipe[2], life_pipe[2], port;
    char target[32];
    arena_init(&echo->arena, 1 << 20);
    bench_certs_make(&echo->arena, &certs);
    bench_must(pipe(port_pipe) == 0 && pipe(life_pipe) == 0, NULL, "a pipe");
    fflush(stdout);
    echo->server = fork();
    bench_must(echo->server >= 0, NULL, "a process");
    if (echo->server == 0) {
        close(port_pipe[0]);
        close(life_pipe[1]);
        serve(&certs, port_pipe[1], life_pipe[0]);
    }
    close(port_pipe[1]);
    close(life_pipe[0]);
    echo->life = life_pipe[1];
    bench_must(read(port_pipe[0], &port, sizeof port) == sizeof port, NULL, "the echo server");
    close(port_pipe[0]);
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    const struct rpc_channel_config config = {
        .target = target, .tls = {certs.ca, certs.client, certs.client_key}, .server_name = "node.bench"};
    bench_must(rpc_open(&(struct rpc_config){0}, &echo->rpc, &err), &err, "the runtime");
    bench_must(rpc_channel_open(echo->rpc, &config, &echo->channel, &err), &err, "a channel");
}

void echo_end(struct echo *echo)
{
    rpc_channel_close(echo->channel);
    rpc_close(echo->rpc);
    close(echo->life);
    waitpid(echo->server, NULL, 0);
    arena_done(&echo->arena);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

struct echoing {
    struct load load;
    struct echo *echo;
    size_t up, down;
    struct echo_slot {
        struct echoing *all;
        unsigned number;
    } slots[BENCH_IN_FLIGHT];
};

static void echoed(void *arg, const ProtobufCMessage *reply, const struct err *err)
{
    const struct echo_slot *slot = arg;
    bench_must(reply != NULL, err, "an echo");
    load_ended(&slot->all->load, slot->number);
}

static void echo_begin_one(struct load *load, unsigned slot, uint64_t n)
{
    struct echoing *all = load->context;
    struct err err;
    Chartmesh__V1__Chunk request = CHARTMESH__V1__CHUNK__INIT;
    request.index = all->down;
    request.coded = (ProtobufCBinaryData){MIN(all->up, sizeof content), content};
    all->slots[slot] = (struct echo_slot){all, slot};
    (void)n;
    bench_must(rpc_unary_begin(all->echo->channel, ECHO_PATH, &request.base, &chartmesh__v1__chunk__descriptor,
                               &(struct rpc_options){.wait_for_ready = true}, echoed, &all->slots[slot], &err),
               &err, "an echo");
}

struct bench echo_run(struct echo *echo, size_t up, size_t down, unsigned in_flight, double seconds)
{
    struct echoing *all = calloc(1, sizeof *all);
    bench_must(all != NULL, NULL, "memory");
    all->load = (struct load){.begin = echo_begin_one,
                              .context = all,
                              .in_flight = in_flight,
                              .seconds = seconds,
                              .other = echo->server};
    all->echo = echo;
    all->up = up;
    all->down = down;
    load_start(&all->load);
    struct bench out = load_wait(&all->load);
    free(all);
    return out;
}

/* ---- One stream -------------------------------------------------------------------------------------------------- */

static struct {
    struct load load;
    struct rpc_call *stream;
    size_t up;
} streaming;

static void stream_begin_one(struct load *load, unsigned slot, uint64_t n)
{
    struct err err;
    Chartmesh__V1__Chunk message = CHARTMESH__V1__CHUNK__INIT;
    message.index = slot;
    message.coded = (ProtobufCBinaryData){MIN(streaming.up, sizeof content), content};
    (void)load;
    (void)n;
    bench_must(rpc_stream_offer(streaming.stream, &message.base, &err), &err, "a stream");
}

static void stream_answered(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    (void)stream;
    (void)arg;
    load_ended(&streaming.load, (unsigned)((const Chartmesh__V1__Chunk *)message)->index);
}

struct bench echo_run_stream(struct echo *echo, size_t up, unsigned in_flight, double seconds)
{
    static const struct rpc_events events = {.message = stream_answered, .closed = stream_closed};
    const struct rpc_options options = {.wait_for_ready = true, .lane = RPC_INLINE};
    struct err err;
    streaming.up = up;
    streaming.load = (struct load){
        .begin = stream_begin_one, .in_flight = in_flight, .seconds = seconds, .other = echo->server};
    bench_must(rpc_stream_dial(echo->channel, STREAM_PATH, &chartmesh__v1__chunk__descriptor, &options, &events,
                               NULL, &streaming.stream, &err),
               &err, "a stream");
    rpc_stream_hold(streaming.stream);
    load_start(&streaming.load);
    struct bench figure = load_wait(&streaming.load);
    rpc_stream_close(streaming.stream, NULL);
    rpc_stream_drop(streaming.stream);
    return figure;
}
