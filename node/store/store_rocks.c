/* The store on disk: RocksDB through its C API, and the only file that includes it.
 *
 * <folder>/FORMAT says what the folder is; <folder>/rows is RocksDB's. FORMAT is "making" until the first opening
 * is complete, so that a kill in between is finished next time, while a finished store that lost files is never
 * made anew in silence. */
#include <rocksdb/c.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/store/rows.h"
#include "node/store/store.h"

#define FORMAT_MAKING "chartmesh store making\n"
#define FORMAT_MADE "chartmesh store 1\n"

enum {
    MEMORY_DEFAULT = 24 << 20,
    BLOB_MIN = 4096,
    FAMILIES = FAMILY_COUNT + 1              /* RocksDB wants its "default", which stays empty, first */
};

static const char *const FAMILY_NAME[FAMILIES] = {
    "default", "meta", "key", "record", "chunk", "log", "map", "index", "stream", "statement",
};

struct store {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *family[FAMILIES];
    rocksdb_options_t *base, *options[FAMILIES];
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *reads;
    rocksdb_writeoptions_t *writes;
    bool making;
    char rows[PATH_MAX];
};

struct store_snapshot {
    struct store *store;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *reads;
};

struct store_iter {
    rocksdb_readoptions_t *reads;
    rocksdb_iterator_t *iter;
    struct span_bounds bounds;
    bool begun;
};

static rocksdb_column_family_handle_t *family_of(const struct store *store, enum store_family family)
{
    return store->family[1 + family];
}

/* Takes over RocksDB's text. Its locks and options speak in words only. */
static bool raise_rocks(char *message, struct err *err)
{
    enum err_code code = ERR_UNAVAILABLE;
    if (strncmp(message, "Corruption", 10) == 0 || strstr(message, "create_if_missing is false")) {
        code = ERR_CORRUPT;
    } else if (strstr(message, "lock hold by current process") || strstr(message, "/LOCK: Resource temporarily")) {
        rocksdb_free(message);
        return err_raise(err, ERR_STATE, "another process has it open");
    } else if (strncmp(message, "Invalid argument", 16) == 0) {
        code = ERR_STATE;
    }
    err_raise(err, code, "rocksdb: %s", message);
    rocksdb_free(message);
    return false;
}

/* ---- The folder ----------------------------------------------------------------------------------------- */

static bool raise_file(const char *what, const char *path, struct err *err)
{
    return err_raise(err, ERR_UNAVAILABLE, "%s %s: %s", what, path, strerror(errno));
}

static bool sync_folder(const char *folder, struct err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) {
        raise_file("sync", folder, err);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* Writes FORMAT as a whole or not at all. */
static bool write_format(const char *folder, const char *text, struct err *err)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    snprintf(path, sizeof path, "%s/FORMAT", folder);
    snprintf(fresh, sizeof fresh, "%s/FORMAT.new", folder);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return raise_file("make", fresh, err);
    }
    bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0;
    ok = close(fd) == 0 && ok && rename(fresh, path) == 0;
    return (ok || raise_file("write", path, err)) && sync_folder(folder, err);
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

/* Sets *making: whether the store has still to be made. */
static bool judge_folder(const char *folder, bool *making, struct err *err)
{
    char path[PATH_MAX], text[64] = "";
    if (snprintf(path, sizeof path, "%s/FORMAT", folder) >= PATH_MAX - 16) {
        return err_raise(err, ERR_INVALID, "the folder's name is too long");
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return raise_file("make", folder, err);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) {
        return raise_file("open", path, err);
    }
    if (fd >= 0) {
        ssize_t len = read(fd, text, sizeof text - 1);
        close(fd);
        if (len < 0) {
            return raise_file("read", path, err);
        }
        *making = strcmp(text, FORMAT_MAKING) == 0;
        return *making || strcmp(text, FORMAT_MADE) == 0 ||
               err_raise(err, ERR_STATE, "its format is not \"%.17s\": another version made it", FORMAT_MADE);
    }
    bool empty = false;
    if (!folder_is_empty(folder, &empty, err)) {
        return false;
    }
    *making = true;
    return empty ? write_format(folder, FORMAT_MAKING, err)
                 : err_raise(err, ERR_STATE, "the folder has other things in it and no FORMAT: not a store");
}

