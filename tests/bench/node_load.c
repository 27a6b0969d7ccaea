/* What is asked of a node, by one thread, calls as events.
 *
 *     node_load --profile FILE --target HOST:PORT [--pid N] [--seconds S] STEP...
 *
 * put.N get.N      N in flight, a patient for every four of them; get reads what earlier puts wrote
 * get_batch.N      four calls in flight, each for N documents of one patient
 * put_stream.N     one PutStream, N documents on their way at any time
 * fill.N           N documents, 64 in flight, as fast as it goes
 * watch.N          N watches of the facility while documents are put: events delivered per second
 * flood.N          N writes of 1 MiB in flight; being refused is an answer
 * patient          prints one patient's id
 * of PATIENT       what follows is all of that patient
 *
 * `--second-profile FILE --second-target HOST:PORT` name another facility's node:
 *
 * reach.N PATIENT  N documents of that patient put here one after the other, each until a watch there shows it */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/setup/files.h"
#include "client/setup/profile.h"
#include "proto/chartmesh/v1/patients.pb-c.h"
#include "proto/chartmesh/v1/records.pb-c.h"
#include "proto/rpc/rpc.h"
#include "tests/bench/bench.h"

#define TEXT(literal) ((char *)(uintptr_t)(literal))

enum { PATIENTS = 256, KEPT = 128, BATCH_MAX = KEPT / 4, FLOOD_LEN = 1000 << 10, WATCHES_MAX = 64, SLOTS = 512 };

struct caller {
    struct profile profile;
    struct rpc_channel *channel;
    struct rpc_header headers[3];
    struct rpc_options options;
};

static struct {
    struct arena arena;
    struct rpc *rpc;
    struct caller here, there;
    pid_t pid;
    double seconds;
    struct id patients[PATIENTS];
    size_t registered;
    struct slot {
        struct load *load;
        unsigned number;
        struct id documents[KEPT];
        size_t written, asked;   /* of documents; which one the call in flight is about */
    } slots[SLOTS];
    size_t batch;                /* documents in one get */
    atomic_uint refused, events;
    uint8_t flood[FLOOD_LEN];
} all;

/* ---- Calling ----------------------------------------------------------------------------------------------------- */

static const char *file_text(const char *path)
{
    struct err err;
    struct bytes out;
    bench_must(file_read(path, 1 << 20, &all.arena, &out, &err), &err, path);
    return (const char *)out.data;
}

static void connect_caller(struct caller *caller, const char *profile, const char *target)
{
    struct err err;
    bench_must(profile_load(profile, &all.arena, &caller->profile, &err), &err, profile);
    const struct profile *p = &caller->profile;
    const struct rpc_channel_config config = {
        .target = target ? target : p->target,
        .tls = {file_text(p->ca), file_text(p->certificate), file_text(p->key)},
        .server_name = p->server_name,
    };
    bench_must(rpc_channel_open(all.rpc, &config, &caller->channel, &err), &err, "a channel");
    caller->headers[0] = (struct rpc_header){"x-chartmesh-user", p->user};
    caller->headers[1] = (struct rpc_header){"x-chartmesh-role", p->role};
    caller->headers[2] = (struct rpc_header){"x-chartmesh-purpose", p->purpose};
    caller->options = (struct rpc_options){
        .wait_for_ready = true, .headers = caller->headers, .header_count = COUNT(caller->headers)};
}

static struct slot *slot_of(struct load *load, unsigned number)
{
    struct slot *slot = &all.slots[number];
    slot->load = load;
    slot->number = number;
    return slot;
}

static void begin_call(struct slot *slot, const char *path, const ProtobufCMessage *request,
                       const ProtobufCMessageDescriptor *out, rpc_replied_fn *replied)
{
    struct err err;
    bench_must(rpc_unary_begin(all.here.channel, path, request, out, &all.here.options, replied, slot, &err), &err,
               path);
}

