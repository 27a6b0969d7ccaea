/* Records.PutStream: many writes on one stream, each acknowledged when it is durable.
 *
 *     handler: reads ─▶ queue ─▶ worker: checks, signs, seals, submits ─▶ committer
 *                                worker: acknowledges ◀─ done ◀──────────────┘
 *
 * Nobody waits for a sync but who must. The worker takes a patient's lock, submits what the stream has for that
 * patient without waiting (a *hold*), and goes on to the next; the lock is given by whoever finishes the hold's
 * last item. Rows that are submitted and not durable cannot be read yet: two items of one document, import key or
 * idempotency key are never under way together, and so stay in their order.
 *
 * What is outstanding is bounded in items and bytes: beyond it nothing more is read, and HTTP/2's flow control
 * holds the client. */
#include "node/service/service_inside.h"

#include <stdlib.h>

#include "proto/crypto/hash.h"

enum { ITEMS_MAX = 256, BYTES_MAX = 4 << 20, HOLD_ITEMS_MAX = 64, RESULTS_MAX = 64, ITEM_MEMORY = 8 << 20 };

struct stream;

/* A patient's lock, while items of theirs are under way. */
struct hold {
    struct hold *next;
    struct id p;
    size_t begun, under_way;
    struct item *items;
};

struct item {
    struct item *next;                   /* in the queue, in its hold, among the done */
    struct stream *stream;
    struct hold *hold;
    struct arena arena;                  /* the request and all that is made of it */
    struct service_call call;
    uint64_t sequence;
    size_t bytes;
    union {
        struct put put;
        struct signed_put signed_put;
    };
    bool is_signed, refused;             /* refused: err says why */
    struct id p, document;               /* document zero: a new one */
    struct hash import, retry;           /* zero: none */
    unsigned pending;                    /* the worker, and the committer when it is submitted */
    uint64_t index;                      /* of its entry; UINT64_MAX: none */
    Chartmesh__V1__PutReply reply;
    struct err err;
};

struct list {
    struct item *first, **end;
};

struct stream {
    struct service_call *call;
    struct world_lane *lane;
    struct world_lock *lock;             /* guards what follows */
    struct world_event *moved;
    struct list queue, done;
    size_t items, bytes;                 /* read, and not yet acknowledged */
    bool ended, broken;                  /* the client sends no more; it hears no more */
    struct hold *open;                   /* may be joined; NULL: none */
};

/* ---- Lists ------------------------------------------------------------------------------------------------------ */

static void list_add(struct list *list, struct item *item)
{
    item->next = NULL;
    *list->end = item;
    list->end = &item->next;
}

static struct item *list_take(struct list *list, struct item **place)
{
    struct item *item = *place;
    *place = item->next;
    if (list->end == &item->next) {
        list->end = place;
    }
    return item;
}

static void item_free(struct item *item)
{
    arena_done(&item->arena);
    free(item);
}

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

static struct hash import_name(const Chartmesh__V1__ImportKey *key)
{
    struct hash system = hash_of(bytes_str(key->system)), id = hash_of(bytes_str(key->id));
    return HASH_PARTS(BYTES_OF(system), BYTES_OF(id));
}

static bool check_put(struct item *item, const Chartmesh__V1__PutRequest *request, struct err *err)
{
    if (!put_check(&item->call, request, &item->put, err)) {
        return false;
    }
    item->p = item->put.subject.p;
    item->document = item->put.document;
    item->import = request->import_key ? import_name(request->import_key) : (struct hash){0};
    return true;
}

static bool check_signed(struct item *item, const Chartmesh__V1__PutSignedRequest *request, struct err *err)
{
    item->is_signed = true;
    if (!signed_check(&item->call, request, &item->signed_put, err)) {
        return false;
    }
    item->p = item->signed_put.subject.p;
    item->document = item->signed_put.document;
    return true;
}

/* A key is scoped to the patient as well, whose lock then keeps two of one key apart. */
static bool check_retry(struct item *item, const Chartmesh__V1__PutStreamRequest *request, struct bytes packed,
                        struct err *err)
{
    struct bytes key = bytes_str(request->idempotency_key);
    if (key.len > SERVICE_KEY_MAX) {
        return err_raise_field(err, REASON(FIELD_INVALID), "idempotency_key", "idempotency_key: at most %d bytes",
                               SERVICE_KEY_MAX);
    }
    if (key.len && !item->is_signed) {
        struct hash scoped = HASH_PARTS(BYTES_OF(item->p), key);
        item->retry = item->call.retry = retry_name(&item->call, "Records.PutStream", BYTES_OF(scoped));
        item->call.request = hash_of(packed);
    }
    return true;
}

