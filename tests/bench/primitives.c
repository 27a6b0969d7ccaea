/* What this machine gives: the parts that operations are made of, each measured alone. limits.py adds them up.
 *
 *     primitives FOLDER SECONDS    files below FOLDER; each figure takes so long */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/store/store.h"
#include "proto/consent/consent.h"
#include "proto/content/content.h"
#include "proto/content/entry_row.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/sign.h"
#include "tests/bench/echo.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal))

enum { HEADER = 600, ENTRY = 300, RULES = 50, ARENA = 1 << 20 };

/* ---- Processor --------------------------------------------------------------------------------------------------- */

struct sealed {
    struct bytes chunk, meta, header;
};

struct parts {
    struct signing_key *key;
    struct verify_key *public_key;
    struct hash secret;
    struct signature signature;
    struct id id;
    struct content_keys keys;
    uint8_t statement[512], document[BENCH_DOCUMENT], chunk[CHUNK_LEN], wrapped[WRAPPED_LEN];
    struct arena arena;
    struct bytes sealed_chunk;
    struct sealed sealed;
};

static bool run_sign(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)n;
    (void)err;
    p->signature = sign(p->key, BYTES(p->statement, sizeof p->statement));
    return true;
}

static bool run_verify(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)n;
    return verify_with(p->public_key, BYTES(p->statement, sizeof p->statement), BYTES_OF(p->signature)) ||
           err_raise(err, ERR_CORRUPT, "the signature does not verify");
}

static bool run_wrap(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)n;
    (void)err;
    key_wrap(&p->secret, &p->secret, p->wrapped);
    return true;
}

static bool run_unwrap(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    struct hash out;
    (void)n;
    return key_unwrap(&p->secret, BYTES(p->wrapped, sizeof p->wrapped), &out, err);
}

static bool seal_document(struct parts *p, struct arena *arena, struct sealed *out, struct err *err)
{
    struct hash root;
    struct bytes coded;
    struct content_meta meta = {.length = sizeof p->document};
    content_commit(&p->secret, BYTES(p->document, sizeof p->document), &root);
    content_keys_derive(&p->secret, &p->id, &p->keys);
    return chunk_code(BYTES(p->document, sizeof p->document), arena, &coded, err) &&
           chunk_seal(&p->keys, &p->id, 0, true, coded, arena, &out->chunk, err) &&
           meta_seal(&p->keys, &p->id, &meta, arena, &out->meta, err) &&
           header_seal(&p->keys, &p->id, 0, &p->secret, BYTES(p->document, HEADER), arena, &out->header, err);
}

static bool run_content_seal(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    AUTO_ARENA(arena, ARENA);
    struct sealed sealed;
    put_u64be(p->document + 100, n); /* another document each time */
    return seal_document(p, &arena, &sealed, err);
}

static bool run_content_open(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    AUTO_ARENA(arena, ARENA);
    struct bytes coded, plain, envelope;
    struct content_meta meta;
    struct hash root;
    (void)n;
    content_keys_derive(&p->secret, &p->id, &p->keys);
    if (!header_open(&p->keys, &p->secret, p->sealed.header, &arena, &envelope, err) ||
        !meta_open(&p->keys, &p->id, p->sealed.meta, &arena, &meta, err) ||
        !chunk_open(&p->keys, &p->id, 0, true, p->sealed.chunk, &arena, &coded, err) ||
        !chunk_decode(coded, sizeof p->document, &arena, &plain, err)) {
        return false;
    }
    content_commit(&p->secret, plain, &root);
    return true;
}

static bool run_entry_seal(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    AUTO_ARENA(arena, ARENA);
    struct bytes row;
    (void)n;
    return entry_row_seal(&p->secret, &p->secret, &p->id, &p->secret, &p->secret, BYTES(p->statement, ENTRY),
                          &arena, &row, err);
}

static bool run_chunk_seal(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    AUTO_ARENA(arena, ARENA);
    struct bytes coded, sealed;
    chunk_leaf(&p->secret, n, BYTES(p->chunk, sizeof p->chunk));
    return chunk_code(BYTES(p->chunk, sizeof p->chunk), &arena, &coded, err) &&
           chunk_seal(&p->keys, &p->id, 0, true, coded, &arena, &sealed, err);
}

