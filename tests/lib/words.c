#include "tests/lib/words.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"

static void split(char *text, struct words *line)
{
    line->count = 0;
    while (text && line->count < WORDS_MAX) {
        char *space = line->count + 1 < WORDS_MAX ? strchr(text, ' ') : NULL;
        if (space) {
            *space++ = '\0';
        }
        line->word[line->count++] = text;
        text = space;
    }
}

size_t words_read(const char *path, void (*each)(void *context, const struct words *line), void *context)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        fail_msg("cannot read %s", path);
    }
    char *text = NULL;
    size_t size = 0, count = 0;
    struct words line = {0};
    while (getline(&text, &size, file) > 0) {
        line.line++;
        text[strcspn(text, "\n")] = '\0';
        if (*text && *text != '#') {
            split(text, &line);
            each(context, &line);
            count++;
        }
    }
    free(text);
    fclose(file);
    return count;
}

bool words_are(const struct words *line, const char *first, size_t count)
{
    return line->count == count && strcmp(line->word[0], first) == 0;
}

void words_unknown(const struct words *line)
{
    fail_msg("line %zu: '%s' with %zu words", line->line, line->word[0], line->count);
}

struct bytes word_bytes(const char *word, struct arena *arena)
{
    struct err err;
    void *room;
    size_t len = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
    assert_ok(arena_alloc(arena, len, &room, &err));
    if (len > 0) {
        assert_ok(hex_decode(word, room, len, &err));
    }
    return BYTES(room, len);
}

struct hash word_hash(const char *word)
{
    struct err err;
    struct hash hash;
    assert_ok(hex_decode(word, hash.bytes, HASH_LEN, &err));
    return hash;
}

struct id word_id(const char *word)
{
    struct err err;
    struct id id;
    assert_ok(hex_decode(word, id.bytes, ID_LEN, &err));
    return id;
}

uint64_t word_number(const char *word)
{
    char *end;
    uint64_t number = strtoull(word, &end, 10);
    assert_true(*word && !*end);
    return number;
}

size_t word_hashes(const char *word, struct hash *out, size_t max)
{
    size_t count = 0;
    char text[2 * HASH_LEN + 1];
    while (strcmp(word, "-") != 0) {
        size_t len = strcspn(word, ",");
        assert_true(len < sizeof text && count < max);
        snprintf(text, sizeof text, "%.*s", (int)len, word);
        out[count++] = strcmp(text, "0") == 0 ? (struct hash){0} : word_hash(text);
        if (!word[len]) {
            break;
        }
        word += len + 1;
    }
    return count;
}
