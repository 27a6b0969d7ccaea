/* proto/base/err.h - the error as a value: everybody's way to say what went wrong.
 *
 * A function that can fail is `NODISCARD bool f(..., out, struct err *err)`: true and outputs set, or
 * false, outputs untouched and *err filled. Infallible ones return void or the value itself.
 * Raise once, wrap on the way up, log at the edge. Texts carry ids and rules, never record content. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* gRPC's own numbers (proto/rpc asserts that). */
enum err_code {
    ERR_NONE = 0,
    ERR_CANCELLED = 1,       /* the caller went away */
    ERR_INVALID = 3,         /* INVALID_ARGUMENT: wrong whatever the state */
    ERR_DEADLINE = 4,        /* DEADLINE_EXCEEDED */
    ERR_NOT_FOUND = 5,
    ERR_EXISTS = 6,          /* ALREADY_EXISTS */
    ERR_DENIED = 7,          /* PERMISSION_DENIED */
    ERR_TOO_MUCH = 8,        /* RESOURCE_EXHAUSTED: a budget or a limit is spent */
    ERR_STATE = 9,           /* FAILED_PRECONDITION: not in this state */
    ERR_CONFLICT = 10,       /* ABORTED: read again, then retry */
    ERR_RANGE = 11,          /* OUT_OF_RANGE */
    ERR_UNIMPLEMENTED = 12,
    ERR_INTERNAL = 13,
    ERR_UNAVAILABLE = 14,    /* not now: retry later */
    ERR_CORRUPT = 15,        /* DATA_LOSS: bytes do not verify */
    ERR_UNAUTHENTICATED = 16,
};

struct err {
    enum err_code code;
    uint32_t reason;         /* an ErrorReason of chartmesh/v1/common.proto; 0: none */
    const char *file;        /* where it was first raised */
    int line;
    char field[64];          /* the request's field at fault, "facts.class.code"; "": none */
    char text[240];          /* "open store: lock held by another process" */
};

/* err_raise fills *err and returns false: `return err_raise(err, ERR_STATE, "log: size %d", n)`. */
#define err_raise(err, code, ...) err_raise_at((err), __FILE__, __LINE__, (code), 0, "", __VA_ARGS__)

/* err_raise_reason also says the machine-readable reason. */
#define err_raise_reason(err, code, reason, ...)                                                                  \
    err_raise_at((err), __FILE__, __LINE__, (code), (reason), "", __VA_ARGS__)

/* err_raise_field also names the request's field at fault (code ERR_INVALID). */
#define err_raise_field(err, reason, field, ...)                                                                  \
    err_raise_at((err), __FILE__, __LINE__, ERR_INVALID, (reason), (field), __VA_ARGS__)

bool err_raise_at(struct err *err, const char *file, int line, enum err_code code, uint32_t reason,
                  const char *field, const char *format, ...) PRINTF_LIKE(7, 8);

/* err_wrap puts "what we were doing: " in front, keeps code, reason and place, and returns false. */
bool err_wrap(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* err_code_name returns gRPC's name of the code, "INVALID_ARGUMENT". */
const char *err_code_name(enum err_code code);