static bool run_chunk_open(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    AUTO_ARENA(arena, ARENA);
    struct bytes coded, plain;
    if (!chunk_open(&p->keys, &p->id, 0, true, p->sealed_chunk, &arena, &coded, err) ||
        !chunk_decode(coded, sizeof p->chunk, &arena, &plain, err)) {
        return false;
    }
    chunk_leaf(&p->secret, n, plain);
    return true;
}

static bool run_hash_chunk(void *context, uint64_t n, struct err *err)
{
    struct parts *p = context;
    (void)err;
    chunk_leaf(&p->secret, n, BYTES(p->chunk, sizeof p->chunk));
    return true;
}

static void parts_init(struct parts *p)
{
    static const struct hash seed = {{7}};
    struct err err;
    struct bytes coded;
    arena_init(&p->arena, ARENA);
    bench_document(0, p->document);
    for (size_t i = 0; i < sizeof p->chunk; i += sizeof p->document) {
        bench_document(i, p->chunk + i);
    }
    memcpy(p->statement, p->document, sizeof p->statement);
    bench_must(signing_key_new(&seed, &p->key, &err), &err, "a key");
    bench_must(verify_key_new(signing_key_public(p->key), &p->public_key, &err), &err, "a key");
    p->signature = sign(p->key, BYTES(p->statement, sizeof p->statement));
    key_wrap(&p->secret, &p->secret, p->wrapped);
    bench_must(seal_document(p, &p->arena, &p->sealed, &err) &&
                   chunk_code(BYTES(p->chunk, sizeof p->chunk), &p->arena, &coded, &err) &&
                   chunk_seal(&p->keys, &p->id, 0, true, coded, &p->arena, &p->sealed_chunk, &err),
               &err, "sealing");
}

static void measure_parts(double seconds)
{
    static const struct {
        const char *name;
        bench_fn *run;
    } parts[] = {
        {"sign", run_sign},
        {"verify", run_verify},
        {"wrap", run_wrap},
        {"unwrap", run_unwrap},
        {"content_seal", run_content_seal},
        {"content_open", run_content_open},
        {"entry_seal", run_entry_seal},
        {"chunk_seal", run_chunk_seal},
        {"chunk_open", run_chunk_open},
        {"chunk_hash", run_hash_chunk},
    };
    static struct parts p;
    parts_init(&p);
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct bench figure = bench_run(parts[i].run, &p, seconds);
        bench_say(parts[i].name, &figure);
    }
    signing_key_free(p.key);
    verify_key_free(p.public_key);
    arena_done(&p.arena);
}

/* ---- Consent ----------------------------------------------------------------------------------------------------- */

struct deciding {
    struct consent_config config;
    struct consent_heads heads;
    struct consent_request request;
    struct consent_version version;
};

static bool run_decide(void *context, uint64_t n, struct err *err)
{
    struct deciding *d = context;
    AUTO_ARENA(arena, ARENA);
    struct consent_context at = {.config = &d->config, .origin = d->config.facility, .heads = &d->heads};
    struct consent_decision decision;
    (void)n;
    return consent_decide(&d->request, &d->version, &at, &arena, &decision, err) &&
           (decision.effect == CONSENT_PERMIT ||
            err_raise(err, ERR_INTERNAL, "consent: denied at %u", decision.step));
}

/* Fifty rules, each for a user of its own; the last is the one that permits. */
struct fifty {
    Chartmesh__V1__Policy policy;
    Chartmesh__V1__Head head;
    Chartmesh__V1__Subject subject;
    Chartmesh__V1__Dot dot;
    Chartmesh__V1__Assertor assertor;
    Chartmesh__V1__Author author;
    Chartmesh__V1__Rule rules[RULES], *list[RULES];
    char names[RULES][16], *users[RULES];
    ProtobufCBinaryData facility;
};

