/* What must hold. */
#include <stdlib.h>

#include "replication/frame.h"
#include "tests/sim/sim.h"

#define AS(type, statement_) ((const Chartmesh__V1__##type *)(const void *)(statement_)->message)

enum { RULE_ARENA = 128 << 20 };

/* ---- At every frame ---------------------------------------------------------------------------------------------------- */

/* I23, I27: numbers have no gaps, and each binds one digest for ever. */
static void rule_number(struct sim_node *from, size_t to, Chartmesh__V1__Lane lane, uint64_t n,
                        const struct hash *digest)
{
    struct sim *sim = from->sim;
    size_t l = lane == CHARTMESH__V1__LANE__LANE_CONTROL ? 0 : 1;
    if (n > sim->numbers[from->number][to][l].n + 1) {
        sim_broken(sim, "I23", "%zu sends number %ju to %zu after %ju", from->number, (uintmax_t)n, to,
                   (uintmax_t)sim->numbers[from->number][to][l].n);
    }
    if (n == sim->numbers[from->number][to][l].n + 1) {
        if (n >= sim->numbers[from->number][to][l].capacity) {
            size_t capacity = 64 + 2 * sim->numbers[from->number][to][l].capacity;
            struct hash *grown = realloc(sim->numbers[from->number][to][l].digests, capacity * sizeof *grown);
            if (!grown) {
                abort();
            }
            sim->numbers[from->number][to][l].digests = grown;
            sim->numbers[from->number][to][l].capacity = capacity;
        }
        sim->numbers[from->number][to][l].digests[n] = *digest;
        sim->numbers[from->number][to][l].n = n;
    } else if (!hash_equal(&sim->numbers[from->number][to][l].digests[n], digest)) {
        sim_broken(sim, "I27", "%zu sends number %ju to %zu with another digest", from->number, (uintmax_t)n, to);
    }
}

static bool subject_of(const Chartmesh__V1__Subject *message, struct subject *out)
{
    struct id facility, patient;
    if (!id_from(bytes_pb(message->facility), &facility) || !id_from(bytes_pb(message->patient), &patient)) {
        return false;
    }
    *out = subject_make(&facility, &patient);
    return true;
}

/* I1, I2: a durable disclosure at the subject's current generation. I3: in the ledger. I6: to whom it names. I7:
 * complete. */
static void rule_disclosed(struct sim_node *from, size_t to, const struct hash *version,
                           const struct hash *disclosure, const struct id *document, struct arena *arena)
{
    struct sim *sim = from->sim;
    struct err err;
    struct bytes envelope;
    struct statement statement;
    struct subject subject;
    struct generation now;
    struct ledger_row row;
    if (!chart_statement(from->chart, disclosure, arena, &envelope, &err) ||
        !statement_parse(envelope, arena, &statement, &err) || statement.kind != STATEMENT_DISCLOSURE) {
        sim_broken(sim, "I1", "%zu hands over without a durable disclosure: %s", from->number, err.text);
    }
    const Chartmesh__V1__Disclosure *d = AS(Disclosure, &statement);
    if (!bytes_equal(bytes_pb(d->recipient), BYTES_OF(sim->f->members[to].id)) ||
        !subject_of(d->subject, &subject)) {
        sim_broken(sim, "I6", "%zu hands over to %zu what is disclosed to another", from->number, to);
    }
    if (d->n_basis == 0 || !d->terms || !d->terms->notice[0]) {
        sim_broken(sim, "I7", "a disclosure without basis, terms or notice");
    }
    sim_must(sim, chart_generation(from->chart, &subject, &now, &err));
    if (generation_compare(now, (struct generation){d->incarnation, d->generation}) != 0) {
        sim_broken(sim, "I1", "%zu hands over to %zu under generation %ju, now %ju", from->number, to,
                   (uintmax_t)d->generation, (uintmax_t)now.generation);
    }
    if (!chart_ledger_get(from->chart, &subject, document, version, &sim->f->members[to].id, &row, &err) ||
        row.state > LEDGER_COMPLETE) {
        sim_broken(sim, "I3", "%zu hands over to %zu what is not in its ledger", from->number, to);
    }
}

