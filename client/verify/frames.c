/* The file: frames in order, every message in canonical form, all of it under the answer. */
#include "client/verify/check.h"
#include "proto/statement/entry.h"

/* What the frames of a file need while they are read. */
struct reading {
    struct merkle_edge edge;
    unsigned last;
    struct bytes last_key;
    uint8_t key[2][8];                     /* numbers as sort keys, of this frame and the last */
    size_t turn;
};

static bool unpack(struct check *c, const ProtobufCMessageDescriptor *type, const struct bundle_frame *frame,
                   ProtobufCMessage **out)
{
    struct err why;
    return canonical_unpack(type, frame->body, c->arena, out, &why) || judge(c, VERIFY_FILE, frame, &why);
}

static struct bytes number_key(struct reading *reading, uint64_t number)
{
    uint8_t *key = reading->key[reading->turn++ % 2];
    put_u64be(key, number);
    return BYTES(key, 8);
}

static bool take_statement(struct check *c, const struct bundle_frame *frame, struct given *out)
{
    struct err why;
    out->frame = *frame;
    return statement_parse(frame->body, c->arena, &out->s, &why) || judge(c, VERIFY_FILE, frame, &why);
}

static bool take_entry(struct check *c, const struct bundle_frame *frame, struct reading *reading,
                       struct bytes *key)
{
    ProtobufCMessage *message;
    if (!unpack(c, &chartmesh__v1__entry_frame__descriptor, frame, &message)) {
        return false;
    }
    const Chartmesh__V1__EntryFrame *entry = (const void *)message;
    struct shown *shown = &c->shown[c->shown_len++];
    *shown = (struct shown){.frame = *frame,
                            .index = entry->at->index,
                            .at = entry->at,
                            .previous_chain = bytes_pb(entry->previous_chain)};
    struct hash r;
    struct err why;
    struct bytes bytes = bytes_pb(entry->opening->entry);
    Chartmesh__V1__Entry *opened;
    if (!hash_from(bytes_pb(entry->opening->r), &r)) {
        return contradict(c, VERIFY_FILE, frame, "r is not 32 bytes");
    }
    if (!entry_unpack(bytes, c->arena, &opened, &why)) {
        return judge(c, VERIFY_ENTRIES, frame, &why);
    }
    shown->entry = opened;
    shown->commitment = entry_commitment(&r, bytes);
    *key = number_key(reading, shown->index);
    return true;
}

static bool take_withheld(struct check *c, const struct bundle_frame *frame, struct reading *reading,
                          struct bytes *key)
{
    ProtobufCMessage *message;
    if (!unpack(c, &chartmesh__v1__withheld_frame__descriptor, frame, &message)) {
        return false;
    }
    const Chartmesh__V1__WithheldFrame *withheld = (const void *)message;
    struct shown *shown = &c->shown[c->shown_len++];
    *shown =
        (struct shown){.frame = *frame, .index = withheld->at->index, .at = withheld->at, .withheld = withheld};
    c->report->withheld++;
    *key = number_key(reading, shown->index);
    return hash_from(bytes_pb(withheld->commitment), &shown->commitment) ||
           contradict(c, VERIFY_FILE, frame, "a commitment is not 32 bytes");
}

static bool take_map(struct check *c, const struct bundle_frame *frame)
{
    ProtobufCMessage *message;
    if (!unpack(c, &chartmesh__v1__map_frame__descriptor, frame, &message)) {
        return false;
    }
    c->map_frame = *frame;
    c->map = (const void *)message;
    return true;
}

static bool take_table(struct check *c, const struct bundle_frame *frame, struct bytes *key)
{
    ProtobufCMessage *message;
    if (!unpack(c, &chartmesh__v1__table_frame__descriptor, frame, &message)) {
        return false;
    }
    *key = bytes_str(((const Chartmesh__V1__TableFrame *)(const void *)message)->name);
    return true;
}

static bool take_older(struct check *c, const struct bundle_frame *frame, struct reading *reading,
                       struct bytes *key)
{
    ProtobufCMessage *message;
    if (!unpack(c, &chartmesh__v1__consistency_frame__descriptor, frame, &message)) {
        return false;
    }
    struct older *older = &c->older[c->older_len++];
    *older = (struct older){.frame = *frame, .message = (const void *)message};
    *key = number_key(reading, older->message->size);
    return true;
}

