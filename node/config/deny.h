/* node/config/deny.h - the certificates that are let in no more, whatever else is in order with them.
 *
 * One a line, `#` begins a comment:
 *
 *     id     spiffe://NETWORK/DOMAIN/KIND/NAME      every certificate of that name, until it leaves the list
 *     serial HEX                                    one certificate of this facility's CA
 *     pin    HEX                                    a key (SHA-256 of its SubjectPublicKeyInfo), on both ports
 *
 * A `struct deny` is immutable and lives in the caller's arena. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

struct deny;

/* deny_parse reads a list; `name` stands for the file in errors. ERR_INVALID: "FILE:LINE: what is wrong";
 * ERR_TOO_MUCH: over DENY_MAX lines, or the arena's budget. deny_load reads it from a file: ERR_STATE when it
 * cannot be. */
enum { DENY_MAX = 100000, DENY_BYTES_MAX = 16 << 20 };
NODISCARD bool deny_parse(struct bytes text, const char *name, struct arena *arena, struct deny **out,
                          struct err *err);
NODISCARD bool deny_load(const char *path, struct arena *arena, struct deny **out, struct err *err);

size_t deny_count(const struct deny *deny);

/* Is it listed? NULL denies nobody. */
bool deny_id(const struct deny *deny, const char *spiffe);
bool deny_pin(const struct deny *deny, const struct hash *pin);
bool deny_serial(const struct deny *deny, struct bytes serial);
