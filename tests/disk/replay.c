#include "tests/disk/replay.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/disk/trace.h"
#include "tests/lib/test.h"

enum { NODES_MAX = 4096, PENDING_MAX = 1 << 16, FDS = 4096 };

struct record {
    struct trace_head head;
    const char *path;                    /* below the root, not terminated; "" is the root itself */
    size_t path_len;
    struct bytes data;                   /* of a rename: the new name, likewise */
};

struct replay {
    uint8_t *text;
    struct record *records;
    size_t count;
    size_t root_len;
};

/* ---- Reading --------------------------------------------------------------------------------------------- */

static void below_root(const struct replay *replay, const char **path, size_t *len)
{
    size_t cut = *len > replay->root_len ? replay->root_len + 1 : *len;
    *path += cut;
    *len -= cut;
}

static size_t read_record(const struct replay *replay, const uint8_t *at, size_t left, struct record *out)
{
    assert_true(left >= sizeof out->head);
    memcpy(&out->head, at, sizeof out->head);
    size_t whole = sizeof out->head + out->head.path_len + out->head.data_len;
    assert_true(left >= whole);
    out->path = (const char *)at + sizeof out->head;
    out->path_len = out->head.path_len;
    out->data = BYTES(at + sizeof out->head + out->head.path_len, out->head.data_len);
    below_root(replay, &out->path, &out->path_len);
    if (out->head.kind == TRACE_RENAME) {
        const char *to = (const char *)out->data.data;
        below_root(replay, &to, &out->data.len);
        out->data.data = (const uint8_t *)to;
    }
    return whole;
}

static size_t count_records(const uint8_t *text, size_t len)
{
    size_t count = 0;
    for (size_t at = 0; at < len; count++) {
        struct trace_head head;
        memcpy(&head, text + at, sizeof head);
        at += sizeof head + head.path_len + head.data_len;
    }
    return count;
}

struct replay *replay_load(const char *trace, const char *root)
{
    struct stat info;
    struct replay *replay = calloc(1, sizeof *replay);
    FILE *file = fopen(trace, "rb");
    assert_true(replay && file && fstat(fileno(file), &info) == 0);
    size_t len = (size_t)info.st_size;
    replay->text = malloc(len + 1);
    assert_true(replay->text && fread(replay->text, 1, len, file) == len);
    fclose(file);
    replay->root_len = strlen(root);
    replay->count = count_records(replay->text, len);
    replay->records = calloc(replay->count + 1, sizeof *replay->records);
    assert_non_null(replay->records);
    for (size_t i = 0, at = 0; i < replay->count; i++) {
        at += read_record(replay, replay->text + at, len - at, &replay->records[i]);
    }
    return replay;
}

void replay_free(struct replay *replay)
{
    free(replay->records);
    free(replay->text);
    free(replay);
}

size_t replay_len(const struct replay *replay)
{
    return replay->count;
}

struct bytes replay_note(const struct replay *replay, size_t at)
{
    const struct record *record = &replay->records[at];
    return record->head.kind == TRACE_NOTE ? record->data : BYTES_NONE;
}

/* ---- The disk -------------------------------------------------------------------------------------------- */

/* A file or a folder: what of it is surely on the disk. */
struct node {
    bool folder;
    uint8_t *bytes;
    size_t len, room;
};

struct name {
    char path[200];
    struct node *node;                   /* NULL: removed */
};

/* A change that no sync has made sure yet: of a file's bytes, or of a name. */
struct pending {
    size_t record;
    struct node *node;                   /* of bytes: whose; of a name: what it names, NULL for a removal */
    char path[200], from[200];           /* of a name; from: the old name of a rename, else "" */
};

struct disk {
    const struct replay *replay;
    struct node *nodes[NODES_MAX];
    struct name now[NODES_MAX], kept[NODES_MAX];
    size_t nodes_len, now_len, kept_len;
    struct pending *pending;
    size_t pending_len;
    struct node *open[FDS];
    char open_path[FDS][200];
    uint64_t chance;
};

static uint64_t draw(struct disk *disk)
{
    disk->chance = disk->chance * 6364136223846793005u + 1442695040888963407u;
    return disk->chance >> 33;
}

static struct node *find(const struct name *names, size_t len, const char *path)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(names[i].path, path) == 0) {
            return names[i].node;
        }
    }
    return NULL;
}

