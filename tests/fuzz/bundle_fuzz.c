/* Target functions: bundle_read, bundle_read_next, bundle_write_frame, trust_file, trust_file_network. */
#include "proto/merkle/bundle.h"

#include "proto/base/builder.h"
#include "proto/statement/trust.h"
#include "tests/fuzz/fuzz.h"

/* A file that is read to its end is what a writer makes of its frames. */
static void both_ways(struct bytes file)
{
    AUTO_BUILDER(b, file.len + 64);
    struct bundle_reader reader;
    struct bundle_writer writer = {0};
    struct bundle_frame frame;
    struct err err;
    bool more = true;
    if (!bundle_read(file, &reader, &err)) {
        require(err.code == ERR_CORRUPT);
        return;
    }
    while (more) {
        if (!bundle_read_next(&reader, &frame, &more, &err)) {
            require(err.code == ERR_CORRUPT);
            return;
        }
        require(!more || bundle_write_frame(&writer, frame.type, frame.body, &b, &err));
    }
    require(bytes_equal(builder_view(&b), file));
    fuzz_reached(1);
}

static void as_trust(struct bytes file)
{
    struct hash first;
    struct trust *trust;
    struct err err;
    if (!trust_file_network(file, &first, &err)) {
        return;
    }
    require(trust_new(&first, &trust, &err));
    if (trust_file(trust, file, &err)) {
        require(hash_equal(trust_network_id(trust), &first));
        fuzz_reached(2);
    }
    trust_free(trust);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    both_ways(BYTES(data, size));
    as_trust(BYTES(data, size));
    return 0;
}
