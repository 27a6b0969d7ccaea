#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/config/config.h"

static bool raise_file(const char *what, const char *path, struct err *err)
{
    return err_raise(err, ERR_STATE, "%s %s: %s", what, path, strerror(errno));
}

static bool check_readable(const char *what, const char *path, struct err *err)
{
    struct stat found;
    if (stat(path, &found) != 0 || access(path, R_OK) != 0) {
        return raise_file(what, path, err);
    }
    return S_ISREG(found.st_mode) || err_raise(err, ERR_STATE, "%s %s: not a file", what, path);
}

/* Secrets: this user's or root's, and nobody else may read or change them. */
static bool check_secret(const char *what, const char *path, mode_t kind, struct err *err)
{
    struct stat found;
    if (stat(path, &found) != 0 || access(path, R_OK) != 0) {
        return raise_file(what, path, err);
    }
    bool folder = kind == S_IFDIR;
    if ((found.st_mode & S_IFMT) != kind) {
        return err_raise(err, ERR_STATE, "%s %s: not a %s", what, path, folder ? "folder" : "file");
    }
    if (found.st_uid != geteuid() && found.st_uid != 0) {
        return err_raise(err, ERR_STATE, "%s %s: belongs to another user (chown)", what, path);
    }
    return (found.st_mode & 077) == 0 ||
           err_raise(err, ERR_STATE, "%s %s: others may open it (chmod %s)", what, path, folder ? "700" : "600");
}

/* The folder that `path` is to be made in. */
static void parent_of(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    int len = slash == path ? 1 : slash ? (int)(slash - path) : 1;
    snprintf(out, size, "%.*s", len, slash ? path : ".");
}

static bool check_parent(const char *what, const char *path, struct err *err)
{
    char parent[4096];
    parent_of(path, parent, sizeof parent);
    return access(parent, W_OK | X_OK) == 0 || raise_file(what, parent, err);
}

static bool check_data_folder(const char *path, struct err *err)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        return errno == ENOENT ? check_parent("data_folder can't be made in", path, err)
                               : raise_file("data_folder", path, err);
    }
    return check_secret("data_folder", path, S_IFDIR, err) &&
           (access(path, W_OK | X_OK) == 0 || raise_file("data_folder", path, err));
}

static bool check_log(const char *what, const char *path, struct err *err)
{
    return !path || check_parent(what, path, err);
}

static bool check_listed(const char *what, const char *path, struct err *err)
{
    return !path || check_readable(what, path, err);
}

static bool check_data(const char *what, const char *path, struct err *err)
{
    (void)what;
    return check_data_folder(path, err);
}

static bool check_key(const char *what, const char *path, struct err *err)
{
    return check_secret(what, path, S_IFREG, err);
}

static bool check_keys(const char *what, const char *path, struct err *err)
{
    return check_secret(what, path, S_IFDIR, err);
}

size_t config_check_all(const struct config *config, config_problem_fn *tell, void *context)
{
    const struct {
        const char *what, *path;
        bool (*check)(const char *what, const char *path, struct err *err);
    } checks[] = {
        {"data_folder", config->data_folder, check_data},
        {"trust_file", config->trust_file, check_readable},
        {"root_key_file", config->root_key_file, check_key},
        {"keys_folder", config->keys_folder, check_keys},
        {"client certificate", config->client_certificate, check_readable},
        {"client key", config->client_key, check_key},
        {"client ca", config->client_ca, check_readable},
        {"client deny", config->deny_file, check_listed},
        {"peer certificate", config->peer_certificate, check_readable},
        {"peer key", config->peer_key, check_key},
        {"log file can't be made in", config->log_file, check_log},
    };
    size_t problems = 0;
    for (size_t i = 0; i < COUNT(checks); i++) {
        struct err err;
        if (!checks[i].check(checks[i].what, checks[i].path, &err)) {
            problems++;
            tell(context, &err);
        }
    }
    return problems;
}

/* The first problem is the one told. */
static void keep_first(void *context, const struct err *problem)
{
    struct err *first = context;
    *first = first->code == ERR_NONE ? *problem : *first;
}

bool config_check(const struct config *config, struct err *err)
{
    struct err first = {.code = ERR_NONE};
    if (config_check_all(config, keep_first, &first) == 0) {
        return true;
    }
    *err = first;
    return false;
}
