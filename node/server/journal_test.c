#include "node/server/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "proto/chartmesh/v1/common.pb-c.h"
#include "tests/lib/test.h"

struct fixture {
    struct world *world;
    struct journal *journal;
    char path[64];
};

static void no_chance(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    memset(out, 0, len);
}

static int begin(void **state)
{
    static struct fixture f;
    struct err err;
    f = (struct fixture){.path = "/tmp/chartmesh-journal.XXXXXX"};
    int fd = mkstemp(f.path);
    assert_true(fd >= 0);
    close(fd);
    assert_ok(world_open(&(struct world_options){.random = no_chance}, &f.world, &err));
    assert_ok(journal_open(f.world, f.path, CONFIG_LOG_INFO, &f.journal, &err));
    *state = &f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    journal_close(f->journal);
    world_close(f->world);
    unlink(f->path);
    return 0;
}

/* The n-th line as an object; the journal is closed, so that every line is there. */
static json_t *line_of(struct fixture *f, size_t n)
{
    char text[4096];
    json_t *object = NULL;
    journal_close(f->journal);
    f->journal = NULL;
    FILE *file = fopen(f->path, "re");
    assert_non_null(file);
    for (size_t i = 0; fgets(text, sizeof text, file); i++) {
        if (i == n) {
            object = json_loads(text, 0, NULL);
            assert_non_null(object);
        }
    }
    fclose(file);
    return object;
}

static const char *get(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_journal__a_line_is_one_object_with_what_is_known(void **state)
{
    struct fixture *f = *state;
    struct err err;
    err_raise_reason(&err, ERR_CONFLICT, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_STALE_HEADS,
                     "heads are \"a\"\nb");
    err_wrap(&err, "put");
    journal_write(
        f->journal, CONFIG_LOG_INFO,
        &(struct journal_line){.event = "call", .request_id = "r1", .method = "/x", .err = &err, .us = 1500});
    json_t *line = line_of(f, 0);
    assert_string_equal(get(line, "level"), "info");
    assert_string_equal(get(line, "event"), "call");
    assert_string_equal(get(line, "request"), "r1");
    assert_string_equal(get(line, "code"), "ABORTED");
    assert_string_equal(get(line, "reason"), "STALE_HEADS");
    assert_string_equal(get(line, "error"), "put: heads are \"a\"\nb");
    assert_true(json_real_value(json_object_get(line, "ms")) == 1.5);
    assert_null(json_object_get(line, "principal"));
    assert_int_equal(strlen(get(line, "ts")), 24);
    json_decref(line);
}

static void test_journal__what_is_below_its_level_is_not_written(void **state)
{
    struct fixture *f = *state;
    journal_write(f->journal, CONFIG_LOG_DEBUG, &(struct journal_line){.event = "fine"});
    journal_write(f->journal, CONFIG_LOG_ERROR, &(struct journal_line){.event = "bad"});
    json_t *line = line_of(f, 0);
    assert_string_equal(get(line, "event"), "bad");
    json_decref(line);
    assert_null(line_of(f, 1));
}

static void test_journal__text_that_is_no_utf8_spoils_no_line(void **state)
{
    struct fixture *f = *state;
    journal_write(f->journal, CONFIG_LOG_WARN, &(struct journal_line){.event = "peer", .text = "\xff\xfe"});
    json_t *line = line_of(f, 0);
    assert_string_equal(get(line, "text"), "(not UTF-8)");
    json_decref(line);
}

static void test_journal__after_a_rotation_it_writes_to_the_new_file(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char old[80];
    snprintf(old, sizeof old, "%s.1", f->path);
    assert_int_equal(rename(f->path, old), 0);
    assert_ok(journal_reopen(f->journal, &err));
    journal_write(f->journal, CONFIG_LOG_INFO, &(struct journal_line){.event = "after"});
    json_t *line = line_of(f, 0);
    assert_string_equal(get(line, "event"), "after");
    json_decref(line);
    unlink(old);
}

static void test_journal__a_file_that_cannot_be_opened_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct journal *journal;
    assert_err(ERR_STATE, journal_open(f->world, "/nowhere/at/all", CONFIG_LOG_INFO, &journal, &err));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_journal__a_line_is_one_object_with_what_is_known),
        CASE(test_journal__what_is_below_its_level_is_not_written),
        CASE(test_journal__text_that_is_no_utf8_spoils_no_line),
        CASE(test_journal__after_a_rotation_it_writes_to_the_new_file),
        CASE(test_journal__a_file_that_cannot_be_opened_is_refused),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
