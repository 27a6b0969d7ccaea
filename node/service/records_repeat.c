/* Retract and Relabel: a head said again, with its content, as entered in error or under other labels. */
#include "node/service/service_inside.h"

/* What the repeated version said of itself stays: its place among the others must not move. */
static Chartmesh__V1__Facts facts_of(const Chartmesh__V1__Version *version)
{
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    facts.media_type = version->media_type;
    facts.class_ = version->class_;
    facts.category = version->category;
    facts.n_category = version->n_category;
    facts.labels = version->labels;
    facts.authored = version->authored;
    facts.clinical = version->clinical;
    facts.title = version->title;
    return facts;
}

static bool is_own(const struct write *w)
{
    return id_equal(&w->subject.facility, chart_facility(w->call->service->chart));
}

/* What a request to repeat a head names: all heads as they were read, and which of them is meant. */
struct repeat {
    const Chartmesh__V1__Subject *subject;
    ProtobufCBinaryData document, version;
    const ProtobufCBinaryData *if_heads;
    size_t n_if_heads;
    bool (*locked)(struct write *w, const ProtobufCMessage *request, const struct chart_version *head,
                   Chartmesh__V1__PutReply *out, struct err *err);
};

static bool repeat_locked(struct write *w, const struct repeat *repeat, const ProtobufCMessage *request,
                          Chartmesh__V1__PutReply *out, struct err *err)
{
    struct write checked = *w;
    if (!write_on_heads(&checked, repeat->if_heads, repeat->n_if_heads, err) ||
        !write_on(w, &repeat->version, 1, "version", err)) {
        return false;
    }
    const struct chart_version *head = w->parents[0];
    if (head->message->kind == CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR) {
        return err_raise_field(err, REASON(FIELD_INVALID), "version", "version: it is a retraction itself");
    }
    return write_content_of(w, head, err) && repeat->locked(w, request, head, out, err);
}

static bool repeat_head(struct service_call *call, const struct repeat *repeat, const ProtobufCMessage *request,
                        Chartmesh__V1__PutReply *out, struct err *err)
{
    struct subject subject;
    struct id document;
    struct hash version;
    struct write w;
    if (!service_subject(call, repeat->subject, "subject", &subject, err) ||
        !field_id(repeat->document, "document", &document, err) ||
        !field_hash(repeat->version, "version", &version, err)) {
        return false;
    }
    if (repeat->n_if_heads == 0) {
        return err_raise_field(err, REASON(FIELD_MISSING), "if_heads", "if_heads: the heads as read are needed");
    }
    chart_lock(call->service->chart, &subject.p);
    bool ok = write_begin(call, &subject, &document, &w, err);
    if (ok) {
        ok = repeat_locked(&w, repeat, request, out, err);
        write_end(&w);
    }
    chart_unlock(call->service->chart, &subject.p);
    return ok;
}

/* ---- Retract ------------------------------------------------------------------------------------------------- */

static bool retract_locked(struct write *w, const ProtobufCMessage *request, const struct chart_version *wrong,
                           Chartmesh__V1__PutReply *out, struct err *err)
{
    Chartmesh__V1__Facts facts = facts_of(wrong->message);
    struct hash version;
    (void)request;
    w->kind = CHARTMESH__V1__KIND__KIND_ENTERED_IN_ERROR;
    if (!write_version(w, &facts, &version, err)) {
        return false;
    }
    if (is_own(w) && !gate_retraction(w->call->service->gate, w->txn, &w->subject, &w->document, &wrong->id, 1,
                                      CHARTMESH__V1__NOTICE_KIND__NOTICE_KIND_RETRACTED,
                                      CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_UNSPECIFIED, err)) {
        return false;
    }
    return write_done(w, &version, out, err);
}

bool records_retract(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err)
{
    const Chartmesh__V1__RetractRequest *request = (const void *)in;
    const struct repeat repeat = {request->subject,  request->document,   request->version,
                                  request->if_heads, request->n_if_heads, retract_locked};
    return repeat_head(call, &repeat, in, (void *)reply, err);
}

/* ---- Relabel ------------------------------------------------------------------------------------------------- */

/* Labels may go down here, and only here: what is said about who may read is the origin's to say. The generation
 * rises, so that what is on its way to somebody is decided again. */
static bool relabel_locked(struct write *w, const ProtobufCMessage *in, const struct chart_version *head,
                           Chartmesh__V1__PutReply *out, struct err *err)
{
    const Chartmesh__V1__RelabelRequest *request = (const void *)in;
    Chartmesh__V1__Facts facts = facts_of(head->message);
    struct generation generation;
    struct hash version;
    if (!labels_below(request->labels, head->message->labels) &&
        !labels_below(head->message->labels, request->labels)) {
        return err_raise_field(err, REASON(FIELD_INVALID), "labels", "labels: it has these already");
    }
    facts.labels = request->labels;
    w->kind = CHARTMESH__V1__KIND__KIND_RELABEL;
    return chart_generation_raise(w->call->service->chart, w->txn, &w->subject, &generation, err) &&
           write_version(w, &facts, &version, err) && write_done(w, &version, out, err);
}

bool records_relabel(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err)
{
    const Chartmesh__V1__RelabelRequest *request = (const void *)in;
    const struct repeat repeat = {request->subject,  request->document,   request->version,
                                  request->if_heads, request->n_if_heads, relabel_locked};
    struct subject subject;
    if (!service_subject(call, request->subject, "subject", &subject, err)) {
        return false;
    }
    if (!request->labels) {
        return err_raise_field(err, REASON(FIELD_MISSING), "labels",
                               "labels: the new ones are needed, all of them");
    }
    if (!id_equal(&subject.facility, chart_facility(call->service->chart))) {
        return err_raise_reason(err, ERR_STATE, REASON(NOT_ORIGIN),
                                "labels: only the subject's own facility changes them");
    }
    return field_labels(request->labels, "labels", err) && repeat_head(call, &repeat, in, (void *)reply, err);
}