static void rule_item(struct sim_node *from, size_t to, const Chartmesh__V1__Item *item, struct arena *arena)
{
    struct sim *sim = from->sim;
    struct err err;
    struct bytes envelope;
    struct statement statement;
    struct hash disclosure;
    struct id document;
    sim->items_sent++;
    sim_must(sim, envelope_bytes(item->statement, arena, &envelope, &err));
    sim_must(sim, statement_parse(envelope, arena, &statement, &err));
    if (item->kind != ITEM_VERSION && item->kind != ITEM_CONTRIBUTION) {
        return;
    }
    const Chartmesh__V1__Version *v = AS(Version, &statement);
    if (!hash_from(bytes_pb(item->disclosure), &disclosure) || !id_from(bytes_pb(v->document), &document)) {
        sim_broken(sim, "I7", "an item without its disclosure");
    }
    if (item->kind == ITEM_CONTRIBUTION) {
        if (!bytes_equal(bytes_pb(v->subject->facility), BYTES_OF(sim->f->members[to].id))) {
            sim_broken(sim, "I6", "a contribution to another than the origin");
        }
        return;
    }
    rule_disclosed(from, to, &statement.id, &disclosure, &document, arena);
}

/* I17, I18: the checkpoint that leaves is of a tree that is durable. */
static void rule_note(struct sim_node *from, struct bytes note, struct arena *arena)
{
    struct sim *sim = from->sim;
    struct err err;
    struct checkpoint checkpoint;
    struct hash root = {0};
    (void)arena;
    const struct note_key key = {.name = log_origin(from->log),
                                 .type = NOTE_LOG,
                                 .public_key = *signing_key_public(sim->f->members[from->number].checkpoint)};
    if (note.len == 0) {
        return;
    }
    sim_must(sim, checkpoint_open(note, &key, 1, &checkpoint, &err));
    /* ERR_RANGE: durable, and its committer has not been told yet; rule_notes looks again when all is quiet. */
    bool later = !log_root_at(from->log, checkpoint.size, &root, &err) && err.code == ERR_RANGE;
    if (!later && !hash_equal(&root, &checkpoint.root)) {
        sim_broken(sim, "I18", "%zu shows a checkpoint of size %ju that is not its log's", from->number,
                   (uintmax_t)checkpoint.size);
    }
    if (sim->notes_count < SIM_NOTES) {
        sim->notes[sim->notes_count].node = from->number;
        sim->notes[sim->notes_count].size = checkpoint.size;
        sim->notes[sim->notes_count++].root = checkpoint.root;
    }
}

static void rule_batch(struct sim_node *from, size_t to, Chartmesh__V1__Lane lane,
                       const Chartmesh__V1__Batch *batch, struct arena *arena)
{
    struct sim *sim = from->sim;
    struct err err;
    struct bytes envelope;
    struct statement head, statement, disclosures[BATCH_ITEMS_MAX > 16 ? 16 : BATCH_ITEMS_MAX];
    size_t count = MIN(batch->n_disclosures, COUNT(disclosures));
    sim_must(sim, envelope_bytes(batch->head, arena, &envelope, &err));
    sim_must(sim, statement_parse(envelope, arena, &head, &err));
    rule_note(from, bytes_pb(AS(StreamHead, &head)->checkpoint), arena);
    for (size_t i = 0; i < count; i++) {
        sim_must(sim, envelope_bytes(batch->disclosures[i], arena, &envelope, &err));
        sim_must(sim, statement_parse(envelope, arena, &disclosures[i], &err));
    }
    for (size_t i = 0; i < batch->n_items; i++) {
        const Chartmesh__V1__Item *item = batch->items[i];
        struct hash digest;
        const struct statement *disclosure = NULL;
        if (item->withdrawn.len) {
            sim_must(sim, hash_from(bytes_pb(item->withdrawn), &digest) ||
                              err_raise(&err, ERR_INVALID, "withdrawn without a digest"));
        } else {
            rule_item(from, to, item, arena);
            sim_must(sim, envelope_bytes(item->statement, arena, &envelope, &err));
            sim_must(sim, statement_parse(envelope, arena, &statement, &err));
            for (size_t d = 0; d < count; d++) {
                if (bytes_equal(bytes_pb(item->disclosure), BYTES_OF(disclosures[d].id))) {
                    disclosure = &disclosures[d];
                }
            }
            struct item_facts facts = item_facts_of(item->kind, &statement, disclosure);
            digest = item_digest(&facts);
        }
        sim_say(sim, "%zu to %zu: number %ju, kind %u, %02x..", from->number, to,
                (uintmax_t)AS(StreamHead, &head)->first + i, item->kind,
                item->withdrawn.len ? 0 : statement.id.bytes[0]);
        rule_number(from, to, lane, AS(StreamHead, &head)->first + i, &digest);
    }
}

