#include "node/server/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/test.h"

static char base[64];

static int begin(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/chartmesh-folder.XXXXXX");
    return mkdtemp(base) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof path, "%s/data/lock", base);
    unlink(path);
    snprintf(path, sizeof path, "%s/data", base);
    rmdir(path);
    snprintf(path, sizeof path, "%s/file", base);
    unlink(path);
    return rmdir(base);
}

static const char *in_base(const char *name)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/%s", base, name);
    return path;
}

static void test_folder__is_made_and_serves_one_process_at_a_time(void **state)
{
    (void)state;
    struct folder first, second = {0};
    struct err err;
    struct stat info;
    assert_ok(folder_open(in_base("data"), &first, &err));
    assert_int_equal(stat(in_base("data"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_err(ERR_STATE, folder_open(in_base("data"), &second, &err));
    assert_non_null(strstr(err.text, "another chartmeshd runs on it"));
    folder_close(&first);
    assert_ok(folder_open(in_base("data"), &second, &err));
    folder_close(&second);
}

static void test_folder__open_to_others_is_refused(void **state)
{
    (void)state;
    struct folder folder;
    struct err err;
    assert_int_equal(mkdir(in_base("data"), 0700), 0);
    assert_int_equal(chmod(in_base("data"), 0750), 0);
    assert_err(ERR_STATE, folder_open(in_base("data"), &folder, &err));
    assert_err(ERR_UNAVAILABLE, folder_open("/nowhere/at/all", &folder, &err));
}

static void write_file(struct bytes content)
{
    FILE *file = fopen(in_base("file"), "we");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.len, file), content.len);
    fclose(file);
}

static void test_folder__a_file_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    AUTO_ARENA(arena, 1 << 16);
    struct err err;
    struct bytes whole;
    const char *text;
    write_file(BYTES_LIT("hello"));
    assert_ok(folder_read(in_base("file"), 5, &arena, &whole, &err));
    assert_bytes_equal(whole, BYTES_LIT("hello"));
    assert_ok(folder_text(in_base("file"), 5, &arena, &text, &err));
    assert_string_equal(text, "hello");
    assert_err(ERR_TOO_MUCH, folder_read(in_base("file"), 4, &arena, &whole, &err));
    assert_err(ERR_NOT_FOUND, folder_read(in_base("none"), 5, &arena, &whole, &err));
    assert_err(ERR_UNAVAILABLE, folder_read(base, 5, &arena, &whole, &err));
    write_file(BYTES_LIT("a\0b"));
    assert_err(ERR_INVALID, folder_text(in_base("file"), 5, &arena, &text, &err));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_folder__is_made_and_serves_one_process_at_a_time),
        CASE(test_folder__open_to_others_is_refused),
        CASE(test_folder__a_file_is_read_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("folder", tests, NULL, NULL);
}
