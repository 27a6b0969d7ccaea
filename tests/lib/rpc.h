/* tests/lib/rpc.h - a server, its clients and their certificates, on loopback. */
#pragma once

#include "proto/chartmesh/v1/replication.pb-c.h"
#include "proto/crypto/x509.h"
#include "proto/rpc/rpc.h"
#include "tests/lib/test.h"

typedef Chartmesh__V1__Chunk chunk_type;    /* every test method takes and gives chunks */
#define CHUNK (&chartmesh__v1__chunk__descriptor)

struct fixture {
    struct rpc *rpc;
    struct rpc_server *server;
    struct rpc_channel *channel;             /* of a client with the SPIFFE id CLIENT_ID */
    struct arena arena;
    struct cert_pair ca, server_cert, client_cert, foreign_ca, foreign_cert;
    char target[64];
};

#define CLIENT_ID "spiffe://00112233445566778899aabbccddeeff/st-anna.example/app/emr"

/* fixture_begin opens a server with the services given and a channel to it. `config`: what differs from the
 * usual, NULL: nothing. */
struct fixture *fixture_begin(const struct rpc_service *services, size_t count,
                              const struct rpc_server_config *config);
void fixture_end(struct fixture *f);

/* fixture_begin_in is fixture_begin with a runtime other than the usual. */
struct fixture *fixture_begin_in(const struct rpc_config *runtime, const struct rpc_service *services,
                                 size_t count, const struct rpc_server_config *config);

/* fixture_server opens one more server; fixture_dial a channel with that certificate. */
struct rpc_server *fixture_server(struct fixture *f, const struct rpc_service *services, size_t count,
                                  const struct rpc_server_config *config);
struct rpc_channel *fixture_dial(struct fixture *f, const struct rpc_server *server, const struct cert_pair *who);

/* fixture_leaf makes a certificate; `spiffe` NULL: without an id. */
struct cert_pair fixture_leaf(struct fixture *f, const struct cert_pair *ca, const char *spiffe, const char *dns);

/* The pin callback, and one call of a chunk-to-chunk method. */
bool fixture_pin(void *ctx, struct bytes pem, struct hash *out);
bool fixture_call(struct rpc_channel *channel, const char *path, uint64_t index, struct bytes coded,
                  const struct rpc_options *options, struct arena *arena, const chunk_type **reply,
                  struct err *err);

/* fixture_folder makes a folder with ca.pem, cakey.pem, and the client's cert.pem and key.pem, for programs of
 * others; fixture_folder_drop removes it with whatever is in it. */
void fixture_folder(const struct fixture *f, char folder[64]);
void fixture_folder_drop(const char *folder);

/* fixture_run runs a program with its complaints dropped; the first word that it prints goes to `word`. False: it
 * failed. */
bool fixture_run(char *const argv[], char word[64]);

/* fixture_run_begin starts it and returns its process id; fixture_run_end waits for it and reads the word. */
struct program {
    int pid, out;
};
bool fixture_run_begin(char *const argv[], struct program *out);
bool fixture_run_end(struct program *program, char word[64]);

/* peak_rss returns the most memory that this process has had since peak_rss_reset, KiB. */
void peak_rss_reset(void);
size_t peak_rss(void);

chunk_type chunk_of(uint64_t index, struct bytes coded);
void sleep_ms(unsigned ms);
uint64_t now_ms(void);