static struct bench run(void (*begin)(struct load *, unsigned, uint64_t), unsigned in_flight, double seconds,
                        uint64_t calls)
{
    static struct load load;
    load = (struct load){
        .begin = begin, .in_flight = in_flight, .seconds = seconds, .calls = calls, .other = all.pid};
    load_start(&load);
    return load_wait(&load);
}

static Chartmesh__V1__Subject subject_of(const struct id *patient)
{
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    subject.patient = (ProtobufCBinaryData){ID_LEN, (uint8_t *)(uintptr_t)patient->bytes};
    return subject;
}

/* ---- Patients ---------------------------------------------------------------------------------------------------- */

static void registered(void *arg, const ProtobufCMessage *message, const struct err *err)
{
    struct slot *slot = arg;
    bench_must(message != NULL, err, "Register");
    const Chartmesh__V1__RegisterReply *reply = (const void *)message;
    struct bytes patient = BYTES(reply->subject->patient.data, reply->subject->patient.len);
    bench_must(id_from(patient, &all.patients[all.registered++ % PATIENTS]), NULL, "Register");
    load_ended(slot->load, slot->number);
}

static void begin_register(struct load *load, unsigned number, uint64_t n)
{
    static const char resource[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Bench\"}]}";
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    request.resource = (ProtobufCBinaryData){sizeof resource - 1, (uint8_t *)TEXT(resource)};
    (void)n;
    begin_call(slot_of(load, number), "/chartmesh.v1.Patients/Register", &request.base,
               &chartmesh__v1__register_reply__descriptor, registered);
}

static void need_patients(void)
{
    if (all.registered == 0) {
        run(begin_register, 16, 0, PATIENTS);
    }
}

static const struct id *patient_of(const struct slot *slot, uint64_t n)
{
    return &all.patients[(slot->number * 4 + n % 4) % PATIENTS];
}

/* ---- Documents --------------------------------------------------------------------------------------------------- */

static void put_ended(void *arg, const ProtobufCMessage *message, const struct err *err)
{
    struct slot *slot = arg;
    bench_must(message != NULL, err, "Put");
    const Chartmesh__V1__PutReply *reply = (const void *)message;
    if (slot->written < KEPT) {
        struct bytes document = BYTES(reply->document.data, reply->document.len);
        bench_must(id_from(document, &slot->documents[slot->written++]), NULL, "Put");
    }
    load_ended(slot->load, slot->number);
}

/* A request and what it points to; it stays where it is. */
struct put {
    Chartmesh__V1__PutRequest request;
    Chartmesh__V1__Subject subject;
    Chartmesh__V1__Facts facts;
    Chartmesh__V1__Coding class_code;
};

static void put_of(struct put *put, const struct id *patient, struct bytes content)
{
    put->request = (Chartmesh__V1__PutRequest)CHARTMESH__V1__PUT_REQUEST__INIT;
    put->subject = subject_of(patient);
    put->facts = (Chartmesh__V1__Facts)CHARTMESH__V1__FACTS__INIT;
    put->class_code = (Chartmesh__V1__Coding)CHARTMESH__V1__CODING__INIT;
    put->class_code.system = TEXT("http://loinc.org");
    put->class_code.code = TEXT("34133-9");
    put->facts.media_type = TEXT("application/fhir+json");
    put->facts.class_ = &put->class_code;
    put->request.subject = &put->subject;
    put->request.facts = &put->facts;
    put->request.content = (ProtobufCBinaryData){content.len, (uint8_t *)(uintptr_t)content.data};
}

static void put_document(struct slot *slot, const struct id *patient, struct bytes content, rpc_replied_fn *ended)
{
    struct put put;
    put_of(&put, patient, content);
    begin_call(slot, "/chartmesh.v1.Records/Put", &put.request.base, &chartmesh__v1__put_reply__descriptor, ended);
}

/* The slot's n-th document is of its patient n % 4, so that a get finds it again. */
static void begin_put(struct load *load, unsigned number, uint64_t n)
{
    struct slot *slot = slot_of(load, number);
    uint8_t document[BENCH_DOCUMENT];
    bench_document(n * SLOTS + number, document);
    put_document(slot, patient_of(slot, slot->written < KEPT ? slot->written : n),
                 BYTES(document, sizeof document), put_ended);
}

static void get_ended(void *arg, const ProtobufCMessage *message, const struct err *err)
{
    struct slot *slot = arg;
    bench_must(message != NULL, err, "Get");
    const Chartmesh__V1__GetReply *reply = (const void *)message;
    bench_must(reply->n_heads == 1 && reply->heads[0]->content.len == BENCH_DOCUMENT, NULL, "Get");
    load_ended(slot->load, slot->number);
}

static void begin_get(struct load *load, unsigned number, uint64_t n)
{
    struct slot *slot = slot_of(load, number);
    bench_must(slot->written > 0, NULL, "get needs an earlier put.64");
    slot->asked = n % slot->written;
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    Chartmesh__V1__Subject subject = subject_of(patient_of(slot, slot->asked));
    request.subject = &subject;
    request.document = (ProtobufCBinaryData){ID_LEN, slot->documents[slot->asked].bytes};
    begin_call(slot, "/chartmesh.v1.Records/Get", &request.base, &chartmesh__v1__get_reply__descriptor, get_ended);
}

static void batch_ended(void *arg, const ProtobufCMessage *message, const struct err *err)
{
    struct slot *slot = arg;
    bench_must(message != NULL, err, "Get");
    const Chartmesh__V1__GetReply *reply = (const void *)message;
    for (size_t i = 0; i < reply->n_batch; i++) {
        const Chartmesh__V1__DocumentView *view = reply->batch[i];
        bench_must(view->n_heads == 1 && view->heads[0]->content.len == BENCH_DOCUMENT, NULL, "Get");
    }
    bench_must(reply->n_batch == all.batch, NULL, "Get");
    load_ended(slot->load, slot->number);
}

/* The slot's documents k, k + 4, k + 8... are of one patient. */
static void begin_get_batch(struct load *load, unsigned number, uint64_t n)
{
    struct slot *slot = slot_of(load, number);
    Chartmesh__V1__GetItem items[BATCH_MAX], *list[BATCH_MAX];
    bench_must(slot->written >= 4 * all.batch, NULL, "documents enough for a batch");
    size_t places = slot->written / 4;
    for (size_t i = 0; i < all.batch; i++) {
        items[i] = (Chartmesh__V1__GetItem)CHARTMESH__V1__GET_ITEM__INIT;
        struct id *document = &slot->documents[4 * ((n + i) % places) + n % 4];
        items[i].document = (ProtobufCBinaryData){ID_LEN, document->bytes};
        list[i] = &items[i];
    }
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    Chartmesh__V1__Subject subject = subject_of(patient_of(slot, n));
    request.subject = &subject;
    request.batch = list;
    request.n_batch = all.batch;
    begin_call(slot, "/chartmesh.v1.Records/Get", &request.base, &chartmesh__v1__get_reply__descriptor,
               batch_ended);
}

/* ---- One stream of puts ------------------------------------------------------------------------------------------ */

static struct {
    struct load load;
    struct rpc_call *stream;
} putting;

/* An item's sequence is its slot: that is how its result finds it. */
static void begin_item(struct load *load, unsigned number, uint64_t n)
{
    struct slot *slot = slot_of(load, number);
    struct err err;
    struct put put;
    uint8_t document[BENCH_DOCUMENT];
    Chartmesh__V1__PutStreamRequest item = CHARTMESH__V1__PUT_STREAM_REQUEST__INIT;
    bench_document(n * SLOTS + number, document);
    put_of(&put, patient_of(slot, n), BYTES(document, sizeof document));
    item.sequence = number;
    item.what_case = CHARTMESH__V1__PUT_STREAM_REQUEST__WHAT_PUT;
    item.put = &put.request;
    bench_must(rpc_stream_offer(putting.stream, &item.base, &err), &err, "PutStream");
}

static void items_done(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    const Chartmesh__V1__PutStreamReply *reply = (const void *)message;
    (void)stream;
    (void)arg;
    for (size_t i = 0; i < reply->n_results; i++) {
        const Chartmesh__V1__PutStreamResult *result = reply->results[i];
        if (!result->done) {
            fprintf(stderr, "bench: PutStream: %s\n", result->error ? result->error->text : "no result");
        }
        bench_must(result->done && result->sequence < BENCH_IN_FLIGHT, NULL, "an item of PutStream");
        load_ended(&putting.load, (unsigned)result->sequence);
    }
}

static void items_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    (void)arg;
    bench_must(why->code == ERR_NONE, why, "PutStream");
}

