#include "client/cli/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client/setup/files.h"
#include "client/setup/network.h"
#include "proto/consent/tables.h"

enum { VERSION_MEMORY = 8 << 20 };

bool cli_connect(struct cli *cli, struct err *err)
{
    return chartmesh_open_profile(&cli->profile, cli->timeout_ms, &cli->client, err);
}

const struct trust *cli_trust_of(struct cli *cli)
{
    struct err why;
    if (!cli->trust && !cli->trust_asked && cli->profile.trust &&
        !trust_load(cli->profile.trust, &cli->trust, &why)) {
        cli_note("chartmesh: signatures are not checked: %s", why.text);
    }
    cli->trust_asked = true;
    return cli->trust;
}

/* -- what is typed */

static bool make(struct cli *cli, size_t size, void *out, struct err *err)
{
    void *room;
    if (!arena_alloc(&cli->arena, size, &room, err)) {
        return false;
    }
    memcpy(out, &room, sizeof room);
    return true;
}

bool cli_hex(struct cli *cli, const char *what, const char *text, size_t len, ProtobufCBinaryData *out,
             struct err *err)
{
    uint8_t *room;
    if (!make(cli, len, &room, err)) {
        return false;
    }
    if (!hex_decode(text, room, len, err)) {
        return cli_usage_error(cli, err, "%s: %zu hex digits", what, 2 * len);
    }
    *out = (ProtobufCBinaryData){.len = len, .data = room};
    return true;
}

bool cli_hexes(struct cli *cli, const char *what, const struct cli_list *texts, size_t len,
               ProtobufCBinaryData **out, size_t *count, struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, texts->count, sizeof **out, &room, err)) {
        return false;
    }
    ProtobufCBinaryData *list = room;
    for (size_t i = 0; i < texts->count; i++) {
        if (!cli_hex(cli, what, texts->items[i], len, &list[i], err)) {
            return false;
        }
    }
    *out = list;
    *count = texts->count;
    return true;
}

bool cli_facility(struct cli *cli, const char *text, struct id *out, struct err *err)
{
    if (strlen(text) == 2 * ID_LEN && hex_decode(text, out->bytes, ID_LEN, err)) {
        return true;
    }
    const struct trust *trust = cli_trust_of(cli);
    const struct member *member = trust ? trust_member_by_domain(trust, text) : NULL;
    if (!member) {
        return cli_usage_error(cli, err, "%s: neither 32 hex digits nor the domain of a member in %s", text,
                               cli->profile.trust ? cli->profile.trust : "a trust file (the profile names none)");
    }
    *out = member->facility;
    return true;
}

bool cli_subject(struct cli *cli, const char *text, Chartmesh__V1__Subject **out, struct err *err)
{
    Chartmesh__V1__Subject *subject;
    const char *slash = strrchr(text, '/'), *patient = slash ? slash + 1 : text;
    struct id facility;
    char *name;
    if (!make(cli, sizeof *subject, &subject, err)) {
        return false;
    }
    chartmesh__v1__subject__init(subject);
    if (slash) {
        uint8_t *room;
        if (!arena_string(&cli->arena, BYTES(text, (size_t)(slash - text)), &name, err) ||
            !cli_facility(cli, name, &facility, err) || !make(cli, ID_LEN, &room, err)) {
            return false;
        }
        memcpy(room, facility.bytes, ID_LEN);
        subject->facility = (ProtobufCBinaryData){.len = ID_LEN, .data = room};
    }
    *out = subject;
    return cli_hex(cli, "patient", patient, ID_LEN, &subject->patient, err) ||
           cli_usage_error(
               cli, err, "patient: 32 hex digits; DOMAIN/ID or FACILITYHEX/ID for another facility's, not '%.80s'",
               text);
}

bool cli_whole_subject(struct cli *cli, const char *text, Chartmesh__V1__Subject **out, struct err *err)
{
    if (!cli_subject(cli, text, out, err)) {
        return false;
    }
    if ((*out)->facility.len) {
        return true;
    }
    return cli->profile.facility ? cli_hex(cli, "facility", cli->profile.facility, ID_LEN, &(*out)->facility, err)
                                 : cli_usage_error(cli, err, "the profile does not name the facility");
}