static void fifty_init(struct fifty *f, const struct id *facility)
{
    f->policy = (Chartmesh__V1__Policy)CHARTMESH__V1__POLICY__INIT;
    f->head = (Chartmesh__V1__Head)CHARTMESH__V1__HEAD__INIT;
    f->subject = (Chartmesh__V1__Subject)CHARTMESH__V1__SUBJECT__INIT;
    f->dot = (Chartmesh__V1__Dot)CHARTMESH__V1__DOT__INIT;
    f->assertor = (Chartmesh__V1__Assertor)CHARTMESH__V1__ASSERTOR__INIT;
    f->author = (Chartmesh__V1__Author)CHARTMESH__V1__AUTHOR__INIT;
    f->facility = (ProtobufCBinaryData){ID_LEN, (uint8_t *)(uintptr_t)facility->bytes};
    f->head.facility = f->facility;
    f->dot.tag = f->dot.counter = 1;
    f->assertor.who = CHARTMESH__V1__WHO__WHO_PATIENT;
    f->assertor.author = &f->author;
    for (unsigned i = 0; i < RULES; i++) {
        snprintf(f->names[i], sizeof f->names[i], "user-%02u", i);
        f->users[i] = f->names[i];
        f->rules[i] = (Chartmesh__V1__Rule)CHARTMESH__V1__RULE__INIT;
        f->rules[i].id = i + 1;
        f->rules[i].effect = CHARTMESH__V1__EFFECT__EFFECT_PERMIT;
        f->rules[i].facilities = &f->facility;
        f->rules[i].users = &f->users[i];
        f->rules[i].n_facilities = f->rules[i].n_users = 1;
        f->list[i] = &f->rules[i];
    }
    f->policy.head = &f->head;
    f->policy.subject = &f->subject;
    f->policy.dot = &f->dot;
    f->policy.assertor = &f->assertor;
    f->policy.rules = f->list;
    f->policy.n_rules = RULES;
}

static void measure_consent(double seconds)
{
    static const struct consent_need treats = {{"urn:role", "physician"}, "TREAT", false};
    static const struct id facility = {{1}};
    static struct fifty fifty;
    struct err err;
    struct hash id = {{1}};
    struct consent_policy compiled;
    AUTO_ARENA(arena, ARENA);
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    labels.confidentiality = CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N;
    fifty_init(&fifty, &facility);
    struct deciding d = {.config = {.facility = facility, .table = &treats, .table_len = 1},
                         .version = {.class = {"http://loinc.org", "34133-9"},
                                     .authoring = facility,
                                     .labels = &labels,
                                     .effective = &labels},
                         .request = {.action = CONSENT_READ,
                                     .facility = facility,
                                     .user = fifty.names[RULES - 1],
                                     .purpose = "TREAT",
                                     .role = treats.role,
                                     .lo_ms = 1,
                                     .hi_ms = 2}};
    bench_must(consent_policy_compile(&fifty.policy, &id, &arena, &compiled, &err), &err, "a policy");
    bench_must(consent_heads_find(&compiled, 1, &arena, &d.heads, &err), &err, "its heads");
    struct bench figure = bench_run(run_decide, &d, seconds);
    bench_say("consent.50", &figure);
}

/* ---- Disk -------------------------------------------------------------------------------------------------------- */

static bool run_append(void *context, uint64_t n, struct err *err)
{
    static const uint8_t page[4096];
    int file = *(int *)context;
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
    {FAMILY_CHUNK, 700}, {FAMILY_RECORD, 700}, {FAMILY_LOG, 400}, {FAMILY_KEY, 40},
    {FAMILY_INDEX, 64},  {FAMILY_INDEX, 64},   {FAMILY_MAP, 80},  {FAMILY_MAP, 80},
};
static const struct shape read_rows[] = {{FAMILY_LOG, 500}, {FAMILY_MAP, 80}, {FAMILY_MAP, 80}};
static const struct shape chunk_rows[] = {{FAMILY_CHUNK, CHUNK_LEN}};

struct commits {
    struct store *store;
    struct store_batch *batch;
    const struct shape *rows;
    size_t count;
    unsigned times; /* in one batch */
    uint64_t next;
    uint8_t noise[CHUNK_LEN]; /* sealed bytes do not compress */
};