static struct bench run_put_stream(unsigned in_flight)
{
    static const struct rpc_events events = {.message = items_done, .closed = items_closed};
    struct err err;
    struct rpc_options options = all.here.options;
    options.lane = RPC_INLINE;
    putting.load =
        (struct load){.begin = begin_item, .in_flight = in_flight, .seconds = all.seconds, .other = all.pid};
    bench_must(in_flight <= BENCH_IN_FLIGHT && rpc_stream_dial(all.here.channel, "/chartmesh.v1.Records/PutStream",
                                                               &chartmesh__v1__put_stream_reply__descriptor,
                                                               &options, &events, NULL, &putting.stream, &err),
               &err, "PutStream");
    rpc_stream_hold(putting.stream);
    load_start(&putting.load);
    struct bench figure = load_wait(&putting.load);
    rpc_stream_close(putting.stream, NULL);
    rpc_stream_drop(putting.stream);
    return figure;
}

/* ---- Too much ---------------------------------------------------------------------------------------------------- */

static void flood_ended(void *arg, const ProtobufCMessage *message, const struct err *err)
{
    struct slot *slot = arg;
    bench_must(message || err->code == ERR_TOO_MUCH || err->code == ERR_DEADLINE || err->code == ERR_UNAVAILABLE,
               err, "a flood's Put");
    all.refused += !message;
    load_ended(slot->load, slot->number);
}

