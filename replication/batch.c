#include "replication/batch.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "replication/frame.h"

#define AS(type, statement_) ((const Chartmesh__V1__##type *)(const void *)(statement_)->message)

struct place stream_begin(const struct stream *stream)
{
    return (struct place){.chain = stream_chain_start(&stream->network, &stream->sender, stream->incarnation,
                                                      &stream->receiver, (uint8_t)stream->lane)};
}

struct place stream_next(const struct place *place, const struct hash *digest)
{
    return (struct place){.n = place->n + 1, .chain = stream_chain_next(&place->chain, digest)};
}

enum statement_kind item_statement(uint32_t kind)
{
    static const enum statement_kind kinds[ITEM_KINDS] = {
        [ITEM_VERSION] = STATEMENT_VERSION,
        [ITEM_CONTRIBUTION] = STATEMENT_VERSION,
        [ITEM_DISCLOSURE] = STATEMENT_DISCLOSURE,
        [ITEM_PURGE_ORDER] = STATEMENT_PURGE_ORDER,
        [ITEM_PURGE_RECEIPT] = STATEMENT_PURGE_RECEIPT,
        [ITEM_NOTICE] = STATEMENT_NOTICE,
        [ITEM_KEY_REVOCATION] = STATEMENT_KEY_REVOCATION,
        [ITEM_MEMBERSHIP] = STATEMENT_MEMBERSHIP,
        [ITEM_ROSTER] = STATEMENT_ROSTER,
        [ITEM_NETWORK] = STATEMENT_NETWORK,
        [ITEM_EPOCH] = STATEMENT_EPOCH,
    };
    return kind < ITEM_KINDS ? kinds[kind] : 0;
}

static bool carries_version(uint32_t kind)
{
    return kind == ITEM_VERSION || kind == ITEM_CONTRIBUTION;
}

struct item_facts item_facts_of(enum item_kind kind, const struct statement *statement,
                                const struct statement *disclosure)
{
    struct item_facts facts = {.kind = kind, .statement = statement->id};
    if (carries_version(kind)) {
        facts.disclosure = disclosure->id;
        facts.incarnation = AS(Disclosure, disclosure)->incarnation;
        facts.generation = AS(Disclosure, disclosure)->generation;
    } else if (kind == ITEM_DISCLOSURE) {
        facts.incarnation = AS(Disclosure, statement)->incarnation;
        facts.generation = AS(Disclosure, statement)->generation;
    } else if (kind == ITEM_PURGE_ORDER) {
        facts.incarnation = AS(PurgeOrder, statement)->incarnation;
        facts.generation = AS(PurgeOrder, statement)->generation;
    } else if (kind == ITEM_PURGE_RECEIPT) {
        facts.incarnation = AS(PurgeReceipt, statement)->incarnation;
        facts.generation = AS(PurgeReceipt, statement)->generation;
    } else if (kind == ITEM_NOTICE) {
        facts.incarnation = AS(Notice, statement)->incarnation;
        facts.generation = AS(Notice, statement)->generation;
    }
    return facts;
}

/* ---- Putting one together -------------------------------------------------------------------------------- */

static bool envelopes_of(const struct bytes *list, size_t count, struct arena *arena,
                         Chartmesh__V1__Envelope ***out, size_t *out_len, struct err *err)
{
    void *memory;
    if (!arena_array(arena, count, sizeof(Chartmesh__V1__Envelope *), &memory, err)) {
        return false;
    }
    *out = memory;
    *out_len = count;
    for (size_t i = 0; i < count; i++) {
        if (!envelope_of(list[i], arena, &(*out)[i], err)) {
            return false;
        }
    }
    return true;
}