/* I24: what is acknowledged is durable: the row of the stream says so. */
static void rule_ack(struct sim_node *from, size_t to, Chartmesh__V1__Lane lane,
                     const Chartmesh__V1__Envelope *message, struct arena *arena)
{
    struct sim *sim = from->sim;
    struct err err;
    struct bytes envelope, value;
    struct statement ack;
    uint8_t key[1 + ID_LEN + 1] = {'I'};
    memcpy(key + 1, sim->f->members[to].id.bytes, ID_LEN);
    key[1 + ID_LEN] = (uint8_t)lane;
    sim_must(sim, envelope_bytes(message, arena, &envelope, &err));
    sim_must(sim, statement_parse(envelope, arena, &ack, &err));
    sim_must(sim, store_get(from->store, NULL, FAMILY_STREAM, BYTES(key, sizeof key), arena, &value, &err));
    sim_say(sim, "%zu to %zu: ack %ju of lane %d", from->number, to, (uintmax_t)AS(StreamAck, &ack)->n, lane);
    if (value.len < 16 || get_u64be(value.data + 8) < AS(StreamAck, &ack)->n) {
        sim_broken(sim, "I24", "%zu acknowledges %ju to %zu before it is durable", from->number,
                   (uintmax_t)AS(StreamAck, &ack)->n, to);
    }
}

static void rule_chunk(struct sim_node *from, size_t to, const Chartmesh__V1__Chunk *chunk, struct arena *arena)
{
    struct sim *sim = from->sim;
    struct err err;
    struct hash version, disclosure;
    struct subject subject;
    struct id document;
    sim->chunks_sent++;
    if (!hash_from(bytes_pb(chunk->version), &version) || !hash_from(bytes_pb(chunk->disclosure), &disclosure)) {
        sim_broken(sim, "I7", "a chunk without its disclosure");
    }
    sim_must(sim, chart_version_place(from->chart, &version, &subject, &document, &err));
    if (id_equal(&subject.facility, chart_facility(from->chart))) {
        rule_disclosed(from, to, &version, &disclosure, &document, arena);
    } else if (!id_equal(&subject.facility, &sim->f->members[to].id)) {
        sim_broken(sim, "I6", "a chunk of a copy to another than the origin");
    }
}

void rule_frame(struct sim_node *from, size_t to, Chartmesh__V1__Lane lane, struct bytes frame)
{
    AUTO_ARENA(arena, RULE_ARENA);
    struct sim *sim = from->sim;
    struct err err;
    Chartmesh__V1__Frame *message;
    sim_must(sim, frame_unpack(frame, &arena, &message, &err));
    if (message->f_case == CHARTMESH__V1__FRAME__F_BATCH) {
        rule_batch(from, to, lane, message->batch, &arena);
    } else if (message->f_case == CHARTMESH__V1__FRAME__F_ACK) {
        rule_ack(from, to, lane, message->ack, &arena);
    } else if (message->f_case == CHARTMESH__V1__FRAME__F_CHUNK) {
        rule_chunk(from, to, message->chunk, &arena);
    }
}

/* ---- Documents --------------------------------------------------------------------------------------------------------- */

/* I40: heads are those that no other version there supersedes, by a plain look at every pair. */
static void rule_heads(struct sim_node *node, const struct chart_version *versions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool head = true;
        for (size_t j = 0; j < count && head; j++) {
            const Chartmesh__V1__Version *other = versions[j].message, *mine = versions[i].message;
            for (size_t k = 0; k < other->n_context && i != j; k++) {
                head = head && !(other->context[k]->tag == mine->dot->tag &&
                                 other->context[k]->counter >= mine->dot->counter);
            }
        }
        if (head != versions[i].head) {
            sim_broken(node->sim, "I40", "%zu: a version is %sa head and should %sbe", node->number,
                       versions[i].head ? "" : "not ", head ? "" : "not ");
        }
    }
}

