/* The report for programs. */
#include <jansson.h>
#include <stdlib.h>

#include "client/verify/verify.h"

/* A text or null; texts that are not UTF-8 cannot be here: canonical form refuses them. */
static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

static json_t *claims_of(const struct verify_report *report)
{
    json_t *claims = json_array();
    for (int i = 0; i < VERIFY_CLAIMS; i++) {
        const struct verify_finding *finding = &report->claims[i];
        json_t *claim = json_pack("{s:s, s:s, s:o}", "claim", verify_claim_name((enum verify_claim)i), "state",
                                  verify_state_name(finding->state), "why", text_or_null(finding->text));
        if (finding->placed) {
            json_object_set_new(claim, "frame", json_integer((json_int_t)finding->frame));
            json_object_set_new(claim, "offset", json_integer((json_int_t)finding->offset));
        }
        json_array_append_new(claims, claim);
    }
    return claims;
}

static json_t *row_of(const struct verify_row *row)
{
    json_t *json = json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}",          /* */
                             "index", (json_int_t)row->index, "kind", row->kind,                 /* */
                             "principal", text_or_null(row->principal), "user", text_or_null(row->user), "role",
                             text_or_null(row->role), "purpose", text_or_null(row->purpose), "reason",
                             text_or_null(row->reason), "effect", text_or_null(row->effect), "counterpart",
                             text_or_null(row->counterpart), "what", text_or_null(row->what), "objects",
                             (json_int_t)row->objects);
    if (row->time_ms) {
        json_object_set_new(json, "time_ms", json_integer((json_int_t)row->time_ms));
    }
    if (row->effect) {
        json_object_set_new(json, "step", json_integer(row->step));
    }
    return json;
}

static json_t *witnesses_of(const struct verify_report *report)
{
    json_t *witnesses = json_array();
    for (size_t i = 0; i < report->witnesses_len; i++) {
        json_array_append_new(witnesses, json_pack("{s:s, s:I}", "name", report->witnesses[i].name, "time_s",
                                                   (json_int_t)report->witnesses[i].time_s));
    }
    return witnesses;
}

static json_t *crossings_of(const struct verify_report *report)
{
    char disclosure[2 * HASH_LEN + 1], version[2 * HASH_LEN + 1];
    json_t *crossings = json_array();
    for (size_t i = 0; i < report->crossings_len; i++) {
        const struct verify_crossing *one = &report->crossings[i];
        json_array_append_new(crossings, json_pack("{s:s, s:s, s:b, s:b}", "disclosure",
                                                   bytes_hex(BYTES_OF(one->disclosure), disclosure), "version",
                                                   bytes_hex(BYTES_OF(one->version), version), "sent",
                                                   (int)one->sent, "received", (int)one->received));
    }
    return crossings;
}

static json_t *report_of(const struct verify_report *report)
{
    char query[2 * HASH_LEN + 1], network[2 * HASH_LEN + 1];
    json_t *rows = json_array();
    for (size_t i = 0; i < report->rows_len; i++) {
        json_array_append_new(rows, row_of(&report->rows[i]));
    }
    json_t *json =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:I}", "verdict",
                  verify_state_name(report->verdict), "claims", claims_of(report), "origin",
                  text_or_null(report->origin), "facility", text_or_null(report->facility), "asked_by",
                  text_or_null(report->asker), "purpose", text_or_null(report->purpose), "about",
                  text_or_null(report->about), "query", bytes_hex(BYTES_OF(report->query), query), "network",
                  bytes_hex(BYTES_OF(report->network), network), "network_version",
                  (json_int_t)report->network_version, "roster_version", (json_int_t)report->roster_version);
    if (!json) {
        json_decref(rows);
        return NULL;
    }
    json_object_set_new(json, "size", json_integer((json_int_t)report->size));
    json_object_set_new(json, "map_epoch", json_integer((json_int_t)report->map_epoch));
    json_object_set_new(json, "map_time_ms", json_integer((json_int_t)report->map_time_ms));
    json_object_set_new(json, "count", json_integer((json_int_t)report->count));
    json_object_set_new(json, "withheld", json_integer((json_int_t)report->withheld));
    json_object_set_new(json, "decisions", json_integer((json_int_t)report->decisions));
    json_object_set_new(json, "recomputed", json_integer((json_int_t)report->recomputed));
    json_object_set_new(json, "witnesses", witnesses_of(report));
    json_object_set_new(json, "crossings", crossings_of(report));
    json_object_set_new(json, "others_refused", json_integer((json_int_t)report->others_refused));
    json_object_set_new(json, "entries", rows);
    return json;
}

bool verify_json(const struct verify_report *report, struct builder *out, struct err *err)
{
    json_t *json = report_of(report);
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) {
        return err_raise(err, ERR_INTERNAL, "the report cannot be written as JSON");
    }
    build_text(out, "%s\n", text);
    free(text);
    return out->ok || err_raise(err, ERR_TOO_MUCH, "the report is over %zu bytes", out->max);
}
