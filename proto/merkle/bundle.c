#include "proto/merkle/bundle.h"

#include "proto/crypto/hash.h"

const char *bundle_type_name(unsigned type)
{
    static const char *const names[] = {
        [BUNDLE_QUERY] = "query", [BUNDLE_CHECKPOINT] = "checkpoint",   [BUNDLE_MAP] = "map",
        [BUNDLE_ENTRY] = "entry", [BUNDLE_STATEMENT] = "statement",     [BUNDLE_WITHHELD] = "withheld",
        [BUNDLE_TABLE] = "table", [BUNDLE_CONSISTENCY] = "consistency", [BUNDLE_ANSWER] = "answer",
    };
    return type < COUNT(names) ? names[type] : NULL;
}

/* The place of a type in the file: 1 2 3 5* 7* (4|6)* 8* 255. */
static unsigned rank(unsigned type)
{
    switch (type) {
    case BUNDLE_QUERY:
        return 1;
    case BUNDLE_CHECKPOINT:
        return 2;
    case BUNDLE_MAP:
        return 3;
    case BUNDLE_STATEMENT:
        return 4;
    case BUNDLE_TABLE:
        return 5;
    case BUNDLE_ENTRY:
    case BUNDLE_WITHHELD:
        return 6;
    case BUNDLE_CONSISTENCY:
        return 7;
    case BUNDLE_ANSWER:
        return 8;
    default:
        return 0;
    }
}

/* The first three stand one after the other, and nothing after 3 stands without it; 255 ends the file. */
static bool type_follows(unsigned last, unsigned next)
{
    unsigned from = rank(last), to = rank(next);
    if (to == 0 || last == BUNDLE_ANSWER) {
        return false;
    }
    if (from < 3) {
        return to == from + 1;
    }
    return to > 3 && to >= from;
}

bool bundle_order(unsigned last, struct bytes last_key, unsigned next, struct bytes next_key, struct err *err)
{
    if (!type_follows(last, next)) {
        return err_raise(err, ERR_CORRUPT, "frame of type %u after one of type %u", next, last);
    }
    if (rank(last) == rank(next) && bytes_compare(last_key, next_key) >= 0) {
        return err_raise(err, ERR_CORRUPT, "%s frames are not in ascending order", bundle_type_name(next));
    }
    return true;
}

bool bundle_read(struct bytes file, struct bundle_reader *out, struct err *err)
{
    struct reader left = reader_of(file);
    if (!bytes_equal(read_bytes(&left, BUNDLE_MAGIC_LEN), BYTES_LIT(BUNDLE_MAGIC))) {
        return err_raise(err, ERR_CORRUPT, "not an evidence bundle");
    }
    *out = (struct bundle_reader){.left = left, .length = file.len};
    return true;
}

bool bundle_read_next(struct bundle_reader *reader, struct bundle_frame *out, bool *more, struct err *err)
{
    if (reader->left.left.len == 0) {
        *more = false;
        return reader->last == BUNDLE_ANSWER ||
               err_raise(err, ERR_CORRUPT, "the file ends without an answer frame");
    }
    struct bundle_frame frame = {.number = reader->frames, .offset = reader->length - reader->left.left.len};
    uint32_t len = read_u32be(&reader->left);
    unsigned type = read_u8(&reader->left);
    if (len > BUNDLE_BODY_MAX) {
        return err_raise(err, ERR_CORRUPT, "a frame of %u bytes", len);
    }
    frame.body = read_bytes(&reader->left, len);
    if (!reader->left.ok) {
        return err_raise(err, ERR_CORRUPT, "the file ends inside a frame");
    }
    if (!type_follows(reader->last, type)) {
        return err_raise(err, ERR_CORRUPT, "frame of type %u after one of type %u", type, reader->last);
    }
    frame.type = (enum bundle_type)type;
    reader->last = type;
    reader->frames++;
    *out = frame;
    *more = true;
    return true;
}

struct hash bundle_frame_leaf(enum bundle_type type, struct bytes body)
{
    uint8_t byte = (uint8_t)type;
    return HASH_PARTS(BYTES_LIT("\0"), BYTES(&byte, 1), body);
}

bool bundle_write_frame(struct bundle_writer *writer, enum bundle_type type, struct bytes body,
                        struct builder *out, struct err *err)
{
    if (!type_follows(writer->last, type)) {
        return err_raise(err, ERR_INVALID, "bundle: frame of type %u after one of type %u", type, writer->last);
    }
    if (body.len > BUNDLE_BODY_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "bundle: a frame of %zu bytes", body.len);
    }
    if (writer->last == 0) {
        build_bytes(out, BYTES_LIT(BUNDLE_MAGIC));
    }
    build_u32be(out, (uint32_t)body.len);
    build_u8(out, (uint8_t)type);
    build_bytes(out, body);
    if (!out->ok) {
        return err_raise(err, ERR_TOO_MUCH, "bundle: no room for a frame of %zu bytes", body.len);
    }
    struct hash leaf = bundle_frame_leaf(type, body);
    merkle_edge_add(&writer->edge, &leaf, NULL, NULL);
    writer->last = type;
    return true;
}

struct hash bundle_writer_root(const struct bundle_writer *writer, uint64_t *frames)
{
    *frames = writer->edge.size;
    return merkle_edge_root(&writer->edge);
}
