#include "proto/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool err_raise_at(struct err *err, const char *file, int line, enum err_code code, uint32_t reason,
                  const char *field, const char *format, ...)
{
    *err = (struct err){.code = code, .reason = reason, .file = file, .line = line};
    snprintf(err->field, sizeof err->field, "%s", field);
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return false;
}

bool err_wrap(struct err *err, const char *format, ...)
{
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof err->text) {
        snprintf(err->text + used, sizeof err->text - (size_t)used, ": %s", inner);
    }
    return false;
}

const char *err_code_name(enum err_code code)
{
    static const char *const names[] = {
        [0] = "OK",
        [ERR_CANCELLED] = "CANCELLED",
        [2] = "UNKNOWN",
        [ERR_INVALID] = "INVALID_ARGUMENT",
        [ERR_DEADLINE] = "DEADLINE_EXCEEDED",
        [ERR_NOT_FOUND] = "NOT_FOUND",
        [ERR_EXISTS] = "ALREADY_EXISTS",
        [ERR_DENIED] = "PERMISSION_DENIED",
        [ERR_TOO_MUCH] = "RESOURCE_EXHAUSTED",
        [ERR_STATE] = "FAILED_PRECONDITION",
        [ERR_CONFLICT] = "ABORTED",
        [ERR_RANGE] = "OUT_OF_RANGE",
        [ERR_UNIMPLEMENTED] = "UNIMPLEMENTED",
        [ERR_INTERNAL] = "INTERNAL",
        [ERR_UNAVAILABLE] = "UNAVAILABLE",
        [ERR_CORRUPT] = "DATA_LOSS",
        [ERR_UNAUTHENTICATED] = "UNAUTHENTICATED",
    };
    size_t n = sizeof names / sizeof *names;
    return (unsigned)code < n ? names[code] : "UNKNOWN";
}