static bool item_build(const struct batch_part *part, struct arena *arena, Chartmesh__V1__Item *out,
                       struct err *err)
{
    chartmesh__v1__item__init(out);
    if (part->withdrawn) {
        out->withdrawn = pb_bytes(BYTES_OF(part->digest));
        return true;
    }
    out->kind = part->kind;
    if (!envelope_of(part->statement, arena, &out->statement, err)) {
        return false;
    }
    if (carries_version(part->kind)) {
        out->disclosure = pb_bytes(BYTES_OF(part->disclosure));
    }
    if (part->content) {
        void *memory;
        if (!arena_alloc(arena, sizeof *out->content, &memory, err)) {
            return false;
        }
        out->content = memory;
        chartmesh__v1__content__init(out->content);
        out->content->salt = pb_bytes(BYTES_OF(part->content->salt));
        out->content->root = pb_bytes(BYTES_OF(part->content->root));
        out->content->chunk0 = pb_bytes(part->chunk0);
    }
    return true;
}

static bool items_build(const struct batch_parts *parts, struct arena *arena, Chartmesh__V1__Batch *batch,
                        struct err *err)
{
    void *items, *pointers;
    if (!arena_array(arena, parts->count, sizeof(Chartmesh__V1__Item), &items, err) ||
        !arena_array(arena, parts->count, sizeof(Chartmesh__V1__Item *), &pointers, err)) {
        return false;
    }
    batch->items = pointers;
    batch->n_items = parts->count;
    for (size_t i = 0; i < parts->count; i++) {
        batch->items[i] = (Chartmesh__V1__Item *)items + i;
        if (!item_build(&parts->items[i], arena, batch->items[i], err)) {
            return false;
        }
    }
    return true;
}

/* The head binds the numbers, the chain before and after them, and the checkpoint that covers their entries. */
static bool head_build(const struct batch_parts *parts, const struct place *after, uint64_t hlc,
                       const struct signing_key *key, struct arena *arena, Chartmesh__V1__Envelope **out,
                       struct err *err)
{
    const struct stream *stream = parts->stream;
    Chartmesh__V1__StreamHead head = CHARTMESH__V1__STREAM_HEAD__INIT;
    head.receiver = pb_bytes(BYTES_OF(stream->receiver));
    head.incarnation = stream->incarnation;
    head.receiver_incarnation = stream->receiver_incarnation;
    head.lane = stream->lane;
    head.first = parts->before.n + 1;
    head.count = (uint32_t)parts->count;
    head.previous_chain = pb_bytes(BYTES_OF(parts->before.chain));
    head.chain = pb_bytes(BYTES_OF(after->chain));
    head.checkpoint = pb_bytes(parts->checkpoint);
    struct statement signed_head;
    return head_make(&stream->network, &stream->sender, hlc, arena, &head.head, err) &&
           statement_sign(STATEMENT_STREAM_HEAD, &head.base, &key, 1, arena, &signed_head, err) &&
           envelope_of(signed_head.envelope, arena, out, err);
}

bool batch_build(const struct batch_parts *parts, uint64_t hlc, const struct signing_key *key, struct arena *arena,
                 struct bytes *frame, struct place *after, struct err *err)
{
    if (parts->count == 0 || parts->count > BATCH_ITEMS_MAX) {
        return err_raise(err, ERR_INTERNAL, "batch: %zu items", parts->count);
    }
    struct place end = parts->before;
    for (size_t i = 0; i < parts->count; i++) {
        end = stream_next(&end, &parts->items[i].digest);
    }
    Chartmesh__V1__Batch batch = CHARTMESH__V1__BATCH__INIT;
    Chartmesh__V1__Frame message = CHARTMESH__V1__FRAME__INIT;
    message.f_case = CHARTMESH__V1__FRAME__F_BATCH;
    message.batch = &batch;
    if (!items_build(parts, arena, &batch, err) ||
        !envelopes_of(parts->disclosures, parts->disclosures_count, arena, &batch.disclosures,
                      &batch.n_disclosures, err) ||
        !envelopes_of(parts->support, parts->support_count, arena, &batch.support, &batch.n_support, err) ||
        !head_build(parts, &end, hlc, key, arena, &batch.head, err) || !frame_pack(&message, arena, frame, err)) {
        return err_wrap(err, "batch");
    }
    if (after) {
        *after = end;
    }
    return true;
}

