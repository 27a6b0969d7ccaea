/* A byte of what lies on the disk is wrong: in each kind of file, and in each kind of row (with the store's own
 * checksums right, so that only what the node itself checks can find it). What is served is what was written; all
 * else is refused, at the start or when it is asked for, by its name. */
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/disk/survey.h"
#include "tests/lib/nodes.h"
#include "tests/lib/soak.h"

struct fixture {
    struct nodes *nodes;
    struct survey_facts *facts;  /* both shared with children */
    struct survey *survey;
    struct survey whole;         /* of the folder as it should be */
    char made[300], data[300];
};

/* ---- In a process of its own ---------------------------------------------------------------------------------- *
 *
 * A store that fails ends its process; and one opens it a hundred times. */

static int in_child(void (*fn)(struct fixture *), struct fixture *f)
{
    int status = 0;
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fn(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void take(struct fixture *f)
{
    struct err err;
    struct on_disk node;
    if (!on_disk_open(&node, f->nodes->list[0].folder, f->data, &err)) {
        f->survey->opened = err.code;
        snprintf(f->survey->text, sizeof f->survey->text, "%s", err.text);
        return;
    }
    survey_take(&node, f->facts, f->survey);
    on_disk_close(&node);
}

static void make(struct fixture *f)
{
    struct err err;
    struct on_disk node;
    assert_ok(on_disk_open(&node, f->nodes->list[0].folder, f->made, &err));
    survey_make(&node, f->facts);
    on_disk_close(&node);
    /* What is in the write-ahead log goes into tables and blobs, and something new into the log. */
    assert_ok(on_disk_open(&node, f->nodes->list[0].folder, f->made, &err));
    survey_take(&node, f->facts, f->survey);
    on_disk_close(&node);
}

/* ---- Copies --------------------------------------------------------------------------------------------------- */

static const char *copy_from, *copy_to;

static int copy_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    static uint8_t text[8 << 20];
    char to[600];
    (void)place;
    snprintf(to, sizeof to, "%s%s", copy_to, path + strlen(copy_from));
    if (kind == FTW_D) {
        return mkdir(to, 0700);
    }
    int from = open(path, O_RDONLY | O_CLOEXEC), fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = from >= 0 && fd >= 0 && info->st_size <= (off_t)sizeof text &&
              read(from, text, sizeof text) == info->st_size &&
              write(fd, text, (size_t)info->st_size) == info->st_size;
    close(from);
    close(fd);
    return ok ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static void fresh_copy(struct fixture *f)
{
    nftw(f->data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    copy_from = f->made;
    copy_to = f->data;
    assert_int_equal(nftw(f->made, copy_one, 16, FTW_PHYS), 0);
    *f->survey = (struct survey){0};
}

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->nodes = nodes_new("", 1);
    f->facts = shared(sizeof *f->facts);
    f->survey = shared(sizeof *f->survey);
    snprintf(f->made, sizeof f->made, "%s/made", f->nodes->folder);
    snprintf(f->data, sizeof f->data, "%s/data", f->nodes->folder);
    assert_int_equal(in_child(make, f), 0);
    f->whole = *f->survey;
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    nodes_free(f->nodes);
    munmap(f->facts, sizeof *f->facts);
    munmap(f->survey, sizeof *f->survey);
    free(f);
    return 0;
}

/* ---- Judging -------------------------------------------------------------------------------------------------- */

/* Nothing is served that was not written; counts what is refused with `why` in its text. */
static size_t refused(struct fixture *f, const char *what, const char *why, int code)
{
    size_t named = 0;
    if (code == 70) {
        return 1; /* the store failed as a whole, and said so */
    }
    if (code != 0) {
        fail_msg("%s: the process ended with %d", what, code);
    }
    if (f->survey->opened != ERR_NONE) {
        if (!strstr(f->survey->text, why)) {
            fail_msg("%s: refused, but not for \"%s\": %s", what, why, f->survey->text);
        }
        return 1;
    }
    for (size_t i = 0; i < f->survey->count; i++) {
        const struct answer *now = &f->survey->answers[i], *then = &f->whole.answers[i];
        if (now->code == ERR_NONE && !hash_equal(&now->hash, &then->hash)) {
            fail_msg("%s: %s is served, and is not what was written", what, now->name);
        }
        if (now->code != ERR_NONE && then->code == ERR_NONE) {
            if (!strstr(now->text, why)) {
                fail_msg("%s: %s is refused, but not for \"%s\": %s", what, now->name, why, now->text);
            }
            named++;
        }
    }
    return named;
}

static void test_corrupt__a_copy_without_a_wrong_byte_serves_everything(void **state)
{
    struct fixture *f = *state;
    fresh_copy(f);
    assert_int_equal(in_child(take, f), 0);
    assert_int_equal(refused(f, "a whole copy", "", 0), 0);
    assert_true(f->survey->count == f->whole.count && f->survey->count > 50);
    for (size_t i = 0; i < f->whole.count; i++) {
        if (f->whole.answers[i].code != ERR_NONE) {
            fail_msg("%s: %s", f->whole.answers[i].name, f->whole.answers[i].text);
        }
    }
}

/* ---- Files ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *pattern, *why; /* what every refusal says */
    unsigned flips; /* in each file */
    bool all; /* every one is refused; else there are bytes that nobody reads again */
} files[] = {
    {"keyring", "keyring", 3, true},
    {"anchor", "anchor", 3, true},
    {"store/FORMAT", "FORMAT is damaged", 3, true},
    {"store/rows/CURRENT", "CURRENT", 2, true},
    {"store/rows/MANIFEST-*", "MANIFEST", 4, true},
    {"store/rows/*.log", "write-ahead log 0", 4, true},
    {"store/rows/*.sst", "Corruption", 2, false}, /* RocksDB may call it the manifest's: "properties unsorted" */
    {"store/rows/*.blob", "family chunk", 3, true},
    {"store/rows/OPTIONS-*", "none", 1, false},
    {"store/rows/IDENTITY", "none", 1, false},
};

static void flip_byte(const char *path, off_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 0x20;
    assert_true(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

static void flip_and_judge(struct fixture *f, size_t kind, const char *path, off_t at)
{
    char what[300];
    fresh_copy(f);
    flip_byte(path, at);
    snprintf(what, sizeof what, "%s, byte %jd", path + strlen(f->data) + 1, (intmax_t)at);
    size_t found = refused(f, what, files[kind].why, in_child(take, f));
    if (found == 0 && files[kind].all) {
        fail_msg("%s: nobody refuses it", what);
    }
}

static void flip_file(struct fixture *f, size_t kind, const char *path, uint64_t *chance)
{
    struct stat info;
    fresh_copy(f); /* whoever opened the last one may have put other files in its place */
    assert_int_equal(stat(path, &info), 0);
    for (unsigned n = 0; n < files[kind].flips && info.st_size > 0; n++) {
        *chance = *chance * 6364136223846793005u + 1442695040888963407u;
        uint64_t part = (uint64_t)info.st_size / files[kind].flips + 1;
        flip_and_judge(f, kind, path, (off_t)MIN(part * n + (*chance >> 33) % part, (uint64_t)info.st_size - 1));
    }
}

static void test_corrupt__attack_59_a_wrong_byte_in_any_file_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = soak_seed(1), chance = seed, rounds = 0;
    printf("seed %ju\n", (uintmax_t)seed);
    for (; rounds == 0 || soak_goes_on(); rounds++) {
        for (size_t i = 0; i < COUNT(files); i++) {
            char pattern[400];
            glob_t paths;
            fresh_copy(f);
            snprintf(pattern, sizeof pattern, "%s/%s", f->data, files[i].pattern);
            assert_int_equal(glob(pattern, 0, NULL, &paths), 0);
            for (size_t p = 0; p < paths.gl_pathc; p++) {
                flip_file(f, i, paths.gl_pathv[p], &chance);
            }
            globfree(&paths);
        }
    }
    printf("%ju rounds from seed %ju\n", (uintmax_t)rounds, (uintmax_t)seed);
}

/* attack_60: what was being written when the power went was acknowledged to nobody. */
static void test_corrupt__attack_60_a_torn_end_of_the_log_is_cut_off(void **state)
{
    struct fixture *f = *state;
    char pattern[400];
    glob_t paths;
    struct stat info;
    fresh_copy(f);
    snprintf(pattern, sizeof pattern, "%s/store/rows/*.log", f->data);
    assert_int_equal(glob(pattern, 0, NULL, &paths), 0);
    const char *last = paths.gl_pathv[paths.gl_pathc - 1];
    FILE *file = fopen(last, "ab");
    /* The head of a record of 4,000 bytes, and 20 of them. */
    static const uint8_t torn[27] = {1, 2, 3, 4, 0xa0, 0x0f, 1};
    assert_true(stat(last, &info) == 0 && file && fwrite(torn, sizeof torn, 1, file) == 1 && fclose(file) == 0);
    globfree(&paths);
    assert_int_equal(in_child(take, f), 0);
    assert_int_equal(f->survey->opened, ERR_NONE);
    assert_int_equal(refused(f, "a torn end", "", 0), 0);
}

/* ---- Rows ----------------------------------------------------------------------------------------------------- */

/* NULL: nothing seals the row; it is a pointer that is checked where it leads, and nothing wrong comes of it. */
static const struct {
    enum store_family family;
    const char *prefix, *why;
} rows[] = {
    {FAMILY_META, "log", ""},
    {FAMILY_META, "checkpoint", "stored checkpoint (family meta)"},
    {FAMILY_META, "epoch", "its epoch (family meta)"},
    {FAMILY_KEY, "p", "family key at"},
    {FAMILY_KEY, "d", "family key at 64"},
    {FAMILY_KEY, "a", "family key at 61"},
    {FAMILY_KEY, "f", "family key at 66"},
    {FAMILY_RECORD, "", NULL},
    {FAMILY_CHUNK, "", "family chunk at"},
    {FAMILY_LOG, "e", "(family log)"},
    {FAMILY_LOG, "h", "log: entry"},
    {FAMILY_LOG, "f", NULL},
    {FAMILY_MAP, "c", "family map at 63"},
    {FAMILY_MAP, "x", NULL},
    {FAMILY_MAP, "w", "family map at 77"},
    {FAMILY_MAP, "a", NULL},
    {FAMILY_INDEX, "s", "family index at 73"},
    {FAMILY_INDEX, "g", "family index at 67"},
    {FAMILY_INDEX, "v", NULL},
    {FAMILY_STATEMENT, "s", "family statement at 73"},
};

static size_t which_row, which_kind, which_byte;

/* Changes a byte of the row's value, in a commit like any other. */
static void flip_row(struct fixture *f)
{
    struct err err;
    struct store *store;
    struct store_iter *iter;
    char folder[400];
    AUTO_ARENA(arena, 1 << 20);
    struct bytes key = BYTES_NONE, value = BYTES_NONE;
    const struct store_span span = {.prefix = bytes_str(rows[which_kind].prefix)};
    snprintf(folder, sizeof folder, "%s/store", f->data);
    assert_ok(store_open(&(struct store_options){.folder = folder}, &store, &err));
    assert_ok(store_iter_open(store, NULL, rows[which_kind].family, &span, &iter, &err));
    for (size_t i = 0; i <= which_row && store_iter_next(iter); i++) {
        assert_ok(arena_copy(&arena, store_iter_key(iter), &key, &err));
        assert_ok(arena_copy(&arena, store_iter_value(iter), &value, &err));
    }
    store_iter_close(iter);
    assert_true(key.len && value.len);
    ((uint8_t *)(uintptr_t)value.data)[which_byte * (value.len - 1) / 2] ^= 1;
    struct store_batch *batch = store_batch_new();
    store_put(batch, rows[which_kind].family, key, value);
    assert_ok(store_commit(store, batch, &err));
    store_batch_free(batch);
    store_close(store);
}

/* Of the first row the first byte, of the second the last; the quick form takes one of them, in turn. */
static void flip_row_and_judge(struct fixture *f)
{
    char what[80];
    const char *why = rows[which_kind].why;
    which_row = which_byte / 2;
    fresh_copy(f);
    assert_int_equal(in_child(flip_row, f), 0);
    snprintf(what, sizeof what, "family %s, prefix '%s', row %zu, %s byte",
             store_family_name(rows[which_kind].family), rows[which_kind].prefix, which_row,
             which_byte ? "last" : "first");
    size_t found = refused(f, what, why ? why : "", in_child(take, f));
    if (found == 0 && why) {
        fail_msg("%s: nobody refuses it", what);
    }
}

static void test_corrupt__a_wrong_row_is_refused_by_family_and_key(void **state)
{
    for (which_kind = 0; which_kind < COUNT(rows); which_kind++) {
        for (which_byte = 0; which_byte < 3; which_byte += 2) {
            if (soak_minutes() || which_byte == 2 * (which_kind % 2)) {
                flip_row_and_judge(*state);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corrupt__a_copy_without_a_wrong_byte_serves_everything),
        cmocka_unit_test(test_corrupt__attack_60_a_torn_end_of_the_log_is_cut_off),
        cmocka_unit_test(test_corrupt__a_wrong_row_is_refused_by_family_and_key),
        cmocka_unit_test(test_corrupt__attack_59_a_wrong_byte_in_any_file_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("corrupt", tests, begin, end);
}