static void begin_flood(struct load *load, unsigned number, uint64_t n)
{
    struct slot *slot = slot_of(load, number);
    put_document(slot, patient_of(slot, n), BYTES(all.flood, sizeof all.flood), flood_ended);
}

/* ---- Watching ---------------------------------------------------------------------------------------------------- */

struct watch {
    atomic_bool started, closed;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned versions;
};

static void watch_message(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    struct watch *watch = arg;
    const Chartmesh__V1__WatchEvent *event = (const void *)message;
    (void)stream;
    pthread_mutex_lock(&watch->lock);
    watch->started = watch->started || event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_STARTED;
    watch->versions += event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION;
    all.events += event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION;
    pthread_cond_broadcast(&watch->moved);
    pthread_mutex_unlock(&watch->lock);
}

static void watch_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    struct watch *watch = arg;
    (void)stream;
    pthread_mutex_lock(&watch->lock);
    if (!watch->started) {
        fprintf(stderr, "bench: a watch ended: %s\n", why->text);
    }
    watch->closed = true;
    pthread_cond_broadcast(&watch->moved);
    pthread_mutex_unlock(&watch->lock);
}

static struct rpc_call *watch_begin(struct watch *watch, struct caller *who)
{
    static const struct rpc_events events = {.message = watch_message, .closed = watch_closed};
    struct err err;
    struct rpc_call *stream;
    struct rpc_options options = who->options;
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    options.lane = RPC_WORK;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->moved, NULL);
    bench_must(rpc_stream_dial(who->channel, "/chartmesh.v1.Records/Watch",
                               &chartmesh__v1__watch_event__descriptor, &options, &events, watch, &stream, &err) &&
                   rpc_stream_offer(stream, &request.base, &err),
               &err, "Watch");
    pthread_mutex_lock(&watch->lock);
    while (!watch->started && !watch->closed) {
        pthread_cond_wait(&watch->moved, &watch->lock);
    }
    pthread_mutex_unlock(&watch->lock);
    return stream;
}

