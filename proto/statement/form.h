/* proto/statement/form.h - what a message must be beyond its rows: the checks that rules.c names. Internal, except
 * the rule trees, which proto/consent checks as well (policy_form.h). */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/chartmesh/v1/statement.pb-c.h"

bool form_envelope(const ProtobufCMessage *message, struct err *err);
bool form_instant(const ProtobufCMessage *message, struct err *err);
bool form_period(const ProtobufCMessage *message, struct err *err);
bool form_coding(const ProtobufCMessage *message, struct err *err);

/* The kinds of formats 1. form_signed_by_facility: head.network and head.facility are there, no more. */
bool form_signed_by_facility(const ProtobufCMessage *message, struct err *err);
bool form_network(const ProtobufCMessage *message, struct err *err);
bool form_roster(const ProtobufCMessage *message, struct err *err);
bool form_membership(const ProtobufCMessage *message, struct err *err);
bool form_key(const ProtobufCMessage *message, struct err *err);
bool form_key_revocation(const ProtobufCMessage *message, struct err *err);
bool form_authority(const ProtobufCMessage *message, struct err *err);
bool form_version(const ProtobufCMessage *message, struct err *err);
bool form_audit_query(const ProtobufCMessage *message, struct err *err);
bool form_entry(const ProtobufCMessage *message, struct err *err);

/* policy_form.c */
bool form_policy(const ProtobufCMessage *message, struct err *err);
bool form_tree(const ProtobufCMessage *message, struct err *err);

/* form_context: the own tag stands in a context only with a smaller counter. */
bool form_context(const ProtobufCMessage *message, const Chartmesh__V1__Dot *own,
                  Chartmesh__V1__Dot *const *context, size_t count, struct err *err);

/* canonical.c: sorts and packs without checking the result. */
NODISCARD bool canonical_sort_pack(ProtobufCMessage *message, struct arena *arena, struct bytes *out,
                                   struct err *err);
