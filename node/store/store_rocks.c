/* The store on disk: RocksDB through its C API, and the only file that includes it. Its files are in
 * <folder>/rows; what the folder is, folder.h says. */
#include <rocksdb/c.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/folder.h"
#include "node/store/rows.h"
#include "node/store/store.h"

enum {
    MEMORY_DEFAULT = 24 << 20,
    BLOB_MIN = 4096,
    FAMILIES = FAMILY_COUNT + 1              /* RocksDB wants its "default", which stays empty, first */
};

struct store {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *family[FAMILIES];
    rocksdb_options_t *base, *options[FAMILIES];
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *reads;
    rocksdb_writeoptions_t *writes;
    store_failed_fn failed;
    void *failed_context;
    bool making;
    char rows[PATH_MAX];
};

struct store_snapshot {
    struct store *store;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *reads;
};

struct store_iter {
    const struct store *store;
    enum store_family family;
    rocksdb_readoptions_t *reads;
    rocksdb_iterator_t *iter;
    struct span_bounds bounds;
    bool begun;
};

static rocksdb_column_family_handle_t *family_of(const struct store *store, enum store_family family)
{
    return store->family[1 + family];
}

/* ---- Errors --------------------------------------------------------------------------------------------- */

/* The text without the folder's name in front of its files: whoever reads it knows which store it is. */
static void shorten(const struct store *store, char *text)
{
    size_t len = strlen(store->rows);
    for (char *at; (at = strstr(text, store->rows)) && at[len] == '/';) {
        memmove(at, at + len + 1, strlen(at + len + 1) + 1);
    }
}

/* Takes over RocksDB's text. Its locks and options speak in words only. */
static bool raise_rocks(const struct store *store, char *message, struct err *err)
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
    shorten(store, message);
    err_raise(err, code, "rocksdb: %s", message);
    rocksdb_free(message);
    return false;
}

/* What the disk has is unknown now, or it cannot be read: the daemon's ends the process here. */
static bool fail(const struct store *store, struct err *err)
{
    if (store->failed) {
        store->failed(store->failed_context, err);
    }
    return false;
}

/* A row that does not verify is refused by its name, and the others go on; a disk that cannot be read at all is a
 * failure. */
static bool raise_read(const struct store *store, char *message, enum store_family family, struct bytes key,
                       struct err *err)
{
    char place[STORE_PLACE_TEXT];
    raise_rocks(store, message, err);
    err_wrap(err, "store: %s", store_place(family, key, place));
    return err->code == ERR_CORRUPT ? false : fail(store, err);
}

/* The end of what RocksDB tells in its LOG. */
enum { LOG_TAIL = 8192 };
static void log_tail(const struct store *store, char out[LOG_TAIL])
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/LOG", store->rows);
    FILE *file = fopen(path, "re");
    out[0] = '\0';
    if (!file) {
        return;
    }
    if (fseek(file, -(long)(LOG_TAIL - 1), SEEK_END) != 0) {
        rewind(file);
    }
    out[fread(out, 1, LOG_TAIL - 1, file)] = '\0';
    fclose(file);
    shorten(store, out);
}

/* The newest failure in the background; "" if nothing is told of it (yet). */
static void background_reason(const struct store *store, char *out, size_t size)
{
    static const char before[] = "Waiting after background ";
    char tail[LOG_TAIL];
    log_tail(store, tail);
    out[0] = '\0';
    for (char *at = tail; (at = strstr(at, before)); at++) {
        snprintf(out, size, "%.*s", (int)strcspn(at + sizeof before - 1, ",\n"), at + sizeof before - 1);
    }
}

/* The error of a write-ahead log that does not verify has no file's name: "000035.log: dropping 90 bytes" is told.
 */
static void name_wal(const struct store *store, struct err *err)
{
    static const char after[] = ".log: dropping";
    char tail[LOG_TAIL];
    log_tail(store, tail);
    char *at = strstr(tail, after);
    if (at && err->code == ERR_CORRUPT) {
        char *begin = at;
        while (begin > tail && begin[-1] != ' ') {
            begin--;
        }
        err_wrap(err, "write-ahead log %.*s.log", (int)(at - begin), begin);
    }
}

/* Flushes and compactions that failed. RocksDB would serve on after some of them, and try again. */
static bool check_background(const struct store *store, struct err *err)
{
    uint64_t errors = 0;
    char reason[160];
    if (rocksdb_property_int(store->db, "rocksdb.background-errors", &errors) != 0 || errors == 0) {
        return true;
    }
    background_reason(store, reason, sizeof reason);
    return err_raise(err, ERR_UNAVAILABLE, "rocksdb: writing tables in the background failed: %s",
                     reason[0] ? reason : "see LOG among the store's rows");
}

/* ---- Opening -------------------------------------------------------------------------------------------- */

/* What the database as a whole needs. With mode 0 a torn tail of the log is a crash and is cut off, and any other
 * damage to it is an error; with RocksDB's default one bad byte silently drops the synced writes behind it. */
