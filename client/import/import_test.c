#include "client/import/import.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/import/fhir_time.h"
#include "client/import/scan.h"
#include "tests/lib/test.h"

#define PATIENT                                                                                                   \
    "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"7\"}]}"
#define ENTRY(url, resource) "{\"fullUrl\":\"" url "\",\"resource\":" resource "}"
#define BUNDLE(entries) "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[" entries "]}"
#define ENCOUNTER                                                                                                 \
    "{\"resourceType\":\"Encounter\", \"id\":\"e1\",\n \"class\":{\"system\":\"urn:c\",\"code\":\"AMB\"},"        \
    "\"subject\":{\"reference\":\"urn:uuid:p\"},\"period\":{\"start\":\"2020-01-02T10:00:00+01:00\","             \
    "\"end\":\"2020-01-02T10:30:00+01:00\"},\"serviceProvider\":{\"reference\":\"Organization/o1\"},"             \
    "\"type\":[{\"text\":\"Visit\"}]}"

struct fixture {
    struct arena arena;
    struct fhir_options options;
    struct fhir_plan plan;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    arena_init(&f->arena, FHIR_PLAN_BUDGET);
    *state = f;
    return f ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    arena_done(&f->arena);
    free(f);
    return 0;
}

static struct fhir_plan *plan_of(struct fixture *f, const char *text)
{
    struct err err;
    arena_reset(&f->arena);
    assert_ok(fhir_plan(bytes_str(text), &f->options, &f->arena, &f->plan, &err));
    return &f->plan;
}

static void refused(struct fixture *f, enum err_code code, const char *text)
{
    struct err err;
    arena_reset(&f->arena);
    assert_err(code, fhir_plan(bytes_str(text), &f->options, &f->arena, &f->plan, &err));
}

static const struct fhir_document *with_key(const struct fhir_plan *plan, const char *key)
{
    for (size_t i = 0; i < plan->document_count; i++) {
        if (bytes_equal(plan->documents[i].key_id, bytes_str(key))) {
            return &plan->documents[i];
        }
    }
    fail_msg("no document with key %s", key);
    return NULL;
}

/* The property of the whole import: read each document's content back; every resource of the bundle is there
 * exactly once, byte for byte, or among the skipped. */
static void every_resource_is_somewhere(const struct fhir_plan *plan)
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
        assert_true(content.ok);
        assert_int_equal(content.len, document->content_len);
        assert_ok(fhir_resources(builder_view(&content), &arena, &got, &err));
        assert_int_equal(got.count, document->entry_count);
        for (size_t j = 0; j < got.count; j++) {
            assert_bytes_equal(got.entries[j].resource, document->entries[j]->resource);
            seen[document->entries[j] - plan->bundle.entries]++;
        }
        arena_reset(&arena);
    }
    for (size_t i = 0; i < plan->skip_count; i++) {
        seen[plan->skips[i].entry]++;
    }
    for (size_t i = 0; i < plan->bundle.count; i++) {
        assert_int_equal(seen[i], 1);
    }
    free(seen);
}

