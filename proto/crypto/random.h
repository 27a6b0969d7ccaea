/* proto/crypto/random.h - where randomness comes from. By default the operating system's, through OpenSSL;
 * a simulator gives its own, before the first draw. */
#pragma once

#include "proto/base/bytes.h"

/* random_fill fills `out`; aborts if the system has no randomness. Any thread. */
void random_fill(void *out, size_t len);

struct id random_id(void);
struct hash random_hash(void);
uint64_t random_u64(void);       /* never 0 */

/* random_replace makes `fill` the source for the whole process (NULL: the system's again). For simulators. */
void random_replace(void (*fill)(void *context, void *out, size_t len), void *context);
