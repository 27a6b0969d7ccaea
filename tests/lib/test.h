/* tests/lib/test.h - cmocka, and the asserts of the house.
 *
 * A test's name is the rule: test_store__a_stale_writer_loses_and_changes_nothing. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

/* assert_ok prints the library's own error; the call takes `&err` of the test's own `struct err err`. */
#define assert_ok(call)                                                                                           \
    do {                                                                                                          \
        if (!(call)) {                                                                                            \
            fail_msg("%s\n  failed: %s: %s (raised at %s:%d)", #call, err_code_name(err.code), err.text,          \
                     err.file ? err.file : "?", err.line);                                                        \
        }                                                                                                         \
    } while (0)

/* assert_err: the call fails with that code. */
#define assert_err(code_, call)                                                                                   \
    do {                                                                                                          \
        if (call) {                                                                                               \
            fail_msg("%s\n  should have failed with %s", #call, err_code_name(code_));                            \
        } else if (err.code != (code_)) {                                                                         \
            fail_msg("%s\n  should have failed with %s, but: %s: %s", #call, err_code_name(code_),                \
                     err_code_name(err.code), err.text);                                                          \
        }                                                                                                         \
    } while (0)

#define assert_bytes_equal(a, b) test_bytes_equal((a), (b), #a, #b, __FILE__, __LINE__)

void test_bytes_equal(struct bytes a, struct bytes b, const char *a_text, const char *b_text, const char *file,
                      int line);

/* shared_data_file reads a file of the shared data folder ("format-vectors/canonical.json") into `arena`, or
 * returns false after saying why the test is skipped. The folder is $CHARTMESH_SHARED_DATA, else ../shared/data
 * beside the checkout. A test that uses it is tagged local (the sandbox hides it). */
bool shared_data_file(const char *name, struct arena *arena, struct bytes *out);

/* shared_data_list calls `each` with the name of every file below a folder of the shared data ("merkle" gives
 * "merkle/inclusion/0/happy-path.json"), sorted; false after saying why the test is skipped. */
bool shared_data_list(const char *folder, void (*each)(void *context, const char *name), void *context);
