/* proto/chartmesh/v1/message.h - protobuf messages from strangers: checked, then unpacked into an arena.
 *
 * protobuf-c alone takes nesting of any depth, field number 0, invalid UTF-8, strings cut at U+0000 and fields
 * nobody knows. Nobody but this module unpacks bytes that came from outside. Rules: docs/protocol/08-rpc.md. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

enum { MESSAGE_DEPTH_MAX = 32 };   /* the outermost message is at depth 1 */

/* message_check holds `wire` against the descriptor without allocating anything: every field known, of the
 * right wire type, in range for its type and given once unless repeated (one member per oneof); strings valid
 * UTF-8 without U+0000; varints minimal; depth <= MESSAGE_DEPTH_MAX. Enum values are not judged: enums are
 * open. Fails with ERR_INVALID and ERROR_REASON_MALFORMED; err.field is the field at fault where one is known. */
NODISCARD bool message_check(const ProtobufCMessageDescriptor *type, struct bytes wire, struct err *err);

/* message_unpack checks and then unpacks; *out and all it points at live in `arena`, nothing points into
 * `wire`. Fails as message_check does, or with ERR_TOO_MUCH (ERROR_REASON_TOO_LARGE) when the arena's budget
 * is spent. */
NODISCARD bool message_unpack(const ProtobufCMessageDescriptor *type, struct bytes wire, struct arena *arena,
                              ProtobufCMessage **out, struct err *err);

/* message_pack sets *out to the message's bytes in `arena`: fields in order of number, deterministic.
 * Fails with ERR_TOO_MUCH when the arena's budget is spent. */
NODISCARD bool message_pack(const ProtobufCMessage *message, struct arena *arena, struct bytes *out,
                            struct err *err);
