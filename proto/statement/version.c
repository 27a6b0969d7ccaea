#include "proto/statement/version.h"

#include <stdlib.h>

#include "proto/crypto/hash.h"

enum { CONTEXT_MAX = 64 };

bool version_supersedes(const struct version_node *v, const struct version_node *u)
{
    for (size_t i = 0; i < v->context_len; i++) {
        if (v->context[i]->tag == u->tag) {
            return v->context[i]->counter >= u->counter;
        }
    }
    return false;
}

size_t version_heads(const struct version_node *versions, size_t count, bool *head)
{
    size_t heads = 0;
    for (size_t i = 0; i < count; i++) {
        head[i] = true;
        for (size_t j = 0; head[i] && j < count; j++) {
            head[i] = i == j || !version_supersedes(&versions[j], &versions[i]);
        }
        heads += head[i];
    }
    return heads;
}

static int compare_dots(const void *a, const void *b)
{
    const Chartmesh__V1__Dot *x = *(Chartmesh__V1__Dot *const *)a, *y = *(Chartmesh__V1__Dot *const *)b;
    if (x->tag != y->tag) {
        return x->tag < y->tag ? -1 : 1;
    }
    return (x->counter < y->counter) - (x->counter > y->counter);        /* the highest counter first */
}

/* Every dot of the parents' and their contexts, in one array. */
static bool gather(const struct version_node *parents, size_t count, struct arena *arena,
                   Chartmesh__V1__Dot ***out, size_t *out_len, struct err *err)
{
    size_t total = count, at = 0;
    for (size_t i = 0; i < count; i++) {
        total += parents[i].context_len;
    }
    void *pointers, *room;
    if (!arena_array(arena, total, sizeof(Chartmesh__V1__Dot *), &pointers, err) ||
        !arena_array(arena, total, sizeof(Chartmesh__V1__Dot), &room, err)) {
        return err_wrap(err, "context");
    }
    Chartmesh__V1__Dot **dots = pointers, *values = room;
    for (size_t i = 0; i < total; i++) {
        chartmesh__v1__dot__init(&values[i]);
        dots[i] = &values[i];
    }
    for (size_t i = 0; i < count; i++) {
        dots[at]->tag = parents[i].tag;
        dots[at++]->counter = parents[i].counter;
        for (size_t j = 0; j < parents[i].context_len; j++) {
            dots[at]->tag = parents[i].context[j]->tag;
            dots[at++]->counter = parents[i].context[j]->counter;
        }
    }
    *out = dots;
    *out_len = total;
    return true;
}

bool context_join(const struct version_node *parents, size_t count, struct arena *arena, Chartmesh__V1__Dot ***out,
                  size_t *out_len, struct err *err)
{
    Chartmesh__V1__Dot **dots;
    size_t total, kept = 0;
    if (!gather(parents, count, arena, &dots, &total, err)) {
        return false;
    }
    qsort(dots, total, sizeof *dots, compare_dots);
    for (size_t i = 0; i < total; i++) {
        if (kept == 0 || dots[kept - 1]->tag != dots[i]->tag) {
            dots[kept++] = dots[i];
        }
    }
    if (kept > CONTEXT_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "context: %zu tags, at most %d", kept, CONTEXT_MAX);
    }
    *out = dots;
    *out_len = kept;
    return true;
}

/* -- labels */

/* The order of a set of messages is that of their bytes. A Coding's are 0a LEN system 12 LEN code, and a length of
 * up to 256 is a varint of one byte, or of two from 128 on. */
static int compare_lengths(size_t a, size_t b)
{
    unsigned first_a = a < 128 ? (unsigned)a : (unsigned)(a & 127) | 128;
    unsigned first_b = b < 128 ? (unsigned)b : (unsigned)(b & 127) | 128;
    if (first_a != first_b) {
        return first_a < first_b ? -1 : 1;
    }
    return (a > b) - (a < b);
}

static int compare_texts(const char *a, const char *b)
{
    size_t len_a = strlen(a), len_b = strlen(b);
    int order = compare_lengths(len_a, len_b);
    return order ? order : memcmp(a, b, len_a);
}

static int compare_codings(const void *a, const void *b)
{
    const Chartmesh__V1__Coding *x = *(Chartmesh__V1__Coding *const *)a, *y = *(Chartmesh__V1__Coding *const *)b;
    int order = compare_texts(x->system, y->system);
    return order ? order : compare_texts(x->code, y->code);
}

static size_t append(Chartmesh__V1__Coding **codes, size_t at, const Chartmesh__V1__Labels *labels)
{
    for (size_t i = 0; labels && i < labels->n_sensitivity; i++) {
        codes[at++] = labels->sensitivity[i];
    }
    return at;
}

bool labels_join(const Chartmesh__V1__Labels *a, const Chartmesh__V1__Labels *b, struct arena *arena,
                 Chartmesh__V1__Labels **out, struct err *err)
{
    size_t most = (a ? a->n_sensitivity : 0) + (b ? b->n_sensitivity : 0), kept = 0;
    void *room, *list;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Labels), &room, err) ||
        !arena_array(arena, most, sizeof(Chartmesh__V1__Coding *), &list, err)) {
        return err_wrap(err, "labels");
    }
    Chartmesh__V1__Labels *labels = room;
    Chartmesh__V1__Coding **codes = list;
    append(codes, append(codes, 0, a), b);
    qsort(codes, most, sizeof *codes, compare_codings);
    for (size_t i = 0; i < most; i++) {
        if (kept == 0 || compare_codings(&codes[kept - 1], &codes[i]) != 0) {
            codes[kept++] = codes[i];
        }
    }
    chartmesh__v1__labels__init(labels);
    labels->confidentiality = MAX(a ? a->confidentiality : 0, b ? b->confidentiality : 0);
    labels->n_sensitivity = kept;
    labels->sensitivity = codes;
    *out = labels;
    return true;
}

static bool has_code(const Chartmesh__V1__Labels *labels, const Chartmesh__V1__Coding *code)
{
    for (size_t i = 0; labels && i < labels->n_sensitivity; i++) {
        if (compare_codings(&labels->sensitivity[i], &code) == 0) {
            return true;
        }
    }
    return false;
}

bool labels_below(const Chartmesh__V1__Labels *a, const Chartmesh__V1__Labels *b)
{
    bool below = (a ? a->confidentiality : 0) < (b ? b->confidentiality : 0);
    for (size_t i = 0; !below && b && i < b->n_sensitivity; i++) {
        below = !has_code(a, b->sensitivity[i]);
    }
    return below;
}

struct id subject_p(const struct id *facility, const struct id *patient)
{
    struct hash hash = HASH_PARTS(BYTES_LIT("chartmesh subject v1\n"), BYTES_OF(*facility), BYTES_OF(*patient));
    struct id p;
    memcpy(p.bytes, hash.bytes, ID_LEN);
    return p;
}
