#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/store/store.h"
#include "tests/lib/store_contract.h"
#include "tests/lib/test.h"

static void make(struct store_options *out)
{
    const char *base = getenv("TEST_TMPDIR");
    char *folder = malloc(4096);
    snprintf(folder, 4096, "%s/store.XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
    *out = (struct store_options){.folder = folder};
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat, (void)type, (void)ftw;
    return remove(path);
}

static void clear(struct store_options *options)
{
    nftw(options->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free((char *)options->folder);
}

static const struct store_place PLACE = {make, clear};

static const char *path_in(const char *folder, const char *name)
{
    static char path[4500];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void close_store(struct store_fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

/* The newest write-ahead log that has something in it. */
static const char *wal_of(const char *folder)
{
    static char found[4500];
    found[0] = '\0';
    char rows[4200];
    snprintf(rows, sizeof rows, "%s/rows", folder);
    DIR *dir = opendir(rows);
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat stat_;
        const char *dot = strrchr(entry->d_name, '.');
        char path[4500];
        snprintf(path, sizeof path, "%s/%s", rows, entry->d_name);
        if (dot && strcmp(dot, ".log") == 0 && stat(path, &stat_) == 0 && stat_.st_size > 0 &&
            strcmp(path, found) > 0) {
            memcpy(found, path, sizeof found);
        }
    }
    closedir(dir);
    assert_true(found[0]);
    return found;
}

static void test_store_rocks__a_folder_with_other_things_is_refused(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct store_options foreign;
    struct store *store = NULL;
    make(&foreign);
    write_file(path_in(foreign.folder, "letter.txt"), "dear");
    assert_err(ERR_STATE, store_open(&foreign, &store, &err));
    assert_non_null(strstr(err.text, "not a store"));
    assert_int_equal(access(path_in(foreign.folder, "rows"), F_OK), -1);
    clear(&foreign);
    assert_non_null(f->store);
}

static void test_store_rocks__another_format_is_refused(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    close_store(f);
    write_file(path_in(f->options.folder, "FORMAT"), "chartmesh store 99\n");
    assert_err(ERR_STATE, store_open(&f->options, &f->store, &err));
    assert_non_null(strstr(err.text, "newer version"));
    write_file(path_in(f->options.folder, "FORMAT"), "chartmesh store 1\n");
    assert_err(ERR_STATE, store_open(&f->options, &f->store, &err));
    assert_non_null(strstr(err.text, "older version"));
    write_file(path_in(f->options.folder, "FORMAT"), "chartmesh stoRe 2\n");
    assert_err(ERR_CORRUPT, store_open(&f->options, &f->store, &err));
    assert_non_null(strstr(err.text, "FORMAT is damaged"));
}

static void test_store_rocks__an_unfinished_beginning_is_finished(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    close_store(f);
    write_file(path_in(f->options.folder, "FORMAT"), "chartmesh store making\n");
    assert_ok(store_open(&f->options, &f->store, &err));
    store_fixture_put(f, FAMILY_META, "k", "1");
}

static void test_store_rocks__a_store_that_lost_its_files_is_not_made_anew(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    close_store(f);
    assert_int_equal(remove(path_in(f->options.folder, "rows/CURRENT")), 0);
    assert_err(ERR_CORRUPT, store_open(&f->options, &f->store, &err));
}

static void test_store_rocks__a_folder_that_cannot_be_made_is_an_error(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct store *store = NULL;
    char folder[4500];
    snprintf(folder, sizeof folder, "%s", path_in(f->options.folder, "no/such/parent"));
    assert_err(ERR_UNAVAILABLE, store_open(&(struct store_options){.folder = folder}, &store, &err));
    assert_err(ERR_INVALID, store_open(&(struct store_options){0}, &store, &err));
}

/* Changes one byte of a value in the middle of the file. (A length field in the last 32 KiB would not do: RocksDB
 * cannot tell that from a torn tail; the anchor can.) */
static void spoil_value(const char *path)
{
    static uint8_t text[1 << 16];
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, sizeof text);
    assert_true(len > 1000);
    uint8_t *value = memmem(text + len / 2, (size_t)len / 2, "long enough", 11);
    assert_non_null(value);
    value[0] ^= 0x10;
    assert_int_equal(pwrite(fd, value, 1, value - text), 1);
    close(fd);
}

/* [M9]: with RocksDB's defaults one bad byte drops the synced writes behind it and says nothing. */
static void test_store_rocks__I29_a_bad_byte_in_the_log_of_writes_is_found(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    for (int i = 0; i < 50; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        store_fixture_put(f, FAMILY_META, key, "some value that is long enough to be hit");
    }
    /* Closing flushes nothing here: what was committed is in the write-ahead log. */
    close_store(f);
    spoil_value(wal_of(f->options.folder));
    assert_err(ERR_CORRUPT, store_open(&f->options, &f->store, &err));
}

static void test_store_rocks__I29_a_lost_log_of_writes_is_found(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    store_fixture_put(f, FAMILY_META, "k", "1");
    store_fixture_reopen(f);
    store_fixture_put(f, FAMILY_META, "k", "2");
    close_store(f);
    struct store_options options = f->options;
    assert_int_equal(remove(wal_of(options.folder)), 0);
    if (store_open(&options, &f->store, &err)) {
        /* Nothing in the manifest names the newest log: the anchor finds that. Older rows are untouched. */
        assert_string_equal(store_fixture_value(f, NULL, FAMILY_META, "k"), "1");
    } else {
        assert_int_equal(err.code, ERR_CORRUPT);
    }
}

/* The child says how far it came after each commit, and is killed while it commits. */
static void commit_until_killed(const char *folder, int out)
{
    struct err err;
    struct store *store = NULL;
    if (!store_open(&(struct store_options){.folder = folder}, &store, &err)) {
        _exit(1);
    }
    struct store_batch *batch = store_batch_new();
    for (uint32_t i = 1;; i++) {
        uint8_t value[4];
        put_u32be(value, i);
        store_batch_reset(batch);
        store_put(batch, FAMILY_META, BYTES_LIT("left"), BYTES(value, 4));
        store_put(batch, FAMILY_LOG, BYTES_LIT("right"), BYTES(value, 4));
        if (!store_commit(store, batch, &err) || write(out, &i, sizeof i) != sizeof i) {
            _exit(2);
        }
    }
}

static void test_store_rocks__I29_what_was_acknowledged_survives_a_kill(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    close_store(f);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        commit_until_killed(f->options.folder, ends[1]);
    }
    close(ends[1]);
    uint32_t acknowledged = 0, next;
    while (acknowledged < 50 && read(ends[0], &next, sizeof next) == sizeof next) {
        acknowledged = next;
    }
    kill(child, SIGKILL);
    while (read(ends[0], &next, sizeof next) == sizeof next) {
        acknowledged = next;
    }
    close(ends[0]);
    waitpid(child, NULL, 0);
    assert_true(acknowledged >= 50);

    struct bytes left, right;
    assert_ok(store_open(&f->options, &f->store, &err));
    assert_ok(store_get(f->store, NULL, FAMILY_META, BYTES_LIT("left"), &f->arena, &left, &err));
    assert_ok(store_get(f->store, NULL, FAMILY_LOG, BYTES_LIT("right"), &f->arena, &right, &err));
    assert_bytes_equal(left, right);
    assert_in_range(get_u32be(left.data), acknowledged, acknowledged + 1);
}

static bool any_file_has(const char *folder, struct bytes needle)
{
    bool found = false;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        FILE *file = fopen(path_in(folder, entry->d_name), "rb");
        static char text[1 << 20];
        size_t len = file && entry->d_name[0] != '.' ? fread(text, 1, sizeof text, file) : 0;
        found = found || memmem(text, len, needle.data, needle.len);
        if (file) {
            fclose(file);
        }
    }
    closedir(dir);
    return found;
}