/* ---- Checking a stranger's --------------------------------------------------------------------------------- */

static bool is_id(ProtobufCBinaryData field, const struct id *id)
{
    return bytes_equal(bytes_pb(field), BYTES_OF(*id));
}

bool batch_head(const Chartmesh__V1__Batch *message, const struct stream *stream, const struct trust *trust,
                struct arena *arena, struct statement *out, struct err *err)
{
    struct bytes envelope;
    if (!message->head) {
        return rule_broken(err, "HEAD", "batch: no head");
    }
    if (!envelope_bytes(message->head, arena, &envelope, err)) {
        return false;
    }
    if (!trust_check(trust, envelope, STATEMENT_STREAM_HEAD, 0, &stream->sender, arena, out, err)) {
        return err->code == ERR_TOO_MUCH ? false : rule_broken(err, "HEAD", "batch head does not verify");
    }
    const Chartmesh__V1__StreamHead *head = AS(StreamHead, out);
    if (!is_id(head->head->facility, &stream->sender) || !is_id(head->receiver, &stream->receiver) ||
        head->incarnation != stream->incarnation || head->receiver_incarnation != stream->receiver_incarnation ||
        head->lane != stream->lane) {
        return rule_broken(err, "HEAD", "batch head of another stream");
    }
    if (head->first == 0 || head->count == 0 || head->count > BATCH_ITEMS_MAX ||
        head->first > UINT64_MAX - head->count) {
        return rule_broken(err, "COUNT", "batch of %u items from %ju", head->count, (uintmax_t)head->first);
    }
    return true;
}

/* I7: basis, terms and notice; and it names the right two facilities: who discloses and to whom. */
static bool disclosure_check(const struct statement *statement, const struct id *from, const struct id *to,
                             struct err *err)
{
    const Chartmesh__V1__Disclosure *disclosure = AS(Disclosure, statement);
    if (!is_id(disclosure->subject->facility, from)) {
        return rule_broken(err, "SUBJECT", "disclosure of a subject that is not its signer's");
    }
    if (!is_id(disclosure->recipient, to)) {
        return rule_broken(err, "RECIPIENT", "disclosure to another facility");
    }
    if (disclosure->n_basis == 0 || !disclosure->terms || !disclosure->terms->notice[0]) {
        return rule_broken(err, "DISCLOSURE", "disclosure without basis, terms or notice");
    }
    return true;
}

/* A disclosure in a batch is the sender's to us, or, for a contribution, ours to the sender. */
static bool disclosure_open(const Chartmesh__V1__Envelope *message, const struct stream *stream,
                            const struct trust *trust, struct arena *arena, struct statement *out, struct err *err)
{
    struct bytes envelope;
    if (!envelope_bytes(message, arena, &envelope, err)) {
        return false;
    }
    struct statement parsed;
    if (!statement_parse(envelope, arena, &parsed, err) || parsed.kind != STATEMENT_DISCLOSURE) {
        return err->code == ERR_TOO_MUCH ? false : rule_broken(err, "DISCLOSURE", "not a disclosure");
    }
    bool ours = is_id(AS(Disclosure, &parsed)->subject->facility, &stream->receiver);
    const struct id *from = ours ? &stream->receiver : &stream->sender;
    const struct id *to = ours ? &stream->sender : &stream->receiver;
    if (!disclosure_check(&parsed, from, to, err)) {
        return false;
    }
    if (!trust_check(trust, envelope, STATEMENT_DISCLOSURE, 0, from, arena, out, err)) {
        return err->code == ERR_TOO_MUCH ? false : rule_broken(err, "DISCLOSURE", "disclosure does not verify");
    }
    return true;
}

static const struct statement *disclosure_find(const struct batch *batch, ProtobufCBinaryData id)
{
    for (size_t i = 0; i < batch->disclosures_count; i++) {
        if (bytes_equal(bytes_pb(id), BYTES_OF(batch->disclosures[i].id))) {
            return &batch->disclosures[i];
        }
    }
    return NULL;
}