static void bind(struct name *names, size_t *len, const char *path, struct node *node)
{
    for (size_t i = 0; i < *len; i++) {
        if (strcmp(names[i].path, path) == 0) {
            names[i].node = node;
            return;
        }
    }
    assert_true(*len < NODES_MAX);
    struct name *name = &names[(*len)++];
    snprintf(name->path, sizeof name->path, "%s", path);
    name->node = node;
}

static struct node *node_new(struct disk *disk, bool folder)
{
    struct node *node = calloc(1, sizeof *node);
    assert_true(node && disk->nodes_len < NODES_MAX);
    node->folder = folder;
    return disk->nodes[disk->nodes_len++] = node;
}

static void resize(struct node *node, size_t len)
{
    if (len > node->room) {
        node->room = len * 2;
        node->bytes = realloc(node->bytes, node->room);
        assert_non_null(node->bytes);
    }
    if (len > node->len) {
        memset(node->bytes + node->len, 0, len - node->len);
    }
    node->len = len;
}

/* `some` of a write's bytes, or a change of length, whole. */
static void apply_bytes(struct node *node, const struct record *record, size_t some)
{
    size_t end = record->head.offset + some;
    switch (record->head.kind) {
    case TRACE_WRITE:
        resize(node, MAX(node->len, end));
        memcpy(node->bytes + record->head.offset, record->data.data, some);
        break;
    case TRACE_GROW:
        resize(node, MAX(node->len, record->head.offset));
        break;
    case TRACE_RESIZE:
        resize(node, record->head.offset);
        break;
    default:                             /* an open that truncates */
        resize(node, 0);
    }
}

static void apply_name(struct disk *disk, const struct pending *change)
{
    if (change->from[0]) {
        bind(disk->kept, &disk->kept_len, change->from, NULL);
    }
    bind(disk->kept, &disk->kept_len, change->path, change->node);
}

static struct pending *pend(struct disk *disk, size_t record, struct node *node, const char *path)
{
    assert_true(disk->pending_len < PENDING_MAX);
    struct pending *change = &disk->pending[disk->pending_len++];
    *change = (struct pending){.record = record, .node = node};
    snprintf(change->path, sizeof change->path, "%s", path);
    return change;
}

static bool is_in(const char *path, const char *folder)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    return strlen(folder) == len && strncmp(path, folder, len) == 0;
}

/* What is synced is sure from now on. */
static void sync_node(struct disk *disk, const struct node *node, const char *path)
{
    size_t left = 0;
    for (size_t i = 0; i < disk->pending_len; i++) {
        struct pending *change = &disk->pending[i];
        const struct record *record = &disk->replay->records[change->record];
        if (!node->folder && !change->path[0] && change->node == node) {
            apply_bytes(change->node, record, record->data.len);
        } else if (node->folder && change->path[0] && is_in(change->path, path)) {
            apply_name(disk, change);
        } else {
            disk->pending[left++] = *change;
        }
    }
    disk->pending_len = left;
}

static void open_one(struct disk *disk, size_t i, const char *path)
{
    const struct record *record = &disk->replay->records[i];
    int fd = record->head.fd, flags = (int)record->head.offset;
    struct node *node = path[0] ? find(disk->now, disk->now_len, path) : disk->nodes[0];
    if (!node && (flags & O_CREAT)) {
        node = node_new(disk, false);
        bind(disk->now, &disk->now_len, path, node);
        pend(disk, i, node, path);
    } else if (node && (flags & O_TRUNC)) {
        pend(disk, i, node, "");
    }
    disk->open[fd] = node;               /* NULL: was there before the trace began, and is no concern of ours */
    snprintf(disk->open_path[fd], sizeof disk->open_path[fd], "%s", path);
}

static void step(struct disk *disk, size_t i)
{
    const struct record *record = &disk->replay->records[i];
    char path[200], to[200] = "";
    struct node *node = record->head.fd >= 0 ? disk->open[record->head.fd] : NULL;
    snprintf(path, sizeof path, "%.*s", (int)record->path_len, record->path);
    switch ((enum trace_kind)record->head.kind) {
    case TRACE_PROCESS:
        memset(disk->open, 0, sizeof disk->open);
        break;
    case TRACE_OPEN:
        open_one(disk, i, path);
        break;
    case TRACE_CLOSE:
        disk->open[record->head.fd] = NULL;
        break;
    case TRACE_WRITE:
    case TRACE_RESIZE:
    case TRACE_GROW:
        if (node) {
            pend(disk, i, node, "");
        }
        break;
    case TRACE_SYNC:
        if (node) {
            sync_node(disk, node, disk->open_path[record->head.fd]);
        }
        break;
    case TRACE_RENAME:
        node = find(disk->now, disk->now_len, path);
        if (node) {
            snprintf(to, sizeof to, "%.*s", (int)record->data.len, (const char *)record->data.data);
            snprintf(pend(disk, i, node, to)->from, sizeof path, "%s", path);
            bind(disk->now, &disk->now_len, path, NULL);
            bind(disk->now, &disk->now_len, to, node);
        }
        break;
    case TRACE_UNLINK:
        if (find(disk->now, disk->now_len, path)) {
            pend(disk, i, NULL, path);
            bind(disk->now, &disk->now_len, path, NULL);
        }
        break;
    case TRACE_MKDIR:
        node = node_new(disk, true);
        bind(disk->now, &disk->now_len, path, node);
        pend(disk, i, node, path);
        break;
    case TRACE_NOTE:
        break;
    }
}

