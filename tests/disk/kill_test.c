/* kill -9 in a loop, under load: writers who repeat what was not answered, an upload, a reader of checkpoints.
 * Then everything that was ever answered is asked for again.
 *
 *     bazel test //tests/disk:kill_test      20 kills
 *     ./dev soak //tests/disk:kill_test      for minutes, at least 500 kills */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/merkle/checkpoint.h"
#include "proto/merkle/merkle.h"
#include "proto/statement/entry.h"
#include "tests/lib/nodes.h"
#include "tests/lib/soak.h"

#define PB(view) ((ProtobufCBinaryData){(view).len, (uint8_t *)(uintptr_t)(view).data})
#define VIEW(field) BYTES((field).data, (field).len)

enum {
    KILLS = 20,
    KILLS_SOAK = 500,
    WRITERS = 4,
    DOCUMENTS = 16,              /* that a writer amends */
    CALL_ARENA = 4 << 20,
    CALL_MS = 5000,
    UPLOAD_LEN = 3 << 20,
};

/* An answered write: what to ask again, and what was answered. */
struct write {
    uint64_t seed;               /* of the content */
    struct id document;          /* zero in the request: a new one */
    bool fresh;
    struct hash before, version; /* the head that it amends; the answer */
    uint64_t key;
};

struct receipt {
    uint8_t bytes[256];
    size_t len;
};

struct list {
    void *items;
    size_t len, room;
};

struct writer {
    struct work *work;
    pthread_t thread;
    struct id patient;
    uint64_t chance, keys;
    struct {
        struct id id;
        size_t versions;         /* answered */
        struct write last;
    } documents[DOCUMENTS];
    struct list writes;          /* all of them */
    struct list receipts;        /* of writes and reads */
};

struct seen {
    uint64_t size;
    struct hash root;
};

struct work {
    struct nodes *nodes;
    struct chartmesh *node;
    struct writer writers[WRITERS];
    struct list checkpoints;
    pthread_t reader, uploader;
    atomic_size_t answers, uploads;
    atomic_bool over, failed;
    pthread_mutex_t lock;        /* of why */
    char why[400];
};

/* ---- Helpers -------------------------------------------------------------------------------------------------- */

static void *add(struct list *list, size_t size)
{
    if (list->len == list->room) {
        list->room = list->room ? 2 * list->room : 64;
        list->items = realloc(list->items, list->room * size);
        assert_non_null(list->items);
    }
    return (uint8_t *)list->items + list->len++ * size;
}

static uint64_t draw(uint64_t *chance, uint64_t below)
{
    *chance = *chance * 6364136223846793005u + 1442695040888963407u;
    return (*chance >> 33) % below;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
}

/* Threads do not end the test: they say why and everybody stops. */
static bool broken(struct work *work, const char *what, const struct err *err)
{
    pthread_mutex_lock(&work->lock);
    if (!atomic_exchange(&work->failed, true)) {
        snprintf(work->why, sizeof work->why, "%s: %s", what, err ? err->text : "");
    }
    pthread_mutex_unlock(&work->lock);
    return false;
}

static bool unanswered(const struct err *err)
{
    return err->code == ERR_UNAVAILABLE || err->code == ERR_DEADLINE || err->code == ERR_CANCELLED ||
           err->code == ERR_TOO_MUCH;
}

static size_t fill(uint64_t seed, uint8_t out[6000])
{
    uint64_t chance = seed;
    size_t len = draw(&chance, 6000);
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)draw(&chance, 256);
    }
    return len;
}

/* ---- Calls that are repeated until they are answered ---------------------------------------------------------- */

static bool put(struct work *work, const struct id *patient, const struct write *write, struct arena *arena,
                const Chartmesh__V1__PutReply **reply)
{
    uint8_t content[6000];
    char key[24];
    struct err err;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    ProtobufCBinaryData before = PB(BYTES_OF(write->before));
    snprintf(key, sizeof key, "%016jx", (uintmax_t)write->key);
    const struct chartmesh_call call = {.idempotency_key = key, .timeout_ms = CALL_MS};
    class.system = "urn:chartmesh:class";
    class.code = "note";
    facts.media_type = "application/octet-stream";
    facts.class_ = &class;
    subject.patient = PB(BYTES_OF(*patient));
    request.subject = &subject;
    request.facts = &facts;
    request.content = PB(BYTES(content, fill(write->seed, content)));
    if (!write->fresh) {
        request.document = PB(BYTES_OF(write->document));
        request.if_heads = &before;
        request.n_if_heads = 1;
    }
    while (!chartmesh_record_put(work->node, &request, &call, arena, reply, &err)) {
        if (!unanswered(&err)) {
            return broken(work, "a write that was repeated with its key", &err);
        }
        if (work->failed) {
            return false;
        }
        nap();
    }
    return true;
}