static void watch_end(struct watch *watch, struct rpc_call *stream)
{
    rpc_stream_close(stream, &(struct err){.code = ERR_CANCELLED});
    pthread_mutex_lock(&watch->lock);
    while (!watch->closed) {
        pthread_cond_wait(&watch->moved, &watch->lock);
    }
    pthread_mutex_unlock(&watch->lock);
}

static void step_watch(const char *name, unsigned count)
{
    static struct watch watches[WATCHES_MAX];
    struct rpc_call *streams[WATCHES_MAX];
    bench_must(count > 0 && count <= WATCHES_MAX, NULL, "1 to 64 watches");
    unsigned open = 0;
    for (; open < count; open++) {
        streams[open] = watch_begin(&watches[open], &all.here);
        if (!watches[open].started) {
            break;
        }
    }
    all.events = 0;
    double begin = bench_now();
    run(begin_put, 4, all.seconds, 0);
    bench_say_number(name, (double)all.events / (bench_now() - begin));
    bench_say_number("watches", open);
    for (unsigned i = 0; i < open; i++) {
        watch_end(&watches[i], streams[i]);
    }
}

/* ---- From one facility to the other ------------------------------------------------------------------------------ */

static void reach_put(void *arg, const ProtobufCMessage *message, const struct err *err)
{
    (void)arg;
    bench_must(message != NULL, err, "Put");
}

