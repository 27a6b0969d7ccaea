#include "node/store/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/store/disk_file.h"

#define FORMAT_MAKING "chartmesh store making\n"
#define FORMAT_MADE "chartmesh store 2\n"

/* 2: versions in the index say when they came to be known; generations, dots and kept heads are sealed. */
enum { FORMAT = 2 };

static bool raise_file(const char *what, const char *path, struct err *err)
{
    return err_raise(err, ERR_UNAVAILABLE, "%s %s: %s", what, path, strerror(errno));
}

/* Writes FORMAT as a whole or not at all. */
static bool write_format(const char *folder, const char *text, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/FORMAT", folder);
    return disk_file_replace(path, bytes_str(text), err);
}

static bool folder_is_empty(const char *folder, bool *out, struct err *err)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        return raise_file("open", folder, err);
    }
    *out = true;
    for (struct dirent *entry; (entry = readdir(dir)) && *out;) {
        const char *ours[] = {".", "..", "FORMAT.new"};
        bool known = false;
        for (size_t i = 0; i < COUNT(ours); i++) {
            known = known || strcmp(entry->d_name, ours[i]) == 0;
        }
        *out = known;
    }
    closedir(dir);
    return true;
}

static bool judge_format(const char *text, bool *making, struct err *err)
{
    unsigned format = 0;
    char end = 0;
    *making = strcmp(text, FORMAT_MAKING) == 0;
    if (*making || strcmp(text, FORMAT_MADE) == 0) {
        return true;
    }
    bool numbered = sscanf(text, "chartmesh store %u%c", &format, &end) == 2 && end == '\n' && format > 0;
    if (numbered && format < FORMAT) {
        return err_raise(
            err, ERR_STATE,
            "an older version of chartmeshd made it (format %u, this one reads only %d): run that one, or "
            "import into a new folder",
            format, FORMAT);
    }
    if (numbered && format > FORMAT) {
        return err_raise(err, ERR_STATE,
                         "a newer version of chartmeshd made it (format %u, this one knows %d): run that one",
                         format, FORMAT);
    }
    return err_raise(err, ERR_CORRUPT, "its file FORMAT is damaged");
}

bool store_folder_judge(const char *folder, bool *making, struct err *err)
{
    char path[PATH_MAX], text[64] = "";
    if (snprintf(path, sizeof path, "%s/FORMAT", folder) >= PATH_MAX - 16) {
        return err_raise(err, ERR_INVALID, "the folder's name is too long");
    }
    if (!disk_folder_make(folder, err)) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) {
        return raise_file("open", path, err);
    }
    if (fd >= 0) {
        ssize_t len = read(fd, text, sizeof text - 1);
        close(fd);
        return len < 0 ? raise_file("read", path, err) : judge_format(text, making, err);
    }
    bool empty = false;
    if (!folder_is_empty(folder, &empty, err)) {
        return false;
    }
    *making = true;
    return empty ? write_format(folder, FORMAT_MAKING, err)
                 : err_raise(err, ERR_STATE, "the folder has other things in it and no FORMAT: not a store");
}

bool store_folder_made(const char *folder, struct err *err)
{
    return write_format(folder, FORMAT_MADE, err);
}
