/* Lists: the documents of a subject that a caller may find. */
#include "node/gate/gate_inside.h"

enum { LIST_STEP = 64, LIST_STEP_ARENA = 64 << 10, LIST_DOCUMENT_ARENA = 8 << 20 };

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
    const struct caller *caller;
    const Chartmesh__V1__ListRequest *request;
    const struct consent_state *state;
    struct arena *arena;                 /* for what goes out */
    Chartmesh__V1__DocumentView **documents;
    size_t documents_len, documents_max;
    struct granted granted;
};

/* The heads that match and that this caller may find. Their labels are those of now, whatever time is asked for.
 */
static bool list_read(struct gate *gate, const struct list_page *page, const struct id *document,
                      struct arena *arena, struct document_read *out, struct err *err)
{
    const Chartmesh__V1__ListRequest *request = page->request;
    if (!document_load_in(gate, page->state, document, arena, out, err) ||
        (request->as_of &&
         !chart_heads_as_of(gate->chart, out->versions, out->count, (uint64_t)request->as_of->ms, arena, err))) {
        return false;
    }
    for (size_t i = 0; i < out->count; i++) {
        if (out->versions[i].head && matches(request, out->versions[i].message, out->labels) &&
            !document_decide(gate, out, page->caller, CONSENT_SEARCH, i, arena, err)) {
            return false;
        }
    }
    return true;
}

/* *fits is false, and nothing was added, when the page has no room for the document's heads. Looked at aside: the
 * call's memory is for what goes out, however many documents do not. */
static bool list_document(struct gate *gate, struct list_page *page, const struct id *document, bool *fits,
                          struct err *err)
{
    AUTO_ARENA(aside, LIST_DOCUMENT_ARENA);
    struct document_read read;
    Chartmesh__V1__DocumentView *view;
    uint64_t extent = 0;
    *fits = true;
    if (!list_read(gate, page, document, &aside, &read, err)) {
        return false;
    }
    if (read.permitted == 0) {
        return true;
    }
    if (!granted_add(&page->granted, &read, fits, page->arena, err) || !*fits) {
        return !*fits;
    }
    if (!view_document(gate, &page->state->subject.subject, document, &read, false, false, page->arena, &view,
                       &extent, err)) {
        return false;
    }
    view->conflict = read.permitted > 1;
    page->documents[page->documents_len++] = view;
    return true;
}

/* Fills the page from document to document after *from; *more is false when there are no others. */
static bool list_fill(struct gate *gate, struct list_page *page, struct id *from, bool begun, bool *more,
                      struct err *err)
{
    for (*more = true; *more && page->documents_len < page->documents_max; begun = true) {
        AUTO_ARENA(aside, LIST_STEP_ARENA);
        struct id *step;
        size_t count;
        if (!chart_documents(gate->chart, &page->state->subject.subject, begun ? from : NULL, LIST_STEP, &aside,
                             &step, &count, err)) {
            return false;
        }
        *more = count == LIST_STEP;
        for (size_t i = 0; i < count; i++) {
            bool fits = page->documents_len < page->documents_max;
            if (fits && !list_document(gate, page, &step[i], &fits, err)) {
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
static bool list_log(struct gate *gate, const struct list_page *page, uint64_t *index, struct err *err)
{
    Chartmesh__V1__Decision *message = NULL;
    const struct granted *granted = &page->granted;
    *index = UINT64_MAX;
    if (granted->len == 0 && !absent_allowed(gate)) {
        return true;
    }
    if (granted->len &&
        !decision_message(page->state, granted->decisions, granted->len, NULL, page->arena, &message, err)) {
        return false;
    }
    const struct read_entry entry = {
        .kind = granted->len ? CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ
                             : CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_ABSENT,
        .caller = page->caller,
        .subject = page->state->subject.known ? &page->state->subject.subject : NULL,
        .objects = granted->ids,
        .objects_len = granted->len,
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
    struct consent_state state;
    struct list_page page = {
        .caller = caller, .request = request, .state = &state, .arena = arena, .documents_max = max};
    void *documents;
    uint64_t index;
    if (!consent_state_load(gate, subject, arena, &state, err) ||
        !arena_array(arena, max, sizeof *page.documents, &documents, err) ||
        !granted_room(&page.granted, HEADS_MAX, arena, err)) {
        return false;
    }
    page.documents = documents;
    *next = after ? *after : (struct id){0};
    if (!list_fill(gate, &page, next, after, more, err) || !list_log(gate, &page, &index, err)) {
        return false;
    }
    out->documents = page.documents;
    out->n_documents = page.documents_len;
    return index == UINT64_MAX || receipt_into(gate, caller, index, arena, &out->receipt, err);
}
