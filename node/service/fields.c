/* Arguments of requests, and what replies are made of. */
#include "node/service/service_inside.h"

#include <stdio.h>

#include "proto/consent/tables.h"

bool field_id(ProtobufCBinaryData in, const char *field, struct id *out, struct err *err)
{
    if (in.len == 0) {
        return err_raise_field(err, REASON(FIELD_MISSING), field, "%s: is needed", field);
    }
    return (id_from(bytes_pb(in), out) && !id_is_zero(out)) ||
           err_raise_field(err, REASON(FIELD_INVALID), field, "%s: must be 16 bytes, not all zero", field);
}

bool field_hash(ProtobufCBinaryData in, const char *field, struct hash *out, struct err *err)
{
    if (in.len == 0) {
        return err_raise_field(err, REASON(FIELD_MISSING), field, "%s: is needed", field);
    }
    return hash_from(bytes_pb(in), out) ||
           err_raise_field(err, REASON(FIELD_INVALID), field, "%s: must be 32 bytes", field);
}

bool field_text(const char *text, size_t max, const char *field, struct err *err)
{
    if (!*text) {
        return err_raise_field(err, REASON(FIELD_MISSING), field, "%s: is needed", field);
    }
    return strlen(text) <= max ||
           err_raise_field(err, REASON(FIELD_INVALID), field, "%s: at most %zu bytes", field, max);
}

bool field_coding(const Chartmesh__V1__Coding *coding, const char *field, struct err *err)
{
    if (!coding || !*coding->system || !*coding->code) {
        return err_raise_field(err, REASON(FIELD_MISSING), field, "%s: system and code are needed", field);
    }
    bool fits = strlen(coding->system) <= SERVICE_CODE_MAX && strlen(coding->code) <= SERVICE_CODE_MAX;
    return (fits && !strchr(coding->code, '|')) ||
           err_raise_field(err, REASON(FIELD_INVALID), field, "%s: at most %d bytes each, no | in a code", field,
                           SERVICE_CODE_MAX);
}

bool field_codings(Chartmesh__V1__Coding *const *list, size_t count, const char *field, struct err *err)
{
    if (count > SERVICE_CODINGS_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), field, "%s: at most %d", field, SERVICE_CODINGS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!field_coding(list[i], field, err)) {
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(list[i]->system, list[j]->system) == 0 && strcmp(list[i]->code, list[j]->code) == 0) {
                return err_raise_field(err, REASON(FIELD_INVALID), field, "%s: a code is there twice", field);
            }
        }
    }
    return true;
}

bool field_period(const Chartmesh__V1__Period *period, const char *field, struct err *err)
{
    if (!period) {
        return true;
    }
    bool ends = period->from || period->until;
    bool past = (period->from && period->from->ms < 0) || (period->until && period->until->ms < 0);
    bool turned = period->from && period->until && period->from->ms >= period->until->ms;
    return (ends && !past && !turned) ||
           err_raise_field(err, REASON(FIELD_INVALID), field,
                           "%s: needs an end, from before until, none before 1970", field);
}

bool field_labels(const Chartmesh__V1__Labels *labels, const char *field, struct err *err)
{
    if (!labels) {
        return true;
    }
    if (labels->confidentiality < CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_U ||
        labels->confidentiality > CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_V) {
        return err_raise_field(err, REASON(FIELD_INVALID), field, "%s: confidentiality is one of U L M N R V",
                               field);
    }
    for (size_t i = 0; i < labels->n_sensitivity; i++) {
        const Chartmesh__V1__Coding *coding = labels->sensitivity[i];
        const struct table_code *known = coding ? table_sensitivity_find(coding->system, coding->code) : NULL;
        if (!known || known->abstract) {
            return err_raise_field(err, REASON(FIELD_INVALID), field,
                                   "%s: a sensitivity that the code table does not have, or only as a heading",
                                   field);
        }
    }
    return field_codings(labels->sensitivity, labels->n_sensitivity, field, err);
}

