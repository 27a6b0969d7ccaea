/* Events: what a watcher may see of a change. */
#include "node/gate/gate_inside.h"

static bool event_places(const struct feed_row *row, struct arena *arena, Chartmesh__V1__WatchEvent *out,
                         struct err *err)
{
    void *memory;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__Subject), &memory, err)) {
        return false;
    }
    out->subject = memory;
    chartmesh__v1__subject__init(out->subject);
    return copy_pb(arena, BYTES_OF(row->subject.facility), &out->subject->facility, err) &&
           copy_pb(arena, BYTES_OF(row->subject.patient), &out->subject->patient, err) &&
           (id_is_zero(&row->document) || copy_pb(arena, BYTES_OF(row->document), &out->document, err));
}

bool gate_event(struct gate *gate, const struct caller *caller, const struct feed_row *row, struct arena *arena,
                Chartmesh__V1__WatchEvent *out, bool *visible, struct err *err)
{
    struct document_read read;
    uint64_t extent = 0, index;
    Chartmesh__V1__VersionView **views;
    *visible = false;
    if (row->kind == FEED_REMOVED) {
        *visible = caller->role && consent_listed(&gate->matrix->config, caller->role->system, caller->role->code,
                                                  caller->purpose);
        out->kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_REMOVED;
        return event_places(row, arena, out, err);
    }
    if (!document_load(gate, &row->subject, &row->document, arena, &read, err)) {
        return false;
    }
    size_t heads = 0;
    for (size_t i = 0; i < read.count; i++) {
        heads += read.versions[i].head;
        if (hash_equal(&read.versions[i].id, &row->version) &&
            !document_decide(gate, &read, caller, CONSENT_READ, i, arena, err)) {
            return false;
        }
    }
    if (read.permitted == 0) {
        return true;
    }
    if (!views_of(gate, &row->subject, &read, false, false, arena, &views, &extent, err) ||
        !document_log(gate, caller, &row->subject, &read, 0, arena, &index, err)) {
        return false;
    }
    out->kind = CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION;
    out->version = views[0];
    out->conflict = heads > 1;
    *visible = true;
    return event_places(row, arena, out, err) && receipt_into(gate, caller, index, arena, &out->receipt, err);
}
