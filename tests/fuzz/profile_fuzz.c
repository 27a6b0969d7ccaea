/* Target functions: profile_parse, profile_text. */
#include "client/setup/profile.h"
#include "tests/fuzz/fuzz.h"

/* What is accepted and can be written reads back as the same text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA(arena, 1 << 20);
    AUTO_BUILDER(first, 1 << 20);
    AUTO_BUILDER(second, 1 << 20);
    struct profile profile, again;
    struct err err;
    if (!profile_parse(BYTES(data, size), "/f/profile", &arena, &profile, &err)) {
        require(err.code == ERR_INVALID || err.code == ERR_TOO_MUCH);
        return 0;
    }
    if (profile_text(&profile, &first, &err)) {
        if (!profile_parse(builder_view(&first), "/f/profile", &arena, &again, &err)) {
            require(err.code == ERR_TOO_MUCH || err.code == ERR_INVALID);    /* a path grew over the limit */
            return 0;
        }
        require(profile_text(&again, &second, &err) || err.code == ERR_TOO_MUCH);
        fuzz_reached(1);
        require(!second.ok || bytes_equal(builder_view(&first), builder_view(&second)));
    }
    return 0;
}
