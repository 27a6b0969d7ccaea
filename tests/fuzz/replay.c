/* Replays a corpus through a fuzz target under any compiler, as an ordinary test.
 *
 * Each input is given whole, then every beginning of it, then copies with seeded changes: the same every time.
 * Usage: NAME CORPUS_FOLDER. */
#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, BEGINNINGS_MAX = 512, CHANGES = 500 };

/* xorshift64: no quality needed, only the same sequence everywhere. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Gives the target an allocation of exactly the input's size, so that sanitizers see a read behind it. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) {
        abort();
    }
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void run_changed(uint8_t *data, size_t size, uint64_t *random)
{
    if (size == 0) {
        return;
    }
    size_t at = next_random(random) % size;
    uint8_t was = data[at];
    data[at] = (uint8_t)next_random(random);
    run(data, size);
    if (next_random(random) % 4 != 0) {
        data[at] = was;
    }
}

static bool replay(const char *folder, const char *name)
{
    static uint8_t data[INPUT_MAX];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        return false;
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);

    run(data, size);
    for (size_t len = 0; len < size && len < BEGINNINGS_MAX; len++) {
        run(data, len);
    }
    uint64_t random = 0x9e3779b97f4a7c15;
    for (int i = 0; i < CHANGES; i++) {
        run_changed(data, size, &random);
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (!folder) {
        fprintf(stderr, "%s: no such folder\n", argv[1]);
        return 2;
    }
    int inputs = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] != '.') {
            inputs += replay(argv[1], entry->d_name);
        }
    }
    closedir(folder);
    printf("%d inputs replayed\n", inputs);
    return inputs > 0 ? 0 : 1;
}