/* ---- Opening -------------------------------------------------------------------------------------------- */

/* What the database as a whole needs. With mode 0 a torn tail of the log is a crash and is cut off, and any other
 * damage to it is an error; with RocksDB's default one bad byte silently drops the synced writes behind it. */
static bool base_options(struct store *store, size_t memory, struct err *err)
{
    rocksdb_options_t *plain = rocksdb_options_create();
    char *message = NULL;
    store->base = rocksdb_options_create();
    rocksdb_get_options_from_string(plain,
                                    "track_and_verify_wals_in_manifest=true;arena_block_size=131072;"
                                    "max_open_files=1000;stats_dump_period_sec=0;stats_persist_period_sec=0;"
                                    "keep_log_file_num=4;max_log_file_size=4194304;wal_bytes_per_sync=0",
                                    store->base, &message);
    rocksdb_options_destroy(plain);
    if (message) {
        return raise_rocks(message, err);
    }
    rocksdb_options_set_wal_recovery_mode(store->base, rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_paranoid_checks(store->base, 1);
    rocksdb_options_set_create_if_missing(store->base, store->making);
    rocksdb_options_set_create_missing_column_families(store->base, store->making);
    rocksdb_options_set_max_total_wal_size(store->base, 64 << 20);
    rocksdb_options_set_max_manifest_file_size(store->base, 16 << 20);
    rocksdb_options_set_db_write_buffer_size(store->base, memory / 2);
    rocksdb_options_set_write_buffer_size(store->base, MAX(memory / 4, (size_t)1 << 20));
    rocksdb_options_set_max_background_jobs(store->base, 2);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(store->base, 1);
    rocksdb_options_set_info_log_level(store->base, 2);      /* warnings and worse */
    store->cache = rocksdb_cache_create_lru(memory / 2);
    return true;
}

/* Tables' indexes and filters live in the one cache, so that memory stays bounded however much is stored. */
static void table_options(const struct store *store, rocksdb_options_t *options)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_checksum(table, 4);      /* kXXH3 */
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_cache(table, store->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

/* Sealed rows and hashes do not compress; statements, references and pointers do. */
static void family_options(struct store *store)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        rocksdb_options_t *options = rocksdb_options_create_copy(store->base);
        bool compresses = i == 1 + FAMILY_STATEMENT || i == 1 + FAMILY_INDEX || i == 1 + FAMILY_STREAM;
        rocksdb_options_set_compression(options, compresses ? rocksdb_zstd_compression : rocksdb_no_compression);
        table_options(store, options);
        if (i == 1 + FAMILY_CHUNK) {
            rocksdb_options_set_enable_blob_files(options, 1);
            rocksdb_options_set_min_blob_size(options, BLOB_MIN);
            rocksdb_options_set_blob_compression_type(options, rocksdb_no_compression);
            rocksdb_options_set_enable_blob_gc(options, 1);
        }
        store->options[i] = options;
    }
}

static bool open_rows(struct store *store, struct err *err)
{
    char *message = NULL;
    store->db =
        rocksdb_open_column_families(store->base, store->rows, FAMILIES, FAMILY_NAME,
                                     (const rocksdb_options_t *const *)store->options, store->family, &message);
    if (message) {
        store->db = NULL;
        return raise_rocks(message, err);
    }
    store->reads = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(store->reads, 1);
    store->writes = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->writes, 1);
    return true;
}

static bool open_all(const struct store_options *options, struct store *store, struct err *err)
{
    snprintf(store->rows, sizeof store->rows, "%s/rows", options->folder);
    if (!judge_folder(options->folder, &store->making, err) ||
        !base_options(store, options->memory ? options->memory : MEMORY_DEFAULT, err)) {
        return false;
    }
    family_options(store);
    return open_rows(store, err) && (!store->making || write_format(options->folder, FORMAT_MADE, err));
}

