#include "node/store/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool raise_file(const char *what, const char *path, struct err *err)
{
    return err_raise(err, ERR_UNAVAILABLE, "%s %s: %s", what, path, strerror(errno));
}

/* A name is durable when the folder that has it is synced. */
static bool sync_name(const char *path, struct err *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    const char *folder = dirname(copy);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = (fd >= 0 && fsync(fd) == 0) || raise_file("sync", folder, err);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool write_whole(int fd, struct bytes view)
{
    while (view.len) {
        ssize_t n = write(fd, view.data, view.len);
        if (n <= 0) {
            return false;
        }
        view = BYTES(view.data + n, view.len - (size_t)n);
    }
    return true;
}

bool disk_file_replace(const char *path, struct bytes content, struct err *err)
{
    char beside[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= PATH_MAX) {
        return err_raise(err, ERR_INVALID, "write: a file's name is too long");
    }
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return raise_file("make", beside, err);
    }
    bool ok = (write_whole(fd, content) && fsync(fd) == 0) || raise_file("write", beside, err);
    close(fd);
    return ok && (rename(beside, path) == 0 || raise_file("write", path, err)) && sync_name(path, err);
}

/* One that is there may be what a start made before the power went. Above it may be what this user cannot read:
 * then somebody else made it. */
bool disk_folder_make(const char *path, struct err *err)
{
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        return raise_file("make", path, err);
    }
    return sync_name(path, err) || (!made && errno == EACCES);
}