/* take_frame reads a frame by its type and says what it is sorted by. */
static bool take_frame(struct check *c, const struct bundle_frame *frame, struct reading *reading,
                       struct bytes *key)
{
    switch (frame->type) {
    case BUNDLE_QUERY:
        return take_statement(c, frame, &c->query);
    case BUNDLE_CHECKPOINT:
        c->note = *frame;
        return true;
    case BUNDLE_MAP:
        return take_map(c, frame);
    case BUNDLE_STATEMENT: {
        struct given *given = &c->given[c->given_len++];
        *given = (struct given){0};
        bool ok = take_statement(c, frame, given);
        *key = BYTES_OF(given->s.id);
        return ok;
    }
    case BUNDLE_TABLE:
        return take_table(c, frame, key);
    case BUNDLE_ENTRY:
        return take_entry(c, frame, reading, key);
    case BUNDLE_WITHHELD:
        return take_withheld(c, frame, reading, key);
    case BUNDLE_CONSISTENCY:
        return take_older(c, frame, reading, key);
    case BUNDLE_ANSWER:
        return take_statement(c, frame, &c->answer);
    }
    return contradict(c, VERIFY_FILE, frame, "an unknown type");
}

/* Room for as many of each as the file has frames. */
static bool make_room(struct check *c, size_t frames)
{
    void *given, *shown, *older;
    if (!arena_array(c->arena, frames, sizeof *c->given, &given, c->err) ||
        !arena_array(c->arena, frames, sizeof *c->shown, &shown, c->err) ||
        !arena_array(c->arena, frames, sizeof *c->older, &older, c->err)) {
        return false;
    }
    c->given = given;
    c->shown = shown;
    c->older = older;
    return true;
}

static bool count_frames(struct check *c, struct bytes file, size_t *out)
{
    struct bundle_reader reader;
    struct bundle_frame frame = {.offset = 0};
    struct err why;
    bool more = true;
    if (!bundle_read(file, &reader, &why)) {
        return judge(c, VERIFY_FILE, &frame, &why);
    }
    while (more) {
        if (!bundle_read_next(&reader, &frame, &more, &why)) {
            frame = (struct bundle_frame){.number = reader.frames, .offset = reader.length - reader.left.left.len};
            return judge(c, VERIFY_FILE, &frame, &why);
        }
    }
    *out = reader.frames;
    return true;
}

static bool read_frames(struct check *c, struct bytes file, struct reading *reading)
{
    struct bundle_reader reader;
    struct bundle_frame frame;
    struct err why;
    bool more, ok = bundle_read(file, &reader, &why);
    while (ok && bundle_read_next(&reader, &frame, &more, &why) && more) {
        struct bytes key = BYTES_NONE;
        if (!take_frame(c, &frame, reading, &key)) {
            return false;
        }
        if (!bundle_order(reading->last, reading->last_key, frame.type, key, &why)) {
            return judge(c, VERIFY_FILE, &frame, &why);
        }
        reading->last = frame.type;
        reading->last_key = key;
        if (frame.type != BUNDLE_ANSWER) {
            struct hash leaf = bundle_frame_leaf(frame.type, frame.body);
            merkle_edge_add(&reading->edge, &leaf, NULL, NULL);
        }
    }
    return ok;
}

static bool check_answer(struct check *c, const struct merkle_edge *edge)
{
    const struct bundle_frame *frame = &c->answer.frame;
    if (c->query.s.kind != STATEMENT_AUDIT_QUERY) {
        return contradict(c, VERIFY_FILE, &c->query.frame, "the first frame is not an audit query");
    }
    if (c->answer.s.kind != STATEMENT_AUDIT_ANSWER) {
        return contradict(c, VERIFY_FILE, frame, "the last frame is not an audit answer");
    }
    c->asked = (const void *)c->query.s.message;
    c->said = (const void *)c->answer.s.message;
    struct hash root = merkle_edge_root(edge);
    if (c->said->frames != edge->size || !bytes_equal(bytes_pb(c->said->frames_root), BYTES_OF(root))) {
        /* Which frame was changed, the checks that follow may say. */
        (void)contradict(c, VERIFY_FILE, frame, "the answer covers other frames than these");
    }
    if (!bytes_equal(bytes_pb(c->said->query), BYTES_OF(c->query.s.id))) {
        return contradict(c, VERIFY_FILE, frame, "the answer is to another query than frame 0");
    }
    if (c->options->query && !hash_equal(c->options->query, &c->query.s.id)) {
        return contradict(c, VERIFY_FILE, &c->query.frame,
                          "this answers another query than the one that was sent");
    }
    return true;
}

bool check_frames(struct check *c, struct bytes file)
{
    size_t frames;
    struct reading reading = {0};
    return count_frames(c, file, &frames) && make_room(c, frames) && read_frames(c, file, &reading) &&
           check_answer(c, &reading.edge);
}
