/* tests/bench/echo.h - the least that a call can cost: unary over mutual TLS, to another process that does
 * nothing. */
#pragma once

#include <sys/types.h>

#include "proto/rpc/rpc.h"
#include "tests/bench/bench.h"

/* Certificates of one run: a CA, a server named "node.bench", a client with a SPIFFE id. Texts live in the arena.
 */
struct bench_certs {
    const char *ca, *server, *server_key, *client, *client_key;
};
void bench_certs_make(struct arena *arena, struct bench_certs *out);

struct echo {
    pid_t server;                /* the other process */
    int life;                    /* it ends when this pipe does */
    struct rpc *rpc;
    struct rpc_channel *channel;
    struct arena arena;
};

/* echo_begin starts the server as a process and connects. No runtime of proto/rpc may be open. */
void echo_begin(struct echo *echo);
void echo_end(struct echo *echo);

/* echo_run keeps `in_flight` calls going, each of which sends `up` bytes and asks for `down` bytes. */
struct bench echo_run(struct echo *echo, size_t up, size_t down, unsigned in_flight, double seconds);

/* echo_run_stream does it on one stream, with a small answer for each message. */
struct bench echo_run_stream(struct echo *echo, size_t up, unsigned in_flight, double seconds);
