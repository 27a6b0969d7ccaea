/* Target functions: fhir_bundle_read, fhir_plan, fhir_content, fhir_resources, fhir_time_read. */
#include "client/import/fhir.h"

#include "client/import/fhir_time.h"
#include "tests/fuzz/fuzz.h"

enum { BUDGET = 8 << 20 };

/* A document's content has the length that was said, and gives back its resources as they came. */
static void content_of(const struct fhir_document *document)
{
    AUTO_ARENA(arena, BUDGET);
    AUTO_BUILDER(b, BUDGET);
    struct bundle again;
    struct err err;
    fhir_content(document, &b);
    struct bytes content = builder_view(&b);
    require(content.len == document->content_len);
    if (!fhir_resources(content, &arena, &again, &err)) {
        require(err.code == ERR_TOO_MUCH);
        return;
    }
    require(again.count == document->entry_count);
    fuzz_reached(1);
    for (size_t i = 0; i < again.count; i++) {
        require(bytes_equal(again.entries[i].resource, document->entries[i]->resource));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA(arena, BUDGET);
    const struct fhir_options options = {.system = BYTES_LIT("urn:test:source")};
    struct fhir_plan plan;
    struct fhir_time time;
    struct err err;
    if (fhir_time_read(BYTES(data, size), &time)) {
        require(time.from < time.until);
        fuzz_reached(2);
    }
    if (!fhir_plan(BYTES(data, size), &options, &arena, &plan, &err)) {
        require(err.code == ERR_INVALID || err.code == ERR_TOO_MUCH);
        return 0;
    }
    require(plan.document_count > 0);
    for (size_t i = 0; i < plan.document_count; i++) {
        content_of(&plan.documents[i]);
    }
    return 0;
}