static bool listed(ProtobufCBinaryData *list, size_t count, struct bytes id)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(bytes_pb(list[i]), id)) {
            return true;
        }
    }
    return false;
}

/* Small content comes with the item and is checked whole: decoded, hashed, compared with the root. */
static bool chunk0_check(const struct batch_item *item, struct arena *arena, struct err *err)
{
    struct bytes plain;
    if (item->chunk0.len == 0) {
        return true;
    }
    if (!chunk_decode(item->chunk0, (size_t)item->content.length, arena, &plain, err)) {
        return err->code == ERR_TOO_MUCH ? false : rule_broken(err, "CONTENT", "chunk 0 does not decode");
    }
    struct hash root = content_root_of(&item->content.salt, plain);
    return hash_equal(&root, &item->content.root) ||
           rule_broken(err, "CONTENT", "chunk 0 is not what was committed");
}

/* Versions that repeat their parent's content may come without it; small content comes whole, large is pulled. */
static bool content_check(const Chartmesh__V1__Content *content, const Chartmesh__V1__Version *version,
                          struct arena *arena, struct batch_item *item, struct err *err)
{
    bool repeats = version->kind == CHARTMESH__V1__KIND__KIND_RELABEL ||
                   version->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    if (!content) {
        return repeats || rule_broken(err, "CONTENT", "item without content");
    }
    item->has_content = true;
    item->content.length = version->length;
    item->chunk0 = bytes_pb(content->chunk0);
    if (!hash_from(bytes_pb(content->salt), &item->content.salt) ||
        !hash_from(bytes_pb(content->root), &item->content.root)) {
        return rule_broken(err, "CONTENT", "salt and root are 32 bytes");
    }
    struct hash commitment = content_commitment(&item->content.salt, item->content.length, &item->content.root);
    if (!bytes_equal(bytes_pb(version->commitment), BYTES_OF(commitment))) {
        return rule_broken(err, "CONTENT", "salt, length and root are not what was committed");
    }
    bool small = version->length > 0 && version->length <= CHUNK_LEN;
    if (small ? item->chunk0.len == 0 && !repeats : item->chunk0.len != 0) {
        return rule_broken(err, "CONTENT", "chunk 0 comes with content of 1 to %d bytes, and only then",
                           CHUNK_LEN);
    }
    return chunk0_check(item, arena, err);
}

static bool version_check(const Chartmesh__V1__Item *message, const struct stream *stream, struct batch *batch,
                          struct arena *arena, struct batch_item *item, struct err *err)
{
    const Chartmesh__V1__Version *version = AS(Version, &item->statement);
    bool contribution = item->kind == ITEM_CONTRIBUTION;
    item->disclosure = disclosure_find(batch, message->disclosure);
    if (!item->disclosure) {
        return rule_broken(err, "DISCLOSURE", "item %ju without its disclosure", (uintmax_t)item->n);
    }
    const Chartmesh__V1__Disclosure *disclosure = AS(Disclosure, item->disclosure);
    const struct id *origin = contribution ? &stream->receiver : &stream->sender;
    if (!is_id(version->subject->facility, origin) ||
        !bytes_equal(bytes_pb(version->subject->facility), bytes_pb(disclosure->subject->facility)) ||
        !bytes_equal(bytes_pb(version->subject->patient), bytes_pb(disclosure->subject->patient))) {
        return rule_broken(err, "SUBJECT", "item %ju of another subject than its disclosure", (uintmax_t)item->n);
    }
    bool covered =
        !contribution && listed(disclosure->versions, disclosure->n_versions, BYTES_OF(item->statement.id));
    for (size_t i = 0; contribution && i < version->n_parents; i++) {
        covered |= listed(disclosure->versions, disclosure->n_versions, bytes_pb(version->parents[i]));
    }
    if (!covered) {
        return rule_broken(err, "DISCLOSURE", "item %ju is not in its disclosure", (uintmax_t)item->n);
    }
    if (contribution && !is_id(version->head->facility, &stream->sender)) {
        return rule_broken(err, "STATEMENT", "contribution signed at another facility");
    }
    return content_check(message->content, version, arena, item, err);
}

