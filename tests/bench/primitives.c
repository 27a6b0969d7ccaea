#include "tests/bench/primitives.h"

#include <fcntl.h>
#include <unistd.h>

#include "node/store/store.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/sign.h"
#include "tests/bench/echo.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal))

/* ---- Processor --------------------------------------------------------------------------------------------------- */

struct parts {
    struct signing_key *key;
    struct verify_key *public_key;
    struct hash secret;
    struct signature signature;
    uint8_t document[BENCH_DOCUMENT], statement[512], sealed[BENCH_DOCUMENT + TAG_LEN], nonce[NONCE_LEN];
    Chartmesh__V1__PutRequest put;
    Chartmesh__V1__Facts facts;
    Chartmesh__V1__Coding class_code;
    struct arena arena;
    struct bytes packed;
};

static void parts_init(struct parts *p)
{
    static const struct hash seed = {{7}};
    struct err err;
    bench_document(0, p->document);
    bench_document(1, p->sealed);
    memcpy(p->statement, p->document, sizeof p->statement);
    bench_must(signing_key_new(&seed, &p->key, &err), &err, "a key");
    bench_must(verify_key_new(signing_key_public(p->key), &p->public_key, &err), &err, "a key");
    p->signature = sign(p->key, BYTES(p->statement, sizeof p->statement));
    gcm_seal(&p->secret, p->nonce, BYTES_NONE, BYTES(p->document, sizeof p->document), p->sealed);
    p->put = (Chartmesh__V1__PutRequest)CHARTMESH__V1__PUT_REQUEST__INIT;
    p->facts = (Chartmesh__V1__Facts)CHARTMESH__V1__FACTS__INIT;
    p->class_code = (Chartmesh__V1__Coding)CHARTMESH__V1__CODING__INIT;
    p->class_code.system = TEXT("http://loinc.org");
    p->class_code.code = TEXT("34133-9");
    p->facts.media_type = TEXT("application/fhir+json");
    p->facts.title = TEXT("Summary of episode note");
    p->facts.class_ = &p->class_code;
    p->put.facts = &p->facts;
    p->put.content = (ProtobufCBinaryData){sizeof p->document, p->document};
    arena_init(&p->arena, 1 << 20);
    bench_must(message_pack(&p->put.base, &p->arena, &p->packed, &err), &err, "packing");
}

static void parts_done(struct parts *p)
{
    signing_key_free(p->key);
    verify_key_free(p->public_key);
    arena_done(&p->arena);
}

static bool run_sign(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)worker;
    (void)n;
    (void)err;
    p->signature = sign(p->key, BYTES(p->statement, sizeof p->statement));
    return true;
}

static bool run_verify(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)worker;
    (void)n;
    return verify_with(p->public_key, BYTES(p->statement, sizeof p->statement), BYTES_OF(p->signature)) ||
           err_raise(err, ERR_CORRUPT, "the signature does not verify");
}

static bool run_sha256(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)worker;
    (void)n;
    (void)err;
    struct hash hash = hash_of(BYTES(p->document, sizeof p->document));
    p->document[0] = hash.bytes[0];
    return true;
}

static bool run_gcm_seal(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)worker;
    (void)n;
    (void)err;
    gcm_seal(&p->secret, p->nonce, BYTES_NONE, BYTES(p->document, sizeof p->document), p->sealed);
    return true;
}

static bool run_gcm_open(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)worker;
    (void)n;
    return gcm_open(&p->secret, p->nonce, BYTES_NONE, BYTES(p->sealed, sizeof p->sealed), p->document, err);
}

static bool run_pack(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    struct bytes packed;
    (void)worker;
    (void)n;
    AUTO_ARENA(arena, 64 << 10);
    return message_pack(&p->put.base, &arena, &packed, err);
}

static bool run_unpack(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct parts *p = context;
    ProtobufCMessage *message;
    (void)worker;
    (void)n;
    AUTO_ARENA(arena, 64 << 10);
    return message_unpack(&chartmesh__v1__put_request__descriptor, p->packed, &arena, &message, err);
}

/* ---- Disk -------------------------------------------------------------------------------------------------------- */

static bool run_append(void *context, unsigned worker, uint64_t n, struct err *err)
{
    static const uint8_t page[4096];
    int file = *(int *)context;
    (void)worker;
    (void)n;
    return (write(file, page, sizeof page) == sizeof page && fdatasync(file) == 0) ||
           err_raise(err, ERR_UNAVAILABLE, "append: the disk says no");
}

/* About as many rows as an operation commits, and about as large. */
struct shape {
    enum store_family family;
    size_t len;
};
static const struct shape document_rows[] = {
    {FAMILY_CHUNK, BENCH_DOCUMENT},
    {FAMILY_RECORD, 700},
    {FAMILY_LOG, 400},
    {FAMILY_KEY, 40},
    {FAMILY_INDEX, 64},
    {FAMILY_INDEX, 64},
    {FAMILY_MAP, 80},
    {FAMILY_MAP, 80},
};
static const struct shape read_rows[] = {{FAMILY_LOG, 500}, {FAMILY_MAP, 80}, {FAMILY_MAP, 80}};

