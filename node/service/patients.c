/* Patients: subjects, and their identity documents. */
#include <jansson.h>

#include "node/service/service_inside.h"
#include "proto/crypto/hash.h"

enum { IDENTIFIERS_MAX = 64 };

/* ---- The FHIR Patient -------------------------------------------------------------------------------------------------- */

static bool resource_wrong(struct err *err, const char *why)
{
    return err_raise_field(err, REASON(FIELD_INVALID), "resource", "resource: %s", why);
}

/* Patient.identifier: those with system and value. */
static bool identifiers_of(struct service_call *call, const json_t *patient, Chartmesh__V1__Coding **out,
                           size_t *count, struct err *err)
{
    const json_t *list = json_object_get(patient, "identifier");
    size_t total = json_array_size(list);
    void *memory;
    if (list && !json_is_array(list)) {
        return resource_wrong(err, "identifier must be a list");
    }
    if (total > IDENTIFIERS_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "resource", "resource: over %d identifiers",
                               IDENTIFIERS_MAX);
    }
    if (!arena_array(call->arena, total, sizeof **out, &memory, err)) {
        return false;
    }
    *out = memory;
    *count = 0;
    for (size_t i = 0; i < total; i++) {
        const json_t *one = json_array_get(list, i);
        const char *system = json_string_value(json_object_get(one, "system"));
        const char *value = json_string_value(json_object_get(one, "value"));
        if (!system || !value || !*system || !*value) {
            continue;
        }
        Chartmesh__V1__Coding *coding = &(*out)[(*count)++];
        chartmesh__v1__coding__init(coding);
        if (!arena_string(call->arena, bytes_str(system), &coding->system, err) ||
            !arena_string(call->arena, bytes_str(value), &coding->code, err)) {
            return false;
        }
    }
    return true;
}

static bool patient_read(struct service_call *call, ProtobufCBinaryData resource,
                         Chartmesh__V1__Coding **identifiers, size_t *count, struct err *err)
{
    json_error_t ignored;
    if (resource.len == 0) {
        return err_raise_field(err, REASON(FIELD_MISSING), "resource", "resource: a FHIR Patient is needed");
    }
    if (resource.len > SERVICE_INLINE_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "resource", "resource: at most %d bytes",
                               SERVICE_INLINE_MAX);
    }
    json_t *patient = json_loadb((const char *)resource.data, resource.len, JSON_REJECT_DUPLICATES, &ignored);
    if (!patient) {
        return resource_wrong(err, "not JSON");
    }
    const char *type = json_string_value(json_object_get(patient, "resourceType"));
    bool ok = (type && strcmp(type, "Patient") == 0) || resource_wrong(err, "not a FHIR Patient");
    ok = ok && identifiers_of(call, patient, identifiers, count, err);
    json_decref(patient);
    return ok;
}

/* ---- Register, Update --------------------------------------------------------------------------------------------------- */

static const Chartmesh__V1__Coding identity_class = {PROTOBUF_C_MESSAGE_INIT(&chartmesh__v1__coding__descriptor),
                                                     (char *)CHART_CLASS_SYSTEM, (char *)CHART_CLASS_IDENTITY};

static Chartmesh__V1__Facts identity_facts(const Chartmesh__V1__Labels *labels)
{
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    facts.media_type = (char *)(uintptr_t) "application/fhir+json";
    facts.class_ = (Chartmesh__V1__Coding *)(uintptr_t)&identity_class;
    facts.labels = (Chartmesh__V1__Labels *)(uintptr_t)labels;
    return facts;
}

/* The same source and the same bytes again: the subject that they made. */
static bool registered(struct service_call *call, const struct chart_import *import,
                       Chartmesh__V1__RegisterReply *out, struct err *err)
{
    out->unchanged = true;
    if (!reply_subject(call, &import->subject, &out->subject, err) ||
        !reply_bytes(call, BYTES_OF(import->document), &out->document, err) ||
        !reply_bytes(call, BYTES_OF(import->version), &out->version, err)) {
        return false;
    }
    return hash_is_zero(&call->retry) ||
           service_commit(call, log_txn_new(call->service->log), &out->base, &out->receipt, err);
}