bool store_open(const struct store_options *options, struct store **out, struct err *err)
{
    if (!options->folder || !options->folder[0] || options->disk) {
        return err_raise(err, ERR_INVALID, "open store: the store on disk needs a folder");
    }
    struct store *store = store_must_alloc(sizeof *store);
    if (!open_all(options, store, err)) {
        store_close(store);
        return err_wrap(err, "open store %s", options->folder);
    }
    *out = store;
    return true;
}

void store_close(struct store *store)
{
    if (!store) {
        return;
    }
    for (size_t i = 0; i < FAMILIES && store->db; i++) {
        rocksdb_column_family_handle_destroy(store->family[i]);
    }
    if (store->db) {
        rocksdb_close(store->db);
        rocksdb_readoptions_destroy(store->reads);
        rocksdb_writeoptions_destroy(store->writes);
    }
    for (size_t i = 0; i < FAMILIES && store->options[i]; i++) {
        rocksdb_options_destroy(store->options[i]);
    }
    if (store->base) {
        rocksdb_options_destroy(store->base);
    }
    if (store->cache) {
        rocksdb_cache_destroy(store->cache);
    }
    free(store);
}

/* ---- Writing -------------------------------------------------------------------------------------------- */

bool store_commit(struct store *store, const struct store_batch *batch, struct err *err)
{
    if (!store_batch_check(batch, err)) {
        return false;
    }
    rocksdb_writebatch_t *writes = rocksdb_writebatch_create();
    struct reader rows = batch_rows(batch);
    for (struct batch_row row; batch_next(&rows, &row);) {
        rocksdb_column_family_handle_t *family = family_of(store, row.family);
        const char *key = (const char *)row.key.data;
        if (row.put) {
            rocksdb_writebatch_put_cf(writes, family, key, row.key.len, (const char *)row.value.data,
                                      row.value.len);
        } else {
            rocksdb_writebatch_delete_cf(writes, family, key, row.key.len);
        }
    }
    char *message = NULL;
    rocksdb_write(store->db, store->writes, writes, &message);
    rocksdb_writebatch_destroy(writes);
    return !message || raise_rocks(message, err) || err_wrap(err, "store commit");
}

/* ---- Reading -------------------------------------------------------------------------------------------- */

struct store_snapshot *store_snapshot_new(struct store *store)
{
    struct store_snapshot *snapshot = store_must_alloc(sizeof *snapshot);
    snapshot->store = store;
    snapshot->snapshot = rocksdb_create_snapshot(store->db);
    snapshot->reads = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(snapshot->reads, snapshot->snapshot);
    return snapshot;
}

void store_snapshot_free(struct store_snapshot *snapshot)
{
    if (snapshot) {
        rocksdb_readoptions_destroy(snapshot->reads);
        rocksdb_release_snapshot(snapshot->store->db, snapshot->snapshot);
        free(snapshot);
    }
}

/* Sets *out to the row, pinned, or to NULL if there is none. */
static bool get_pinned(struct store *store, const struct store_snapshot *at, enum store_family family,
                       struct bytes key, rocksdb_pinnableslice_t **out, struct err *err)
{
    char *message = NULL;
    rocksdb_pinnableslice_t *slice =
        rocksdb_get_pinned_cf(store->db, at ? at->reads : store->reads, family_of(store, family),
                              (const char *)key.data, key.len, &message);
    if (message) {
        return raise_rocks(message, err) || err_wrap(err, "store read");
    }
    *out = slice;
    return true;
}

bool store_get(struct store *store, const struct store_snapshot *at, enum store_family family, struct bytes key,
               struct arena *arena, struct bytes *out, struct err *err)
{
    rocksdb_pinnableslice_t *slice = NULL;
    if (!get_pinned(store, at, family, key, &slice, err)) {
        return false;
    }
    if (!slice) {
        return err_raise(err, ERR_NOT_FOUND, "store: no such row in family %s", FAMILY_NAME[1 + family]);
    }
    size_t len = 0;
    const char *value = rocksdb_pinnableslice_value(slice, &len);
    bool ok = arena_copy(arena, BYTES(value, len), out, err);
    rocksdb_pinnableslice_destroy(slice);
    return ok;
}

