/* client/import/scan.h - where the values of a JSON text lie, without changing a byte of it (RFC 8259).
 *
 * An import keeps every resource byte for byte, so it needs places, not trees. A scan walks one object or array
 * and hands out views of its members. It is strict about structure and tokens; what else a value must be is for
 * whoever parses the view. Member names come as written: one that uses escapes is refused, so that no two names
 * that look different can mean the same. */
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/err.h"

enum { SCAN_DEPTH_MAX = 64 };

struct scan {
    struct bytes text;
    size_t at;
    bool object, started;
};

struct scan_item {
    struct bytes name;       /* of an object's member, without quotes */
    struct bytes value;      /* its exact bytes, no space around */
};

/* scan_object and scan_array begin to walk `value`. ERR_INVALID: it is something else. */
NODISCARD bool scan_object(struct bytes value, struct scan *out, struct err *err);
NODISCARD bool scan_array(struct bytes value, struct scan *out, struct err *err);

/* scan_next sets *more and, when there is one, *item. At the end it has checked that nothing but space follows.
 * ERR_INVALID: not JSON, or nested deeper than SCAN_DEPTH_MAX; the text says at which byte. */
NODISCARD bool scan_next(struct scan *scan, struct scan_item *item, bool *more, struct err *err);