static bool item_check(struct item *item, const Chartmesh__V1__PutStreamRequest *request, struct bytes packed,
                       struct err *err)
{
    switch (request->what_case) {
    case CHARTMESH__V1__PUT_STREAM_REQUEST__WHAT_PUT:
        return check_put(item, request->put, err) && check_retry(item, request, packed, err);
    case CHARTMESH__V1__PUT_STREAM_REQUEST__WHAT_PUT_SIGNED:
        return check_signed(item, request->put_signed, err) && check_retry(item, request, packed, err);
    default:
        return err_raise_field(err, REASON(FIELD_MISSING), "put", "put: or put_signed is needed");
    }
}

static bool commit_later(struct service_call *call, struct log_txn *txn, struct err *err);

/* The message lives until the next one is read, the item until it is acknowledged. Its sequence is no part of what
 * an idempotency key stands for. */
static bool item_keep(struct item *item, const Chartmesh__V1__PutStreamRequest *message, struct bytes *packed,
                      ProtobufCMessage **out, struct err *err)
{
    Chartmesh__V1__PutStreamRequest same = *message;
    same.sequence = 0;
    return message_pack(&same.base, &item->arena, packed, err) &&
           message_unpack(&chartmesh__v1__put_stream_request__descriptor, *packed, &item->arena, out, err);
}

static bool item_read(struct stream *stream, const Chartmesh__V1__PutStreamRequest *message, struct item **out,
                      struct err *err)
{
    struct item *item = calloc(1, sizeof *item);
    struct bytes packed = BYTES_NONE;
    ProtobufCMessage *request;
    if (!item) {
        return err_raise_reason(err, ERR_TOO_MUCH, REASON(OVERLOADED), "no memory for an item");
    }
    arena_init(&item->arena, ITEM_MEMORY);
    item->stream = stream;
    item->call = *stream->call;
    item->call.arena = &item->arena;
    item->call.commit_later = commit_later;
    item->sequence = message->sequence;
    item->index = UINT64_MAX;
    chartmesh__v1__put_reply__init(&item->reply);
    item->refused = !item_keep(item, message, &packed, &request, &item->err);
    item->bytes = packed.len;
    item->refused = item->refused || !item_check(item, (const void *)request, packed, &item->err);
    *out = item;
    return true;
}

/* Waits until there is room, then queues it; false: nobody would hear of it any more. */
static bool item_queue(struct stream *stream, struct item *item)
{
    AUTO_LOCKED(locked, stream->lock);
    while (!stream->broken && stream->items > 0 &&
           (stream->items >= ITEMS_MAX || stream->bytes + item->bytes > BYTES_MAX)) {
        world_event_wait(stream->moved, stream->lock);
    }
    if (stream->broken) {
        item_free(item);
        return false;
    }
    stream->items++;
    stream->bytes += item->bytes;
    list_add(item->refused ? &stream->done : &stream->queue, item);
    world_event_signal(stream->moved);
    return true;
}

static bool read_all(struct stream *stream, struct err *err)
{
    const struct service_stream *wire = stream->call->stream;
    const ProtobufCMessage *message;
    struct item *item;
    for (;;) {
        if (!wire->recv(wire->context, &message, err)) {
            return false;
        }
        if (!message) {
            return true;
        }
        if (!item_read(stream, (const void *)message, &item, err)) {
            return false;
        }
        if (!item_queue(stream, item)) {
            return err_raise(err, ERR_CANCELLED, "put stream: the client went away");
        }
    }
}

/* ---- Holds: under the stream's lock ------------------------------------------------------------------------------ */

static bool same_work(const struct item *a, const struct item *b)
{
    return (!id_is_zero(&a->document) && id_equal(&a->document, &b->document)) ||
           (!hash_is_zero(&a->import) && hash_equal(&a->import, &b->import)) ||
           (!hash_is_zero(&a->retry) && hash_equal(&a->retry, &b->retry));
}

static bool under_way(const struct hold *hold, const struct item *item)
{
    for (const struct item *other = hold->items; other; other = other->next) {
        if (other != item && same_work(other, item)) {
            return true;
        }
    }
    return false;
}

/* An item is passed over if one before it in the queue is about the same: they keep their order. */
static bool waits_for_earlier(const struct stream *stream, const struct item *item)
{
    for (const struct item *other = stream->queue.first; other != item; other = other->next) {
        if (same_work(other, item)) {
            return true;
        }
    }
    return false;
}