static void test_fhir__an_encounter_takes_all_that_points_at_it(void **state)
{
    const struct fhir_plan *plan = plan_of(
        *state,
        BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY("urn:uuid:e", ENCOUNTER) "," ENTRY(
            "urn:uuid:o",
            "{\"resourceType\":\"Observation\",\"id\":\"ob\","
            "\"subject\":{\"reference\":\"Patient/p1\"},"
            "\"encounter\":{\"reference\":\"Encounter/e1/_history/"
            "2\"}}") "," ENTRY("urn:uuid:c",
                               "{\"resourceType\":\"Claim\",\"id\":"
                               "\"c\",\"patient\":{\"reference\":\"urn:"
                               "uuid:p\"},\"item\":[{"
                               "\"encounter\":[{\"reference\":\"urn:"
                               "uuid:e\"}]}]}") "," ENTRY("urn:uuid:r",
                                                          "{\"resourceT"
                                                          "ype\":"
                                                          "\"Diagnostic"
                                                          "Report\","
                                                          "\"id\":"
                                                          "\"r\","
                                                          "\"subject\":"
                                                          "{\"reference"
                                                          "\":\"urn:"
                                                          "uuid:p\"},"
                                                          "\"encounter"
                                                          "\":{"
                                                          "\"reference"
                                                          "\":\"urn:"
                                                          "uuid:e\"},"
                                                          "\"result\":["
                                                          "{\"reference"
                                                          "\":\"urn:"
                                                          "uuid:res\"}]"
                                                          "}") "," ENTRY("urn:uuid:res",
                                                                         "{\"resourceType\":\"Observation\","
                                                                         "\"id\":\"res\",\"subject\":{"
                                                                         "\"reference\":"
                                                                         "\"urn:uuid:p\"}}") "," ENTRY("urn:uuid:"
                                                                                                       "v",
                                                                                                       "{\"resourc"
                                                                                                       "eType\":"
                                                                                                       "\"Provenan"
                                                                                                       "ce\","
                                                                                                       "\"target\""
                                                                                                       ":[{"
                                                                                                       "\"referenc"
                                                                                                       "e\":\"urn:"
                                                                                                       "uuid:"
                                                                                                       "res\"}]"
                                                                                                       "}")));
    const struct fhir_document *encounter = with_key(plan, "Encounter/e1");
    assert_int_equal(plan->document_count, 2);
    assert_int_equal(encounter->entry_count, 6);
    assert_int_equal(plan->skip_count, 0);
    assert_bytes_equal(encounter->title, BYTES_LIT("Visit"));
    assert_bytes_equal(encounter->facility, BYTES_LIT("o1"));
    assert_int_equal(encounter->clinical.from, 1577955600000);
    assert_int_equal(encounter->clinical.until, 1577957401000);
    assert_bytes_equal(encounter->key_system, BYTES_LIT("urn:mrn"));
    every_resource_is_somewhere(plan);
}

static void test_fhir__what_belongs_to_no_encounter_is_a_list_of_its_type(void **state)
{
    const struct fhir_plan *plan = plan_of(
        *state,
        BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
            "urn:uuid:a1",
            "{\"resourceType\":\"AllergyIntolerance\",\"id\":\"a1\",\"patient\":{\"reference\":\"urn:uuid:p\"}"
            "}") "," ENTRY("urn:uuid:g", "{\"resourceType\":\"Goal\",\"subject\":{\"reference\":\"urn:uuid:"
                                         "p\"}}") "," ENTRY("urn:uuid:a2", "{\"resourceType\":"
                                                                           "\"AllergyIntolerance\","
                                                                           "\"patient\":{\"reference\":\"urn:"
                                                                           "uuid:p\"}}") "," ENTRY("urn:uuid:"
                                                                                                   "x",
                                                                                                   "{\"resourc"
                                                                                                   "eType\":"
                                                                                                   "\"Conditio"
                                                                                                   "n\","
                                                                                                   "\"subject"
                                                                                                   "\":{"
                                                                                                   "\"referenc"
                                                                                                   "e\":\"urn:"
                                                                                                   "uuid:p\"},"
                                                                                                   "\"encounte"
                                                                                                   "r\":{"
                                                                                                   "\"referenc"
                                                                                                   "e\":\"urn:"
                                                                                                   "uuid:"
                                                                                                   "gone\"}"
                                                                                                   "}")));
    const struct fhir_document *list = with_key(plan, "Patient/p1/AllergyIntolerance");
    assert_int_equal(list->entry_count, 2);
    assert_bytes_equal(list->class.code, BYTES_LIT("allergies"));
    assert_bytes_equal(with_key(plan, "Patient/p1/Condition")->class.code, BYTES_LIT("problems"));
    assert_int_equal(plan->astray, 1);
    assert_int_equal(plan->document_count, 4);
    assert_bytes_equal(plan->documents[0].class.code, BYTES_LIT("patient"));
    every_resource_is_somewhere(plan);
}

static void expect_skip(struct fixture *f, enum fhir_reason reason, const char *text)
{
    const struct fhir_plan *plan = plan_of(f, text);
    assert_int_equal(plan->skip_count, 1);
    assert_string_equal(fhir_reason_name(plan->skips[0].reason), fhir_reason_name(reason));
    every_resource_is_somewhere(plan);
}

