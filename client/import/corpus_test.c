/* Whole folders of real-shaped bundles: each resource exactly once in a document or in the report, its bytes
 * as they came. Arguments: how many of the Synthea bundles in the shared data folder to take. */
#include <dirent.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/import/import.h"
#include "tests/lib/test.h"

static long wanted = 20;

struct tally {
    size_t bundles, entries, documents, encounters, skipped, labelled;
};

static struct bytes file_of(const char *folder, const char *name, struct arena *arena)
{
    char path[4096];
    void *memory = NULL;
    struct err err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long len = ftell(file);
    rewind(file);
    assert_ok(arena_alloc(arena, (size_t)len + 1, &memory, &err));
    assert_int_equal(fread(memory, 1, (size_t)len, file), len);
    fclose(file);
    return BYTES(memory, (size_t)len);
}

/* Reads every document back and holds it against the file; jansson has read each resource on its own. */
static void check(const struct fhir_plan *plan, struct bytes text, struct tally *tally)
{
    struct err err;
    AUTO_ARENA(arena, BUNDLE_BYTES_MAX);
    uint8_t *seen = calloc(plan->bundle.count + 1, 1);
    assert_non_null(seen);
    for (size_t i = 0; i < plan->document_count; i++) {
        const struct fhir_document *document = &plan->documents[i];
        AUTO_BUILDER(content, document->content_len);
        struct bundle got;
        fhir_content(document, &content);
        assert_ok(fhir_resources(builder_view(&content), &arena, &got, &err));
        for (size_t j = 0; j < got.count; j++) {
            struct bytes source = document->entries[j]->resource;
            assert_true(source.data >= text.data && source.data + source.len <= text.data + text.len);
            assert_bytes_equal(got.entries[j].resource, source);
            seen[document->entries[j] - plan->bundle.entries]++;
        }
        tally->labelled += document->sensitivity_count > 0;
        tally->encounters += document->kind == FHIR_ENCOUNTER;
        arena_reset(&arena);
    }
    for (size_t i = 0; i < plan->skip_count; i++) {
        seen[plan->skips[i].entry]++;
        assert_int_equal(plan->skips[i].reason, FHIR_NOT_PATIENT_DATA);
    }
    for (size_t i = 0; i < plan->bundle.count; i++) {
        assert_int_equal(seen[i], 1);
    }
    free(seen);
    tally->bundles++;
    tally->entries += plan->bundle.count;
    tally->documents += plan->document_count;
    tally->skipped += plan->skip_count;
}

static void check_folder(const char *folder, const struct fhir_options *options, struct tally *tally)
{
    struct err err;
    struct dirent **names = NULL;
    int count = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (names[i]->d_name[0] != '.' && (long)tally->bundles < wanted) {
            AUTO_ARENA(arena, FHIR_PLAN_BUDGET);
            struct fhir_plan plan;
            struct bytes text = file_of(folder, names[i]->d_name, &arena);
            assert_ok(fhir_plan(text, options, &arena, &plan, &err));
            check(&plan, text, tally);
        }
        free(names[i]);
    }
    free(names);
}

static void run(char **words)
{
    pid_t child = 0;
    int status = -1;
    assert_int_equal(posix_spawnp(&child, words[0], NULL, NULL, words, environ), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_import__every_resource_of_synthea_is_in_one_document_or_in_the_report(void **state)
{
    (void)state;
    struct err err;
    AUTO_ARENA(arena, 64 << 20);
    struct bytes archive, rule_file = BYTES_NONE;
    struct sensitivity *rules = NULL;
    char folder[] = "/tmp/chartmesh-import-XXXXXX", path[64];
    if (!shared_data_file("synthea-r4/bundles.tar.xz", &arena, &archive) ||
        !shared_data_file("sensitivity-rules/sensitivity-rules.default.json", &arena, &rule_file)) {
        skip();
    }
    assert_ok(sensitivity_read(rule_file, 0, &rules, &err));
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.tar.xz", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(archive.data, 1, archive.len, file), archive.len);
    fclose(file);
    run((char *[]){"tar", "xJf", path, "-C", folder, NULL});
    snprintf(path, sizeof path, "%s/bundles", folder);
    struct tally tally = {0};
    struct fhir_options options = {.rules = {.sensitivity = rules}};
    check_folder(path, &options, &tally);
    print_message("%zu bundles, %zu entries: %zu documents (%zu encounters, %zu labelled), %zu skipped\n",
                  tally.bundles, tally.entries, tally.documents, tally.encounters, tally.labelled, tally.skipped);
    assert_int_equal(tally.bundles, wanted);
    if (wanted == 140) {
        assert_int_equal(tally.entries, 47591);
        assert_int_equal(tally.encounters, 4427);
    }
    run((char *[]){"rm", "-rf", folder, NULL});
    sensitivity_free(rules);
}

int main(int argc, char **argv)
{
    wanted = argc > 1 ? strtol(argv[1], NULL, 10) : wanted;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import__every_resource_of_synthea_is_in_one_document_or_in_the_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