static bool register_new(struct service_call *call, const Chartmesh__V1__RegisterRequest *request,
                         const struct hash *import, Chartmesh__V1__RegisterReply *out, struct err *err)
{
    const struct id patient = world_random_id(call->service->world);
    struct chart *chart = call->service->chart;
    struct write w = {.call = call,
                      .subject = subject_make(chart_facility(chart), &patient),
                      .document = world_random_id(call->service->world),
                      .kind = CHARTMESH__V1__KIND__KIND_CONTENT,
                      .complete = true,
                      .txn = log_txn_new(call->service->log),
                      .import_key = request->import_key,
                      .import_hash = *import};
    Chartmesh__V1__Facts facts = identity_facts(request->labels);
    Chartmesh__V1__Coding *identifiers;
    struct hash version;
    size_t count;
    bool ok = patient_read(call, request->resource, &identifiers, &count, err) &&
              write_content(&w, bytes_pb(request->resource), err) && write_version(&w, &facts, &version, err) &&
              chart_subject_add(chart, w.txn, &w.subject, &w.document, err) &&
              chart_identifiers_set(chart, w.txn, &w.subject, identifiers, count, err) &&
              reply_subject(call, &w.subject, &out->subject, err) &&
              reply_bytes(call, BYTES_OF(w.document), &out->document, err) &&
              reply_bytes(call, BYTES_OF(version), &out->version, err);
    struct log_txn *txn = w.txn;
    w.txn = ok ? NULL : txn;
    write_end(&w);
    return ok && service_commit(call, txn, &out->base, &out->receipt, err);
}

static bool register_import(struct service_call *call, const Chartmesh__V1__RegisterRequest *request,
                            Chartmesh__V1__RegisterReply *out, struct err *err)
{
    struct chart_import import;
    struct hash hash = import_hash_content(call, bytes_pb(request->resource));
    if (!chart_import_find(call->service->chart, request->import_key->system, request->import_key->id, &import,
                           err)) {
        return err->code == ERR_NOT_FOUND && register_new(call, request, &hash, out, err);
    }
    return hash_equal(&import.content, &hash)
               ? registered(call, &import, out, err)
               : err_raise_reason(err, ERR_EXISTS, REASON(ALREADY_EXISTS),
                                  "import_key: it has made a subject of another content: use Update");
}

/* A new subject is nobody's yet: no lock. One import key is one subject: whoever brings it again waits. */
static bool register_subject(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                             struct err *err)
{
    const Chartmesh__V1__RegisterRequest *request = (const void *)in;
    const struct hash no_import = {0};
    if (!field_labels(request->labels, "labels", err) || !field_import_key(request->import_key, err)) {
        return false;
    }
    if (!request->import_key) {
        return register_new(call, request, &no_import, (void *)reply, err);
    }
    struct hash key =
        HASH_PARTS(bytes_str(request->import_key->system), BYTES_LIT("|"), bytes_str(request->import_key->id));
    struct id stripe;
    memcpy(stripe.bytes, key.bytes, ID_LEN);
    chart_lock(call->service->chart, &stripe);
    bool ok = register_import(call, request, (void *)reply, err);
    chart_unlock(call->service->chart, &stripe);
    return ok;
}

static bool update_locked(struct write *w, const Chartmesh__V1__UpdateRequest *request,
                          Chartmesh__V1__UpdateReply *out, struct err *err)
{
    struct service_call *call = w->call;
    Chartmesh__V1__Facts facts = identity_facts(NULL);
    Chartmesh__V1__Coding *identifiers;
    struct hash version;
    size_t count;
    if (!patient_read(call, request->resource, &identifiers, &count, err) ||
        !write_on_heads(w, request->if_heads, request->n_if_heads, err) ||
        !write_content(w, bytes_pb(request->resource), err) || !write_version(w, &facts, &version, err) ||
        !chart_identifiers_set(call->service->chart, w->txn, &w->subject, identifiers, count, err) ||
        !reply_bytes(call, BYTES_OF(version), &out->version, err)) {
        return false;
    }
    struct log_txn *txn = w->txn;
    w->txn = NULL;
    return service_commit(call, txn, &out->base, &out->receipt, err);
}

static bool update(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__UpdateRequest *request = (const void *)in;
    struct chart *chart = call->service->chart;
    struct subject subject;
    struct chart_subject known;
    struct write w;
    if (!service_subject(call, request->subject, "subject", &subject, err)) {
        return false;
    }
    if (!id_equal(&subject.facility, chart_facility(chart))) {
        return err_raise_reason(err, ERR_STATE, REASON(NOT_ORIGIN), "identity: only its own facility changes it");
    }
    if (request->n_if_heads == 0) {
        return err_raise_field(err, REASON(FIELD_MISSING), "if_heads",
                               "if_heads: the identity's heads are needed");
    }
    chart_lock(chart, &subject.p);
    bool ok = chart_subject(chart, &subject, &known, err) && write_begin(call, &subject, &known.identity, &w, err);
    if (ok) {
        ok = update_locked(&w, request, (void *)reply, err);
        write_end(&w);
    }
    chart_unlock(chart, &subject.p);
    return ok;
}