static bool get(struct work *work, const struct id *patient, const struct id *document, struct arena *arena,
                const Chartmesh__V1__GetReply **reply)
{
    struct err err;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const struct chartmesh_call call = {.timeout_ms = CALL_MS};
    subject.patient = PB(BYTES_OF(*patient));
    request.subject = &subject;
    request.document = PB(BYTES_OF(*document));
    while (!chartmesh_record_get(work->node, &request, &call, arena, reply, &err)) {
        if (!unanswered(&err)) {
            return broken(work, "a read", &err);
        }
        if (work->failed) {
            return false;
        }
        nap();
    }
    return true;
}

/* ---- The load ------------------------------------------------------------------------------------------------- */

static void keep_receipt(struct writer *writer, struct bytes receipt)
{
    struct receipt *kept = add(&writer->receipts, sizeof *kept);
    kept->len = MIN(receipt.len, sizeof kept->bytes);
    memcpy(kept->bytes, receipt.data, kept->len);
    atomic_fetch_add(&writer->work->answers, 1);
}

/* A new document in the slot, or another version of the one that is there. */
static bool one_write(struct writer *writer)
{
    AUTO_ARENA(arena, CALL_ARENA);
    size_t slot = draw(&writer->chance, DOCUMENTS);
    const Chartmesh__V1__PutReply *reply;
    struct write write = {.seed = draw(&writer->chance, UINT32_MAX), .key = writer->keys++};
    write.fresh = writer->documents[slot].versions == 0;
    write.document = writer->documents[slot].id;
    write.before = writer->documents[slot].last.version;
    if (!put(writer->work, &writer->patient, &write, &arena, &reply)) {
        return false;
    }
    if (!hash_from(VIEW(reply->version), &write.version) || !id_from(VIEW(reply->document), &write.document)) {
        return broken(writer->work, "an answer of another shape", NULL);
    }
    writer->documents[slot].id = write.document;
    writer->documents[slot].last = write;
    writer->documents[slot].versions++;
    *(struct write *)add(&writer->writes, sizeof write) = write;
    keep_receipt(writer, VIEW(reply->receipt));
    return true;
}

/* What was answered once is answered so again, whatever happened between. */
static bool one_repeat(struct writer *writer)
{
    AUTO_ARENA(arena, CALL_ARENA);
    const Chartmesh__V1__PutReply *reply;
    if (writer->writes.len == 0) {
        return true;
    }
    const struct write *write = (struct write *)writer->writes.items + draw(&writer->chance, writer->writes.len);
    return put(writer->work, &writer->patient, write, &arena, &reply) &&
           ((bytes_equal(VIEW(reply->version), BYTES_OF(write->version)) &&
             bytes_equal(VIEW(reply->document), BYTES_OF(write->document))) ||
            broken(writer->work, "a repeated write was answered otherwise", NULL));
}

static bool is_last(const struct writer *writer, size_t slot, const Chartmesh__V1__GetReply *reply)
{
    uint8_t content[6000];
    const struct write *last = &writer->documents[slot].last;
    size_t len = fill(last->seed, content);
    return reply->n_heads == 1 && bytes_equal(VIEW(reply->heads[0]->version), BYTES_OF(last->version)) &&
           bytes_equal(VIEW(reply->heads[0]->content), BYTES(content, len));
}

static bool one_read(struct writer *writer)
{
    AUTO_ARENA(arena, CALL_ARENA);
    size_t slot = draw(&writer->chance, DOCUMENTS);
    const Chartmesh__V1__GetReply *reply;
    if (writer->documents[slot].versions == 0) {
        return true;
    }
    if (!get(writer->work, &writer->patient, &writer->documents[slot].id, &arena, &reply)) {
        return false;
    }
    keep_receipt(writer, VIEW(reply->receipt));
    return is_last(writer, slot, reply) || broken(writer->work, "a read is not of the last answered write", NULL);
}

static void *write_on(void *arg)
{
    struct writer *writer = arg;
    bool ok = true;
    while (ok && !writer->work->over && !writer->work->failed) {
        uint64_t what = draw(&writer->chance, 10);
        ok = what < 6 ? one_write(writer) : what < 8 ? one_read(writer) : one_repeat(writer);
    }
    return NULL;
}