static void test_fhir__what_is_skipped_says_why(void **state)
{
    struct fixture *f = *state;
    expect_skip(f, FHIR_NOT_PATIENT_DATA,
                BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
                    "urn:uuid:o", "{\"resourceType\":\"Organization\",\"id\":\"o1\"}")));
    expect_skip(f, FHIR_OTHER_PATIENT,
                BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
                    "urn:uuid:o", "{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/p2\"}}")));
    expect_skip(f, FHIR_OTHER_PATIENT,
                BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
                    "urn:uuid:o", "{\"resourceType\":\"Condition\",\"subject\":{\"display\":\"somebody\"}}")));
    expect_skip(f, FHIR_NO_PATIENT,
                BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY("urn:uuid:m", "{\"resourceType\":\"Medication\"}")));
    expect_skip(f, FHIR_MALFORMED,
                BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
                    "urn:uuid:m",
                    "{\"resourceType\":\"Goal\",\"subject\":{\"reference\":\"urn:uuid:p\"},\"subject\":7}")));
    expect_skip(f, FHIR_MALFORMED, BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY("urn:uuid:m", "[1]")));
    expect_skip(f, FHIR_NO_RESOURCE, BUNDLE(ENTRY("urn:uuid:p", PATIENT) ",{}"));
    expect_skip(
        f, FHIR_NOT_A_WRITE,
        BUNDLE(ENTRY("urn:uuid:p",
                     PATIENT) ",{\"request\":{\"method\":\"DELETE\"},\"resource\":{\"resourceType\":\"Goal\"}}"));
    expect_skip(f, FHIR_BAD_ID,
                BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
                    "urn:uuid:e", "{\"resourceType\":\"Encounter\",\"subject\":{\"reference\":\"urn:uuid:p\"}}")));
}

static void test_fhir__a_medication_goes_with_who_refers_to_it(void **state)
{
    const struct fhir_plan *plan = plan_of(
        *state,
        BUNDLE(ENTRY("urn:uuid:m", "{\"resourceType\":\"Medication\"}") "," ENTRY("urn:uuid:p", PATIENT) "," ENTRY(
            "urn:uuid:e", ENCOUNTER) "," ENTRY("urn:uuid:r",
                                               "{\"resourceType\":\"MedicationRequest\",\"subject\":{"
                                               "\"reference\":\"urn:uuid:p\"},\"encounter\":{"
                                               "\"reference\":\"urn:uuid:e\"},\"medicationReference\":{"
                                               "\"reference\":\"urn:uuid:m\"}}")));
    assert_int_equal(with_key(plan, "Encounter/e1")->entry_count, 3);
    assert_int_equal(plan->skip_count, 0);
    every_resource_is_somewhere(plan);
}

static void test_fhir__a_bundle_that_is_not_one_patients_is_refused(void **state)
{
    struct fixture *f = *state;
    refused(f, ERR_INVALID, "");
    refused(f, ERR_INVALID, "{");
    refused(f, ERR_INVALID, BUNDLE(ENTRY("urn:uuid:p", PATIENT)) "x");
    refused(f, ERR_INVALID,
            "{\"resourceType\":\"Bundle\",\"type\":\"message\",\"entry\":[" ENTRY("a", PATIENT) "]}");
    refused(f, ERR_INVALID, "{\"resourceType\":\"Patient\",\"type\":\"batch\"}");
    refused(f, ERR_INVALID, BUNDLE(""));
    refused(f, ERR_INVALID, BUNDLE(ENTRY("a", "{\"resourceType\":\"Organization\",\"id\":\"o\"}")));
    refused(f, ERR_INVALID,
            BUNDLE(ENTRY("a", PATIENT) "," ENTRY("b", "{\"resourceType\":\"Patient\",\"id\":\"z\"}")));
    refused(f, ERR_INVALID, BUNDLE(ENTRY("a", PATIENT) "," ENTRY("b", ENCOUNTER) "," ENTRY("c", ENCOUNTER)));
    refused(f, ERR_INVALID, BUNDLE(ENTRY("a", PATIENT) "," ENTRY("a", "{\"resourceType\":\"Goal\"}")));
    refused(f, ERR_INVALID, BUNDLE(ENTRY("a", "{\"resourceType\":\"Patient\",\"id\":\"p1\"}")));
    refused(f, ERR_INVALID, BUNDLE(ENTRY("a", "{\"resourceType\":\"Patient\",\"id\":\"p/1\"}")));
    refused(f, ERR_INVALID, "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[],\"entry\":[]}");
    refused(f, ERR_INVALID, BUNDLE("{\"res\\u006furce\":1}"));
    refused(f, ERR_INVALID, BUNDLE(ENTRY("a\xff", PATIENT)));
}