/* I5: nothing that is held stands below its fence. */
static void rule_fence(struct sim_node *node, const struct subject *subject, const struct chart_version *v,
                       struct arena *arena)
{
    struct err err;
    struct generation fence;
    struct chart_disclosure *held;
    size_t count;
    sim_must(node->sim, chart_fence(node->chart, subject, &v->document, &fence, &err));
    sim_must(node->sim, chart_disclosures(node->chart, &v->id, arena, &held, &count, &err));
    if (count > 0 &&
        generation_compare((struct generation){held[0].message->incarnation, held[0].message->generation}, fence) <
            0) {
        sim_broken(node->sim, "I5", "%zu holds a version below its fence", node->number);
    }
    if (count == 0 && !v->pending) {
        sim_broken(node->sim, "I7", "%zu holds a copy without a disclosure", node->number);
    }
}

static void rule_subject(struct sim_node *node, const struct subject *subject, bool copies, struct arena *arena)
{
    struct err err;
    struct id *documents;
    struct chart_version *versions;
    size_t count, versions_count;
    sim_must(node->sim, chart_documents(node->chart, subject, NULL, SIZE_MAX, arena, &documents, &count, &err));
    for (size_t i = 0; i < count; i++) {
        if (!chart_document(node->chart, subject, &documents[i], arena, &versions, &versions_count, &err)) {
            continue;
        }
        rule_heads(node, versions, versions_count);
        for (size_t v = 0; copies && v < versions_count; v++) {
            rule_fence(node, subject, &versions[v], arena);
        }
    }
}

static void rule_node(struct sim_node *node)
{
    struct sim *sim = node->sim;
    AUTO_ARENA(arena, RULE_ARENA);
    for (size_t owner = 0; owner < SIM_NODES; owner++) {
        for (size_t i = 0; i < sim->subject_count[owner]; i++) {
            rule_subject(node, &sim->subjects[owner][i], owner != node->number, &arena);
        }
    }
}

/* One node in turn is looked through after each step: all of them, every few steps. */
void rule_step(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim->step % SIM_NODES];
    if (node->up && !node->busy && sim->step % 4 == 0) {
        rule_node(node);
    }
}

/* ---- When all is quiet --------------------------------------------------------------------------------------------------- */

static const struct chart_version *find(const struct chart_version *versions, size_t count, const struct hash *id)
{
    for (size_t i = 0; i < count; i++) {
        if (hash_equal(&versions[i].id, id)) {
            return &versions[i];
        }
    }
    return NULL;
}

static bool granted(struct sim_node *origin, const struct subject *subject, size_t to, struct arena *arena)
{
    struct err err;
    struct chart_policy *policies;
    size_t count;
    bool out = false;
    sim_must(origin->sim, chart_policies(origin->chart, subject, arena, &policies, &count, &err));
    for (size_t i = 0; i < count; i++) {
        const Chartmesh__V1__Policy *p = policies[i].message;
        for (size_t k = 0; policies[i].head && p->n_rules && k < p->rules[0]->n_facilities; k++) {
            out =
                out || bytes_equal(bytes_pb(p->rules[0]->facilities[k]), BYTES_OF(origin->sim->f->members[to].id));
        }
    }
    return out;
}

/* Every head is where the patient allows it, whole. */
static void rule_document_arrived(struct sim_node *origin, struct sim_node *holder, const struct subject *subject,
                                  const struct id *document, struct arena *arena)
{
    struct err err;
    struct chart_version *ours, *theirs = NULL;
    size_t count, their_count = 0;
    sim_must(origin->sim, chart_document(origin->chart, subject, document, arena, &ours, &count, &err));
    if (!chart_document(holder->chart, subject, document, arena, &theirs, &their_count, &err) &&
        err.code != ERR_NOT_FOUND) {
        sim_broken(origin->sim, "UNEXPECTED", "%s", err.text);
    }
    for (size_t i = 0; i < count; i++) {
        if (!ours[i].head || ours[i].retracted) {
            continue;
        }
        const struct chart_version *copy = find(theirs, their_count, &ours[i].id);
        if (!copy || !copy->complete || copy->pending) {
            sim_broken(origin->sim, "CONVERGENCE", "%zu lacks a head of %zu's document %02x: %s", holder->number,
                       origin->number, document->bytes[15],
                       !copy             ? "not there"
                       : !copy->complete ? "incomplete"
                                         : "pending");
        }
    }
    /* I8: who holds what was retracted holds the retraction. */
    for (size_t i = 0; i < count; i++) {
        bool holds = false;
        for (size_t k = 0; k < ours[i].message->n_parents; k++) {
            struct hash parent;
            holds = holds || (hash_from(bytes_pb(ours[i].message->parents[k]), &parent) &&
                              find(theirs, their_count, &parent));
        }
        bool retraction = ours[i].message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
        if (retraction && holds && !find(theirs, their_count, &ours[i].id)) {
            sim_broken(origin->sim, "I8", "%zu holds what %zu retracted and does not know", holder->number,
                       origin->number);
        }
    }
}