static bool run_commit(void *context, uint64_t n, struct err *err)
{
    struct commits *c = context;
    uint8_t key[48] = {0};
    (void)n;
    store_batch_reset(c->batch);
    for (unsigned t = 0; t < c->times; t++) {
        c->next++;
        for (size_t i = 0; i < c->count; i++) {
            put_u64be(key, c->next * 0x9e3779b97f4a7c15);
            put_u64be(key + 8, i);
            size_t from = c->rows[i].len < CHUNK_LEN / 2 ? c->next % (CHUNK_LEN / 2) : 0;
            store_put(c->batch, c->rows[i].family, BYTES(key, sizeof key), BYTES(c->noise + from, c->rows[i].len));
        }
    }
    return store_commit(c->store, c->batch, err);
}

static void measure_commit(struct commits *c, const char *name, const struct shape *rows, size_t count,
                           unsigned times, double seconds)
{
    c->rows = rows;
    c->count = count;
    c->times = times;
    struct bench figure = bench_run(run_commit, c, seconds);
    bench_say(name, &figure);
}

static void measure_disk(const char *folder, double seconds)
{
    static struct commits c;
    struct err err;
    char path[512];
    snprintf(path, sizeof path, "%s/append", folder);
    int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    bench_must(file >= 0, NULL, "a file");
    struct bench figure = bench_run(run_append, &file, seconds);
    bench_say("sync", &figure);
    close(file);
    for (size_t i = 0; i < sizeof c.noise; i += HASH_LEN) {
        uint8_t at[8];
        put_u64be(at, i);
        memcpy(c.noise + i, hash_of(BYTES(at, sizeof at)).bytes, HASH_LEN);
    }
    snprintf(path, sizeof path, "%s/store", folder);
    c.batch = store_batch_new();
    bench_must(store_open(&(struct store_options){.folder = path}, &c.store, &err), &err, "the store");
    measure_commit(&c, "commit.1", document_rows, COUNT(document_rows), 1, seconds);
    measure_commit(&c, "commit.64", document_rows, COUNT(document_rows), BENCH_IN_FLIGHT, seconds);
    measure_commit(&c, "commit_read.1", read_rows, COUNT(read_rows), 1, seconds);
    measure_commit(&c, "commit_read.64", read_rows, COUNT(read_rows), BENCH_IN_FLIGHT, seconds);
    measure_commit(&c, "commit_chunks.16", chunk_rows, COUNT(chunk_rows), 16, seconds);
    store_batch_free(c.batch);
    store_close(c.store);
}

/* ---- Network ----------------------------------------------------------------------------------------------------- */

static void measure_echo(double seconds)
{
    static const struct {
        const char *name;
        size_t up, down;
        unsigned in_flight;
    } shapes[] = {
        {"echo_up.1", BENCH_DOCUMENT, 300, 1},
        {"echo_up.64", BENCH_DOCUMENT, 300, BENCH_IN_FLIGHT},
        {"echo_down.1", 100, BENCH_DOCUMENT + HEADER, 1},
        {"echo_down.64", 100, BENCH_DOCUMENT + HEADER, BENCH_IN_FLIGHT},
        {"echo_down.16", 300, 16 * (BENCH_DOCUMENT + HEADER), 4},
        {"echo_up.256KiB", 256 << 10, 0, 4},
        {"echo_down.256KiB", 0, 256 << 10, 4},
    };
    struct echo echo;
    echo_begin(&echo);
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct bench figure = echo_run(&echo, shapes[i].up, shapes[i].down, shapes[i].in_flight, seconds);
        bench_say(shapes[i].name, &figure);
    }
    struct bench stream = echo_run_stream(&echo, BENCH_DOCUMENT, BENCH_IN_FLIGHT, seconds);
    bench_say("stream_up", &stream);
    echo_end(&echo);
}

int main(int argc, char **argv)
{
    bench_must(argc == 3, NULL, "primitives FOLDER SECONDS");
    double seconds = bench_seconds(argv[2]);
    measure_echo(seconds);
    measure_parts(seconds);
    measure_consent(seconds);
    measure_disk(argv[1], seconds);
    return 0;
}