static bool new_coding(struct cli *cli, struct bytes system, const char *code, Chartmesh__V1__Coding **out,
                       struct err *err)
{
    Chartmesh__V1__Coding *coding;
    if (!make(cli, sizeof *coding, &coding, err)) {
        return false;
    }
    chartmesh__v1__coding__init(coding);
    coding->code = (char *)(uintptr_t)code;
    *out = coding;
    return arena_string(&cli->arena, system, &coding->system, err);
}

bool cli_coding(struct cli *cli, const char *option, const char *text, Chartmesh__V1__Coding **out,
                struct err *err)
{
    const char *bar = strrchr(text, '|');
    if (!bar || bar == text || !bar[1]) {
        return cli_usage_error(cli, err, "%s is SYSTEM|CODE, like urn:chartmesh:class|patient", option);
    }
    return new_coding(cli, BYTES(text, (size_t)(bar - text)), bar + 1, out, err);
}

static bool new_codings(struct cli *cli, size_t count, Chartmesh__V1__Coding ***out, struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, count, sizeof(Chartmesh__V1__Coding *), &room, err)) {
        return false;
    }
    *out = room;
    return true;
}

bool cli_codings(struct cli *cli, const char *option, const struct cli_list *texts, Chartmesh__V1__Coding ***out,
                 size_t *count, struct err *err)
{
    if (!new_codings(cli, texts->count, out, err)) {
        return false;
    }
    for (size_t i = 0; i < texts->count; i++) {
        if (!cli_coding(cli, option, texts->items[i], &(*out)[i], err)) {
            return false;
        }
    }
    *count = texts->count;
    return true;
}

bool cli_sensitivities(struct cli *cli, const struct cli_list *codes, Chartmesh__V1__Coding ***out, size_t *count,
                       struct err *err)
{
    if (!new_codings(cli, codes->count, out, err)) {
        return false;
    }
    for (size_t i = 0; i < codes->count; i++) {
        if (!new_coding(cli, BYTES_LIT(TABLES_SENSITIVITY_SYSTEM), codes->items[i], &(*out)[i], err)) {
            return false;
        }
    }
    *count = codes->count;
    return true;
}

bool cli_confidentiality(struct cli *cli, const char *text, Chartmesh__V1__Confidentiality *out, struct err *err)
{
    static const char letters[] = "ULMNRV";
    const char *found = text[0] && !text[1] ? strchr(letters, text[0]) : NULL;
    if (!found) {
        return cli_usage_error(cli, err, "confidentiality is U, L, M, N, R or V");
    }
    *out = (Chartmesh__V1__Confidentiality)(found - letters + 1);
    return true;
}

/* `count` digits at text[at]; -1: something else stands there. */
static int digits(const char *text, size_t at, size_t count)
{
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        char c = text[at + i];
        if (c < '0' || c > '9') {
            return -1;
        }
        value = value * 10 + (c - '0');
    }
    return value;
}

static bool time_ms(const char *text, int64_t *out)
{
    size_t len = strlen(text);
    bool day_only = len == 10,
         whole = len == 20 && text[10] == 'T' && text[13] == ':' && text[16] == ':' && text[19] == 'Z';
    if ((!day_only && !whole) || text[4] != '-' || text[7] != '-') {
        return false;
    }
    struct tm tm = {
        .tm_year = digits(text, 0, 4) - 1900, .tm_mon = digits(text, 5, 2) - 1, .tm_mday = digits(text, 8, 2)};
    if (whole) {
        tm.tm_hour = digits(text, 11, 2);
        tm.tm_min = digits(text, 14, 2);
        tm.tm_sec = digits(text, 17, 2);
    }
    struct tm asked = tm;
    time_t seconds = timegm(&tm);
    bool same = tm.tm_mon == asked.tm_mon && tm.tm_mday == asked.tm_mday && tm.tm_hour == asked.tm_hour &&
                tm.tm_min == asked.tm_min && tm.tm_sec == asked.tm_sec;
    if (!same || seconds < 0) {
        return false;
    }
    *out = (int64_t)seconds * 1000;
    return true;
}

