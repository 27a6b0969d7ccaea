/* disk.so - put before the C library with LD_PRELOAD, it writes down what a process does to the files of one
 * folder (trace.h), and makes calls fail. Calls inside the C library (stdio) are not seen. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/disk/trace.h"

enum { FDS = 4096 };

static struct {
    pthread_mutex_t lock;
    const char *root, *fault, *lies;
    size_t root_len;
    int trace;
    long clock_s;
    char *ours[FDS];                     /* the paths of open files under the root; NULL: another file */
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .trace = -1};

/* ---- The trace ------------------------------------------------------------------------------------------- */

static void put(enum trace_kind kind, int fd, uint64_t offset, const char *path, const void *data, size_t len)
{
    struct trace_head head = {.kind = kind,
                              .fd = fd,
                              .offset = offset,
                              .path_len = path ? (uint32_t)strlen(path) : 0,
                              .data_len = (uint32_t)len};
    struct iovec parts[] = {
        {&head, sizeof head}, {(char *)(uintptr_t)path, head.path_len}, {(void *)(uintptr_t)data, len}};
    size_t whole = sizeof head + head.path_len + len;
    if (disk.trace >= 0 && syscall(SYS_writev, disk.trace, parts, 3) != (long)whole) {
        abort();
    }
}

__attribute__((constructor)) static void begin(void)
{
    const char *trace = getenv(DISK_TRACE);
    disk.root = getenv(DISK_ROOT);
    disk.root_len = disk.root ? strlen(disk.root) : 0;
    disk.fault = getenv(DISK_FAULT);
    disk.clock_s = getenv(DISK_CLOCK) ? strtol(getenv(DISK_CLOCK), NULL, 10) : 0;
    disk.lies = getenv(DISK_LIES);
    if (disk.root && trace) {
        disk.trace = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        put(TRACE_PROCESS, -1, 0, NULL, NULL, 0);
    }
}

static bool under_root(const char *path)
{
    return disk.root && strncmp(path, disk.root, disk.root_len) == 0 &&
           (path[disk.root_len] == '/' || path[disk.root_len] == '\0');
}

static bool ends_with(const char *path, const char *end)
{
    size_t path_len = strlen(path), len = strlen(end);
    return path_len >= len && strcmp(path + path_len - len, end) == 0;
}

static bool is_ours(int fd)
{
    return fd >= 0 && fd < FDS && disk.ours[fd] != NULL;
}

/* ---- Faults ---------------------------------------------------------------------------------------------- */

/* Whether the call on that file is to fail now; sets errno. */
static bool fails(const char *call, const char *path)
{
    char text[64] = "", name[16] = "", end[32] = "", thread[16] = "", self[16] = "";
    int number = 0;
    int fd = disk.fault ? (int)syscall(SYS_openat, AT_FDCWD, disk.fault, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return false;
    }
    bool told = syscall(SYS_read, fd, text, sizeof text - 1) > 0;
    syscall(SYS_close, fd);
    syscall(SYS_prctl, PR_GET_NAME, self);
    if (!told || sscanf(text, "%15s %d %31s %15s", name, &number, end, thread) < 2 || strcmp(name, call) != 0 ||
        !ends_with(path, end) || strncmp(self, thread, strlen(thread)) != 0) {
        return false;
    }
    errno = number;
    return true;
}

/* ---- Calls ----------------------------------------------------------------------------------------------- *
 *
 * Each runs under the lock, so that the trace has them in the order in which they happened. */

static int opened(const char *path, int flags, mode_t mode)
{
    if (!under_root(path)) {
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    }
    pthread_mutex_lock(&disk.lock);
    int fd =
        (flags & O_CREAT) && fails("write", path) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= FDS) {
        abort();
    }
    if (fd >= 0) {
        free(disk.ours[fd]);
        disk.ours[fd] = strdup(path);
        put(TRACE_OPEN, fd, (uint64_t)flags, path, NULL, 0);
    }
    pthread_mutex_unlock(&disk.lock);
    return fd;
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                                                                \
    int name(const char *path, int flags, ...)                                                                    \
    {                                                                                                             \
        va_list rest;                                                                                             \
        va_start(rest, flags);                                                                                    \
        mode_t mode = mode_of(flags, rest);                                                                       \
        va_end(rest);                                                                                             \
        return opened(path, flags, mode);                                                                         \
    }
OPEN(open)
OPEN(open64)

