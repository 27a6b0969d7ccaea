/* Lists: the documents of a subject that a caller may find. */
#include "node/gate/gate_inside.h"

enum { LIST_STEP = 64, LIST_DOCUMENT_ARENA = 8 << 20 };

static bool coding_in(Chartmesh__V1__Coding *const *list, size_t n, const Chartmesh__V1__Coding *coding)
{
    for (size_t i = 0; coding && i < n; i++) {
        if (strcmp(list[i]->system, coding->system) == 0 && strcmp(list[i]->code, coding->code) == 0) {
            return true;
        }
    }
    return false;
}

static bool overlaps(const Chartmesh__V1__Period *wanted, const Chartmesh__V1__Period *has)
{
    if (!has) {
        return false;
    }
    bool before = has->until && wanted->from && has->until->ms <= wanted->from->ms;
    bool after = has->from && wanted->until && has->from->ms >= wanted->until->ms;
    return !before && !after;
}

static bool matches(const Chartmesh__V1__ListRequest *request, const Chartmesh__V1__Version *version,
                    const Chartmesh__V1__Labels *labels)
{
    bool category = request->n_category == 0;
    for (size_t i = 0; !category && i < version->n_category; i++) {
        category = coding_in(request->category, request->n_category, version->category[i]);
    }
    return category &&
           (request->n_class_ == 0 || coding_in(request->class_, request->n_class_, version->class_)) &&
           (!request->clinical || overlaps(request->clinical, version->clinical)) &&
           (!request->confidentiality_max || labels->confidentiality <= request->confidentiality_max);
}

struct list_page {
    Chartmesh__V1__DocumentView **documents;
    size_t documents_len;
    struct hash *ids;
    struct consent_decision *decisions;
    size_t ids_len, ids_max;
};

/* The heads that match and that this caller may find. */
static bool list_read(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
                      const struct subject *subject, const struct id *document, struct arena *arena,
                      struct document_read *out, struct err *err)
{
    if (!document_load(gate, subject, document, arena, out, err)) {
        return false;
    }
    for (size_t i = 0; i < out->count; i++) {
        if (out->versions[i].head && matches(request, out->versions[i].message, out->labels) &&
            !document_decide(gate, out, caller, CONSENT_SEARCH, i, arena, err)) {
            return false;
        }
    }
    return true;
}

/* *fits is false, and nothing was added, when the page has no room for the document's heads. Looked at aside
 * first: the call's memory is for what goes out, however many documents do not. */
static bool list_document(struct gate *gate, const struct caller *caller,
                          const Chartmesh__V1__ListRequest *request, const struct subject *subject,
                          const struct id *document, struct list_page *page, struct consent_state *state,
                          bool *fits, struct arena *arena, struct err *err)
{
    AUTO_ARENA(aside, LIST_DOCUMENT_ARENA);
    struct document_read read;
    uint64_t extent = 0;
    void *memory;
    if (!list_read(gate, caller, request, subject, document, &aside, &read, err)) {
        return false;
    }
    if (read.permitted && !list_read(gate, caller, request, subject, document, arena, &read, err)) {
        return false;
    }
    *fits = page->ids_len + read.permitted <= page->ids_max;
    if (read.permitted == 0 || !*fits) {
        return true;
    }
    *state = read.state;
    if (!arena_alloc(arena, sizeof(Chartmesh__V1__DocumentView), &memory, err)) {
        return false;
    }
    Chartmesh__V1__DocumentView *view = memory;
    chartmesh__v1__document_view__init(view);
    view->n_heads = read.permitted;
    view->conflict = read.permitted > 1;
    view->effective_labels = read.labels;
    if (!views_of(gate, subject, &read, false, false, arena, &view->heads, &extent, err) ||
        !copy_pb(arena, BYTES_OF(*document), &view->document, err)) {
        return false;
    }
    memcpy(page->ids + page->ids_len, read.ids, read.permitted * sizeof *read.ids);
    memcpy(page->decisions + page->ids_len, read.decisions, read.permitted * sizeof *read.decisions);
    page->ids_len += read.permitted;
    page->documents[page->documents_len++] = view;
    return true;
}

/* Fills the page from document to document after *from; *more is false when there are no others. */
static bool list_fill(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
                      const struct subject *subject, struct list_page *page, size_t max,
                      struct consent_state *state, struct id *from, bool begun, bool *more, struct arena *arena,
                      struct err *err)
{
    for (*more = true; *more && page->documents_len < max; begun = true) {
        struct id *step;
        size_t count;
        if (!chart_documents(gate->chart, subject, begun ? from : NULL, LIST_STEP, arena, &step, &count, err)) {
            return false;
        }
        *more = count == LIST_STEP;
        for (size_t i = 0; i < count; i++) {
            bool fits = page->documents_len < max;
            if (fits && !list_document(gate, caller, request, subject, &step[i], page, state, &fits, arena, err)) {
                return false;
            }
            if (!fits) {
                *more = true;
                return true;
            }
            *from = step[i];
        }
    }
    return true;
}

/* Nothing to see looks the same whatever the reason: an empty page, and a record of the question, at the bounded
 * rate of what is absent; *index is UINT64_MAX when there is none. */
static bool list_log(struct gate *gate, const struct caller *caller, const struct subject *subject,
                     const struct list_page *page, const struct consent_state *state, struct arena *arena,
                     uint64_t *index, struct err *err)
{
    Chartmesh__V1__Decision *message = NULL;
    *index = UINT64_MAX;
    if (page->ids_len == 0 && !absent_allowed(gate)) {
        return true;
    }
    if (page->ids_len && !decision_message(state, page->decisions, page->ids_len, NULL, arena, &message, err)) {
        return false;
    }
    const struct read_entry entry = {
        .kind = page->ids_len ? CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ
                              : CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT,
        .caller = caller,
        .subject = state->subject.known ? subject : NULL,
        .objects = page->ids,
        .objects_len = page->ids_len,
        .decision = message,
        .reason = "list",
    };
    return log_read(gate, &entry, index, err);
}

bool gate_list(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ListRequest *request,
               const struct subject *subject, const struct id *after, size_t max, struct arena *arena,
               Chartmesh__V1__ListReply *out, bool *more, struct id *next, struct err *err)
{
    enum { HEADS_MAX = 4096 };
    struct list_page page = {.ids_max = HEADS_MAX};
    struct consent_state state;
    void *documents, *ids, *decisions;
    uint64_t index;
    if (!consent_state_load(gate, subject, arena, &state, err) ||
        !arena_array(arena, max, sizeof *page.documents, &documents, err) ||
        !arena_array(arena, HEADS_MAX, sizeof *page.ids, &ids, err) ||
        !arena_array(arena, HEADS_MAX, sizeof *page.decisions, &decisions, err)) {
        return false;
    }
    page.documents = documents;
    page.ids = ids;
    page.decisions = decisions;
    *next = after ? *after : (struct id){0};
    if (!list_fill(gate, caller, request, subject, &page, max, &state, next, after, more, arena, err) ||
        !list_log(gate, caller, subject, &page, &state, arena, &index, err)) {
        return false;
    }
    out->documents = page.documents;
    out->n_documents = page.documents_len;
    return index == UINT64_MAX || receipt_into(gate, caller, index, arena, &out->receipt, err);
}