bool cli_time(struct cli *cli, const char *option, const char *text, Chartmesh__V1__Instant **out, struct err *err)
{
    Chartmesh__V1__Instant *instant;
    if (!make(cli, sizeof *instant, &instant, err)) {
        return false;
    }
    chartmesh__v1__instant__init(instant);
    if (!time_ms(text, &instant->ms)) {
        return cli_usage_error(cli, err, "%s is a time like 2024-05-06 or 2024-05-06T07:08:09Z (UTC)", option);
    }
    *out = instant;
    return true;
}

bool cli_period(struct cli *cli, const char *from, const char *until, Chartmesh__V1__Period **out, struct err *err)
{
    Chartmesh__V1__Period *period = NULL;
    if ((from || until) && !make(cli, sizeof *period, &period, err)) {
        return false;
    }
    if (period) {
        chartmesh__v1__period__init(period);
    }
    *out = period;
    return (!from || cli_time(cli, "--from", from, &period->from, err)) &&
           (!until || cli_time(cli, "--until", until, &period->until, err));
}

bool cli_heads(struct cli *cli, Chartmesh__V1__VersionView *const *views, size_t count, ProtobufCBinaryData **out,
               size_t *out_count, struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, count, sizeof **out, &room, err)) {
        return false;
    }
    ProtobufCBinaryData *heads = room;
    for (size_t i = 0; i < count; i++) {
        heads[i] = views[i]->version;
    }
    *out = heads;
    *out_count = count;
    return true;
}

/* -- what is shown */

json_t *json_pb(ProtobufCBinaryData field)
{
    return field.len ? json_hex(bytes_pb(field)) : NULL;
}

json_t *json_pbs(const ProtobufCBinaryData *fields, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_hex(bytes_pb(fields[i])));
    }
    return list;
}

json_t *json_ms(int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm)) {
        return json_integer(ms);
    }
    return ms % 1000 ? json_sprintf("%s.%03dZ", text, (int)(ms % 1000)) : json_sprintf("%sZ", text);
}

json_t *json_time(const Chartmesh__V1__Instant *at)
{
    return at ? json_ms(at->ms) : NULL;
}

json_t *json_text(const char *text)
{
    return text && text[0] ? json_string(text) : NULL;
}

json_t *json_coding(const Chartmesh__V1__Coding *coding)
{
    return coding ? json_sprintf("%s|%s", coding->system, coding->code) : NULL;
}

json_t *json_codings(Chartmesh__V1__Coding *const *codings, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_coding(codings[i]));
    }
    return list;
}

json_t *json_enum(const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(type, value);
    if (!found || value == 0) {
        return value ? json_integer(value) : NULL;
    }
    /* The names begin with their type's: CONFIDENTIALITY_N. The unspecified one ends in _UNSPECIFIED. */
    const char *none = protobuf_c_enum_descriptor_get_value(type, 0)->name;
    size_t prefix = strlen(none) - strlen("UNSPECIFIED");
    return json_string(found->name + prefix);
}

json_t *json_labels(const Chartmesh__V1__Labels *labels)
{
    if (!labels) {
        return NULL;
    }
    json_t *object = json_object();
    json_t *codes = json_array();
    for (size_t i = 0; i < labels->n_sensitivity; i++) {
        json_array_append_new(codes, json_string(labels->sensitivity[i]->code));
    }
    json_set(object, "confidentiality",
             json_enum(&chartmesh__v1__confidentiality__descriptor, (int)labels->confidentiality));
    json_set(object, "sensitivity", codes);
    return object;
}

json_t *json_facility(struct cli *cli, ProtobufCBinaryData facility)
{
    const struct trust *trust = cli_trust_of(cli);
    struct id id;
    const struct member *member = trust && id_from(bytes_pb(facility), &id) ? trust_member(trust, &id) : NULL;
    return member ? json_string(member->domain) : json_pb(facility);
}

