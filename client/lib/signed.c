#include "client/lib/internal.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/content/content.h"
#include "proto/crypto/random.h"
#include "proto/statement/version.h"

static bool differs(const char *what, struct err *err)
{
    return err_raise(err, ERR_CORRUPT, "the node prepared another %s than was asked for: not signed", what);
}

static bool same_coding(const Chartmesh__V1__Coding *a, const Chartmesh__V1__Coding *b)
{
    return a && b && strcmp(a->system, b->system) == 0 && strcmp(a->code, b->code) == 0;
}

static bool same_instant(const Chartmesh__V1__Instant *a, const Chartmesh__V1__Instant *b)
{
    return (!a && !b) || (a && b && a->ms == b->ms);
}

static bool same_period(const Chartmesh__V1__Period *a, const Chartmesh__V1__Period *b)
{
    return (!a && !b) || (a && b && same_instant(a->from, b->from) && same_instant(a->until, b->until));
}

/* Categories are a set: the payload has them sorted. */
static bool same_categories(const Chartmesh__V1__Version *version, const Chartmesh__V1__Facts *facts)
{
    size_t found = 0;
    for (size_t i = 0; i < facts->n_category; i++) {
        for (size_t j = 0; j < version->n_category; j++) {
            found += same_coding(facts->category[i], version->category[j]);
        }
    }
    return version->n_category == facts->n_category && found == facts->n_category;
}

static bool same_facts(const Chartmesh__V1__Version *version, const Chartmesh__V1__Facts *facts)
{
    return strcmp(version->media_type, facts->media_type) == 0 && strcmp(version->title, facts->title) == 0 &&
           same_coding(version->class_, facts->class_) && same_categories(version, facts) &&
           same_instant(version->authored, facts->authored) && same_period(version->clinical, facts->clinical);
}

static bool compare(const Chartmesh__V1__Version *version, const Chartmesh__V1__PrepareItem *item, struct err *err)
{
    struct bytes facility = bytes_pb(item->subject->facility), document = bytes_pb(item->document);
    if (!bytes_equal(bytes_pb(version->subject->patient), bytes_pb(item->subject->patient)) ||
        (facility.len && !bytes_equal(bytes_pb(version->subject->facility), facility))) {
        return differs("subject", err);
    }
    if (document.len && !bytes_equal(bytes_pb(version->document), document)) {
        return differs("document", err);
    }
    if (!bytes_equal(bytes_pb(version->commitment), bytes_pb(item->commitment)) ||
        version->length != item->length) {
        return differs("content", err);
    }
    if (version->n_parents != item->n_if_heads) {
        return differs("history", err);
    }
    if (item->facts->labels && labels_below(version->labels, item->facts->labels)) {
        return differs("label", err);
    }
    return same_facts(version, item->facts) || differs("description", err);
}

bool chartmesh_sign_prepared(const Chartmesh__V1__Prepared *prepared, const Chartmesh__V1__PrepareItem *item,
                             const struct signing_key *key, struct arena *arena, Chartmesh__V1__Envelope **out,
                             struct err *err)
{
    struct statement statement;
    ProtobufCMessage *message, *envelope;
    if (!canonical_unpack(&chartmesh__v1__version__descriptor, bytes_pb(prepared->payload), arena, &message,
                          err)) {
        err->code = ERR_CORRUPT;
        return err_wrap(err, "what the node prepared");
    }
    if (!compare((const Chartmesh__V1__Version *)(const void *)message, item, err) ||
        !statement_sign(STATEMENT_VERSION, message, &key, 1, arena, &statement, err) ||
        !message_unpack(&chartmesh__v1__envelope__descriptor, statement.envelope, arena, &envelope, err)) {
        return false;
    }
    *out = (Chartmesh__V1__Envelope *)(void *)envelope;
    return true;
}

