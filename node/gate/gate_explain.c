/* Explain: the decision for anybody, asked as a question of its own. */
#include "node/gate/gate_inside.h"

static bool explain_fill(struct gate *gate, const struct caller *caller, const struct subject *subject,
                         struct consent_state *state, const struct consent_decision *decision, struct arena *arena,
                         Chartmesh__V1__ExplainReply *out, struct err *err)
{
    void *memory;
    uint64_t index;
    char *reason;
    Chartmesh__V1__Decision *message;
    if (!consent_basis_message(decision, arena, &out->basis, &out->n_basis, err) ||
        !consent_reason(decision, arena, &reason, err) || !arena_alloc(arena, sizeof(char *), &memory, err) ||
        !decision_message(state, decision, 1, NULL, arena, &message, err)) {
        return false;
    }
    out->effect = (Chartmesh__V1__Effect)decision->effect;
    out->step = decision->step;
    out->reasons = memory;
    out->reasons[0] = reason;
    out->n_reasons = 1;
    const struct read_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ,
                                     .caller = caller,
                                     .subject = subject,
                                     .decision = message,
                                     .reason = "explain"};
    return log_read(gate, &entry, &index, err) && receipt_into(gate, caller, index, arena, &out->receipt, err);
}

static size_t first_head(const struct document_read *read)
{
    size_t i = 0;
    while (i + 1 < read->count && !read->versions[i].head) {
        i++;
    }
    return i;
}

bool gate_explain(struct gate *gate, const struct caller *caller, const Chartmesh__V1__ExplainRequest *request,
                  const struct subject *subject, struct arena *arena, Chartmesh__V1__ExplainReply *out,
                  struct err *err)
{
    struct id document, facility = *chart_facility(gate->chart);
    struct document_read read;
    struct consent_decision decision;
    if (!id_from(bytes_pb(request->document), &document) ||
        (request->facility.len && !id_from(bytes_pb(request->facility), &facility))) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FIELD_INVALID,
                               request->facility.len ? "facility" : "document", "must be 16 bytes");
    }
    if (!document_load(gate, subject, &document, arena, &read, err)) {
        return false;
    }
    if (read.count == 0 || !read.state.subject.own) {
        return refuse(gate, caller, read.state.subject.known ? subject : NULL, NULL, 0, NULL, "absent", err);
    }
    if (request->at) {
        read.state.lo_ms = read.state.hi_ms = request->at->ms;
    }
    size_t i = first_head(&read);
    struct consent_version facts = version_facts(read.versions, read.count, i, read.labels);
    struct consent_context context;
    consent_state_context(&read.state, &context);
    if (request->action == CHARTMESH__V1__ACTION__ACTION_DISCLOSE) {
        struct consent_disclosure disclosure;
        const struct consent_push push = {facility, read.state.lo_ms, read.state.hi_ms};
        if (!consent_disclose(&push, &facts, 1, &context, arena, &disclosure, err)) {
            return false;
        }
        decision = disclosure.answers[0];
    } else {
        struct consent_request asked = {
            .action = request->action == CHARTMESH__V1__ACTION__ACTION_SEARCH ? CONSENT_SEARCH : CONSENT_READ,
            .facility = facility,
            .user = request->user,
            .purpose = request->purpose,
            .lo_ms = read.state.lo_ms,
            .hi_ms = read.state.hi_ms};
        if (request->role) {
            asked.role = (struct consent_coding){request->role->system, request->role->code};
        }
        if (!consent_decide(&asked, &facts, &context, arena, &decision, err)) {
            return false;
        }
    }
    return explain_fill(gate, caller, subject, &read.state, &decision, arena, out, err);
}