static void step_reach(const char *name, unsigned count, const char *patient)
{
    static struct watch watch;
    static struct bench_times times;
    struct id id;
    double begin = bench_now();
    struct err err;
    bench_must(hex_decode(patient, id.bytes, ID_LEN, &err), &err, "a patient's id");
    struct rpc_call *stream = watch_begin(&watch, &all.there);
    bench_must(watch.started, NULL, "a watch at the other facility");
    for (unsigned n = 1; n <= count; n++) {
        uint8_t document[BENCH_DOCUMENT];
        bench_document(n, document);
        pthread_mutex_lock(&watch.lock);
        unsigned before = watch.versions;
        pthread_mutex_unlock(&watch.lock);
        double put = bench_now();
        put_document(&all.slots[0], &id, BYTES(document, sizeof document), reach_put);
        pthread_mutex_lock(&watch.lock);
        while (watch.versions == before && !watch.closed) {
            pthread_cond_wait(&watch.moved, &watch.lock);
        }
        pthread_mutex_unlock(&watch.lock);
        bench_must(!watch.closed, NULL, "a watch at the other facility");
        bench_times_add(&times, bench_now() - put);
    }
    struct bench figure = {.rate = count / (bench_now() - begin),
                           .p50_us = bench_times_us(&times, 0.5),
                           .p99_us = bench_times_us(&times, 0.99)};
    bench_say(name, &figure);
    watch_end(&watch, stream);
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

static void say_patient(void)
{
    run(begin_register, 1, 0, 1);
    printf("{\"name\": \"patient\", \"id\": \"");
    for (size_t i = 0; i < ID_LEN; i++) {
        printf("%02x", all.patients[(all.registered - 1) % PATIENTS].bytes[i]);
    }
    printf("\"}\n");
    fflush(stdout);
}

static void only_of(const char *patient)
{
    struct err err;
    bench_must(hex_decode(patient, all.patients[0].bytes, ID_LEN, &err), &err, "a patient's id");
    for (size_t i = 1; i < PATIENTS; i++) {
        all.patients[i] = all.patients[0];
    }
    all.registered = PATIENTS;
}

static void step_flood(unsigned count)
{
    bench_must(count <= SLOTS, NULL, "at most 512 in flight");
    for (size_t i = 0; i < sizeof all.flood; i++) {
        all.flood[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    struct bench figure = run(begin_flood, count, all.seconds, 0);
    bench_say("flood", &figure);
    bench_say_number("flood.refused", all.refused);
}

static bool is_step(const char *step, const char *name, unsigned *count)
{
    size_t len = strlen(name);
    char *end;
    if (strncmp(step, name, len) != 0 || step[len] != '.') {
        return false;
    }
    *count = (unsigned)strtoul(step + len + 1, &end, 10);
    return *end == '\0' && *count > 0;
}

/* Returns how many arguments it took. */
static int do_step(char **argv)
{
    const char *step = argv[0];
    unsigned count;
    struct bench figure;
    if (strcmp(step, "patient") == 0) {
        say_patient();
        return 1;
    }
    if (is_step(step, "reach", &count) && argv[1]) {
        step_reach(step, count, argv[1]);
        return 2;
    }
    if (strcmp(step, "of") == 0 && argv[1]) {
        only_of(argv[1]);
        return 2;
    }
    need_patients();
    if (is_step(step, "put", &count)) {
        figure = run(begin_put, count, all.seconds, 0);
    } else if (is_step(step, "get", &count)) {
        figure = run(begin_get, count, all.seconds, 0);
    } else if (is_step(step, "get_batch", &count)) {
        bench_must(count <= BATCH_MAX, NULL, "at most 32 in a batch");
        all.batch = count;
        run(begin_put, 4, 0, 4 * KEPT);
        figure = run(begin_get_batch, 4, all.seconds, 0);
    } else if (is_step(step, "put_stream", &count)) {
        figure = run_put_stream(count);
    } else if (is_step(step, "fill", &count)) {
        figure = run(begin_put, MIN(count, BENCH_IN_FLIGHT), 0, count);
    } else if (is_step(step, "watch", &count)) {
        step_watch(step, count);
        return 1;
    } else if (is_step(step, "flood", &count)) {
        step_flood(count);
        return 1;
    } else {
        bench_must(false, NULL, step);
    }
    bench_say(step, &figure);
    return 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"profile", 1, NULL, 'p'}, {"target", 1, NULL, 't'},         {"pid", 1, NULL, 'i'},
        {"seconds", 1, NULL, 's'}, {"second-profile", 1, NULL, 'P'}, {"second-target", 1, NULL, 'T'},
        {NULL, 0, NULL, 0},
    };
    const char *profile = NULL, *target = NULL, *second_profile = NULL, *second_target = NULL;
    struct err err;
    int option;
    all.seconds = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            profile = optarg;
            break;
        case 't':
            target = optarg;
            break;
        case 'i':
            all.pid = (pid_t)strtol(optarg, NULL, 10);
            break;
        case 's':
            all.seconds = bench_seconds(optarg);
            break;
        case 'P':
            second_profile = optarg;
            break;
        case 'T':
            second_target = optarg;
            break;
        default:
            return 2;
        }
    }
    bench_must(profile != NULL, NULL, "--profile FILE");
    arena_init(&all.arena, 8 << 20);
    bench_must(rpc_open(&(struct rpc_config){0}, &all.rpc, &err), &err, "the runtime");
    connect_caller(&all.here, profile, target);
    if (second_profile) {
        connect_caller(&all.there, second_profile, second_target);
    }
    for (char **at = argv + optind; *at;) {
        at += do_step(at);
    }
    rpc_channel_close(all.here.channel);
    rpc_channel_close(all.there.channel);
    rpc_close(all.rpc);
    arena_done(&all.arena);
    return 0;
}
