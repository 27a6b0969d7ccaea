#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/keys/keys.h"
#include "node/store/disk_file.h"

static bool read_secret(const char *path, struct hash *out, struct err *err)
{
    char text[2 * HASH_LEN + 2];
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_raise(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "key file %s: %s", path,
                         strerror(errno));
    }
    bool stat_ok = fstat(fd, &info) == 0;
    ssize_t len = read(fd, text, sizeof text);
    close(fd);
    if (!stat_ok || info.st_uid != geteuid() || (info.st_mode & 077) != 0) {
        return err_raise(err, ERR_STATE,
                         "key file %s: must belong to this user and be closed to others (chmod 600)", path);
    }
    bool shaped = len == 2 * HASH_LEN + 1 && text[2 * HASH_LEN] == '\n';
    text[2 * HASH_LEN] = '\0';
    bool ok = shaped && hex_decode(text, out->bytes, HASH_LEN, err);
    secret_wipe(text, sizeof text);
    return ok || err_raise(err, ERR_INVALID, "key file %s: expected 64 hex digits and a line feed", path);
}

static bool read_named(const char *folder, const char *name, struct hash *out, struct err *err)
{
    char path[4096];
    int len = snprintf(path, sizeof path, "%s/%s.key", folder, name);
    if (len < 0 || (size_t)len >= sizeof path) {
        return err_raise(err, ERR_INVALID, "key folder: its path is too long");
    }
    return read_secret(path, out, err);
}

bool keys_read_files(const char *root_file, const char *folder, struct keys_secrets *out, struct err *err)
{
    return read_secret(root_file, &out->root, err) && read_named(folder, "statement", &out->statement, err) &&
           read_named(folder, "checkpoint", &out->checkpoint, err) &&
           read_named(folder, "witness", &out->witness, err) && read_named(folder, "sealing", &out->sealing, err);
}

enum { SMALL_FILE_MAX = 64 << 10 };

static bool small_file_load(void *context, struct arena *arena, struct bytes *out, struct err *err)
{
    const char *path = context;
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return err_raise(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    }
    struct stat info;
    void *memory;
    bool ok = (fstat(fileno(file), &info) == 0 && info.st_size < SMALL_FILE_MAX) ||
              err_raise(err, ERR_CORRUPT, "%s: cannot be read or is too large", path);
    ok = ok && arena_alloc(arena, (size_t)info.st_size, &memory, err);
    if (ok) {
        *out = BYTES(memory, fread(memory, 1, (size_t)info.st_size, file));
        ok = out->len == (size_t)info.st_size || err_raise(err, ERR_CORRUPT, "%s: cannot be read whole", path);
    }
    fclose(file);
    return ok;
}

static bool small_file_save(void *context, struct bytes content, struct err *err)
{
    return disk_file_replace(context, content, err);
}

struct keyring_port keyring_file(const char *path)
{
    return (struct keyring_port){small_file_load, small_file_save, (void *)(uintptr_t)path};
}
