#include "tests/lib/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void test_bytes_equal(struct bytes a, struct bytes b, const char *a_text, const char *b_text, const char *file,
                      int line)
{
    if (bytes_equal(a, b)) {
        return;
    }
    char left[129], right[129];
    bytes_hex(BYTES(a.data, MIN(a.len, 64)), left);
    bytes_hex(BYTES(b.data, MIN(b.len, 64)), right);
    print_error("%s (%zu bytes) %s\n%s (%zu bytes) %s\n", a_text, a.len, left, b_text, b.len, right);
    _fail(file, line);
}

/* The checkout: what the WORKSPACE file in the runfiles really is. */
static bool shared_folder(char *out, size_t size)
{
    const char *given = getenv("CHARTMESH_SHARED_DATA");
    if (given) {
        snprintf(out, size, "%s", given);
        return true;
    }
    char *real = realpath("WORKSPACE", NULL);
    if (!real) {
        return false;
    }
    char *slash = strrchr(real, '/');
    *slash = '\0';
    const char *beside[] = {"../shared/data", "../../shared/data", "../../../shared/data"};
    bool found = false;
    for (size_t i = 0; i < COUNT(beside) && !found; i++) {
        snprintf(out, size, "%s/%s", real, beside[i]);
        found = access(out, R_OK) == 0;
    }
    free(real);
    return found;
}

bool shared_data_file(const char *name, struct arena *arena, struct bytes *out)
{
    char folder[3072], path[4096];
    if (!shared_folder(folder, sizeof folder)) {
        print_message("SKIPPED: no shared data folder (%s); set CHARTMESH_SHARED_DATA\n", name);
        return false;
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        print_message("SKIPPED: no %s\n", path);
        return false;
    }
    struct err err;
    void *memory = NULL;
    fseek(file, 0, SEEK_END);
    long len = ftell(file);
    rewind(file);
    bool ok = len >= 0 && arena_alloc(arena, (size_t)len + 1, &memory, &err) &&
              fread(memory, 1, (size_t)len, file) == (size_t)len;
    fclose(file);
    if (!ok) {
        fail_msg("cannot read %s", path);
    }
    *out = BYTES(memory, (size_t)len);
    return true;
}

static void list(const char *top, const char *folder, void (*each)(void *context, const char *name), void *context)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", top, folder);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        fail_msg("cannot list %s", path);
    }
    for (int i = 0; i < count; i++) {
        char name[1024];
        snprintf(name, sizeof name, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] == '.') {
            /* itself, its parent, or hidden */
        } else if (entries[i]->d_type == DT_DIR) {
            list(top, name, each, context);
        } else {
            each(context, name);
        }
        free(entries[i]);
    }
    free(entries);
}

bool shared_data_list(const char *folder, void (*each)(void *context, const char *name), void *context)
{
    char top[3072];
    if (!shared_folder(top, sizeof top) || access(top, R_OK) != 0) {
        print_message("SKIPPED: no shared data folder (%s); set CHARTMESH_SHARED_DATA\n", folder);
        return false;
    }
    list(top, folder, each, context);
    return true;
}