struct commits {
    struct store *store;
    struct store_batch *batch;
    const struct shape *rows;
    size_t count;
    unsigned times; /* in one batch */
    uint64_t next;
};

static bool run_commit(void *context, unsigned worker, uint64_t n, struct err *err)
{
    struct commits *c = context;
    uint8_t key[48] = {0}, value[BENCH_DOCUMENT];
    (void)worker;
    (void)n;
    bench_document(c->next, value);
    store_batch_reset(c->batch);
    for (unsigned t = 0; t < c->times; t++) {
        c->next++;
        for (size_t i = 0; i < c->count; i++) {
            put_u64be(key, c->next * 0x9e3779b97f4a7c15);
            put_u64be(key + 8, i);
            store_put(c->batch, c->rows[i].family, BYTES(key, sizeof key), BYTES(value, c->rows[i].len));
        }
    }
    return store_commit(c->store, c->batch, err);
}

static struct bench measure_commit(struct commits *c, const struct shape *rows, size_t count, unsigned times,
                                   double seconds)
{
    c->rows = rows;
    c->count = count;
    c->times = times;
    return bench_run(run_commit, c, 1, seconds, 0);
}

static void measure_disk(const char *folder, double seconds, struct primitives *out)
{
    struct err err;
    char path[512];
    snprintf(path, sizeof path, "%s/append", folder);
    int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    bench_must(file >= 0, NULL, "a file");
    out->append = bench_run(run_append, &file, 1, seconds, 0);
    close(file);
    snprintf(path, sizeof path, "%s/store", folder);
    struct commits commits = {.batch = store_batch_new()};
    bench_must(store_open(&(struct store_options){.folder = path}, &commits.store, &err), &err, "the store");
    out->commit = measure_commit(&commits, document_rows, COUNT(document_rows), 1, seconds);
    out->commit_group = measure_commit(&commits, document_rows, COUNT(document_rows), BENCH_IN_FLIGHT, seconds);
    out->commit_reads = measure_commit(&commits, read_rows, COUNT(read_rows), BENCH_IN_FLIGHT, seconds);
    store_batch_free(commits.batch);
    store_close(commits.store);
}

/* ---- Network ----------------------------------------------------------------------------------------------------- */

static bool run_up(void *context, unsigned worker, uint64_t n, struct err *err)
{
    (void)worker;
    (void)n;
    return echo_call(context, BENCH_DOCUMENT, 0, err);
}

static bool run_down(void *context, unsigned worker, uint64_t n, struct err *err)
{
    (void)worker;
    (void)n;
    return echo_call(context, 0, BENCH_DOCUMENT, err);
}

/* ---- All of it --------------------------------------------------------------------------------------------------- */

void primitives_measure(const char *folder, double seconds, struct primitives *out)
{
    static struct parts parts;
    struct echo echo;
    echo_begin(&echo);
    out->up = bench_run(run_up, &echo, BENCH_IN_FLIGHT, seconds, echo.server);
    out->down = bench_run(run_down, &echo, BENCH_IN_FLIGHT, seconds, echo.server);
    echo_end(&echo);
    parts_init(&parts);
    out->sign = bench_run(run_sign, &parts, 1, seconds, 0);
    out->verify = bench_run(run_verify, &parts, 1, seconds, 0);
    out->sha256 = bench_run(run_sha256, &parts, 1, seconds, 0);
    out->gcm_seal = bench_run(run_gcm_seal, &parts, 1, seconds, 0);
    out->gcm_open = bench_run(run_gcm_open, &parts, 1, seconds, 0);
    out->pack = bench_run(run_pack, &parts, 1, seconds, 0);
    out->unpack = bench_run(run_unpack, &parts, 1, seconds, 0);
    parts_done(&parts);
    measure_disk(folder, seconds, out);
}

void primitives_print(const struct primitives *p)
{
    bench_headings(false);
    bench_row("Ed25519 sign, 512 bytes", &p->sign);
    bench_row("Ed25519 verify", &p->verify);
    bench_row("SHA-256, 2 KiB", &p->sha256);
    bench_row("AES-256-GCM seal, 2 KiB", &p->gcm_seal);
    bench_row("AES-256-GCM open, 2 KiB", &p->gcm_open);
    bench_row("protobuf: pack a PutRequest", &p->pack);
    bench_row("protobuf: check and unpack it", &p->unpack);
    bench_row("append 4 KiB and fdatasync", &p->append);
    bench_row("store: synced commit, 1 document", &p->commit);
    bench_row("store: synced commit, 64 documents", &p->commit_group);
    bench_row("store: synced commit, 64 read entries", &p->commit_reads);
    bench_row("gRPC echo, 2 KiB up, 64 in flight", &p->up);
    bench_row("gRPC echo, 2 KiB down, 64 in flight", &p->down);
}