/* I26: the origin's ledger for a holder and what the holder has are the same set. */
static void rule_ledgers(struct sim_node *origin, struct sim_node *holder, const struct subject *subject,
                         struct arena *arena)
{
    struct sim *sim = origin->sim;
    struct err err;
    struct ledger_row *rows;
    struct id *documents;
    size_t count, documents_count, in_ledger = 0, held = 0;
    sim_must(sim, chart_ledger(origin->chart, subject, NULL, &sim->f->members[holder->number].id, arena, &rows,
                               &count, &err));
    for (size_t i = 0; i < count; i++) {
        struct subject place;
        struct id document;
        if (rows[i].state > LEDGER_COMPLETE) {
            continue;
        }
        in_ledger++;
        if (rows[i].state < LEDGER_STORED ||
            !chart_version_place(holder->chart, &rows[i].version, &place, &document, &err)) {
            sim_broken(sim, "I26", "%zu's ledger has for %zu a version in state %d that is not there",
                       origin->number, holder->number, rows[i].state);
        }
    }
    sim_must(sim,
             chart_documents(holder->chart, subject, NULL, SIZE_MAX, arena, &documents, &documents_count, &err));
    for (size_t i = 0; i < documents_count; i++) {
        struct chart_version *versions;
        size_t versions_count;
        sim_must(sim,
                 chart_document(holder->chart, subject, &documents[i], arena, &versions, &versions_count, &err));
        for (size_t v = 0; v < versions_count; v++) {
            bool listed = false;
            held += !hash_is_zero(&versions[v].disclosure);
            for (size_t r = 0; r < count && !hash_is_zero(&versions[v].disclosure); r++) {
                bool same = hash_equal(&rows[r].version, &versions[v].id);
                listed = listed || (same && rows[r].state <= LEDGER_COMPLETE);
                if (same && rows[r].state > LEDGER_COMPLETE) {
                    sim_say(sim, "%zu holds of %zu %02x.. of %02x, ledger state %d, number %ju", holder->number,
                            origin->number, versions[v].id.bytes[0], documents[i].bytes[15], rows[r].state,
                            (uintmax_t)rows[r].n);
                }
            }
            if (!listed && !hash_is_zero(&versions[v].disclosure)) {
                sim_say(sim, "%zu holds %02x.. of document %02x, kind %d, which is not in %zu's ledger",
                        holder->number, versions[v].id.bytes[0], documents[i].bytes[15], versions[v].message->kind,
                        origin->number);
            }
        }
    }
    if (in_ledger != held) {
        sim_broken(sim, "I26", "%zu holds %zu versions of %zu, whose ledger says %zu", holder->number, held,
                   origin->number, in_ledger);
    }
}

static void rule_pair(struct sim_node *origin, struct sim_node *holder, const struct subject *subject)
{
    AUTO_ARENA(arena, RULE_ARENA);
    struct sim *sim = origin->sim;
    struct err err;
    struct id *documents;
    size_t count;
    if (!granted(origin, subject, holder->number, &arena)) {
        sim_must(sim, chart_documents(holder->chart, subject, NULL, SIZE_MAX, &arena, &documents, &count, &err));
        if (count > 0) {
            sim_broken(sim, "CONVERGENCE", "%zu still holds %zu documents of %zu that are not granted",
                       holder->number, count, origin->number);
        }
    } else {
        sim_must(sim, chart_documents(origin->chart, subject, NULL, SIZE_MAX, &arena, &documents, &count, &err));
        for (size_t i = 0; i < count; i++) {
            rule_document_arrived(origin, holder, subject, &documents[i], &arena);
        }
    }
    rule_ledgers(origin, holder, subject, &arena);
}

