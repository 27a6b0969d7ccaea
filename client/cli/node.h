/* client/cli/node.h - for commands that talk to a node: connecting, and what people type and read as messages. */
#pragma once

#include "client/chartmesh.h"
#include "client/cli/cli.h"

/* cli_connect opens cli->client from the profile; main closes it. cli_trust_of returns the profile's trust, read
 * once; NULL (said once on standard error): there is none, and signatures cannot be checked. */
NODISCARD bool cli_connect(struct cli *cli, struct err *err);
const struct trust *cli_trust_of(struct cli *cli);

/* What is typed. Everything made lives in the command's arena; what cannot be is exit 2.
 *
 *   subject    PATIENT, 32 hex digits: an own patient; FACILITY/PATIENT: another facility's
 *   facility   32 hex digits, or the domain of a listed member
 *   coding     SYSTEM|CODE
 *   time       2024-05-06 (UTC midnight), or 2024-05-06T07:08:09Z */
NODISCARD bool cli_subject(struct cli *cli, const char *text, Chartmesh__V1__Subject **out, struct err *err);
/* cli_whole_subject also names the own facility, where a signed statement needs it. */
NODISCARD bool cli_whole_subject(struct cli *cli, const char *text, Chartmesh__V1__Subject **out, struct err *err);
NODISCARD bool cli_facility(struct cli *cli, const char *text, struct id *out, struct err *err);
NODISCARD bool cli_coding(struct cli *cli, const char *option, const char *text, Chartmesh__V1__Coding **out,
                          struct err *err);
NODISCARD bool cli_codings(struct cli *cli, const char *option, const struct cli_list *texts,
                           Chartmesh__V1__Coding ***out, size_t *count, struct err *err);
NODISCARD bool cli_sensitivities(struct cli *cli, const struct cli_list *codes, Chartmesh__V1__Coding ***out,
                                 size_t *count, struct err *err);
NODISCARD bool cli_hex(struct cli *cli, const char *what, const char *text, size_t len, ProtobufCBinaryData *out,
                       struct err *err);
NODISCARD bool cli_hexes(struct cli *cli, const char *what, const struct cli_list *texts, size_t len,
                         ProtobufCBinaryData **out, size_t *count, struct err *err);
NODISCARD bool cli_confidentiality(struct cli *cli, const char *text, Chartmesh__V1__Confidentiality *out,
                                   struct err *err);
NODISCARD bool cli_time(struct cli *cli, const char *option, const char *text, Chartmesh__V1__Instant **out,
                        struct err *err);
/* cli_period is NULL when both texts are. */
NODISCARD bool cli_period(struct cli *cli, const char *from, const char *until, Chartmesh__V1__Period **out,
                          struct err *err);

/* cli_heads lists the ids of heads as read, for if_heads. */
NODISCARD bool cli_heads(struct cli *cli, Chartmesh__V1__VersionView *const *views, size_t count,
                         ProtobufCBinaryData **out, size_t *out_count, struct err *err);

/* What is shown. JSON has ids as hex, times as RFC 3339, enumerations by their short names. */
json_t *json_pb(ProtobufCBinaryData field);                      /* NULL: empty */
json_t *json_pbs(const ProtobufCBinaryData *fields, size_t count);
json_t *json_time(const Chartmesh__V1__Instant *at);             /* NULL: absent */
json_t *json_ms(int64_t ms);
json_t *json_text(const char *text);                             /* NULL: empty */
json_t *json_coding(const Chartmesh__V1__Coding *coding);        /* "SYSTEM|CODE"; NULL: absent */
json_t *json_codings(Chartmesh__V1__Coding *const *codings, size_t count);
json_t *json_labels(const Chartmesh__V1__Labels *labels);
json_t *json_subject(struct cli *cli, const Chartmesh__V1__Subject *subject);
json_t *json_facility(struct cli *cli, ProtobufCBinaryData facility); /* its domain where it is known, else hex */
json_t *json_enum(const ProtobufCEnumDescriptor *type, int value); /* "PERMIT" */
json_t *json_bytes(struct bytes content); /* base64 */

/* json_version checks a version and shows it; `with_content` adds content in base64. ERR_CORRUPT: it does not fit.
 */
NODISCARD bool json_version(struct cli *cli, const Chartmesh__V1__VersionView *view, bool with_content,
                            json_t **out, struct err *err);

/* cli_input reads a file, or standard input for "-". cli_output writes content to a new file, or to standard
 * output for
 * "-". */
NODISCARD bool cli_input(struct cli *cli, const char *path, size_t max, struct bytes *out, struct err *err);
NODISCARD bool cli_output(const char *path, struct bytes content, struct err *err);
