#include "node/server/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/store/disk_file.h"

static bool name(const char *path, const char *file, char out[4096], struct err *err)
{
    int len = snprintf(out, 4096, "%s/%s", path, file);
    return (len > 0 && len < 4096) || err_raise(err, ERR_INVALID, "data folder: its path is too long");
}

static bool check_mode(const char *path, struct err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return err_raise(err, ERR_UNAVAILABLE, "data folder %s: %s", path, strerror(errno));
    }
    return (S_ISDIR(info.st_mode) && (info.st_mode & 077) == 0) ||
           err_raise(err, ERR_STATE, "data folder %s: must be a folder closed to others (chmod 700)", path);
}

/* Who has the lock wrote its process id into the file. */
static bool raise_locked(const char *path, int fd, struct err *err)
{
    char pid[16] = "";
    ssize_t len = pread(fd, pid, sizeof pid - 1, 0);
    pid[len > 0 ? len : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    return err_raise(err, ERR_STATE, "data folder %s: another chartmeshd runs on it (process %s)", path,
                     pid[0] ? pid : "unknown");
}

static bool take_lock(const char *path, int *out, struct err *err)
{
    char file[4096], pid[16];
    if (!name(path, "lock", file, err)) {
        return false;
    }
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_raise(err, ERR_UNAVAILABLE, "data folder: %s: %s", file, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        raise_locked(path, fd, err);
        close(fd);
        return false;
    }
    int len = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    bool ok = ftruncate(fd, 0) == 0 && pwrite(fd, pid, (size_t)len, 0) == len;
    if (!ok) {
        err_raise(err, ERR_UNAVAILABLE, "data folder: %s: %s", file, strerror(errno));
        close(fd);
        return false;
    }
    *out = fd;
    return true;
}

bool folder_open(const char *path, struct folder *out, struct err *err)
{
    if (!disk_folder_make(path, err)) {
        return err_wrap(err, "data folder");
    }
    return check_mode(path, err) && name(path, "store", out->store, err) &&
           name(path, "keyring", out->keyring, err) && name(path, "anchor", out->anchor, err) &&
           take_lock(path, &out->lock, err);
}

void folder_close(struct folder *folder)
{
    if (folder->lock) {
        close(folder->lock);
    }
    *folder = (struct folder){0};
}

static bool read_whole(FILE *file, const char *path, size_t max, struct arena *arena, struct bytes *out,
                       struct err *err)
{
    struct stat info;
    void *room;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        return err_raise(err, ERR_UNAVAILABLE, "%s: not a file", path);
    }
    size_t len = (size_t)info.st_size;
    if (len > max) {
        return err_raise(err, ERR_TOO_MUCH, "%s: over %zu bytes", path, max);
    }
    if (!arena_alloc(arena, len + 1, &room, err)) {
        return err_wrap(err, "%s", path);
    }
    if (fread(room, 1, len, file) != len) {
        return err_raise(err, ERR_UNAVAILABLE, "%s: changed while it was read", path);
    }
    *out = BYTES(room, len);
    return true;
}

bool folder_read(const char *path, size_t max, struct arena *arena, struct bytes *out, struct err *err)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return err_raise(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    }
    bool ok = read_whole(file, path, max, arena, out, err);
    fclose(file);
    return ok;
}

bool folder_text(const char *path, size_t max, struct arena *arena, const char **out, struct err *err)
{
    struct bytes whole;
    if (!folder_read(path, max, arena, &whole, err)) {
        return false;
    }
    *out = (const char *)whole.data;
    return strlen(*out) == whole.len || err_raise(err, ERR_INVALID, "%s: a NUL in it", path);
}
