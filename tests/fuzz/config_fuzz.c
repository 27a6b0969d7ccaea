/* Target functions: config_parse. The input is a configuration file. */
#include "node/config/config.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA(arena, 4 << 20);
    struct config *config;
    struct err err;
    if (!config_parse(BYTES(data, size), "/f/chartmeshd.conf", &arena, &config, &err)) {
        require(err.code == ERR_INVALID || err.code == ERR_TOO_MUCH);
        require(*err.text != '\0');
        return 0;
    }
    /* What is accepted has what a start needs. */
    require(*config->domain && !id_is_zero(&config->facility) && !id_is_zero(&config->network));
    fuzz_reached(1);
    return 0;
}
