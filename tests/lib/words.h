/* tests/lib/words.h - text vectors (proto/vectors): lines of words, read to the last one.
 *
 *     words_read("proto/vectors/log.txt", each, &reading);     // a path in the runfiles: data = [...]
 *
 * Empty lines and lines that begin with # are skipped. A line that `each` does not know must end the test: use
 * words_unknown. "-" stands for no bytes. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum { WORDS_MAX = 10 };

struct words {
    const char *word[WORDS_MAX];          /* the last one holds the rest when there are more */
    size_t count;
    size_t line;
};

/* words_read calls `each` for every line; returns how many there were. Ends the test if there is no such file. */
size_t words_read(const char *path, void (*each)(void *context, const struct words *line), void *context);

/* words_are: the first word is this, and there are so many. words_unknown ends the test. */
bool words_are(const struct words *line, const char *first, size_t count);
void words_unknown(const struct words *line);

/* Words as values; the test ends when one is not of that form. */
struct bytes word_bytes(const char *word, struct arena *arena);
struct hash word_hash(const char *word);
struct id word_id(const char *word);
uint64_t word_number(const char *word);

/* word_hashes reads hashes parted by commas ("0": 32 zeros) into `out`; returns how many, at most `max`. */
size_t word_hashes(const char *word, struct hash *out, size_t max);