static void *read_checkpoints(void *arg)
{
    struct work *work = arg;
    Chartmesh__V1__CheckpointRequest request = CHARTMESH__V1__CHECKPOINT_REQUEST__INIT;
    const struct chartmesh_call call = {.timeout_ms = CALL_MS};
    while (!work->over && !work->failed) {
        AUTO_ARENA(arena, CALL_ARENA);
        struct err err;
        struct checkpoint checkpoint;
        const Chartmesh__V1__CheckpointReply *reply;
        nap();
        if (!chartmesh_audit_checkpoint(work->node, &request, &call, &arena, &reply, &err)) {
            if (!unanswered(&err)) {
                broken(work, "a checkpoint", &err);
            }
        } else if (!checkpoint_open(VIEW(reply->note), NULL, 0, &checkpoint, &err)) {
            broken(work, "a checkpoint", &err);
        } else {
            *(struct seen *)add(&work->checkpoints, sizeof(struct seen)) =
                (struct seen){checkpoint.size, checkpoint.root};
        }
    }
    return NULL;
}

static uint8_t upload_byte(uint64_t seed, uint64_t at)
{
    return (uint8_t)(at * 2654435761u >> (seed % 24));
}

static bool upload_bytes(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    uint64_t *seed = context;
    (void)err;
    for (size_t i = 0; i < len; i++) {
        out[i] = upload_byte(*seed, offset + i);
    }
    return true;
}

static bool is_uploaded(void *context, uint64_t offset, struct bytes piece, struct err *err)
{
    const uint64_t *seed = context;
    bool same = true;
    for (size_t i = 0; i < piece.len; i++) {
        same = same && piece.data[i] == upload_byte(*seed, offset + i);
    }
    return same || err_raise(err, ERR_CORRUPT, "other bytes than were sent");
}

/* What was uploaded is there; it may take as many breaks to read. */
static void download(struct work *work, const Chartmesh__V1__PutReply *uploaded, uint64_t seed)
{
    struct err err;
    struct chartmesh_version version;
    const struct chartmesh_sink sink = {.write = is_uploaded, .context = &seed};
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    subject.patient = PB(BYTES_OF(work->writers[0].patient));
    request.subject = &subject;
    request.document = uploaded->document;
    request.version = uploaded->version;
    for (bool ok = false; !ok && !work->failed;) {
        AUTO_ARENA(arena, 16 << 20);
        ok = chartmesh_download(work->node, &request, &sink, NULL, NULL, NULL, &arena, &version, &err);
        if ((!ok && !unanswered(&err)) || (ok && !version.content_checked)) {
            broken(work, "a download", &err);
        }
    }
}

/* One upload after the other, each with an id of its own; a break goes on where the node stands. */
static void *upload_on(void *arg)
{
    struct work *work = arg;
    for (uint64_t seed = 1; !work->over && !work->failed; seed++) {
        AUTO_ARENA(arena, 16 << 20);
        struct err err;
        struct id upload = random_id();
        Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
        Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
        Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
        Chartmesh__V1__UploadHeader header = CHARTMESH__V1__UPLOAD_HEADER__INIT;
        const struct chartmesh_source source = {.read = upload_bytes, .context = &seed};
        const Chartmesh__V1__PutReply *reply;
        class.system = "urn:chartmesh:class";
        class.code = "image";
        facts.media_type = "application/octet-stream";
        facts.class_ = &class;
        subject.patient = PB(BYTES_OF(work->writers[0].patient));
        header.upload = PB(BYTES_OF(upload));
        header.subject = &subject;
        header.facts = &facts;
        header.length = UPLOAD_LEN;
        bool ok = false;
        while (!ok && !work->failed) {
            ok = chartmesh_upload(work->node, &header, &source, NULL, &arena, &reply, &err);
            if (!ok && !unanswered(&err)) {
                broken(work, "an upload that goes on", &err);
            }
        }
        if (ok) {
            download(work, reply, seed);
            atomic_fetch_add(&work->uploads, 1);
        }
    }
    return NULL;
}

/* ---- What must be there --------------------------------------------------------------------------------------- */