static void test_store_rocks__I32_compaction_takes_deleted_keys_out_of_the_tables(void **state)
{
    struct store_fixture *f = *state;
    struct err err;
    struct store_span span = {.prefix = BYTES_LIT("p")};
    char rows[4500];
    snprintf(rows, sizeof rows, "%s", path_in(f->options.folder, "rows"));
    store_fixture_put(f, FAMILY_KEY, "p1", "a wrapped key to be destroyed");
    store_fixture_put(f, FAMILY_KEY, "p2", "a wrapped key that stays here");
    assert_ok(store_compact(f->store, FAMILY_KEY, &span, &err));
    store_fixture_delete(f, FAMILY_KEY, "p1");
    assert_ok(store_compact(f->store, FAMILY_KEY, &span, &err));
    store_fixture_reopen(f);
    store_fixture_reopen(f); /* the write-ahead log of both rows is gone by now */
    assert_false(any_file_has(rows, BYTES_LIT("key to be destroyed")));
    assert_true(any_file_has(rows, BYTES_LIT("key that stays here")));
}

int main(void)
{
    int failed = store_contract_run("store on disk: the contract", &PLACE);
#define RULE(test) cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)
    const struct CMUnitTest tests[] = {
        RULE(test_store_rocks__a_folder_with_other_things_is_refused),
        RULE(test_store_rocks__another_format_is_refused),
        RULE(test_store_rocks__an_unfinished_beginning_is_finished),
        RULE(test_store_rocks__a_store_that_lost_its_files_is_not_made_anew),
        RULE(test_store_rocks__a_folder_that_cannot_be_made_is_an_error),
        RULE(test_store_rocks__I29_a_bad_byte_in_the_log_of_writes_is_found),
        RULE(test_store_rocks__I29_a_lost_log_of_writes_is_found),
        RULE(test_store_rocks__I29_what_was_acknowledged_survives_a_kill),
        RULE(test_store_rocks__I32_compaction_takes_deleted_keys_out_of_the_tables),
    };
    return failed + cmocka_run_group_tests_name("store on disk", tests, NULL, NULL);
}
