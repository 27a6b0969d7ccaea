/* Policies of own subjects. */
#include "node/chart/rows.h"

struct policy_list {
    struct chart *chart;
    struct arena *arena;
    struct chart_policy *items;
    size_t count, capacity;
};

static bool policy_row(void *context, struct bytes key, struct bytes value, bool *stop, struct err *err)
{
    struct policy_list *list = context;
    struct statement statement;
    struct hash id;
    (void)value;
    (void)stop;
    if (key.len != 1 + ID_LEN + HASH_LEN || !hash_from(BYTES(key.data + 1 + ID_LEN, HASH_LEN), &id)) {
        return err_raise(err, ERR_CORRUPT, "chart: a policy key of %zu bytes", key.len);
    }
    if (!arena_grow(list->arena, (void **)&list->items, list->count, &list->capacity, sizeof *list->items, err)) {
        return false;
    }
    struct chart_policy *item = &list->items[list->count];
    *item = (struct chart_policy){.id = id};
    if (!chart_statement(list->chart, &id, list->arena, &item->envelope, err) ||
        !statement_parse(item->envelope, list->arena, &statement, err)) {
        return err_wrap(err, "stored policy");
    }
    if (statement.kind != STATEMENT_POLICY) {
        return err_raise(err, ERR_CORRUPT, "chart: a policy row names another statement");
    }
    item->message = (const Chartmesh__V1__Policy *)statement.message;
    list->count++;
    return true;
}

static bool is_law(const Chartmesh__V1__Policy *policy)
{
    return policy->assertor->who == CHARTMESH__V1__WHO__WHO_LAW;
}

static void mark_heads(struct chart_policy *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Chartmesh__V1__Policy *u = items[i].message;
        items[i].head = true;
        for (size_t j = 0; j < count; j++) {
            const Chartmesh__V1__Policy *v = items[j].message;
            struct version_node node = {.context = (const Chartmesh__V1__Dot *const *)v->context,
                                        .context_len = v->n_context};
            struct version_node other = {.tag = u->dot->tag, .counter = u->dot->counter};
            if (i != j && is_law(u) == is_law(v) && version_supersedes(&node, &other)) {
                items[i].head = false;
            }
        }
    }
}

bool chart_policies(struct chart *chart, const struct subject *subject, struct arena *arena,
                    struct chart_policy **out, size_t *count, struct err *err)
{
    struct policy_list list = {.chart = chart, .arena = arena};
    struct chart_row prefix = ROW(LETTER("p"), BYTES_OF(subject->p));
    if (!chart_each(chart, FAMILY_INDEX, chart_row_view(&prefix), BYTES_NONE, policy_row, &list, err)) {
        return err_wrap(err, "policies");
    }
    mark_heads(list.items, list.count);
    *out = list.items;
    *count = list.count;
    return true;
}

bool chart_policy_add(struct chart *chart, struct log_txn *txn, const struct statement *policy,
                      struct generation *generation, struct err *err)
{
    const Chartmesh__V1__Policy *message = (const Chartmesh__V1__Policy *)policy->message;
    struct id facility, patient;
    if (!id_from(bytes_pb(message->subject->facility), &facility) ||
        !id_from(bytes_pb(message->subject->patient), &patient) || !id_equal(&facility, &chart->facility)) {
        return err_raise(err, ERR_INVALID, "policy: its subject is another facility's");
    }
    struct subject subject = subject_make(&facility, &patient);
    struct chart_row row = ROW(LETTER("p"), BYTES_OF(subject.p), BYTES_OF(policy->id));
    store_put(log_txn_rows(txn), FAMILY_INDEX, chart_row_view(&row), BYTES_LIT("1"));
    return chart_statement_put(chart, txn, &subject, policy, err) &&
           chart_generation_raise(chart, txn, &subject, generation, err);
}

bool chart_policy_dot(struct chart *chart, struct log_txn *txn, const struct subject *subject,
                      Chartmesh__V1__Dot *out, struct err *err)
{
    struct chart_row row = ROW(LETTER("q"), BYTES_OF(subject->p));
    return chart_draw_dot(chart, txn, FAMILY_INDEX, &row, out, err);
}