static void hold_join(struct hold *hold, struct item *item)
{
    item->hold = hold;
    item->next = hold->items;
    hold->items = item;
    hold->begun++;
    hold->under_way++;
}

static struct item *joining(struct stream *stream)
{
    struct hold *hold = stream->open;
    if (!hold || hold->begun == HOLD_ITEMS_MAX) {
        return NULL;
    }
    for (struct item **place = &stream->queue.first; *place; place = &(*place)->next) {
        struct item *item = *place;
        if (id_equal(&item->p, &hold->p) && !under_way(hold, item) && !waits_for_earlier(stream, item)) {
            (void)list_take(&stream->queue, place);
            hold_join(hold, item);
            return item;
        }
    }
    return NULL;
}

/* The next item to do, its patient's lock held; the stream's is let go while that is waited for. */
static struct item *next_item(struct stream *stream)
{
    struct item *item = joining(stream);
    if (item || !stream->queue.first) {
        return item;
    }
    struct hold *hold = calloc(1, sizeof *hold);
    if (!hold) {
        abort(); /* some bytes: as everywhere in the node's own bookkeeping */
    }
    item = list_take(&stream->queue, &stream->queue.first);
    hold->p = item->p;
    stream->open = NULL;
    hold_join(hold, item);
    world_lock_give(stream->lock);
    chart_lock(stream->call->service->chart, &hold->p);
    world_lock_take(stream->lock);
    stream->open = hold;
    return item;
}

static void hold_leave(struct stream *stream, struct item *item)
{
    struct hold *hold = item->hold;
    struct item **place = &hold->items;
    while (*place != item) {
        place = &(*place)->next;
    }
    *place = item->next;
    if (--hold->under_way == 0) {
        stream->open = stream->open == hold ? NULL : stream->open;
        chart_unlock(stream->call->service->chart, &hold->p);
        free(hold);
    }
}

/* One of those who were busy with an item is done with it. */
static void item_let_go(struct item *item)
{
    struct stream *stream = item->stream;
    AUTO_LOCKED(locked, stream->lock);
    if (--item->pending == 0) {
        hold_leave(stream, item);
        list_add(&stream->done, item);
    }
    world_event_signal(stream->moved);
}

/* ---- Doing ------------------------------------------------------------------------------------------------------- */

/* By whoever commits. */
static void durable(void *context, uint64_t first)
{
    struct item *item = context;
    item->index = first;
    item_let_go(item);
}

static bool commit_later(struct service_call *call, struct log_txn *txn, struct err *err)
{
    struct item *item = (struct item *)((char *)call - offsetof(struct item, call));
    world_lock_take(item->stream->lock);
    item->pending++;
    world_lock_give(item->stream->lock);
    if (log_submit(txn, durable, item, err)) {
        return true;
    }
    world_lock_take(item->stream->lock);
    item->pending--;
    world_lock_give(item->stream->lock);
    return false;
}

/* What an import key has made is what the item is about: if that is under way, it waits for it. */
static bool settle_import(struct item *item, struct err *err)
{
    struct stream *stream = item->stream;
    struct chart_import import;
    if (item->is_signed || hash_is_zero(&item->import)) {
        return true;
    }
    const Chartmesh__V1__ImportKey *key = item->put.request->import_key;
    if (!chart_import_find(stream->call->service->chart, key->system, key->id, &import, err)) {
        return err->code == ERR_NOT_FOUND;
    }
    AUTO_LOCKED(locked, stream->lock);
    item->document = import.document;
    while (under_way(item->hold, item)) {
        world_event_wait(stream->moved, stream->lock);
    }
    return true;
}

static bool item_write(struct item *item, struct err *err)
{
    ProtobufCMessage *before;
    bool found = false;
    if (!settle_import(item, err)) {
        return false;
    }
    if (item->is_signed) {
        return signed_write(&item->call, &item->signed_put, &item->reply, err);
    }
    if (!hash_is_zero(&item->retry) &&
        !retry_find(&item->call, &chartmesh__v1__put_reply__descriptor, &found, &before, err)) {
        return false;
    }
    if (found) {
        item->reply = *(Chartmesh__V1__PutReply *)(void *)before;
        return true;
    }
    return put_write(&item->call, &item->put, &item->reply, err);
}

static void item_do(struct item *item)
{
    item->pending = 1;
    if (!item_write(item, &item->err)) {
        item->refused = true;
        service_reason(&item->err);
    }
    item_let_go(item);
}

/* ---- Acknowledging ----------------------------------------------------------------------------------------------- */

