/* tests/lib/make_vectors.h - the text vectors that need a network with keys (proto/vectors/README.md).
 *
 * Each vectors_… writes one file. All randomness is SHA-256 of a counter, so that it writes the same bytes again.
 */
#pragma once

#include <stdio.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

void vectors_trust(FILE *out);
void vectors_evidence(FILE *out);
void vectors_entry(FILE *out);
void vectors_frames(FILE *out);

/* vectors_again begins the randomness anew: the same calls draw the same. */
void vectors_again(void);

/* Bytes as words of a line; HEX(fixed).text lives to the end of the statement's block. */
const char *vectors_hex(struct bytes view, struct arena *arena);
void vectors_hex_list(FILE *out, const struct bytes *list, size_t count);

struct hex_text {
    char text[2 * HASH_LEN + 1];
};
struct hex_text hex_text(struct bytes view);
#define HEX(fixed) hex_text(BYTES_OF(fixed))