static void test_fhir__a_broken_resource_never_reaches_past_its_entry(void **state)
{
    static const char *const BROKEN[] = {
        "{\"a\":}",        "{\"a\" 1}",           "{\"a\":01}", "{\"a\":1.}", "{\"a\":tru}",
        "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "[1,]",       "[1 2]",      "{,}",
        "\"a\n\""};
    struct err err;
    for (size_t i = 0; i < COUNT(BROKEN); i++) {
        char text[256];
        struct fixture *f = *state;
        snprintf(text, sizeof text, BUNDLE(ENTRY("a", "%s")), BROKEN[i]);
        arena_reset(&f->arena);
        assert_err(ERR_INVALID, fhir_plan(bytes_str(text), &f->options, &f->arena, &f->plan, &err));
    }
}

static void test_scan__depth_is_limited(void **state)
{
    (void)state;
    struct err err;
    struct scan scan;
    struct scan_item item;
    bool more;
    char text[2 * SCAN_DEPTH_MAX + 2];
    for (int depth = SCAN_DEPTH_MAX; depth <= SCAN_DEPTH_MAX + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_ok(scan_array(BYTES(text, 2 * (size_t)depth), &scan, &err));
        if (depth == SCAN_DEPTH_MAX) {
            assert_ok(scan_next(&scan, &item, &more, &err));
            assert_int_equal(item.value.len, 2 * (size_t)depth - 2);
        } else {
            assert_err(ERR_INVALID, scan_next(&scan, &item, &more, &err));
        }
    }
}

static void test_fhir__a_small_budget_is_too_much_and_never_worse(void **state)
{
    struct fixture *f = *state;
    struct err err;
    bool done = false;
    const char *text = BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY("urn:uuid:e", ENCOUNTER));
    for (size_t budget = 0; !done; budget += 64) {
        AUTO_ARENA(arena, budget);
        done = fhir_plan(bytes_str(text), &f->options, &arena, &f->plan, &err);
        assert_true(done || err.code == ERR_TOO_MUCH);
    }
}

static void test_fhir_time__is_the_interval_it_may_mean(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t from, until;
    } GOOD[] = {
        {"1970", 0, INT64_C(365) * 86400000},
        {"1970-02", INT64_C(31) * 86400000, INT64_C(59) * 86400000},
        {"2020-02-29", 1582934400000, 1583020800000},
        {"1969-12-31", -86400000, 0},
        {"2011-08-18T04:10:16.791+00:00", 1313640616791, 1313640616792},
        {"2011-08-18T04:10:16Z", 1313640616000, 1313640617000},
        {"2011-08-18T04:10:16.5-05:30", 1313660416500, 1313660416600},
        {"9999-12-31", 253402214400000, 253402300800000},
    };
    static const char *const BAD[] = {"",
                                      "20",
                                      "2020-13",
                                      "2021-02-29",
                                      "2020-1-1",
                                      "2020T10:00:00Z",
                                      "2020-01-01T",
                                      "2020-01-01T10:00",
                                      "2020-01-01T24:00:00Z",
                                      "2020-01-01T10:00:00.Z",
                                      "2020-01-01T10:00:00+15:00",
                                      "2020-01-01x",
                                      "2020-01-01T10:00:00Zx",
                                      "0000"};
    struct fhir_time time;
    for (size_t i = 0; i < COUNT(GOOD); i++) {
        assert_true(fhir_time_read(bytes_str(GOOD[i].text), &time));
        assert_int_equal(time.from, GOOD[i].from);
        assert_int_equal(time.until, GOOD[i].until);
    }
    for (size_t i = 0; i < COUNT(BAD); i++) {
        assert_false(fhir_time_read(bytes_str(BAD[i]), &time));
    }
}

/* -- labels */