/* Statements between the two facilities: by whom, to whom. Those of the network are the trust's to judge. */
static bool control_check(const struct stream *stream, const struct trust *trust, struct arena *arena,
                          struct batch_item *item, struct err *err)
{
    const struct statement *s = &item->statement;
    bool fits = true;
    switch (item->kind) {
    case ITEM_DISCLOSURE:
        if (!disclosure_check(s, &stream->sender, &stream->receiver, err)) {
            return false;
        }
        break;
    case ITEM_PURGE_ORDER:
        fits = is_id(AS(PurgeOrder, s)->receiver, &stream->receiver) &&
               is_id(AS(PurgeOrder, s)->subject->facility, &stream->sender);
        break;
    case ITEM_PURGE_RECEIPT:
        fits = is_id(AS(PurgeReceipt, s)->subject->facility, &stream->receiver);
        break;
    case ITEM_NOTICE:
        fits = is_id(AS(Notice, s)->receiver, &stream->receiver) &&
               is_id(AS(Notice, s)->subject->facility, &stream->sender);
        break;
    default:
        return true;
    }
    if (!fits) {
        return rule_broken(err, "RECIPIENT", "item %ju is not between us two", (uintmax_t)item->n);
    }
    struct statement verified;
    if (!trust_check(trust, s->envelope, s->kind, 0, &stream->sender, arena, &verified, err)) {
        return err->code == ERR_TOO_MUCH ? false
                                         : rule_broken(err, "STATEMENT", "item %ju: %s does not verify",
                                                       (uintmax_t)item->n, statement_name(s->kind));
    }
    return true;
}

static bool withdrawn_check(const Chartmesh__V1__Item *message, struct batch_item *item, struct err *err)
{
    item->withdrawn = true;
    if (message->kind || message->statement || message->disclosure.len || message->content ||
        !hash_from(bytes_pb(message->withdrawn), &item->digest)) {
        return rule_broken(err, "WITHDRAWN", "a withdrawn item carries its 32-byte digest and nothing else");
    }
    return true;
}

static bool item_check(const Chartmesh__V1__Item *message, const struct stream *stream, const struct trust *trust,
                       struct arena *arena, struct batch *batch, struct batch_item *item, struct err *err)
{
    if (message->withdrawn.len) {
        return withdrawn_check(message, item, err);
    }
    enum statement_kind kind = item_statement(message->kind);
    Chartmesh__V1__Lane lane =
        carries_version(message->kind) ? CHARTMESH__V1__LANE__LANE_BULK : CHARTMESH__V1__LANE__LANE_CONTROL;
    if (kind == 0 || lane != stream->lane) {
        return rule_broken(err, "ITEM_KIND", "item kind %u on this lane", message->kind);
    }
    item->kind = message->kind;
    struct bytes envelope;
    if (!message->statement) {
        return rule_broken(err, "STATEMENT", "item %ju without a statement", (uintmax_t)item->n);
    }
    if (!envelope_bytes(message->statement, arena, &envelope, err)) {
        return false;
    }
    if (!statement_parse(envelope, arena, &item->statement, err) || item->statement.kind != kind) {
        return err->code == ERR_TOO_MUCH
                   ? false
                   : rule_broken(err, "STATEMENT", "item %ju: not a %s", (uintmax_t)item->n, statement_name(kind));
    }
    if (!carries_version(item->kind) && (message->disclosure.len || message->content)) {
        return rule_broken(err, "ITEM_KIND", "item %ju: disclosure or content on the control lane",
                           (uintmax_t)item->n);
    }
    if (!(carries_version(item->kind) ? version_check(message, stream, batch, arena, item, err)
                                      : control_check(stream, trust, arena, item, err))) {
        return false;
    }
    struct item_facts facts = item_facts_of(item->kind, &item->statement, item->disclosure);
    item->digest = item_digest(&facts);
    return true;
}