/* What the C library calls for an open of two arguments, when it checks them. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return opened(path, flags, 0);
}
int __open64_2(const char *path, int flags)
{
    return opened(path, flags, 0);
}

int close(int fd)
{
    if (!is_ours(fd)) {
        return (int)syscall(SYS_close, fd);
    }
    pthread_mutex_lock(&disk.lock);
    free(disk.ours[fd]);
    disk.ours[fd] = NULL;
    put(TRACE_CLOSE, fd, 0, NULL, NULL, 0);
    int result = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&disk.lock);
    return result;
}

/* Where write begins: at the end of a file opened for appending. */
static off_t place_of(int fd)
{
    struct stat info;
    bool append = (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND) && fstat(fd, &info) == 0;
    return append ? info.st_size : (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

static ssize_t written(int fd, const void *data, size_t len, off_t offset, bool moves)
{
    ssize_t done = -1;
    pthread_mutex_lock(&disk.lock);
    bool half = fails("half", disk.ours[fd]);
    if (!fails("write", disk.ours[fd]) && !(len < 2 && half)) {
        size_t some = half ? len / 2 : len;
        offset = moves ? place_of(fd) : offset;
        done = moves ? syscall(SYS_write, fd, data, some) : syscall(SYS_pwrite64, fd, data, some, offset);
        if (done > 0) {
            put(TRACE_WRITE, fd, (uint64_t)offset, NULL, data, (size_t)done);
        }
    }
    pthread_mutex_unlock(&disk.lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t len)
{
    return is_ours(fd) ? written(fd, data, len, 0, true) : syscall(SYS_write, fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return is_ours(fd) ? written(fd, data, len, offset, false) : syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return pwrite(fd, data, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!is_ours(fd)) {
        return syscall(SYS_writev, fd, parts, count);
    }
    ssize_t whole = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = written(fd, parts[i].iov_base, parts[i].iov_len, 0, true);
        if (done < 0) {
            return whole ? whole : -1;
        }
        whole += done;
        if ((size_t)done < parts[i].iov_len) {
            break;
        }
    }
    return whole;
}

static int synced(int fd, long call)
{
    if (!is_ours(fd)) {
        return (int)syscall(call, fd);
    }
    if (disk.lies && ends_with(disk.ours[fd], disk.lies)) {
        return 0;
    }
    pthread_mutex_lock(&disk.lock);
    int result = fails("sync", disk.ours[fd]) ? -1 : (int)syscall(call, fd);
    if (result == 0) {
        put(TRACE_SYNC, fd, 0, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&disk.lock);
    return result;
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

static int resized(int fd, enum trace_kind kind, off_t len, int mode, off_t from)
{
    pthread_mutex_lock(&disk.lock);
    int result = kind == TRACE_GROW && fails("write", disk.ours[fd]) ? -1
                 : kind == TRACE_GROW ? (int)syscall(SYS_fallocate, fd, mode, from, len)
                                      : (int)syscall(SYS_ftruncate, fd, len);
    bool keeps = mode & 1;               /* FALLOC_FL_KEEP_SIZE */
    if (result == 0 && is_ours(fd) && !keeps) {
        put(kind, fd, (uint64_t)(from + len), NULL, NULL, 0);
    }
    pthread_mutex_unlock(&disk.lock);
    return result;
}

int ftruncate(int fd, off_t len)
{
    return is_ours(fd) ? resized(fd, TRACE_RESIZE, len, 0, 0) : (int)syscall(SYS_ftruncate, fd, len);
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t from, off_t len)
{
    return is_ours(fd) ? resized(fd, TRACE_GROW, len, mode, from)
                       : (int)syscall(SYS_fallocate, fd, mode, from, len);
}

int fallocate64(int fd, int mode, off64_t from, off64_t len)
{
    return fallocate(fd, mode, from, len);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);
    if (result == 0 && id == CLOCK_REALTIME) {
        out->tv_sec += disk.clock_s;
    }
    return result;
}

int rename(const char *from, const char *to)
{
    pthread_mutex_lock(&disk.lock);
    int result = (int)syscall(SYS_rename, from, to);
    if (result == 0 && under_root(to)) {
        put(TRACE_RENAME, -1, 0, from, to, strlen(to));
    }
    pthread_mutex_unlock(&disk.lock);
    return result;
}

int unlink(const char *path)
{
    pthread_mutex_lock(&disk.lock);
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0 && under_root(path)) {
        put(TRACE_UNLINK, -1, 0, path, NULL, 0);
    }
    pthread_mutex_unlock(&disk.lock);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    pthread_mutex_lock(&disk.lock);
    int result = (int)syscall(SYS_mkdir, path, mode);
    if (result == 0 && under_root(path)) {
        put(TRACE_MKDIR, -1, 0, path, NULL, 0);
    }
    pthread_mutex_unlock(&disk.lock);
    return result;
}