bool store_has(struct store *store, const struct store_snapshot *at, enum store_family family, struct bytes key,
               bool *out, struct err *err)
{
    rocksdb_pinnableslice_t *slice = NULL;
    if (!get_pinned(store, at, family, key, &slice, err)) {
        return false;
    }
    *out = slice != NULL;
    if (slice) {
        rocksdb_pinnableslice_destroy(slice);
    }
    return true;
}

bool store_iter_open(struct store *store, const struct store_snapshot *at, enum store_family family,
                     const struct store_span *span, struct store_iter **out, struct err *err)
{
    struct store_iter *iter = store_must_alloc(sizeof *iter);
    if (!span_bounds_of(span, &iter->bounds, err)) {
        free(iter);
        return false;
    }
    iter->reads = rocksdb_readoptions_create();
    if (at) {
        rocksdb_readoptions_set_snapshot(iter->reads, at->snapshot);
    }
    const struct span_bounds *bounds = &iter->bounds;        /* RocksDB keeps pointers into it */
    rocksdb_readoptions_set_iterate_lower_bound(iter->reads, (const char *)bounds->lower, bounds->lower_len);
    if (bounds->bounded) {
        rocksdb_readoptions_set_iterate_upper_bound(iter->reads, (const char *)bounds->upper, bounds->upper_len);
    }
    iter->iter = rocksdb_create_iterator_cf(store->db, iter->reads, family_of(store, family));
    *out = iter;
    return true;
}

static void iter_move(struct store_iter *iter)
{
    bool backwards = iter->bounds.backwards;
    if (!iter->begun) {
        (backwards ? rocksdb_iter_seek_to_last : rocksdb_iter_seek_to_first)(iter->iter);
    } else {
        (backwards ? rocksdb_iter_prev : rocksdb_iter_next)(iter->iter);
    }
    iter->begun = true;
}

bool store_iter_next(struct store_iter *iter)
{
    if (iter->bounds.empty || (iter->begun && !rocksdb_iter_valid(iter->iter))) {
        return false;
    }
    iter_move(iter);
    return rocksdb_iter_valid(iter->iter);
}

struct bytes store_iter_key(const struct store_iter *iter)
{
    size_t len = 0;
    const char *key = rocksdb_iter_key(iter->iter, &len);
    return BYTES(key, len);
}

struct bytes store_iter_value(const struct store_iter *iter)
{
    size_t len = 0;
    const char *value = rocksdb_iter_value(iter->iter, &len);
    return BYTES(value, len);
}

bool store_iter_check(const struct store_iter *iter, struct err *err)
{
    char *message = NULL;
    rocksdb_iter_get_error(iter->iter, &message);
    return !message || raise_rocks(message, err) || err_wrap(err, "store read");
}

void store_iter_close(struct store_iter *iter)
{
    if (iter) {
        rocksdb_iter_destroy(iter->iter);
        rocksdb_readoptions_destroy(iter->reads);
        free(iter);
    }
}

bool store_compact(struct store *store, enum store_family family, const struct store_span *span, struct err *err)
{
    struct span_bounds bounds;
    if (!span_bounds_of(span, &bounds, err)) {
        return false;
    }
    char *message = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flush_cf(store->db, flush, family_of(store, family), &message);
    rocksdb_flushoptions_destroy(flush);
    if (message) {
        return raise_rocks(message, err) || err_wrap(err, "store compact");
    }
    rocksdb_compactoptions_t *how = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(how, 2); /* kForce: also files that look settled */
    rocksdb_compact_range_cf_opt(store->db, family_of(store, family), how,
                                 bounds.lower_len ? (const char *)bounds.lower : NULL, bounds.lower_len,
                                 bounds.bounded ? (const char *)bounds.upper : NULL, bounds.upper_len);
    rocksdb_compactoptions_destroy(how);
    return true;
}