bool field_import_key(const Chartmesh__V1__ImportKey *key, struct err *err)
{
    return !key || (field_text(key->system, SERVICE_CODE_MAX, "import_key.system", err) &&
                    field_text(key->id, SERVICE_CODE_MAX, "import_key.id", err));
}

bool field_page(uint32_t asked, uint32_t max, uint32_t absent, size_t *out, struct err *err)
{
    *out = asked ? asked : absent;
    return asked <= max ||
           err_raise_field(err, REASON(FIELD_INVALID), "page_size", "page_size: at most %u", (unsigned)max);
}

static bool among(const struct hash *list, size_t count, struct bytes id)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(BYTES_OF(list[i]), id)) {
            return true;
        }
    }
    return false;
}

bool field_heads(const ProtobufCBinaryData *if_heads, size_t count, const struct hash *heads, size_t heads_len,
                 struct err *err)
{
    if (count > SERVICE_HEADS_MAX) {
        return err_raise_field(err, REASON(TOO_LARGE), "if_heads", "if_heads: at most %d: merge some first",
                               SERVICE_HEADS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (if_heads[i].len != HASH_LEN) {
            return err_raise_field(err, REASON(FIELD_INVALID), "if_heads", "if_heads: version ids have 32 bytes");
        }
        for (size_t j = 0; j < i; j++) {
            if (bytes_equal(bytes_pb(if_heads[i]), bytes_pb(if_heads[j]))) {
                return err_raise_field(err, REASON(FIELD_INVALID), "if_heads", "if_heads: an id is there twice");
            }
        }
    }
    bool equal = count == heads_len;
    for (size_t i = 0; equal && i < count; i++) {
        equal = among(heads, heads_len, bytes_pb(if_heads[i]));
    }
    return equal || err_raise_reason(err, ERR_CONFLICT, REASON(STALE_HEADS),
                                     "if_heads: these are not the heads now: read again");
}

bool service_subject(const struct service_call *call, const Chartmesh__V1__Subject *in, const char *field,
                     struct subject *out, struct err *err)
{
    struct id facility = *chart_facility(call->service->chart), patient;
    char name[64];
    if (!in) {
        return err_raise_field(err, REASON(FIELD_MISSING), field, "%s: is needed", field);
    }
    snprintf(name, sizeof name, "%s.facility", field);
    if (in->facility.len && !field_id(in->facility, name, &facility, err)) {
        return false;
    }
    snprintf(name, sizeof name, "%s.patient", field);
    if (!field_id(in->patient, name, &patient, err)) {
        return false;
    }
    *out = subject_make(&facility, &patient);
    return true;
}

bool reply_bytes(const struct service_call *call, struct bytes view, ProtobufCBinaryData *out, struct err *err)
{
    struct bytes copy;
    if (!arena_copy(call->arena, view, &copy, err)) {
        return false;
    }
    *out = pb_bytes(copy);
    return true;
}

bool reply_subject(const struct service_call *call, const struct subject *subject, Chartmesh__V1__Subject **out,
                   struct err *err)
{
    void *memory;
    if (!arena_alloc(call->arena, sizeof(Chartmesh__V1__Subject), &memory, err)) {
        return false;
    }
    *out = memory;
    chartmesh__v1__subject__init(*out);
    return reply_bytes(call, BYTES_OF(subject->facility), &(*out)->facility, err) &&
           reply_bytes(call, BYTES_OF(subject->patient), &(*out)->patient, err);
}

bool reply_envelope(const struct service_call *call, struct bytes envelope, Chartmesh__V1__Envelope **out,
                    struct err *err)
{
    ProtobufCMessage *message;
    if (!message_unpack(&chartmesh__v1__envelope__descriptor, envelope, call->arena, &message, err)) {
        return err_wrap(err, "stored envelope");
    }
    *out = (Chartmesh__V1__Envelope *)(void *)message;
    return true;
}