static bool lists_open(const Chartmesh__V1__Batch *message, const struct stream *stream, const struct trust *trust,
                       struct arena *arena, struct batch *out, struct err *err)
{
    void *disclosures, *support;
    if (message->n_disclosures > BATCH_ITEMS_MAX || message->n_support > BATCH_ITEMS_MAX) {
        return rule_broken(err, "COUNT", "batch with over %d disclosures or supporting statements",
                           BATCH_ITEMS_MAX);
    }
    if (!arena_array(arena, message->n_disclosures, sizeof(struct statement), &disclosures, err) ||
        !arena_array(arena, message->n_support, sizeof(struct bytes), &support, err)) {
        return false;
    }
    out->disclosures = disclosures;
    out->support = support;
    for (; out->support_count < message->n_support; out->support_count++) {
        if (!envelope_bytes(message->support[out->support_count], arena,
                            (struct bytes *)support + out->support_count, err)) {
            return false;
        }
    }
    for (; out->disclosures_count < message->n_disclosures; out->disclosures_count++) {
        if (!disclosure_open(message->disclosures[out->disclosures_count], stream, trust, arena,
                             (struct statement *)disclosures + out->disclosures_count, err)) {
            return false;
        }
    }
    return true;
}

/* Walks the items from the head's first number on: everything is checked, what was seen before is left out. */
static bool items_open(const Chartmesh__V1__Batch *message, const struct stream *stream, const struct place *at,
                       const struct trust *trust, struct arena *arena, struct batch *out, struct err *err)
{
    void *items;
    if (!arena_array(arena, message->n_items, sizeof(struct batch_item), &items, err)) {
        return false;
    }
    out->items = items;
    struct place walked = out->before;
    for (size_t i = 0; i < message->n_items; i++) {
        struct batch_item *item = (struct batch_item *)items + out->count;
        if (walked.n == at->n && !hash_equal(&walked.chain, &at->chain)) {
            return rule_broken(err, "CHAIN", "another chain at %ju", (uintmax_t)at->n);
        }
        *item = (struct batch_item){.n = walked.n + 1};
        if (!item_check(message->items[i], stream, trust, arena, out, item, err)) {
            return false;
        }
        walked = stream_next(&walked, &item->digest);
        out->count += item->n > at->n;
    }
    return hash_equal(&walked.chain, &out->after.chain) ||
           rule_broken(err, "CHAIN", "the items do not make the head's chain");
}

bool batch_check(const Chartmesh__V1__Batch *message, const struct statement *head, const struct stream *stream,
                 const struct place *at, const struct trust *trust, struct arena *arena, struct batch *out,
                 struct err *err)
{
    const Chartmesh__V1__StreamHead *claim = AS(StreamHead, head);
    struct batch batch = {.stream = *stream, .head = *head, .checkpoint = bytes_pb(claim->checkpoint)};
    batch.before.n = claim->first - 1;
    batch.after.n = batch.before.n + claim->count;
    if (!hash_from(bytes_pb(claim->chain), &batch.after.chain) ||
        !hash_from(bytes_pb(claim->previous_chain), &batch.before.chain)) {
        return rule_broken(err, "HEAD", "chains are 32 bytes");
    }
    if (batch.before.n > at->n) {
        return rule_broken(err, "GAP", "batch begins at %ju, expected %ju", (uintmax_t)batch.before.n + 1,
                           (uintmax_t)at->n + 1);
    }
    if (message->n_items != claim->count) {
        return rule_broken(err, "COUNT", "%zu items under a head of %u", message->n_items, claim->count);
    }
    if (!lists_open(message, stream, trust, arena, &batch, err) ||
        !items_open(message, stream, at, trust, arena, &batch, err)) {
        return false;
    }
    *out = batch;
    return true;
}
