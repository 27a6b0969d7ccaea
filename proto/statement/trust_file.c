#include <stdlib.h>

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/statement/trust.h"
#include "proto/statement/trust_state.h"

enum {
    FRAME_MAX = 16 << 20,        /* formats 7 */
    FRAME_STATEMENT = 5,
    FILE_MAX = 256 << 20,
    STATEMENTS_MAX = 1 << 20,
    NETWORKS_PARSED_MAX = 64 << 20,
};

static const struct bytes magic = BYTES_LIT("CMEVID1\n");

static bool malformed(const char *rule, struct err *err)
{
    return err_raise_reason(err, ERR_INVALID, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_MALFORMED,
                            "trust file: %s", rule);
}

/* The frames of a file, views into it: type 5 only. */
static bool read_frames(struct bytes file, struct arena *arena, struct bytes **out, size_t *count, struct err *err)
{
    struct reader r = reader_of(file), again;
    if (!bytes_equal(read_bytes(&r, magic.len), magic)) {
        return malformed("does not begin with CMEVID1", err);
    }
    again = r;
    size_t n = 0;
    for (; r.left.len; n++) {
        uint32_t len = read_u32be(&r);
        uint8_t type = read_u8(&r);
        read_bytes(&r, len);
        if (!r.ok || len > FRAME_MAX || type != FRAME_STATEMENT || n == STATEMENTS_MAX) {
            return malformed("a frame that is cut, too long or not a statement", err);
        }
    }
    void *room;
    if (!arena_array(arena, n, sizeof(struct bytes), &room, err)) {
        return false;
    }
    struct bytes *frames = room;
    for (size_t i = 0; i < n; i++) {
        uint32_t len = read_u32be(&again);
        read_u8(&again);
        frames[i] = read_bytes(&again, len);
    }
    *out = frames;
    *count = n;
    return true;
}

/* Frames stand by statement id, each once. */
static bool check_order(const struct bytes *frames, size_t count, struct err *err)
{
    struct hash before = {0};
    for (size_t i = 0; i < count; i++) {
        AUTO_ARENA(arena, NETWORKS_PARSED_MAX);
        struct statement s;
        if (!statement_parse(frames[i], &arena, &s, err)) {
            return err_wrap(err, "trust file");
        }
        if (i > 0 && memcmp(before.bytes, s.id.bytes, HASH_LEN) >= 0) {
            return malformed("statements not sorted by id, or one twice", err);
        }
        before = s.id;
    }
    return true;
}

bool trust_file(struct trust *trust, struct bytes file, struct err *err)
{
    AUTO_ARENA(arena, FILE_MAX);
    struct bytes *frames;
    size_t count;
    return read_frames(file, &arena, &frames, &count, err) && check_order(frames, count, err) &&
           trust_add(trust, frames, count, NULL, err);
}

bool trust_file_network(struct bytes file, struct hash *out, struct err *err)
{
    AUTO_ARENA(arena, FILE_MAX);
    struct bytes *frames;
    size_t count;
    if (!read_frames(file, &arena, &frames, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        AUTO_ARENA(one, NETWORKS_PARSED_MAX);
        struct statement s;
        if (!statement_parse(frames[i], &one, &s, err)) {
            return err_wrap(err, "trust file");
        }
        if (s.kind == STATEMENT_NETWORK &&
            ((const Chartmesh__V1__Network *)(const void *)s.message)->version == 1) {
            *out = s.id;
            return true;
        }
    }
    return err_raise(err, ERR_NOT_FOUND, "trust file: the first network statement is not in it");
}

/* -- writing */

/* What goes out. */
struct list {
    const struct held **items;
    size_t count;
};

static void add_networks_and_roster(const struct trust *trust, struct list *list)
{
    for (size_t i = 0; i < trust->count; i++) {
        if (trust->all[i]->s.kind == STATEMENT_NETWORK && trust->all[i]->verified) {
            list->items[list->count++] = trust->all[i];
        }
    }
    if (trust->view.roster) {
        list->items[list->count++] = trust->view.roster;
    }
}

static void add_chain(const struct trust *trust, const struct chain *chain, struct list *list)
{
    for (size_t i = 0; i < chain->count; i++) {
        list->items[list->count++] = table_get(&trust->by_id, &chain->members[i].statement);
    }
}

static bool list_new(const struct trust *trust, struct arena *arena, struct list *out, struct err *err)
{
    void *room;
    if (!arena_array(arena, trust->count, sizeof(struct held *), &room, err)) {
        return false;
    }
    *out = (struct list){room, 0};
    return true;
}

static int compare_held(const void *a, const void *b)
{
    const struct held *x = *(const struct held *const *)a, *y = *(const struct held *const *)b;
    return memcmp(x->s.id.bytes, y->s.id.bytes, HASH_LEN);
}

bool trust_write(const struct trust *trust, struct arena *arena, struct bytes *out, struct err *err)
{
    struct list list;
    if (!list_new(trust, arena, &list, err)) {
        return false;
    }
    add_networks_and_roster(trust, &list);
    for (size_t i = 0; i < trust->view.chain_count; i++) {
        add_chain(trust, &trust->view.chains[i], &list);
    }
    qsort(list.items, list.count, sizeof(struct held *), compare_held);
    AUTO_BUILDER(b, FILE_MAX);
    build_bytes(&b, magic);
    for (size_t i = 0; i < list.count; i++) {
        build_u32be(&b, (uint32_t)list.items[i]->s.envelope.len);
        build_u8(&b, FRAME_STATEMENT);
        build_bytes(&b, list.items[i]->s.envelope);
    }
    return builder_copy(&b, arena, out, err);
}

bool trust_reach(const struct trust *trust, const struct id *facility, struct arena *arena, struct bytes **out,
                 size_t *count, struct err *err)
{
    struct list list;
    struct hash name = facility_name(facility);
    const struct chain *chain = table_get(&trust->view.by_facility, &name);
    if (!chain) {
        return err_raise(err, ERR_NOT_FOUND, "trust: no membership of that facility");
    }
    void *room;
    if (!list_new(trust, arena, &list, err)) {
        return false;
    }
    add_networks_and_roster(trust, &list);
    add_chain(trust, chain, &list);
    if (!arena_array(arena, list.count, sizeof(struct bytes), &room, err)) {
        return false;
    }
    struct bytes *envelopes = room;
    for (size_t i = 0; i < list.count; i++) {
        envelopes[i] = list.items[i]->s.envelope;
    }
    *out = envelopes;
    *count = list.count;
    return true;
}
