#include "client/setup/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/crypto/seal.h"

enum { SECRET_TEXT_LEN = 2 * HASH_LEN + 1 };

static bool raise_system(const char *doing, const char *path, struct err *err)
{
    enum err_code code = errno == ENOENT ? ERR_NOT_FOUND : errno == EEXIST ? ERR_EXISTS : ERR_STATE;
    return err_raise(err, code, "%s %s: %s", doing, path, strerror(errno));
}

bool path_join(const char *folder, const char *name, struct arena *arena, const char **out, struct err *err)
{
    char *path;
    if (!arena_printf(arena, &path, err, "%s%s%s", name[0] == '/' ? "" : folder, name[0] == '/' ? "" : "/",
                      name)) {
        return false;
    }
    *out = path;
    return true;
}

bool path_absolute(const char *path, struct arena *arena, const char **out, struct err *err)
{
    char *real = realpath(path, NULL);
    if (!real) {
        return raise_system("find", path, err);
    }
    char *copy;
    bool ok = arena_string(arena, bytes_str(real), &copy, err);
    free(real);
    if (ok) {
        *out = copy;
    }
    return ok;
}

/* -- files */

static bool read_all(int fd, const char *path, size_t len, struct arena *arena, struct bytes *out, struct err *err)
{
    void *room;
    if (!arena_alloc(arena, len + 1, &room, err)) {
        return err_wrap(err, "read %s", path);
    }
    size_t have = 0;
    while (have < len) {
        ssize_t got = read(fd, (uint8_t *)room + have, len - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? raise_system("read", path, err)
                           : err_raise(err, ERR_STATE, "read %s: it became shorter meanwhile", path);
        }
        have += (size_t)got;
    }
    *out = BYTES(room, len);
    return true;
}

bool file_read(const char *path, size_t max, struct arena *arena, struct bytes *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return raise_system("read", path, err);
    }
    struct stat found;
    bool ok = fstat(fd, &found) == 0 || raise_system("read", path, err);
    ok = ok && (S_ISREG(found.st_mode) || err_raise(err, ERR_STATE, "read %s: not a file", path));
    ok = ok && ((uint64_t)found.st_size <= max ||
                err_raise(err, ERR_TOO_MUCH, "read %s: longer than %zu bytes", path, max));
    ok = ok && read_all(fd, path, (size_t)found.st_size, arena, out, err);
    close(fd);
    return ok;
}

static bool write_all(int fd, struct bytes view)
{
    for (size_t done = 0; done < view.len;) {
        ssize_t put = write(fd, view.data + done, view.len - done);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return fsync(fd) == 0;
}

bool file_create(const char *path, struct bytes view, unsigned mode, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        return raise_system("write", path, err);
    }
    bool ok = (fchmod(fd, mode) == 0 && write_all(fd, view)) || raise_system("write", path, err);
    close(fd);
    if (!ok) {
        unlink(path);
    }
    return ok;
}

bool file_replace(const char *path, struct bytes view, unsigned mode, struct err *err)
{
    char beside[PATH_MAX];
    int len = snprintf(beside, sizeof beside, "%s.new-%ld", path, (long)getpid());
    if (len < 0 || (size_t)len >= sizeof beside) {
        return err_raise(err, ERR_INVALID, "write %s: the name is too long", path);
    }
    if (!file_create(beside, view, mode, err)) {
        return false;
    }
    if (rename(beside, path) != 0) {
        raise_system("write", path, err);
        unlink(beside);
        return false;
    }
    return true;
}

/* -- folders */

static bool make_parents(const char *path, struct err *err)
{
    char parent[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof parent) {
        return err_raise(err, ERR_INVALID, "make %s: the name is too long", path);
    }
    memcpy(parent, path, len + 1);
    for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(parent, 0700) != 0 && errno != EEXIST) {
            return raise_system("make", parent, err);
        }
        *slash = '/';
    }
    return true;
}

bool folder_need(const char *path, struct err *err)
{
    struct stat found;
    if (!make_parents(path, err)) {
        return false;
    }
    if (mkdir(path, 0700) == 0) {
        return true;
    }
    if (errno != EEXIST || stat(path, &found) != 0) {
        return raise_system("make", path, err);
    }
    return S_ISDIR(found.st_mode) || err_raise(err, ERR_EXISTS, "make %s: a file is in the way", path);
}

static bool folder_empty(const char *path)
{
    DIR *folder = opendir(path);
    size_t entries = 0;
    while (folder && readdir(folder)) {
        entries++;
    }
    if (folder) {
        closedir(folder);
    }
    return folder && entries == 2;           /* "." and ".." */
}

bool folder_create(const char *path, struct err *err)
{
    if (!folder_need(path, err)) {
        return false;
    }
    if (!folder_empty(path)) {
        return err_raise(err, ERR_EXISTS, "%s is not empty: nothing there is overwritten, give another folder",
                         path);
    }
    return chmod(path, 0700) == 0 || raise_system("make", path, err);
}

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *walk)
{
    (void)what;
    (void)type;
    (void)walk;
    return remove(path);
}

void folder_undo(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* -- secrets */

bool secret_file_create(const char *path, const struct hash *secret, struct err *err)
{
    char text[SECRET_TEXT_LEN + 1];
    bytes_hex(BYTES_OF(*secret), text);
    text[2 * HASH_LEN] = '\n';
    bool ok = file_create(path, BYTES(text, SECRET_TEXT_LEN), 0600, err);
    secret_wipe(text, sizeof text);
    return ok;
}

bool secret_file_read(const char *path, struct hash *out, struct err *err)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        return raise_system("read", path, err);
    }
    if ((found.st_mode & 077) != 0) {
        return err_raise(err, ERR_STATE, "%s: others may open this secret (chmod 600)", path);
    }
    AUTO_ARENA(arena, 16 << 10);
    struct bytes text;
    if (!file_read(path, 4096, &arena, &text, err)) {
        return false;
    }
    bool ok = text.len == SECRET_TEXT_LEN && text.data[text.len - 1] == '\n';
    ((uint8_t *)(uintptr_t)text.data)[text.len ? text.len - 1 : 0] = '\0';
    ok = ok && hex_decode((const char *)text.data, out->bytes, HASH_LEN, err);
    secret_wipe((void *)(uintptr_t)text.data, text.len);
    return ok || err_raise(err, ERR_INVALID, "%s: not a key file (64 hex digits and a newline)", path);
}
