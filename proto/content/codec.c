/* The codec of a chunk: zstd frames, held to what formats 3 allows. */
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_getFrameHeader */
#include <zstd.h>

#include <stdatomic.h>

#include "proto/content/content.h"

enum { CODEC_PLAIN = 0, CODEC_ZSTD = 1, WINDOW_MAX = 128 << 10, LEVEL = 3 };

/* Contexts that nobody uses now. To make one costs more than to code a small chunk: zstd asks the processor what
 * it can, and in a virtual machine the answer is slow. */
enum { SPARES = 16 };
typedef _Atomic(void *) spare_type;
static spare_type coders[SPARES], decoders[SPARES];

static void *spare_take(spare_type *spares)
{
    void *context = NULL;
    for (size_t i = 0; !context && i < SPARES; i++) {
        context = atomic_exchange(&spares[i], NULL);
    }
    return context;
}

static bool spare_keep(spare_type *spares, void *context)
{
    bool kept = false;
    for (size_t i = 0; !kept && i < SPARES; i++) {
        void *none = NULL;
        kept = atomic_compare_exchange_strong(&spares[i], &none, context);
    }
    return kept;
}

/* compress writes a frame that is shorter than `plain` to `out`; 0 when there is none. */
static size_t compress(struct bytes plain, uint8_t *out)
{
    ZSTD_CCtx *context = spare_take(coders);
    if (!context && !(context = ZSTD_createCCtx())) {
        return 0;
    }
    ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1);
    size_t len = ZSTD_compress2(context, out, plain.len - 1, plain.data, plain.len);
    if (!spare_keep(coders, context)) {
        ZSTD_freeCCtx(context);
    }
    return ZSTD_isError(len) ? 0 : len;
}

bool chunk_code(struct bytes plain, struct arena *arena, struct bytes *out, struct err *err)
{
    if (plain.len == 0 || plain.len > CHUNK_LEN) {
        return err_raise(err, ERR_INVALID, "chunk: %zu bytes", plain.len);
    }
    void *memory;
    if (!arena_alloc(arena, plain.len + 1, &memory, err)) {
        return err_wrap(err, "chunk");
    }
    uint8_t *coded = memory;
    size_t len = compress(plain, coded + 1);
    coded[0] = len ? CODEC_ZSTD : CODEC_PLAIN;
    if (!len) {
        memcpy(coded + 1, plain.data, plain.len);
        len = plain.len;
    }
    *out = BYTES(coded, len + 1);
    return true;
}

static bool frame_fits(struct bytes frame, size_t plain_len, struct err *err)
{
    ZSTD_frameHeader header;
    if (ZSTD_getFrameHeader(&header, frame.data, frame.len) != 0 || header.frameType != ZSTD_frame) {
        return err_raise(err, ERR_CORRUPT, "chunk: not a zstd frame");
    }
    if (header.frameContentSize != plain_len) {
        return err_raise(err, ERR_CORRUPT, "chunk: the frame's content size is absent or not the chunk's");
    }
    if (header.windowSize > WINDOW_MAX || header.dictID != 0) {
        return err_raise(err, ERR_CORRUPT, "chunk: a window over 128 KiB, or a dictionary");
    }
    if (ZSTD_findFrameCompressedSize(frame.data, frame.len) != frame.len) {
        return err_raise(err, ERR_CORRUPT, "chunk: not exactly one whole zstd frame");
    }
    return true;
}

static bool decompress(struct bytes frame, size_t plain_len, struct arena *arena, struct bytes *out,
                       struct err *err)
{
    void *memory;
    if (!frame_fits(frame, plain_len, err) || !arena_alloc(arena, plain_len, &memory, err)) {
        return false;
    }
    ZSTD_DCtx *context = spare_take(decoders);
    if (!context && !(context = ZSTD_createDCtx())) {
        return err_raise(err, ERR_TOO_MUCH, "chunk: no memory for zstd");
    }
    size_t len = ZSTD_decompressDCtx(context, memory, plain_len, frame.data, frame.len);
    if (!spare_keep(decoders, context)) {
        ZSTD_freeDCtx(context);
    }
    if (len != plain_len) {
        return err_raise(err, ERR_CORRUPT, "chunk: the zstd frame does not decompress");
    }
    *out = BYTES(memory, plain_len);
    return true;
}

bool chunk_decode(struct bytes coded, size_t plain_len, struct arena *arena, struct bytes *out, struct err *err)
{
    if (coded.len == 0 || plain_len == 0 || plain_len > CHUNK_LEN) {
        return err_raise(err, ERR_CORRUPT, "chunk: %zu coded bytes for %zu", coded.len, plain_len);
    }
    struct bytes data = BYTES(coded.data + 1, coded.len - 1);
    switch (coded.data[0]) {
    case CODEC_PLAIN:
        if (data.len != plain_len) {
            return err_raise(err, ERR_CORRUPT, "chunk: %zu bytes, expected %zu", data.len, plain_len);
        }
        *out = data;
        return true;
    case CODEC_ZSTD:
        return decompress(data, plain_len, arena, out, err);
    default:
        return err_raise(err, ERR_CORRUPT, "chunk: codec %u", coded.data[0]);
    }
}