#define V3 "http://terminology.hl7.org/CodeSystem/v3-ActCode"
#define RULES(system, codes)                                                                                      \
    "{\"name\":\"n\",\"updated_at\":\"u\",\"settings\":{\"editable\":true},\"rules\":[{\"id\":\"r\",\"basis\":{"  \
    "\"system\":\"s\",\"code\":\"c\"},\"labels\":[{\"system\":\"" system "\",\"code\":\"HIV\"}],\"codeSets\":[{"  \
    "\"groupID\":\"g\",\"codes\":[" codes "]}]}]}"
#define CODE(code, confidence) "{\"system\":\"urn:s\",\"code\":\"" code "\",\"confidence\":" confidence "}"
#define CONDITION(meta, code)                                                                                     \
    BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY(                                                                \
        "urn:uuid:c",                                                                                             \
        "{\"resourceType\":\"Condition\"," meta                                                                   \
        "\"subject\":{\"reference\":\"urn:uuid:p\"},\"code\":{\"coding\":[{\"system\":\"urn:s\",\"code\":\"" code \
        "\"}]}}"))
#define SECURITY(system, code) "\"meta\":{\"security\":[{\"system\":\"" system "\",\"code\":\"" code "\"}]},"
#define V3C "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"

static void expect_labels(struct fixture *f, const char *text, uint32_t level, const char *label)
{
    const struct fhir_document *list = with_key(plan_of(f, text), "Patient/p1/Condition");
    assert_int_equal(list->confidentiality, level);
    assert_int_equal(list->sensitivity_count, label ? 1 : 0);
    if (label) {
        assert_bytes_equal(list->sensitivity[0], bytes_str(label));
    }
}

static void test_sensitivity__a_listed_code_restricts_and_labels_its_document(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct sensitivity *rules = NULL;
    assert_ok(sensitivity_read(BYTES_LIT(RULES(V3, CODE("7", "0.5"))), 0, &rules, &err));
    f->options.rules.sensitivity = rules;
    expect_labels(f, CONDITION("", "7"), 5, "HIV");
    expect_labels(f, CONDITION("", "8"), 4, NULL);
    expect_labels(f, CONDITION(SECURITY(V3C, "V"), "7"), 6, "HIV");
    expect_labels(f, CONDITION(SECURITY(V3C, "L"), "8"), 2, NULL);
    expect_labels(f, CONDITION(SECURITY(V3C, "?"), "8"), 5, NULL);
    expect_labels(f, CONDITION(SECURITY(V3, "PSY"), "8"), 5, "PSY");
    expect_labels(f, CONDITION(SECURITY(V3, "NOSUCH"), "8"), 5, NULL);
    assert_int_equal(f->plan.labels_unknown, 1);
    expect_labels(f, CONDITION(SECURITY(V3, "_ActInformationSensitivityPolicy"), "8"), 5, NULL);
    sensitivity_free(rules);
}

static void test_sensitivity__codes_below_the_confidence_asked_for_are_left_out(void **state)
{
    (void)state;
    struct err err;
    struct sensitivity *rules = NULL;
    assert_ok(sensitivity_read(BYTES_LIT(RULES(V3, CODE("1", "0") "," CODE("2", "0.5") "," CODE("2", "1"))), 0.5,
                               &rules, &err));
    assert_int_equal(sensitivity_code_count(rules), 1);
    assert_int_equal(sensitivity_match(rules, BYTES_LIT("urn:s"), BYTES_LIT("2")), 1);
    assert_int_equal(sensitivity_match(rules, BYTES_LIT("urn:s"), BYTES_LIT("1")), 0);
    assert_int_equal(sensitivity_match(rules, BYTES_LIT("urn:t"), BYTES_LIT("2")), 0);
    assert_int_equal(sensitivity_match(NULL, BYTES_LIT("urn:s"), BYTES_LIT("2")), 0);
    sensitivity_free(rules);
}

