#include "proto/statement/rules.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/log.pb-c.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "proto/statement/form.h"
#include "proto/statement/statement.h"

enum {
    CODE_MAX = 256,
    CONTEXT_MAX = 64,
    PARENTS_MAX = 16,
    RULES_MAX = 256,
    VERSIONS_MAX = 256,
    OBJECTS_MAX = 256
};

/* The vocabulary of the rows. NEED… is required (formats 10). */
#define ANY                                                                                                       \
    {                                                                                                             \
        0                                                                                                         \
    }
#define NEED                                                                                                      \
    {                                                                                                             \
        .required = true                                                                                          \
    }
#define LEN(n)                                                                                                    \
    {                                                                                                             \
        .exact = (n)                                                                                              \
    }
#define NEED_LEN(n)                                                                                               \
    {                                                                                                             \
        .required = true, .exact = (n)                                                                            \
    }
#define ID LEN(ID_LEN)
#define NEED_ID NEED_LEN(ID_LEN)
#define HASH LEN(HASH_LEN)
#define NEED_HASH NEED_LEN(HASH_LEN)
#define NEED_CODE                                                                                                 \
    {                                                                                                             \
        .required = true, .max = CODE_MAX                                                                         \
    }
#define SUB(m)                                                                                                    \
    {                                                                                                             \
        .sub = &m                                                                                                 \
    }
#define NEED_SUB(m)                                                                                               \
    {                                                                                                             \
        .required = true, .sub = &m                                                                               \
    }

/* Repeated ones. */
#define IDS ID
#define HASHES HASH
#define HASHES_MAX(n)                                                                                             \
    {                                                                                                             \
        .exact = HASH_LEN, .count = (n)                                                                           \
    }
#define HASH_LIST                                                                                                 \
    {                                                                                                             \
        .exact = HASH_LEN, .order = ORDER_LIST                                                                    \
    }
#define SUBS(m) SUB(m)
#define SUBS_FIRST(m, n)                                                                                          \
    {                                                                                                             \
        .sub = &m, .order = ORDER_FIRST, .count = (n)                                                             \
    }
#define SUB_LIST(m)                                                                                               \
    {                                                                                                             \
        .sub = &m, .order = ORDER_LIST                                                                            \
    }