/* Every answered version, each under a dot of its own, and no other one. */
static void check_history(struct work *work, struct writer *writer, size_t slot)
{
    AUTO_ARENA(arena, 64 << 20);
    struct err err;
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__HistoryRequest request = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    struct list dots = {0};
    subject.patient = PB(BYTES_OF(writer->patient));
    request.subject = &subject;
    request.document = PB(BYTES_OF(writer->documents[slot].id));
    do {
        const Chartmesh__V1__HistoryReply *reply;
        assert_ok(chartmesh_record_history(work->node, &request, NULL, &arena, &reply, &err));
        for (size_t i = 0; i < reply->n_versions; i++) {
            struct chartmesh_version version;
            assert_ok(chartmesh_version_check(reply->versions[i], NULL, &arena, &version, &err));
            const Chartmesh__V1__Dot *dot = version.message->dot;
            struct hash name =
                HASH_PARTS(BYTES(&dot->tag, sizeof dot->tag), BYTES(&dot->counter, sizeof dot->counter));
            for (size_t j = 0; j < dots.len; j++) {
                if (hash_equal((struct hash *)dots.items + j, &name)) {
                    fail_msg("two versions of a document under one dot");
                }
            }
            *(struct hash *)add(&dots, sizeof name) = name;
        }
        request.page_token = reply->next_page_token;
    } while (request.page_token.len);
    assert_int_equal(dots.len, writer->documents[slot].versions);
    free(dots.items);
}

/* The receipt's entry is in the log, and is nobody else's: its index goes into *indexes. */
static void check_receipt(struct work *work, const struct receipt *receipt, struct list *indexes)
{
    AUTO_ARENA(arena, CALL_ARENA);
    struct err err;
    struct checkpoint checkpoint;
    struct hash r, path[MERKLE_PATH_MAX];
    Chartmesh__V1__InclusionRequest request = CHARTMESH__V1__INCLUSION_REQUEST__INIT;
    const Chartmesh__V1__InclusionReply *reply;
    request.receipt = PB(BYTES(receipt->bytes, receipt->len));
    assert_ok(chartmesh_audit_inclusion(work->node, &request, NULL, &arena, &reply, &err));
    assert_ok(checkpoint_open(VIEW(reply->checkpoint), NULL, 0, &checkpoint, &err));
    assert_true(hash_from(VIEW(reply->opening->r), &r) && reply->at->n_path <= COUNT(path));
    for (size_t i = 0; i < reply->at->n_path; i++) {
        assert_true(hash_from(VIEW(reply->at->path[i]), &path[i]));
    }
    struct hash commitment = entry_commitment(&r, VIEW(reply->opening->entry));
    struct leaf data = leaf_data(&commitment);
    struct hash leaf = merkle_leaf(BYTES_OF(data));
    assert_true(
        merkle_included(reply->at->index, checkpoint.size, &leaf, path, reply->at->n_path, &checkpoint.root));
    *(uint64_t *)add(indexes, sizeof(uint64_t)) = reply->at->index;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void check_receipts(struct work *work)
{
    struct list indexes = {0};
    for (size_t i = 0; i < WRITERS; i++) {
        for (size_t j = 0; j < work->writers[i].receipts.len; j++) {
            check_receipt(work, (struct receipt *)work->writers[i].receipts.items + j, &indexes);
        }
    }
    qsort(indexes.items, indexes.len, sizeof(uint64_t), by_number);
    for (size_t i = 1; i < indexes.len; i++) {
        assert_true(((uint64_t *)indexes.items)[i] != ((uint64_t *)indexes.items)[i - 1]);
    }
    free(indexes.items);
}

/* Each checkpoint ever seen is a beginning of the next one. */
static void check_checkpoints(struct work *work)
{
    const struct seen *seen = work->checkpoints.items;
    for (size_t i = 1; i < work->checkpoints.len; i++) {
        AUTO_ARENA(arena, CALL_ARENA);
        struct err err;
        struct hash path[2 * MERKLE_PATH_MAX];
        Chartmesh__V1__ConsistencyRequest request = CHARTMESH__V1__CONSISTENCY_REQUEST__INIT;
        const Chartmesh__V1__ConsistencyReply *reply;
        request.from = seen[i - 1].size;
        request.to = seen[i].size;
        assert_ok(chartmesh_audit_consistency(work->node, &request, NULL, &arena, &reply, &err));
        assert_true(reply->n_path <= COUNT(path));
        for (size_t j = 0; j < reply->n_path; j++) {
            assert_true(hash_from(VIEW(reply->path[j]), &path[j]));
        }
        assert_true(merkle_consistent(seen[i - 1].size, seen[i].size, &seen[i - 1].root, &seen[i].root, path,
                                      reply->n_path));
    }
}

static void check_documents(struct work *work)
{
    for (size_t i = 0; i < WRITERS; i++) {
        for (size_t slot = 0; slot < DOCUMENTS; slot++) {
            AUTO_ARENA(arena, CALL_ARENA);
            struct writer *writer = &work->writers[i];
            const Chartmesh__V1__GetReply *reply;
            if (writer->documents[slot].versions) {
                assert_true(get(work, &writer->patient, &writer->documents[slot].id, &arena, &reply));
                assert_true(is_last(writer, slot, reply));
                check_history(work, writer, slot);
            }
        }
    }
}

/* ---- The loop ------------------------------------------------------------------------------------------------- */

static void begin(struct work *work, const char *chartmeshd, uint64_t seed)
{
    static const char resource[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
    struct err err;
    pthread_mutex_init(&work->lock, NULL);
    work->nodes = nodes_new(chartmeshd, 1);
    nodes_start(work->nodes, 0);
    work->node = nodes_open(work->nodes, 0, CLIENT_APP, "emr");
    for (size_t i = 0; i < WRITERS; i++) {
        AUTO_ARENA(arena, CALL_ARENA);
        struct writer *writer = &work->writers[i];
        Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
        const Chartmesh__V1__RegisterReply *reply;
        request.resource = PB(bytes_str(resource));
        assert_ok(chartmesh_patient_register(work->node, &request, NULL, &arena, &reply, &err));
        assert_true(id_from(VIEW(reply->subject->patient), &writer->patient));
        writer->work = work;
        writer->chance = seed + i;
        writer->keys = (uint64_t)i << 48;
    }
    for (size_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&work->writers[i].thread, NULL, write_on, &work->writers[i]), 0);
    }
    assert_int_equal(pthread_create(&work->reader, NULL, read_checkpoints, work), 0);
    assert_int_equal(pthread_create(&work->uploader, NULL, upload_on, work), 0);
}