static void test_sensitivity__a_file_of_another_shape_is_refused(void **state)
{
    (void)state;
    struct err err;
    struct sensitivity *rules = NULL;
    assert_err(ERR_INVALID, sensitivity_read(BYTES_LIT("{"), 0, &rules, &err));
    assert_err(ERR_INVALID, sensitivity_read(BYTES_LIT("[]"), 0, &rules, &err));
    assert_err(ERR_INVALID, sensitivity_read(BYTES_LIT("{\"rules\":[]}"), 0, &rules, &err));
    assert_err(ERR_INVALID, sensitivity_read(BYTES_LIT(RULES("urn:other", CODE("1", "1"))), 0, &rules, &err));
    assert_err(ERR_INVALID, sensitivity_read(BYTES_LIT(RULES(V3, CODE("1", "\"high\""))), 0, &rules, &err));
    assert_err(ERR_INVALID, sensitivity_read(BYTES_LIT(RULES(V3, "{\"code\":\"1\"}")), 0, &rules, &err));
    assert_null(rules);
}

/* -- the run */

struct fake {
    char known[8][64];       /* keys seen */
    size_t count, registered, uploaded;
    const char *fail;        /* the key that fails */
    enum err_code code;
};

static bool fake_answer(struct fake *fake, const struct import_put *put, struct import_done *done, struct err *err)
{
    if (fake->fail && strcmp(put->key->id, fake->fail) == 0) {
        return err_raise(err, fake->code, "fake");
    }
    for (size_t i = 0; i < fake->count; i++) {
        done->unchanged = done->unchanged || strcmp(fake->known[i], put->key->id) == 0;
    }
    if (!done->unchanged) {
        snprintf(fake->known[fake->count++], sizeof fake->known[0], "%s", put->key->id);
    }
    return true;
}

static bool fake_register(void *context, const struct import_put *put, struct id *patient,
                          struct import_done *done, struct err *err)
{
    struct fake *fake = context;
    assert_null(put->facts);
    fake->registered++;
    patient->bytes[0] = 7;
    return fake_answer(fake, put, done, err);
}

static bool fake_put(void *context, const struct import_put *put, struct import_done *done, struct err *err)
{
    assert_int_equal(put->patient.bytes[0], 7);
    assert_string_equal(put->facts->media_type, FHIR_MEDIA_TYPE);
    assert_string_equal(put->facts->class_->system, FHIR_CLASS_SYSTEM);
    assert_true(put->content.len <= IMPORT_INLINE_MAX);
    return fake_answer(context, put, done, err);
}

static bool fake_upload(void *context, const struct import_put *put, struct import_done *done, struct err *err)
{
    struct fake *fake = context;
    fake->uploaded++;
    assert_true(put->content.len > IMPORT_INLINE_MAX);
    return fake_answer(fake, put, done, err);
}

static bool only_lists(void *context, const struct fhir_document *document)
{
    (void)context;
    return document->kind == FHIR_LIST;
}

#define TWO_DOCUMENTS                                                                                             \
    BUNDLE(ENTRY("urn:uuid:p", PATIENT) "," ENTRY("urn:uuid:e", ENCOUNTER) "," ENTRY(                             \
        "urn:uuid:g", "{\"resourceType\":\"Goal\",\"subject\":{\"reference\":\"urn:uuid:p\"}}"))

struct ran {
    struct fake fake;
    struct import_calls calls;
    struct import_options options;
    struct import_report report;
    struct arena arena;
};

static void ran_begin(struct ran *r)
{
    *r = (struct ran){0};
    r->calls = (struct import_calls){&r->fake, fake_register, fake_put, fake_upload};
    arena_init(&r->arena, 1 << 20);
    report_init(&r->report, &r->arena);
}

static void test_import__a_second_run_changes_nothing(void **state)
{
    struct err err;
    struct ran r;
    const struct fhir_plan *plan = plan_of(*state, TWO_DOCUMENTS);
    ran_begin(&r);
    assert_ok(import_run("a.json", plan, &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_PUT], 3);
    assert_ok(import_run("a.json", plan, &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_PUT], 3);
    assert_int_equal(r.report.documents[IMPORT_UNCHANGED], 3);
    assert_true(report_complete(&r.report));
    arena_done(&r.arena);
}

static void test_import__one_refused_document_does_not_stop_the_others(void **state)
{
    struct err err;
    struct ran r;
    ran_begin(&r);
    r.fake.fail = "Encounter/e1";
    r.fake.code = ERR_DENIED;
    assert_ok(import_run("a.json", plan_of(*state, TWO_DOCUMENTS), &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_PUT], 2);
    assert_int_equal(r.report.documents[IMPORT_FAILED], 1);
    assert_false(report_complete(&r.report));
    assert_string_equal(r.report.failures->key, "Encounter/e1");
    arena_done(&r.arena);
}