static bool base_options(struct store *store, size_t memory, struct err *err)
{
    rocksdb_options_t *plain = rocksdb_options_create();
    char *message = NULL;
    store->base = rocksdb_options_create();
    rocksdb_get_options_from_string(
        plain,
        "track_and_verify_wals_in_manifest=true;max_bgerror_resume_count=0;arena_block_size=131072;"
        "max_open_files=1000;stats_dump_period_sec=0;stats_persist_period_sec=0;"
        "keep_log_file_num=4;max_log_file_size=4194304;wal_bytes_per_sync=0",
        store->base, &message);
    rocksdb_options_destroy(plain);
    if (message) {
        return raise_rocks(store, message, err);
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
    rocksdb_options_set_info_log_level(store->base, 2); /* warnings and worse */
    store->cache = rocksdb_cache_create_lru(memory / 2);
    return true;
}

/* Tables' indexes and filters live in the one cache, so that memory stays bounded however much is stored. */
static void table_options(const struct store *store, rocksdb_options_t *options)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_checksum(table, 4); /* kXXH3 */
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_cache(table, store->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

/* Rows that follow each other are written to memory from where the last one of their prefix is: without the
 * search, which is most of what writing them costs. The log's rows of one kind and level do, and one chain's. */
static const char *const insert_hint[FAMILIES] = {
    [1 + FAMILY_LOG] = "memtable_insert_with_hint_prefix_extractor=fixed:2",
    [1 + FAMILY_MAP] = "memtable_insert_with_hint_prefix_extractor=fixed:33",
    [1 + FAMILY_KEY] = "memtable_insert_with_hint_prefix_extractor=fixed:17",
    [1 + FAMILY_RECORD] = "memtable_insert_with_hint_prefix_extractor=fixed:16",
};

static bool insert_options(const struct store *store, size_t family, rocksdb_options_t *options, struct err *err)
{
    char *message = NULL;
    if (insert_hint[family]) {
        rocksdb_get_options_from_string(store->base, insert_hint[family], options, &message);
    }
    return !message || raise_rocks(store, message, err);
}

/* Sealed rows and hashes do not compress; statements, references and pointers do. */
static bool family_options(struct store *store, struct err *err)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        rocksdb_options_t *options = store->options[i] = rocksdb_options_create_copy(store->base);
        if (!insert_options(store, i, options, err)) {
            return false;
        }
        bool compresses = i == 1 + FAMILY_STATEMENT || i == 1 + FAMILY_INDEX || i == 1 + FAMILY_STREAM;
        rocksdb_options_set_compression(options, compresses ? rocksdb_zstd_compression : rocksdb_no_compression);
        table_options(store, options);
        if (i == 1 + FAMILY_CHUNK) {
            rocksdb_options_set_enable_blob_files(options, 1);
            rocksdb_options_set_min_blob_size(options, BLOB_MIN);
            rocksdb_options_set_blob_compression_type(options, rocksdb_no_compression);
            rocksdb_options_set_enable_blob_gc(options, 1);
        }
    }
    return true;
}

static bool open_rows(struct store *store, struct err *err)
{
    char *message = NULL;
    const char *names[FAMILIES] = {"default"};
    for (enum store_family family = 0; family < FAMILY_COUNT; family++) {
        names[1 + family] = store_family_name(family);
    }
    store->db =
        rocksdb_open_column_families(store->base, store->rows, FAMILIES, names,
                                     (const rocksdb_options_t *const *)store->options, store->family, &message);
    if (message) {
        store->db = NULL;
        raise_rocks(store, message, err);
        name_wal(store, err);
        return false;
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
    if (!store_folder_judge(options->folder, &store->making, err) ||
        !base_options(store, options->memory ? options->memory : MEMORY_DEFAULT, err)) {
        return false;
    }
    return family_options(store, err) && open_rows(store, err) &&
           (!store->making || store_folder_made(options->folder, err));
}

bool store_open(const struct store_options *options, struct store **out, struct err *err)
{
    if (!options->folder || !options->folder[0] || options->disk) {
        return err_raise(err, ERR_INVALID, "open store: the store on disk needs a folder");
    }
    struct store *store = store_must_alloc(sizeof *store);
    store->failed = options->failed;
    store->failed_context = options->failed_context;
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
    if (message ? raise_rocks(store, message, err) : check_background(store, err)) {
        return true;
    }
    err_wrap(err, "store commit");
    return fail(store, err);
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
        return raise_read(store, message, family, key, err);
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
        return err_raise(err, ERR_NOT_FOUND, "store: no such row in family %s", store_family_name(family));
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
    iter->store = store;
    iter->family = family;
    iter->reads = rocksdb_readoptions_create();
    if (at) {
        rocksdb_readoptions_set_snapshot(iter->reads, at->snapshot);
    }
    const struct span_bounds *bounds = &iter->bounds; /* RocksDB keeps pointers into it */
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
    return !message || raise_read(iter->store, message, iter->family, span_lower(&iter->bounds), err);
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
        raise_rocks(store, message, err);
        err_wrap(err, "store compact");
        return fail(store, err);
    }
    rocksdb_compactoptions_t *how = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(how, 2); /* kForce: also files that look settled */
    rocksdb_compact_range_cf_opt(store->db, family_of(store, family), how,
                                 bounds.lower_len ? (const char *)bounds.lower : NULL, bounds.lower_len,
                                 bounds.bounded ? (const char *)bounds.upper : NULL, bounds.upper_len);
    rocksdb_compactoptions_destroy(how);
    return check_background(store, err) || err_wrap(err, "store compact") || fail(store, err);
}

/* ---- Looking at it -------------------------------------------------------------------------------------- */

static uint64_t property(struct store *store, rocksdb_column_family_handle_t *family, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int_cf(store->db, family, name, &value) == 0 ? value : 0;
}

void store_sizes(struct store *store, struct store_sizes *out)
{
    *out = (struct store_sizes){.cached = rocksdb_cache_get_usage(store->cache)};
    for (enum store_family i = 0; i < FAMILY_COUNT; i++) {
        rocksdb_column_family_handle_t *family = family_of(store, i);
        uint64_t blobs = property(store, family, "rocksdb.total-blob-file-size");
        out->blobs += blobs;
        out->files += blobs + property(store, family, "rocksdb.total-sst-files-size");
        out->unwritten += property(store, family, "rocksdb.cur-size-all-mem-tables");
        out->rows[i] = property(store, family, "rocksdb.estimate-num-keys");
    }
}