/* Nothing acknowledged is lost: an own version is there for ever, a contribution unless it was ordered back. */
static void rule_acked(struct sim *sim)
{
    struct err err;
    for (size_t i = 0; i < sim->acked_count; i++) {
        struct sim_node *node = &sim->nodes[sim->acked[i].node];
        struct subject place;
        struct id document;
        bool own = id_equal(&sim->acked[i].subject.facility, chart_facility(node->chart));
        if (own && !chart_version_place(node->chart, &sim->acked[i].version, &place, &document, &err)) {
            sim_broken(sim, "I29", "%zu lost a version that it acknowledged", node->number);
        }
    }
}

static void rule_cases(struct sim_node *node)
{
    AUTO_ARENA(arena, RULE_ARENA);
    struct err err;
    struct chart_case *cases;
    size_t count;
    sim_must(node->sim, chart_cases(node->chart, NULL, false, NULL, 64, &arena, &cases, &count, &err));
    if (count > 0) {
        sim_broken(node->sim, "CASES", "%zu has %zu open cases though everybody is back", node->number, count);
    }
}

static int compare_pairs(const void *a, const void *b)
{
    return memcmp(a, b, 2 * HASH_LEN);
}

/* I25: whatever was sent twice was taken once: a version under one disclosure has one RECEIVE entry in a log, and
 * one more where only terms came (reason "terms"). */
static void rule_received_once(struct sim_node *node)
{
    AUTO_ARENA(arena, RULE_ARENA);
    struct err err;
    void *memory;
    uint64_t size = log_size(node->log).size;
    size_t count = 0, capacity = (size_t)size * 32;
    sim_must(node->sim, arena_array(&arena, capacity, 2 * HASH_LEN, &memory, &err));
    struct hash *pairs = memory;
    for (uint64_t index = 0; index < size; index++) {
        AUTO_ARENA(scratch, 4 << 20);
        struct log_opened opened;
        sim_must(node->sim, log_entry_at(node->log, index, &scratch, &opened, &err));
        const Chartmesh__V1__Entry *entry = opened.message;
        if (entry->kind != CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_RECEIVE || strcmp(entry->reason, "terms") == 0) {
            continue;
        }
        for (size_t i = 0; i < entry->n_objects && count < capacity; i++, count++) {
            bool whole = hash_from(bytes_pb(entry->objects[i]), &pairs[2 * count]) &&
                         hash_from(bytes_pb(entry->disclosure), &pairs[2 * count + 1]);
            if (!whole) {
                sim_broken(node->sim, "I7", "%zu took a version without a disclosure", node->number);
            }
        }
    }
    qsort(pairs, count, 2 * HASH_LEN, compare_pairs);
    for (size_t i = 0; i + 1 < count; i++) {
        if (compare_pairs(&pairs[2 * i], &pairs[2 * i + 2]) == 0) {
            sim_broken(node->sim, "I25", "%zu took version %02x%02x twice under one disclosure", node->number,
                       pairs[2 * i].bytes[0], pairs[2 * i].bytes[1]);
        }
    }
}

/* I17: every checkpoint that ever left is a beginning of the log as it is now. */
static void rule_notes(struct sim *sim)
{
    struct err err;
    for (size_t i = 0; i < sim->notes_count; i++) {
        struct sim_node *node = &sim->nodes[sim->notes[i].node];
        struct hash root;
        if (!log_root_at(node->log, sim->notes[i].size, &root, &err) || !hash_equal(&root, &sim->notes[i].root)) {
            sim_broken(sim, "I17", "%zu's log does not extend its checkpoint of size %ju", node->number,
                       (uintmax_t)sim->notes[i].size);
        }
    }
}

void rule_quiet(struct sim *sim)
{
    rule_acked(sim);
    rule_notes(sim);
    for (size_t origin = 0; origin < SIM_NODES; origin++) {
        rule_received_once(&sim->nodes[origin]);
        rule_cases(&sim->nodes[origin]);
        rule_node(&sim->nodes[origin]);
        for (size_t holder = 0; holder < SIM_NODES; holder++) {
            for (size_t i = 0; origin != holder && i < sim->subject_count[origin]; i++) {
                rule_pair(&sim->nodes[origin], &sim->nodes[holder], &sim->subjects[origin][i]);
            }
        }
    }
}
