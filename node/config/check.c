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

bool config_check(const struct config *config, struct err *err)
{
    return check_data_folder(config->data_folder, err) && check_readable("trust_file", config->trust_file, err) &&
           check_secret("root_key_file", config->root_key_file, S_IFREG, err) &&
           check_secret("keys_folder", config->keys_folder, S_IFDIR, err) &&
           check_readable("client certificate", config->client_certificate, err) &&
           check_secret("client key", config->client_key, S_IFREG, err) &&
           check_readable("client ca", config->client_ca, err) &&
           check_readable("peer certificate", config->peer_certificate, err) &&
           check_secret("peer key", config->peer_key, S_IFREG, err) &&
           (!config->log_file || check_parent("log file can't be made in", config->log_file, err));
}
