/* Target functions: verify_bundle, verify_text, verify_json. The input is the id of a network, then a bundle. */
#include "client/verify/verify.h"

#include "tests/fuzz/fuzz.h"

/* No verdict is better than the claims that it rests on, and whatever contradicts says why. */
static void consistent(const struct verify_report *report)
{
    bool contradicted = false;
    for (size_t i = 0; i < VERIFY_CLAIMS; i++) {
        const struct verify_finding *finding = &report->claims[i];
        contradicted = contradicted || finding->state == VERIFY_CONTRADICTED;
        require(finding->state == VERIFY_PROVED || *finding->text);
    }
    require(contradicted == (report->verdict == VERIFY_CONTRADICTED));
    require(report->verdict != VERIFY_PROVED || report->claims[VERIFY_COMPLETE].state == VERIFY_PROVED);
}

static void shown(const struct verify_report *report)
{
    struct err err;
    AUTO_BUILDER(text, 16 << 20);
    AUTO_BUILDER(json, 16 << 20);
    verify_text(report, &text);
    require(verify_json(report, &json, &err) || err.code == ERR_TOO_MUCH);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA(arena, (64 << 20) + 16 * size);
    struct hash network;
    struct verify_report report;
    struct err err;
    if (size < HASH_LEN) {
        return 0;
    }
    memcpy(network.bytes, data, HASH_LEN);
    const struct verify_options options = {
        .network = &network, .network_version = 1, .roster_version = 1, .quorum = 1};
    if (!verify_bundle(BYTES(data + HASH_LEN, size - HASH_LEN), &options, &arena, &report, &err)) {
        require(err.code == ERR_TOO_MUCH);
        return 0;
    }
    consistent(&report);
    shown(&report);
    if (report.verdict == VERIFY_PROVED) {
        fuzz_reached(1);
    } else if (report.verdict == VERIFY_CONTRADICTED) {
        fuzz_reached(2);
    }
    return 0;
}