static bool put_prepared(struct chartmesh *node, const Chartmesh__V1__PrepareItem *item, const struct hash *salt,
                         struct bytes content, const struct signing_key *key, const struct chartmesh_call *call,
                         struct arena *arena, const Chartmesh__V1__PutReply **reply, struct err *err)
{
    Chartmesh__V1__PrepareItem *items[] = {(Chartmesh__V1__PrepareItem *)(uintptr_t)item};
    Chartmesh__V1__PrepareRequest prepare = CHARTMESH__V1__PREPARE_REQUEST__INIT;
    Chartmesh__V1__PutSignedRequest put = CHARTMESH__V1__PUT_SIGNED_REQUEST__INIT;
    const Chartmesh__V1__PrepareReply *prepared;
    prepare.items = items;
    prepare.n_items = 1;
    if (!chartmesh_record_prepare(node, &prepare, call, arena, &prepared, err)) {
        return false;
    }
    if (prepared->n_prepared != 1) {
        return err_raise(err, ERR_CORRUPT, "the node prepared %zu versions instead of one", prepared->n_prepared);
    }
    put.preparation = prepared->prepared[0]->preparation;
    put.salt = pb_bytes(BYTES_OF(*salt));
    put.content = pb_bytes(content);
    return chartmesh_sign_prepared(prepared->prepared[0], item, key, arena, &put.statement, err) &&
           chartmesh_record_put_signed(node, &put, call, arena, reply, err);
}

bool chartmesh_put_signed(struct chartmesh *node, const Chartmesh__V1__PutRequest *request,
                          const struct signing_key *key, const struct chartmesh_call *call, struct arena *arena,
                          const Chartmesh__V1__PutReply **reply, struct err *err)
{
    struct bytes content = bytes_pb(request->content);
    struct hash salt = random_hash(), root, commitment = content_commit(&salt, content, &root);
    Chartmesh__V1__PrepareItem item = CHARTMESH__V1__PREPARE_ITEM__INIT;
    if (request->import_key || !request->subject || !request->facts) {
        return err_raise(err, ERR_INVALID, "a signed version has a subject and facts, and no import key");
    }
    item.subject = request->subject;
    item.document = request->document;
    item.if_heads = request->if_heads;
    item.n_if_heads = request->n_if_heads;
    item.facts = request->facts;
    item.commitment = pb_bytes(BYTES_OF(commitment));
    item.length = content.len;
    return put_prepared(node, &item, &salt, content, key, call, arena, reply, err);
}

bool chartmesh_key_request(const struct chartmesh_new_key *about, const struct signing_key *key,
                           struct arena *arena, Chartmesh__V1__EnrolKeyRequest **out, struct err *err)
{
    Chartmesh__V1__Key message = CHARTMESH__V1__KEY__INIT;
    Chartmesh__V1__Period valid = CHARTMESH__V1__PERIOD__INIT;
    Chartmesh__V1__Instant from = CHARTMESH__V1__INSTANT__INIT, until = CHARTMESH__V1__INSTANT__INIT;
    struct statement statement;
    ProtobufCMessage *envelope;
    void *memory;
    from.ms = about->from_ms;
    until.ms = about->until_ms;
    valid.from = &from;
    valid.until = about->until_ms ? &until : NULL;
    message.public_key = pb_bytes(BYTES_OF(*signing_key_public(key)));
    message.use = about->use;
    message.holder = (char *)(uintptr_t)about->holder;
    message.valid = &valid;
    if (!head_make(&about->network, &about->facility, (uint64_t)about->now_ms << 16, arena, &message.head, err) ||
        !statement_sign(STATEMENT_KEY, &message.base, &key, 1, arena, &statement, err) ||
        !message_unpack(&chartmesh__v1__envelope__descriptor, statement.envelope, arena, &envelope, err) ||
        !arena_alloc(arena, sizeof **out, &memory, err)) {
        return err_wrap(err, "key");
    }
    *out = memory;
    chartmesh__v1__enrol_key_request__init(*out);
    (*out)->statement = (Chartmesh__V1__Envelope *)(void *)envelope;
    return true;
}