struct results {
    Chartmesh__V1__PutStreamReply reply;
    Chartmesh__V1__PutStreamResult results[RESULTS_MAX], *places[RESULTS_MAX];
    Chartmesh__V1__PutStreamError errors[RESULTS_MAX];
    uint8_t receipts[RESULTS_MAX][RECEIPT_LEN];
};

static void result_fill(struct results *all, size_t i, struct item *item)
{
    Chartmesh__V1__PutStreamResult *result = all->places[i] = &all->results[i];
    Chartmesh__V1__PutStreamError *error = &all->errors[i];
    chartmesh__v1__put_stream_result__init(result);
    result->sequence = item->sequence;
    if (!item->refused) {
        result->done = &item->reply;
        if (item->index != UINT64_MAX) {
            gate_receipt(item->call.service->gate, &item->call.caller, item->index, all->receipts[i]);
            item->reply.receipt = pb_bytes(BYTES(all->receipts[i], RECEIPT_LEN));
        }
        return;
    }
    chartmesh__v1__put_stream_error__init(error);
    error->code = (uint32_t)item->err.code;
    error->reason = item->err.reason;
    error->field = item->err.field;
    error->text = item->err.code == ERR_INTERNAL ? (char *)(uintptr_t) "internal error" : item->err.text;
    result->error = error;
}

static bool send_results(struct stream *stream, struct item *const *items, size_t count, struct err *err)
{
    void *memory = malloc(sizeof(struct results));
    if (!memory) {
        return err_raise(err, ERR_TOO_MUCH, "no memory for results");
    }
    struct results *all = memory;
    chartmesh__v1__put_stream_reply__init(&all->reply);
    for (size_t i = 0; i < count; i++) {
        result_fill(all, i, items[i]);
    }
    all->reply.results = all->places;
    all->reply.n_results = count;
    bool ok = stream->call->stream->send(stream->call->stream->context, &all->reply.base, err);
    free(memory);
    return ok;
}

/* Takes what is done and sends it, without the lock. */
static void acknowledge(struct stream *stream)
{
    struct item *items[RESULTS_MAX];
    struct err err;
    size_t count = 0, bytes = 0;
    while (stream->done.first && count < RESULTS_MAX) {
        items[count++] = list_take(&stream->done, &stream->done.first);
    }
    bool heard = !stream->broken;
    world_lock_give(stream->lock);
    heard = heard && send_results(stream, items, count, &err);
    for (size_t i = 0; i < count; i++) {
        bytes += items[i]->bytes;
        item_free(items[i]);
    }
    world_lock_take(stream->lock);
    stream->items -= count;
    stream->bytes -= bytes;
    stream->broken = stream->broken || !heard;
    world_event_signal(stream->moved);
}

static void drop_queue(struct stream *stream)
{
    while (stream->queue.first) {
        struct item *item = list_take(&stream->queue, &stream->queue.first);
        stream->items--;
        stream->bytes -= item->bytes;
        item_free(item);
    }
    world_event_signal(stream->moved);
}

/* Until all that was read is acknowledged, or nobody hears it and nothing is under way. */
static void work(void *arg)
{
    struct stream *stream = arg;
    AUTO_LOCKED(locked, stream->lock);
    for (;;) {
        struct item *item;
        if (stream->broken) {
            drop_queue(stream);
        }
        if (stream->done.first) {
            acknowledge(stream);
        } else if ((item = next_item(stream))) {
            world_lock_give(stream->lock);
            item_do(item);
            world_lock_take(stream->lock);
        } else if (stream->items == 0 && (stream->ended || stream->broken)) {
            return;
        } else {
            world_event_wait(stream->moved, stream->lock);
        }
    }
}

static bool run(struct stream *stream, struct err *err)
{
    if (!world_lane_open(stream->call->service->world, "put stream", 1, &stream->lane, err)) {
        return false;
    }
    world_submit(stream->lane, work, stream);
    bool ok = read_all(stream, err);
    world_lock_take(stream->lock);
    stream->ended = true;
    stream->broken = stream->broken || !ok;
    world_event_signal(stream->moved);
    world_lock_give(stream->lock);
    world_lane_close(stream->lane);
    return ok && (!stream->broken || err_raise(err, ERR_CANCELLED, "put stream: the client went away"));
}

bool records_put_stream(struct service_call *call, const ProtobufCMessage *in, struct err *err)
{
    struct world *world = call->service->world;
    struct stream stream = {.call = call, .lock = world_lock_new(world), .moved = world_event_new(world)};
    (void)in;
    stream.queue.end = &stream.queue.first;
    stream.done.end = &stream.done.first;
    bool ok = run(&stream, err);
    world_event_free(stream.moved);
    world_lock_free(stream.lock);
    return ok;
}