/* The node has answered some more since; or nothing will come any more. */
static void await_answers(struct work *work, size_t more)
{
    size_t until = work->answers + more;
    while (work->answers < until && !work->failed) {
        nap();
    }
}

static void kill_and_start(struct work *work, uint64_t *chance)
{
    nodes_stop(work->nodes, 0, SIGKILL);
    if (draw(chance, 5) == 0) { /* a start is killed, too */
        nodes_begin(work->nodes, 0);
        nanosleep(&(struct timespec){.tv_nsec = (long)draw(chance, 200) * 1000 * 1000}, NULL);
        nodes_stop(work->nodes, 0, SIGKILL);
    }
    nodes_start(work->nodes, 0);
}

static void finish(struct work *work)
{
    work->over = true;
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(work->writers[i].thread, NULL);
    }
    pthread_join(work->reader, NULL);
    pthread_join(work->uploader, NULL);
}

static void end(struct work *work)
{
    chartmesh_close(work->node);
    nodes_free(work->nodes);
    for (size_t i = 0; i < WRITERS; i++) {
        free(work->writers[i].writes.items);
        free(work->writers[i].receipts.items);
    }
    free(work->checkpoints.items);
    free(work);
}

static const char *chartmeshd;

static void test_kill__I29_nothing_answered_is_lost_over_kills_under_load(void **state)
{
    struct work *work = calloc(1, sizeof *work);
    uint64_t seed = soak_seed(1), chance = seed;
    size_t kills = 0, least = soak_minutes() ? KILLS_SOAK : KILLS;
    (void)state;
    assert_non_null(work);
    begin(work, chartmeshd, seed);
    for (; (kills < least || soak_goes_on()) && !work->failed; kills++) {
        await_answers(work, 5 + draw(&chance, 20));
        kill_and_start(work, &chance);
    }
    finish(work);
    if (work->failed) {
        char why[sizeof work->why];
        memcpy(why, work->why, sizeof why);
        end(work);
        fail_msg("after %zu kills, seed %ju: %s", kills, (uintmax_t)seed, why);
    }
    check_documents(work);
    check_receipts(work);
    check_checkpoints(work);
    printf("%zu kills from seed %ju: %zu answers, %zu uploads, %zu checkpoints\n", kills, (uintmax_t)seed,
           (size_t)work->answers, (size_t)work->uploads, work->checkpoints.len);
    end(work);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill__I29_nothing_answered_is_lost_over_kills_under_load),
    };
    chartmeshd = argc > 1 ? argv[1] : "node/chartmeshd";
    return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}