#define MESSAGE_MAX(name, check_, max_, ...)                                                                      \
    static const struct field_rule name##_fields[] = {__VA_ARGS__};                                               \
    static const struct message_rule name = {&chartmesh__v1__##name##__descriptor, name##_fields,                 \
                                             COUNT(name##_fields), (check_), (max_)}
#define MESSAGE(name, check_, ...) MESSAGE_MAX(name, check_, 0, __VA_ARGS__)
#define PAYLOAD(name, check_, ...) MESSAGE_MAX(name, check_, STATEMENT_PAYLOAD_MAX, NEED_SUB(head), __VA_ARGS__)

/* clang-format off */

/* -- formats 1 */
MESSAGE(signature, NULL, NEED_LEN(SIGNATURE_LEN), NEED_LEN(2 * HASH_LEN));
MESSAGE(envelope, form_envelope, NEED, NEED,
        {.required = true, .sub = &signature, .order = ORDER_KEYID, .count = STATEMENT_SIGNATURES_MAX});
MESSAGE(head, NULL, ID, ID, NEED, NEED_ID);
MESSAGE(instant, form_instant, ANY);
MESSAGE(period, form_period, SUB(instant), SUB(instant));
MESSAGE(coding, form_coding, NEED_CODE, NEED_CODE);
MESSAGE(subject, NULL, NEED_ID, NEED_ID);
MESSAGE(dot, NULL, NEED, NEED);

/* -- formats 2 */
PAYLOAD(network, form_network, NEED, {.required = true, .exact = HASH_LEN}, NEED, NEED, HASH, NEED_SUB(period));
MESSAGE(former, NULL, NEED_HASH, NEED_SUB(instant));
MESSAGE_MAX(roster, form_roster, STATEMENT_ROSTER_MAX, NEED_SUB(head), NEED, HASHES, NEED_SUB(instant),
            SUBS_FIRST(former, 0), NEED, HASH);
MESSAGE(endpoint, NULL, NEED, ANY);
PAYLOAD(membership, form_membership, NEED, NEED, NEED, HASH, SUB_LIST(endpoint), NEED_HASH, NEED_HASH, NEED_HASH,
        NEED_HASH, HASHES, NEED, SUBS(coding), ANY);
PAYLOAD(key, form_key, NEED_HASH, NEED, NEED, NEED_SUB(period), HASH, SUB(subject));
PAYLOAD(key_revocation, form_key_revocation, NEED_HASH, NEED, NEED_SUB(instant));
PAYLOAD(authority, form_authority, NEED, NEED, NEED_HASH, SUBS(subject), ANY, SUBS(coding), NEED_SUB(period), ANY);
PAYLOAD(epoch, form_signed_by_facility, NEED, ANY, ANY, ANY, ANY, NEED);

/* -- formats 3 */
MESSAGE(labels, NULL, NEED, SUBS(coding));
MESSAGE(author, NULL, NEED, ANY, SUB(coding));
PAYLOAD(version, form_version, NEED_SUB(subject), NEED_ID, NEED_SUB(dot), SUBS_FIRST(dot, CONTEXT_MAX),
        HASHES_MAX(PARENTS_MAX), NEED, NEED_HASH, ANY, NEED, NEED, NEED_SUB(coding), SUBS(coding), NEED_SUB(labels),
        SUB(instant), NEED_SUB(author), SUB(period), ANY);

/* -- formats 4 */
MESSAGE(rule, NULL, NEED, ANY, NEED, ANY, ANY, IDS, SUBS(coding), ANY, ANY, SUBS(coding), SUBS(coding),
        SUBS(coding), IDS, IDS, SUB(period), SUB(period), ANY, ANY);
MESSAGE(assertor, NULL, NEED, SUB(author), HASH);
PAYLOAD(policy, form_policy, NEED_SUB(subject), NEED_SUB(dot), SUBS_FIRST(dot, CONTEXT_MAX),
        HASHES_MAX(PARENTS_MAX), ANY, SUBS_FIRST(rule, RULES_MAX), NEED_SUB(assertor), HASH);
MESSAGE(tree, form_tree, ANY, SUBS_FIRST(rule, RULES_MAX), ANY);
MESSAGE(terms, NULL, SUB_LIST(tree), SUB(period), ANY, ANY, HASH);
MESSAGE(basis, NULL, NEED_HASH, ANY);

/* -- formats 5 */
PAYLOAD(disclosure, form_signed_by_facility, NEED_SUB(subject), NEED_ID,
        {.required = true, .exact = HASH_LEN, .count = VERSIONS_MAX}, SUBS(basis), NEED_SUB(terms), NEED, NEED);
PAYLOAD(purge_order, form_signed_by_facility, NEED_SUB(subject), NEED_ID, NEED, NEED, IDS, NEED);
PAYLOAD(purge_receipt, form_signed_by_facility, NEED_HASH, NEED, HASHES, SUB(coding), NEED_SUB(subject), NEED, NEED);
PAYLOAD(notice, form_signed_by_facility, NEED_SUB(subject), NEED_ID, NEED_ID, HASHES, NEED, ANY, NEED, NEED);
PAYLOAD(lease, form_signed_by_facility, NEED_ID, NEED, ANY, NEED_HASH, NEED_SUB(instant));
PAYLOAD(stream_head, form_signed_by_facility, NEED_ID, NEED, NEED, NEED, NEED, NEED, NEED_HASH, NEED_HASH, ANY);
MESSAGE(exception, NULL, NEED, NEED);
PAYLOAD(stream_ack, form_signed_by_facility, NEED_ID, NEED, NEED, NEED, ANY, NEED_HASH, SUBS_FIRST(exception, 0));

/* -- formats 6 */
MESSAGE(decision, NULL, NEED, ANY, SUBS(basis), HASH, HASH, SUB(instant), SUB(instant));
MESSAGE(enrol, NULL, NEED_HASH, NEED, ANY);
MESSAGE(entry, form_entry, NEED, NEED, HASH, ANY, ANY, SUB(subject), HASHES_MAX(OBJECTS_MAX), SUB(decision), HASH, ID,
        ANY, SUB(enrol), HASH, ANY, ANY);

/* -- formats 7 */
MESSAGE(proof, NULL, ANY, HASH_LIST);
MESSAGE(opening, NULL, NEED_HASH, NEED);
MESSAGE(map_frame, NULL, NEED_SUB(proof), NEED_SUB(opening), NEED_HASH, ANY, ANY, HASH, HASH_LIST, HASH, HASH);
MESSAGE(entry_frame, NULL, NEED_SUB(proof), NEED_SUB(opening), HASH);
MESSAGE(withheld_frame, NULL, NEED_SUB(proof), NEED_HASH, NEED, NEED_HASH);
MESSAGE(table_frame, NULL, NEED, NEED_HASH);
MESSAGE(consistency_frame, NULL, NEED, NEED_HASH, HASH_LIST, ANY);
PAYLOAD(audit_query, form_audit_query, NEED, HASH, NEED_ID, SUB(subject), HASH, ID, SUB(period), ANY, ANY, ANY, HASH);
PAYLOAD(audit_answer, form_signed_by_facility, NEED_HASH, NEED, NEED_HASH, NEED, NEED, NEED_HASH, NEED, NEED_HASH);

static const struct message_rule *const all[] = {
    &version, &disclosure, &envelope, &entry, &stream_head, &stream_ack, &policy, &lease, &purge_order,
    &purge_receipt, &notice, &audit_query, &audit_answer, &network, &roster, &membership, &key, &key_revocation,
    &authority, &epoch, &map_frame, &entry_frame, &withheld_frame, &table_frame, &consistency_frame, &proof,
    &opening, &signature, &head, &instant, &period, &coding, &subject, &dot, &former, &endpoint, &labels, &author,
    &rule, &assertor, &tree, &terms, &basis, &exception, &decision, &enrol,
};

/* clang-format on */

const struct message_rule *rule_of(const ProtobufCMessageDescriptor *type)
{
    for (size_t i = 0; i < COUNT(all); i++) {
        if (all[i]->type == type) {
            return all[i];
        }
    }
    return NULL;
}

const struct message_rule *const *rules_all(size_t *count)
{
    *count = COUNT(all);
    return all;
}

bool form_error(struct err *err, const ProtobufCMessageDescriptor *type, const char *field, const char *rule_text)
{
    return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_NOT_CANONICAL, field, "%s%s%s: %s",
                           type->short_name, *field ? "." : "", field, rule_text);
}
