#include "tests/demo/patients.h"

#include <stdio.h>

#include "client/import/fhir.h"
#include "proto/chartmesh/v1/statement.pb-c.h"
#include "tests/lib/test.h"

enum { SEED = 1, ARENA = 64 << 20 };

struct seen {
    size_t documents, allergies, laboratory, sensitive, skipped;
};

static void check_plan(const struct fhir_plan *plan, struct seen *seen)
{
    struct err err;
    size_t entries = plan->skip_count;
    AUTO_ARENA(arena, ARENA);
    for (size_t i = 0; i < plan->document_count; i++) {
        const struct fhir_document *document = &plan->documents[i];
        struct bundle got;
        AUTO_BUILDER(content, document->content_len);
        fhir_content(document, &content);
        assert_ok(fhir_resources(builder_view(&content), &arena, &got, &err));
        assert_int_equal(got.count, document->entry_count);
        for (size_t j = 0; j < got.count; j++) {
            assert_bytes_equal(got.entries[j].resource, document->entries[j]->resource);
        }
        bool sensitive = document->sensitivity_count > 0;
        assert_int_equal(document->confidentiality, sensitive ? CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_R
                                                              : CHARTMESH__V1__CONFIDENTIALITY__CONFIDENTIALITY_N);
        seen->sensitive += sensitive;
        seen->allergies += bytes_equal(document->class.code, BYTES_LIT("allergies"));
        seen->laboratory += bytes_equal(document->class.code, BYTES_LIT("laboratory"));
        entries += document->entry_count;
    }
    for (size_t i = 0; i < plan->skip_count; i++) {
        assert_int_equal(plan->skips[i].reason, FHIR_NOT_PATIENT_DATA);
    }
    assert_int_equal(entries, plan->bundle.count);
    seen->documents += plan->document_count;
    seen->skipped += plan->skip_count;
}

static struct bytes shipped_rules(struct arena *arena)
{
    struct err err;
    void *memory = NULL;
    FILE *file = fopen("client/import/rules/sensitivity.json", "rb");
    assert_non_null(file);
    assert_ok(arena_alloc(arena, 65536, &memory, &err));
    size_t len = fread(memory, 1, 65536, file);
    fclose(file);
    return BYTES(memory, len);
}

static void test_patients__every_chart_imports_whole_and_only_the_sensitive_ones_are_labelled(void **state)
{
    (void)state;
    struct err err;
    struct seen all = {0};
    struct sensitivity *rules = NULL;
    AUTO_ARENA(text, 65536 * 2);
    assert_ok(sensitivity_read(shipped_rules(&text), 0, &rules, &err));
    struct fhir_options options = {.rules = {.sensitivity = rules}};
    for (size_t i = 0; i < PATIENTS_COUNT; i++) {
        struct seen own = {0};
        for (enum patients_place place = 0; place < PLACE_COUNT; place++) {
            if (!patients[i].at[place]) {
                continue;
            }
            AUTO_ARENA(arena, ARENA);
            AUTO_BUILDER(bundle, PATIENTS_BUNDLE_MAX);
            struct fhir_plan plan;
            patients_bundle(i, place, SEED, &bundle);
            assert_true(bundle.ok);
            assert_ok(fhir_plan(builder_view(&bundle), &options, &arena, &plan, &err));
            check_plan(&plan, &own);
            check_plan(&plan, &all);
            assert_int_equal(plan.facility_count, 1);
        }
        assert_int_equal(own.sensitive > 0, strstr(patients[i].remark, "sensitive") != NULL);
    }
    assert_true(all.allergies >= 7 && all.laboratory >= 20 && all.documents > 90 && all.skipped > 0);
    sensitivity_free(rules);
}

static void test_patients__equal_seeds_give_equal_bytes(void **state)
{
    (void)state;
    AUTO_BUILDER(one, PATIENTS_BUNDLE_MAX);
    AUTO_BUILDER(two, PATIENTS_BUNDLE_MAX);
    AUTO_BUILDER(other, PATIENTS_BUNDLE_MAX);
    patients_bundle(0, PLACE_HOSPITAL, 1, &one);
    patients_bundle(0, PLACE_HOSPITAL, 1, &two);
    patients_bundle(0, PLACE_HOSPITAL, 2, &other);
    assert_bytes_equal(builder_view(&one), builder_view(&two));
    assert_false(bytes_equal(builder_view(&one), builder_view(&other)));
}

static void test_patients__the_image_is_a_png_larger_than_a_put(void **state)
{
    (void)state;
    AUTO_BUILDER(image, PATIENTS_IMAGE_MAX);
    patients_image(0, SEED, &image);
    assert_true(image.ok && image.len > 1 << 20);
    assert_memory_equal(image.data, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
    assert_memory_equal(image.data + image.len - 8, "IEND\xae\x42\x60\x82", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patients__every_chart_imports_whole_and_only_the_sensitive_ones_are_labelled),
        cmocka_unit_test(test_patients__equal_seeds_give_equal_bytes),
        cmocka_unit_test(test_patients__the_image_is_a_png_larger_than_a_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
