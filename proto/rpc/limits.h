/* proto/rpc/limits.h - who calls, how much of a server is theirs, and what turns a call away.
 *
 * A *principal* is whom calls are counted for. A *connection* is gRPC's authentication context, of which there is
 * one for each: certificate and principal are looked up once per connection, a call finds both by one pointer.
 * Only the polling thread changes the tables, with server->lock held; it reads them without. A connection stays
 * while it has calls, a principal while it has connections. */
#pragma once

#include "proto/rpc/internal.h"

struct principal {
    struct principal *next;
    char *spiffe;                /* "": of a port for peers, or nobody */
    struct hash pin;             /* zero where SPIFFE ids count */
    struct budget memory, bytes; /* above `memory`: all calls together */
    atomic_uint calls, streams;
    unsigned connections;
    double tokens, resets; /* calls that may begin, and be taken back, now; the polling thread's */
    uint64_t filled_ms, used_ms;
    _Atomic uint64_t shut_ms;    /* until then nothing is let in */
    atomic_uint given_up; /* calls taken back since the bucket was looked at */
};

struct connection {
    struct connection *next;
    grpc_auth_context *context;
    struct accept_guard_socket socket;
    struct principal *principal;
    struct rpc_identity peer;
    atomic_uint calls;
    _Atomic uint64_t useful, expected; /* what it may have sent so far, and what may be on its way, bytes */
    _Atomic uint64_t progress_ms;
    bool nobody; /* its certificate names nobody */
    bool excess; /* one more than the principal may have */
    bool unwelcome;
    atomic_bool cut;
};

struct limits {
    struct connection *connections[1024]; /* by context */
    struct principal *principals[256]; /* by id */
    unsigned connection_count, principal_count;
    _Atomic uint64_t cut; /* connections, in all */
};

bool limits_new(struct rpc_server *server, struct err *err);
void limits_free(struct rpc_server *server);

/* limits_identify finds the call's connection, and who that is. false: too many to be kept apart. */
bool limits_identify(struct rpc_call *call, struct err *err);

/* limits_enter counts the call; false: one too many, by the first limit that it meets. */
bool limits_enter(struct rpc_call *call, struct err *err);

/* limits_stream counts a call that is not unary; false: one too many. */
bool limits_stream(struct rpc_call *call, struct err *err);

/* limits_leave undoes all of that; the call's connection is not to be touched afterwards. */
void limits_leave(struct rpc_call *call);

/* limits_given_up takes note that the caller took the call back. Any thread. */
void limits_given_up(struct rpc_call *call);

/* limits_take takes `size` bytes for a message; what refused stands in call->refusal. limits_give gives them back.
 * A client's calls have no limits. Any thread. */
bool limits_take(struct rpc_call *call, size_t size);
void limits_give(struct rpc_call *call, size_t size);

/* limits_starved tells whether the call ran out of what calls may hold together, and then says so in *err. */
bool limits_starved(struct rpc_call *call, struct err *err);

/* limits_useful: a message of so many bytes has come whole. The polling thread. */
void limits_useful(struct rpc_call *call, size_t size);

/* limits_expect is told in each sweep what the connections' calls may be receiving: first 0 for all. */
void limits_expect_none(struct rpc_server *server);
void limits_expect(struct rpc_call *call);

/* limits_sweep forgets who is gone and cuts off who is marked; limits_recheck asks `welcome` about everybody and
 * marks who is not: true: somebody. The polling thread. */
void limits_sweep(struct rpc_server *server);
bool limits_recheck(struct rpc_server *server);

/* limits_watch cuts off who sends what becomes neither a call nor a message. Not the polling thread, which may be
 * busy with exactly that. */
void limits_watch(struct rpc_server *server);

/* refusal_err says it; call_refuse also notes it for the counters. Both return false. */
bool refusal_err(enum rpc_refusal why, struct err *err);
bool call_refuse(struct rpc_call *call, enum rpc_refusal why, struct err *err);