static void test_import__an_unreachable_node_stops_the_run_and_a_later_run_goes_on(void **state)
{
    struct err err;
    struct ran r;
    const struct fhir_plan *plan = plan_of(*state, TWO_DOCUMENTS);
    ran_begin(&r);
    r.fake.fail = "Encounter/e1";
    r.fake.code = ERR_UNAVAILABLE;
    assert_err(ERR_UNAVAILABLE, import_run("a.json", plan, &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_FAILED], 2);
    r.fake.fail = NULL;
    assert_ok(import_run("a.json", plan, &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_UNCHANGED], 1);
    assert_int_equal(r.report.documents[IMPORT_PUT], 3);
    arena_done(&r.arena);
}

static void test_import__without_its_patient_nothing_is_put(void **state)
{
    struct err err;
    struct ran r;
    ran_begin(&r);
    r.fake.fail = "Patient/p1";
    r.fake.code = ERR_DENIED;
    assert_ok(import_run("a.json", plan_of(*state, TWO_DOCUMENTS), &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_FAILED], 3);
    assert_int_equal(r.fake.count, 0);
    arena_done(&r.arena);
}

static void test_import__a_selection_counts_the_rest_as_elsewhere(void **state)
{
    struct err err;
    struct ran r;
    ran_begin(&r);
    r.options.select = only_lists;
    assert_ok(import_run("a.json", plan_of(*state, TWO_DOCUMENTS), &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.report.documents[IMPORT_PUT], 2);
    assert_int_equal(r.report.documents[IMPORT_ELSEWHERE], 1);
    AUTO_BUILDER(out, 65536);
    report_text(&r.report, true, &out);
    assert_ok(report_json(&r.report, &out, &err));
    assert_true(out.ok);
    assert_non_null(memmem(out.data, out.len, "\"complete\":true", 15));
    arena_done(&r.arena);
}

static void test_import__large_content_goes_by_upload(void **state)
{
    struct err err;
    struct ran r;
    size_t len = IMPORT_INLINE_MAX + 10;
    char *note = malloc(len + 1), *text = malloc(len + 1024);
    assert_true(note && text);
    memset(note, 'x', len);
    note[len] = '\0';
    snprintf(
        text, len + 1024,
        BUNDLE(ENTRY("urn:uuid:p", PATIENT) ",{\"resource\":{\"resourceType\":\"Goal\",\"subject\":{\"reference\":"
                                            "\"urn:uuid:p\"},\"note\":[{\"text\":\"%s\"}]}}"),
        note);
    ran_begin(&r);
    assert_ok(import_run("a.json", plan_of(*state, text), &r.calls, &r.options, &r.report, &err));
    assert_int_equal(r.fake.uploaded, 1);
    arena_done(&r.arena);
    free(note);
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fhir__an_encounter_takes_all_that_points_at_it),
        TEST(test_fhir__what_belongs_to_no_encounter_is_a_list_of_its_type),
        TEST(test_fhir__what_is_skipped_says_why),
        TEST(test_fhir__a_medication_goes_with_who_refers_to_it),
        TEST(test_fhir__a_bundle_that_is_not_one_patients_is_refused),
        TEST(test_fhir__a_broken_resource_never_reaches_past_its_entry),
        TEST(test_scan__depth_is_limited),
        TEST(test_fhir__a_small_budget_is_too_much_and_never_worse),
        TEST(test_fhir_time__is_the_interval_it_may_mean),
        TEST(test_sensitivity__a_listed_code_restricts_and_labels_its_document),
        TEST(test_sensitivity__codes_below_the_confidence_asked_for_are_left_out),
        TEST(test_sensitivity__a_file_of_another_shape_is_refused),
        TEST(test_import__a_second_run_changes_nothing),
        TEST(test_import__one_refused_document_does_not_stop_the_others),
        TEST(test_import__an_unreachable_node_stops_the_run_and_a_later_run_goes_on),
        TEST(test_import__without_its_patient_nothing_is_put),
        TEST(test_import__a_selection_counts_the_rest_as_elsewhere),
        TEST(test_import__large_content_goes_by_upload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
