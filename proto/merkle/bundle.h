/* proto/merkle/bundle.h - the file of an evidence bundle, frame by frame (formats 7).
 *
 *     "CMEVID1\n", then u32be length of body || u8 type || body, types in the order 1 2 3 5* 7* (4|6)* 8* 255
 *
 * Who makes a bundle and who checks it use the same order. What a body says is not looked at here, except where
 * the order of 4 and 6, 5, 7 and 8 depends on it: the caller gives each frame's sort key. */
#pragma once

#include "proto/base/builder.h"
#include "proto/base/bytes.h"
#include "proto/base/reader.h"
#include "proto/merkle/merkle.h"

#define BUNDLE_MAGIC "CMEVID1\n"
enum { BUNDLE_MAGIC_LEN = 8, BUNDLE_FRAME_HEAD = 5, BUNDLE_BODY_MAX = 16 << 20 };

enum bundle_type {
    BUNDLE_QUERY = 1,                     /* Envelope */
    BUNDLE_CHECKPOINT = 2,                /* note text with cosignatures */
    BUNDLE_MAP = 3,                       /* MapFrame */
    BUNDLE_ENTRY = 4,                     /* EntryFrame */
    BUNDLE_STATEMENT = 5,                 /* Envelope */
    BUNDLE_WITHHELD = 6,                  /* WithheldFrame */
    BUNDLE_TABLE = 7,                     /* TableFrame */
    BUNDLE_CONSISTENCY = 8,               /* ConsistencyFrame */
    BUNDLE_ANSWER = 255,                  /* Envelope */
};

/* bundle_type_name: "query", "checkpoint", … ; NULL for a type that no bundle has. */
const char *bundle_type_name(unsigned type);

struct bundle_frame {
    enum bundle_type type;
    struct bytes body;
    size_t number;                        /* 0, 1, … */
    size_t offset;                        /* of the frame in the file */
};

/* Reading. bundle_read begins (ERR_CORRUPT: no magic); bundle_read_next sets *out and *more, or *more = false at
 * the end of the file. ERR_CORRUPT: a frame that is cut or too long, an unknown type, a type out of its place,
 * a missing or repeated one of 1, 2, 3 and 255, bytes after 255. */
struct bundle_reader {
    struct reader left;
    size_t frames, length;
    unsigned last;                        /* type of the last frame; 0 at the start */
};
NODISCARD bool bundle_read(struct bytes file, struct bundle_reader *out, struct err *err);
NODISCARD bool bundle_read_next(struct bundle_reader *reader, struct bundle_frame *out, bool *more,
                                struct err *err);

/* bundle_order checks that `next` may follow `last` by type and, within a group, by ascending key: the statement
 * id of 5, the name of 7, u64be of the index of 4 and 6 and of the size of 8. Keys of other types are empty. */
NODISCARD bool bundle_order(unsigned last, struct bytes last_key, unsigned next, struct bytes next_key,
                            struct err *err);

/* Writing, as a stream: each call appends one frame to `out`, which the caller may send and reset at any time;
 * the first one begins with the magic. ERR_INVALID: the type is out of its place; ERR_TOO_MUCH: the body's limit
 * or the builder's room. The root covers the frames so far: what an answer signs as frames and frames_root. */
struct bundle_writer {
    struct merkle_edge edge;
    unsigned last;
};
NODISCARD bool bundle_write_frame(struct bundle_writer *writer, enum bundle_type type, struct bytes body,
                                  struct builder *out, struct err *err);
struct hash bundle_writer_root(const struct bundle_writer *writer, uint64_t *frames);

/* bundle_frame_leaf: RFC 6962 leaf hash of type || body. */
struct hash bundle_frame_leaf(enum bundle_type type, struct bytes body);