/* The power is gone: what of the pending changes made it? */
static void lose(struct disk *disk, size_t at, enum loss loss)
{
    size_t first = disk->pending_len ? disk->pending[0].record : at;
    size_t until = loss == LOSS_NONE ? at : loss == LOSS_ALL ? 0 : first + draw(disk) % (at - first + 1);
    for (size_t i = 0; i < disk->pending_len; i++) {
        struct pending *change = &disk->pending[i];
        const struct record *record = &disk->replay->records[change->record];
        size_t some = record->data.len;
        if (loss == LOSS_SOME ? draw(disk) % 2 == 0 : change->record >= until) {
            continue;
        }
        if (change->path[0]) {
            apply_name(disk, change);
            continue;
        }
        if (loss == LOSS_SOME && draw(disk) % 4 == 0 && some) {
            some = draw(disk) % some;
        }
        apply_bytes(change->node, record, some);
    }
}

static bool is_there(const struct disk *disk, const char *path)
{
    const char *slash = strrchr(path, '/');
    char above[200];
    if (!find(disk->kept, disk->kept_len, path)) {
        return false;
    }
    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path) : 0, path);
    return !above[0] || is_there(disk, above);
}

static void write_node(const struct name *name, const char *folder, const char *rest)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", folder, rest);
    if (name->node->folder) {
        assert_int_equal(mkdir(path, 0700), 0);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0 && write(fd, name->node->bytes, name->node->len) == (ssize_t)name->node->len);
    close(fd);
}

static size_t depth_of(const char *path)
{
    size_t depth = 0;
    for (; *path; path++) {
        depth += *path == '/';
    }
    return depth;
}

/* Folders come before what is in them. */
static void write_out(const struct disk *disk, const char *under, const char *folder)
{
    enum { DEPTH_MAX = 8 };
    size_t len = strlen(under);
    for (size_t depth = 0; depth < DEPTH_MAX; depth++) {
        for (size_t i = 0; i < disk->kept_len; i++) {
            const struct name *name = &disk->kept[i];
            bool inside = strncmp(name->path, under, len) == 0 && (name->path[len] == '/' || !name->path[len]);
            if (inside && name->node && depth_of(name->path) == depth && is_there(disk, name->path)) {
                write_node(name, folder, name->path + len);
            }
        }
    }
}

/* A folder that the trace does not make was there before, and surely. */
static void was_there(struct disk *disk, const char *path)
{
    const struct replay *replay = disk->replay;
    for (size_t i = 0; i < replay->count; i++) {
        const struct record *record = &replay->records[i];
        if (record->head.kind == TRACE_MKDIR &&
            bytes_equal(bytes_str(path), BYTES(record->path, record->path_len))) {
            return;
        }
    }
    struct node *node = node_new(disk, true);
    bind(disk->now, &disk->now_len, path, node);
    bind(disk->kept, &disk->kept_len, path, node);
}

void replay_cut(const struct replay *replay, size_t at, enum loss loss, uint64_t seed, const char *under,
                const char *folder)
{
    struct disk *disk = calloc(1, sizeof *disk);
    assert_non_null(disk);
    disk->replay = replay;
    disk->pending = calloc(PENDING_MAX, sizeof *disk->pending);
    assert_non_null(disk->pending);
    disk->chance = seed * 2 + 1;
    node_new(disk, true);                /* the root, which is there */
    was_there(disk, under);
    for (size_t i = 0; i < at; i++) {
        step(disk, i);
    }
    lose(disk, at, loss);
    write_out(disk, under, folder);
    for (size_t i = 0; i < disk->nodes_len; i++) {
        free(disk->nodes[i]->bytes);
        free(disk->nodes[i]);
    }
    free(disk->pending);
    free(disk);
}
