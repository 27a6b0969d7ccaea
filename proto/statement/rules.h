/* proto/statement/rules.h - what formats 1 and 10 say of each field, as data. Internal.
 *
 * One row per field, in the order of the field numbers (which count from 1 without gaps in every message here),
 * and a check for what rows cannot say. canonical.c walks a message's bytes beside its rows. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "proto/base/bytes.h"

/* How the elements of a repeated field stand. All but ORDER_KEYID and ORDER_LIST are strictly ascending. */
enum order {
    ORDER_SET, /* by value; strings, bytes and messages by their bytes without tag and length */
    ORDER_FIRST, /* messages by their first field: dots by tag, rules by id, exceptions by n */
    ORDER_KEYID, /* signatures by keyid; the message's check holds them to it */
    ORDER_LIST, /* as they come */
};

struct field_rule {
    bool required; /* repeated: at least one */
    enum order order; /* of a repeated field */
    uint16_t exact, max; /* bytes of a value; 0: any */
    uint16_t count; /* elements at most; 0: any */
    const struct message_rule *sub;
};

struct message_rule {
    const ProtobufCMessageDescriptor *type;
    const struct field_rule *fields;
    size_t count;
    bool (*check)(const ProtobufCMessage *message, struct err *err); /* NULL: nothing more */
    size_t max; /* bytes of the whole message; 0: any */
};

/* rule_of returns the rules of a message (NULL: none that is ever signed or shown). */
const struct message_rule *rule_of(const ProtobufCMessageDescriptor *type);

/* rules_all returns every message's rules, for tests that hold them against the descriptors. */
const struct message_rule *const *rules_all(size_t *count);

/* form_error raises what every broken rule of form is: ERR_INVALID, reason NOT_CANONICAL, with the field. */
bool form_error(struct err *err, const ProtobufCMessageDescriptor *type, const char *field, const char *rule);
