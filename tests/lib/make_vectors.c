/* Writes trust.txt, evidence.txt, entry.txt and frames.txt into the folder named by its argument. */
#include "tests/lib/make_vectors.h"

#include <stdlib.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "tests/lib/test.h"

static uint64_t counter;

static void fill_from_counter(void *context, void *out, size_t len)
{
    (void)context;
    for (size_t done = 0; done < len; done += HASH_LEN) {
        uint8_t number[8];
        put_u64be(number, ++counter);
        struct hash block = HASH_PARTS(BYTES_LIT("chartmesh vectors v1\n"), BYTES(number, 8));
        memcpy((uint8_t *)out + done, block.bytes, MIN(len - done, HASH_LEN));
    }
}

void vectors_again(void)
{
    counter = 0;
}

const char *vectors_hex(struct bytes view, struct arena *arena)
{
    struct err err;
    void *room;
    assert_ok(arena_alloc(arena, 2 * view.len + 1, &room, &err));
    return bytes_hex(view, room);
}

void vectors_hex_list(FILE *out, const struct bytes *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        AUTO_ARENA(arena, 4 << 20);
        fprintf(out, "%s%s", i ? "," : "", vectors_hex(list[i], &arena));
    }
}

struct hex_text hex_text(struct bytes view)
{
    struct hex_text out;
    assert_true(view.len <= HASH_LEN);
    bytes_hex(view, out.text);
    return out;
}

static void write_file(const char *folder, const char *name, void (*write)(FILE *out))
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        exit(1);
    }
    write(out);
    if (fclose(out) != 0) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_vectors FOLDER\n");
        return 2;
    }
    random_replace(fill_from_counter, NULL);
    write_file(argv[1], "trust.txt", vectors_trust);
    write_file(argv[1], "evidence.txt", vectors_evidence);
    write_file(argv[1], "entry.txt", vectors_entry);
    write_file(argv[1], "frames.txt", vectors_frames);
    return 0;
}
