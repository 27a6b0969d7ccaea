#include "node/store/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const FAMILY_NAME[FAMILY_COUNT] = {
    "meta", "key", "record", "chunk", "log", "map", "index", "stream", "statement",
};

const char *store_family_name(enum store_family family)
{
    return FAMILY_NAME[family];
}

const char *store_place(enum store_family family, struct bytes key, char out[STORE_PLACE_TEXT])
{
    enum { KEY_SHOWN = 24 };
    char hex[2 * KEY_SHOWN + 1];
    snprintf(out, STORE_PLACE_TEXT, "family %s at %s%s", FAMILY_NAME[family],
             bytes_hex(BYTES(key.data, MIN(key.len, KEY_SHOWN)), hex), key.len > KEY_SHOWN ? "..." : "");
    return out;
}

void *store_must_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) {
        abort();
    }
    return memory;
}

struct store_batch *store_batch_new(void)
{
    struct store_batch *batch = store_must_alloc(sizeof *batch);
    builder_init(&batch->rows, STORE_BATCH_MAX);
    return batch;
}

void store_batch_free(struct store_batch *batch)
{
    if (batch) {
        builder_done(&batch->rows);
        free(batch);
    }
}

void store_batch_reset(struct store_batch *batch)
{
    builder_reset(&batch->rows);
    batch->count = 0;
    batch->spoilt[0] = '\0';
}

PRINTF_LIKE(2, 3) static void spoil(struct store_batch *batch, const char *format, ...)
{
    if (!batch->spoilt[0]) {
        va_list args;
        va_start(args, format);
        vsnprintf(batch->spoilt, sizeof batch->spoilt, format, args);
        va_end(args);
    }
}

/* Checks before it writes, so that what is in the batch is always whole rows. */
static void add(struct store_batch *batch, enum store_family family, bool put, struct bytes key,
                struct bytes value)
{
    size_t room = STORE_BATCH_MAX - batch->rows.len;
    if ((unsigned)family >= FAMILY_COUNT) {
        spoil(batch, "no family %d", (int)family);
    } else if (key.len == 0 || key.len > STORE_KEY_MAX) {
        spoil(batch, "a key of %zu bytes in family %d", key.len, (int)family);
    } else if (value.len > STORE_VALUE_MAX) {
        spoil(batch, "a value of %zu bytes in family %d", value.len, (int)family);
    } else if (2 + 4 + key.len + 4 + value.len > room) {
        spoil(batch, "full at %zu rows, %zu bytes", batch->count, batch->rows.len);
    } else {
        build_u8(&batch->rows, (uint8_t)family);
        build_u8(&batch->rows, put);
        build_block(&batch->rows, key);
        if (put) {
            build_block(&batch->rows, value);
        }
        batch->count++;
    }
    if (!batch->rows.ok) {
        spoil(batch, "no memory at %zu rows, %zu bytes", batch->count, batch->rows.len);
    }
}

void store_put(struct store_batch *batch, enum store_family family, struct bytes key, struct bytes value)
{
    add(batch, family, true, key, value);
}

void store_delete(struct store_batch *batch, enum store_family family, struct bytes key)
{
    add(batch, family, false, key, BYTES_NONE);
}

void store_batch_append(struct store_batch *batch, const struct store_batch *from)
{
    if (from->spoilt[0]) {
        spoil(batch, "%s", from->spoilt);
    } else if (from->rows.len > STORE_BATCH_MAX - batch->rows.len) {
        spoil(batch, "full at %zu rows, %zu bytes", batch->count, batch->rows.len);
    } else {
        build_bytes(&batch->rows, builder_view(&from->rows));
        batch->count += from->count;
    }
    if (!batch->rows.ok) {
        spoil(batch, "no memory at %zu rows, %zu bytes", batch->count, batch->rows.len);
    }
}

size_t store_batch_rows(const struct store_batch *batch)
{
    return batch->count;
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->rows.len;
}

bool store_batch_check(const struct store_batch *batch, struct err *err)
{
    return !batch->spoilt[0] || err_raise(err, ERR_TOO_MUCH, "store batch: %s", batch->spoilt);
}

struct reader batch_rows(const struct store_batch *batch)
{
    return reader_of(builder_view(&batch->rows));
}

bool batch_next(struct reader *rows, struct batch_row *out)
{
    if (rows->left.len == 0) {
        return false;
    }
    *out = (struct batch_row){.family = read_u8(rows)};
    out->put = read_u8(rows);
    out->key = read_block(rows);
    out->value = out->put ? read_block(rows) : BYTES_NONE;
    return rows->ok;
}

static size_t copy_key(uint8_t *out, struct bytes key)
{
    if (key.len) {
        memcpy(out, key.data, key.len);
    }
    return key.len;
}

/* The first key behind all that begin with `prefix`; false if there is none (empty, or all 0xff). */
static bool prefix_end(struct bytes prefix, uint8_t *out, size_t *out_len)
{
    size_t len = copy_key(out, prefix);
    while (len && out[len - 1] == 0xff) {
        len--;
    }
    if (len) {
        out[len - 1]++;
    }
    *out_len = len;
    return len != 0;
}

bool span_bounds_of(const struct store_span *span, struct span_bounds *out, struct err *err)
{
    if (span->prefix.len > STORE_KEY_MAX || span->from.len > STORE_KEY_MAX || span->until.len > STORE_KEY_MAX) {
        return err_raise(err, ERR_INVALID, "store: a span's end is over %d bytes", STORE_KEY_MAX);
    }
    *out = (struct span_bounds){.backwards = span->backwards};
    bool from_later = bytes_compare(span->from, span->prefix) > 0;
    out->lower_len = copy_key(out->lower, from_later ? span->from : span->prefix);
    out->bounded = prefix_end(span->prefix, out->upper, &out->upper_len);
    if (span->until.len && (!out->bounded || bytes_compare(span->until, span_upper(out)) < 0)) {
        out->upper_len = copy_key(out->upper, span->until);
        out->bounded = true;
    }
    out->empty = out->bounded && bytes_compare(span_lower(out), span_upper(out)) >= 0;
    return true;
}