json_t *json_subject(struct cli *cli, const Chartmesh__V1__Subject *subject)
{
    char own[2 * ID_LEN + 1], patient[2 * ID_LEN + 1];
    if (!subject || subject->facility.len > ID_LEN || subject->patient.len > ID_LEN) {
        return NULL;
    }
    bytes_hex(bytes_pb(subject->facility), own);
    bytes_hex(bytes_pb(subject->patient), patient);
    if (!subject->facility.len || (cli->profile.facility && strcmp(own, cli->profile.facility) == 0)) {
        return json_string(patient);
    }
    json_t *facility = json_facility(cli, subject->facility);
    json_t *text = json_sprintf("%s/%s", json_string_value(facility), patient);
    json_decref(facility);
    return text;
}

json_t *json_bytes(struct bytes content)
{
    char *text = malloc(4 * ((content.len + 2) / 3) + 1);
    json_t *value = text ? json_string(base64_encode(content, text)) : NULL;
    free(text);
    return value;
}

static void add_facts(struct cli *cli, json_t *one, const Chartmesh__V1__Version *v)
{
    json_set(one, "kind", json_enum(&chartmesh__v1__kind__descriptor, (int)v->kind));
    json_set(one, "class", json_coding(v->class_));
    json_set(one, "title", json_text(v->title));
    json_set(one, "media_type", json_text(v->media_type));
    json_set(one, "length", json_integer((json_int_t)v->length));
    json_set(one, "labels", json_labels(v->labels));
    json_set(one, "category", v->n_category ? json_codings(v->category, v->n_category) : NULL);
    json_set(one, "parents", json_pbs(v->parents, v->n_parents));
    json_set(one, "facility", json_facility(cli, v->head->facility));
    json_set(one, "author", json_text(v->author->user));
    json_set(one, "role", json_coding(v->author->role));
    json_set(one, "principal", json_text(v->author->principal));
    json_set(one, "written", json_ms((int64_t)(v->head->hlc >> 16)));
    json_set(one, "authored", json_time(v->authored));
    if (v->clinical) {
        json_set(one, "clinical_from", json_time(v->clinical->from));
        json_set(one, "clinical_until", json_time(v->clinical->until));
    }
}

bool json_version(struct cli *cli, const Chartmesh__V1__VersionView *view, bool with_content, json_t **out,
                  struct err *err)
{
    AUTO_ARENA(arena, VERSION_MEMORY);
    struct chartmesh_version version;
    if (!chartmesh_version_check(view, cli_trust_of(cli), &arena, &version, err)) {
        return false;
    }
    json_t *one = json_object();
    json_set(one, "version", json_hex(BYTES_OF(version.id)));
    add_facts(cli, one, version.message);
    json_set(one, "complete", json_boolean(view->complete));
    json_set(one, "retracted", json_boolean(view->retracted));
    json_set(one, "pending", json_boolean(view->pending));
    json_set(one, "disclosure", json_pb(view->disclosure));
    json_set(one, "signature", json_string(version.trusted ? "verified" : "unknown signer"));
    if (with_content && view->content.len) {
        json_set(one, "content", json_bytes(bytes_pb(view->content)));
    }
    *out = one;
    return true;
}

/* -- files */

static bool read_input(struct cli *cli, size_t max, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(all, max);
    uint8_t piece[16 << 10];
    for (ssize_t got; (got = read(STDIN_FILENO, piece, sizeof piece)) != 0;) {
        if (got < 0) {
            return err_raise(err, ERR_STATE, "standard input cannot be read");
        }
        build_bytes(&all, BYTES(piece, (size_t)got));
        if (!all.ok) {
            return err_raise(err, ERR_TOO_MUCH, "standard input is longer than %zu bytes: give a file", max);
        }
    }
    return builder_copy(&all, &cli->arena, out, err);
}

bool cli_input(struct cli *cli, const char *path, size_t max, struct bytes *out, struct err *err)
{
    return strcmp(path, "-") == 0 ? read_input(cli, max, out, err) : file_read(path, max, &cli->arena, out, err);
}

bool cli_output(const char *path, struct bytes content, struct err *err)
{
    if (strcmp(path, "-") != 0) {
        return file_create(path, content, 0600, err);
    }
    bool written = content.len == 0 || fwrite(content.data, 1, content.len, stdout) == content.len;
    return (written && fflush(stdout) == 0) || err_raise(err, ERR_STATE, "standard output cannot be written");
}