/* ---- Get, Lookup, Incoming ------------------------------------------------------------------------------------------------ */

/* The identity as this caller may read it; a subject without one is absent as an unknown subject is. */
static bool identity_read(struct service_call *call, const struct chart_subject *known,
                          Chartmesh__V1__GetReply *out, struct err *err)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.document = pb_bytes(BYTES_OF(known->identity));
    return gate_get(call->service->gate, &call->caller, &request, &known->subject, call->arena, out, err);
}

static bool get(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__GetPatientRequest *request = (const void *)in;
    Chartmesh__V1__GetPatientReply *out = (void *)reply;
    Chartmesh__V1__GetReply read = CHARTMESH__V1__GET_REPLY__INIT;
    struct subject subject;
    struct chart_subject known;
    if (!service_subject(call, request->subject, "subject", &subject, err) ||
        !chart_subject(call->service->chart, &subject, &known, err) || !identity_read(call, &known, &read, err) ||
        !reply_subject(call, &subject, &out->subject, err)) {
        return false;
    }
    out->document = read.document;
    out->heads = read.heads;
    out->n_heads = read.n_heads;
    out->receipt = read.receipt;
    return true;
}

/* Nothing found answers as nothing that may be found. */
static bool found_none(struct service_call *call, struct err *err)
{
    return gate_absent(call->service->gate, &call->caller, "lookup", err) || err->code == ERR_NOT_FOUND;
}

static bool lookup(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply, struct err *err)
{
    const Chartmesh__V1__LookupRequest *request = (const void *)in;
    Chartmesh__V1__LookupReply *out = (void *)reply;
    struct chart *chart = call->service->chart;
    struct subject *found;
    struct chart_subject known;
    size_t count;
    void *memory, *room;
    if (!field_text(request->system, 2048, "system", err) || !field_text(request->value, 2048, "value", err) ||
        !service_listed(call, "Patients.Lookup", err) ||
        !chart_lookup(chart, request->system, request->value, call->arena, &found, &count, err) ||
        !arena_array(call->arena, count, sizeof *out->subjects, &memory, err)) {
        return false;
    }
    out->subjects = memory;
    for (size_t i = 0; i < count; i++) {
        bool visible;
        uint64_t index;
        if (!arena_alloc(call->arena, RECEIPT_LEN, &room, err) || !chart_subject(chart, &found[i], &known, err) ||
            !gate_found(call->service->gate, &call->caller, &found[i], &known.identity, call->arena, &visible,
                        &index, err)) {
            return false;
        }
        if (!visible) {
            continue;
        }
        if (!reply_subject(call, &found[i], &out->subjects[out->n_subjects++], err)) {
            return false;
        }
        gate_receipt(call->service->gate, &call->caller, index, room);
        out->receipt = pb_bytes(BYTES(room, RECEIPT_LEN));
    }
    return count || found_none(call, err);
}

static bool incoming_one(struct service_call *call, const struct chart_subject *known, struct log_txn *txn,
                         Chartmesh__V1__IncomingSubject **out, struct err *err)
{
    Chartmesh__V1__GetReply read = CHARTMESH__V1__GET_REPLY__INIT;
    struct id *documents;
    size_t count;
    void *memory, *instant;
    if (!arena_alloc(call->arena, sizeof **out, &memory, err) ||
        !arena_alloc(call->arena, sizeof(Chartmesh__V1__Instant), &instant, err)) {
        return false;
    }
    Chartmesh__V1__IncomingSubject *one = memory;
    chartmesh__v1__incoming_subject__init(one);
    one->since = instant;
    chartmesh__v1__instant__init(one->since);
    one->since->ms = (int64_t)hlc_ms(known->since_hlc);
    *out = one;
    if (!chart_documents(call->service->chart, &known->subject, NULL, UINT32_MAX, call->arena, &documents, &count,
                         err) ||
        !reply_subject(call, &known->subject, &one->subject, err)) {
        return false;
    }
    one->documents = (uint32_t)count;
    const struct trust *trust = chart_trust_take(call->service->chart);
    const struct member *origin = trust_member(trust, &known->subject.facility);
    bool named = !origin || arena_string(call->arena, bytes_str(origin->domain), &one->domain, err);
    chart_trust_give(call->service->chart);
    if (!named) {
        return false;
    }
    if (identity_read(call, known, &read, err)) {
        one->identity = read.n_heads ? read.heads[0] : NULL;
        return true;
    }
    return err->code == ERR_NOT_FOUND &&
           service_entry(call, txn, ENTRY(READ), &known->subject, NULL, 0, "incoming", err);
}

