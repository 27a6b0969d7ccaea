/* Target function: none. Breaks on a known input, so that we know that a broken target is seen. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 6 && memcmp(data, "canary", 6) == 0) {
        abort();
    }
    return 0;
}
