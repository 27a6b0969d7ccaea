/* Both sides of a disclosure log it under one id: what one of them does not tell of (design 6). */
#include <stdlib.h>

#include "client/verify/check.h"
#include "client/verify/words.h"

struct crossings {
    struct verify_crossing *list;
    size_t len;
};

static size_t objects_of(const struct check *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->shown_len; i++) {
        count += c->shown[i].entry ? c->shown[i].entry->n_objects : 0;
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    const struct verify_crossing *left = a, *right = b;
    int order = memcmp(left->disclosure.bytes, right->disclosure.bytes, HASH_LEN);
    return order ? order : memcmp(left->version.bytes, right->version.bytes, HASH_LEN);
}

/* The hand-overs that one bundle tells of, between its facility and the other one. */
static void collect(const struct check *c, struct bytes other, struct crossings *out)
{
    for (size_t i = 0; i < c->shown_len; i++) {
        const Chartmesh__V1__Entry *entry = c->shown[i].entry;
        bool sent = entry && entry->kind == ENTRY_KIND(DISCLOSE);
        bool received = entry && entry->kind == ENTRY_KIND(RECEIVE);
        if ((!sent && !received) || !bytes_equal(bytes_pb(entry->counterpart), other)) {
            continue;
        }
        for (size_t k = 0; k < entry->n_objects; k++) {
            struct verify_crossing *one = &out->list[out->len];
            *one = (struct verify_crossing){.sent = sent, .received = received};
            out->len += hash_from(bytes_pb(entry->disclosure), &one->disclosure) &&
                        hash_from(bytes_pb(entry->objects[k]), &one->version);
        }
    }
}

/* Told of twice is one: sorted, then joined. */
static void join(struct crossings *crossings)
{
    qsort(crossings->list, crossings->len, sizeof *crossings->list, compare);
    size_t len = 0;
    for (size_t i = 0; i < crossings->len; i++) {
        struct verify_crossing *one = &crossings->list[i];
        if (len > 0 && compare(&crossings->list[len - 1], one) == 0) {
            crossings->list[len - 1].sent |= one->sent;
            crossings->list[len - 1].received |= one->received;
        } else {
            crossings->list[len++] = *one;
        }
    }
    crossings->len = len;
}

/* Only a bundle that holds, about the same patient, is somebody's word. */
static bool is_other_side(const struct check *c, const struct check *other)
{
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        if (other->report->claims[i].state == VERIFY_CONTRADICTED) {
            return false;
        }
    }
    return c->reached[VERIFY_ENTRIES] && other->reached[VERIFY_ENTRIES] &&
           subject_equal(c->asked->subject, other->asked->subject) &&
           !bytes_equal(bytes_pb(c->asked->facility), bytes_pb(other->asked->facility));
}

static bool check_other(struct check *c, struct bytes file, const struct verify_options *options,
                        struct crossings *crossings)
{
    struct verify_report report = {0};
    struct check other = {.options = options, .arena = c->arena, .report = &report, .err = c->err};
    bool ok = verify_alone(&other, file);
    check_end(&other);
    if (!ok) {
        return err_wrap(c->err, "the other side's bundle");
    }
    if (!is_other_side(c, &other)) {
        c->report->others_refused++;
        return true;
    }
    void *room;
    size_t most = crossings->len + objects_of(c) + objects_of(&other);
    if (!arena_array(c->arena, most, sizeof *crossings->list, &room, c->err)) {
        return false;
    }
    if (crossings->len) {
        memcpy(room, crossings->list, crossings->len * sizeof *crossings->list);
    }
    crossings->list = room;
    collect(c, bytes_pb(other.asked->facility), crossings);
    collect(&other, bytes_pb(c->asked->facility), crossings);
    join(crossings);
    return true;
}

bool check_others(struct check *c)
{
    struct crossings crossings = {0};
    struct verify_options options = *c->options;
    options.query = NULL;
    options.earlier_len = options.others_len = 0;
    for (size_t i = 0; i < c->options->others_len; i++) {
        if (!check_other(c, c->options->others[i], &options, &crossings)) {
            return false;
        }
    }
    c->report->crossings = crossings.list;
    c->report->crossings_len = crossings.len;
    return true;
}