static bool incoming_page(struct service_call *call, const struct chart_subject *subjects, size_t count,
                          struct log_txn *txn, Chartmesh__V1__IncomingReply *out, struct err *err)
{
    void *memory;
    if (!arena_array(call->arena, count, sizeof *out->subjects, &memory, err) ||
        !service_entry(call, txn, ENTRY(READ), NULL, NULL, 0, "incoming", err)) {
        return false;
    }
    out->subjects = memory;
    for (size_t i = 0; i < count; i++) {
        if (!incoming_one(call, &subjects[i], txn, &out->subjects[i], err)) {
            return false;
        }
    }
    out->n_subjects = count;
    return true;
}

static bool incoming(struct service_call *call, const ProtobufCMessage *in, ProtobufCMessage *reply,
                     struct err *err)
{
    const Chartmesh__V1__IncomingRequest *request = (const void *)in;
    Chartmesh__V1__IncomingReply *out = (void *)reply;
    struct chart_subject *subjects;
    struct bytes state, token;
    struct id after, *from = NULL;
    size_t max, count;
    if (!config_lists(&call->service->config->match_roles, call->caller.role_text)) {
        return err_raise_reason(err, ERR_DENIED, REASON(NOT_PERMITTED),
                                "Patients.Incoming: not a role that may match");
    }
    if (!field_page(request->page_size, 100, 20, &max, err)) {
        return false;
    }
    if (request->page_token.len) {
        if (!service_token_open(call, "Patients.Incoming", BYTES_NONE, bytes_pb(request->page_token), "page_token",
                                &state, err)) {
            return false;
        }
        if (!id_from(state, &after)) {
            return err_raise(err, ERR_INTERNAL, "page token: a state of %zu bytes", state.len);
        }
        from = &after;
    }
    if (!chart_subjects(call->service->chart, false, from, max + 1, call->arena, &subjects, &count, err)) {
        return false;
    }
    bool more = count > max;
    count = MIN(count, max);
    struct log_txn *txn = log_txn_new(call->service->log);
    if (!incoming_page(call, subjects, count, txn, out, err)) {
        log_txn_free(txn);
        return false;
    }
    return service_commit(call, txn, NULL, &out->receipt, err) &&
           (!more || (service_token(call, "Patients.Incoming", BYTES_NONE, BYTES_OF(subjects[count - 1].subject.p),
                                    &token, err) &&
                      reply_bytes(call, token, &out->next_page_token, err)));
}

/* ---- The list --------------------------------------------------------------------------------------------------------------- */

#define PATIENTS(name_, in_, out_)                                                                                \
    .path = "/chartmesh.v1.Patients/" name_, .name = "Patients." name_, .shape = METHOD_UNARY,                    \
    .in = &chartmesh__v1__##in_##__descriptor, .out = &chartmesh__v1__##out_##__descriptor, .kinds = SERVICE_APP, \
    .needs_user = true

size_t patients_methods(const struct service_method **out)
{
    static const struct service_method methods[] = {
        {PATIENTS("Register", register_request, register_reply), .writes = true,
         .max_request = SERVICE_REQUEST_MAX, .unary = register_subject},
        {PATIENTS("Update", update_request, update_reply), .writes = true, .max_request = SERVICE_REQUEST_MAX,
         .unary = update},
        {PATIENTS("Get", get_patient_request, get_patient_reply), .max_request = SERVICE_SMALL_MAX, .unary = get},
        {PATIENTS("Lookup", lookup_request, lookup_reply), .max_request = SERVICE_SMALL_MAX, .unary = lookup},
        {PATIENTS("Incoming", incoming_request, incoming_reply), .max_request = SERVICE_SMALL_MAX,
         .unary = incoming},
    };
    *out = methods;
    return COUNT(methods);
}
