#include "proto/crypto/random.h"

#include "proto/crypto/library.h"

static struct {
    void (*fill)(void *context, void *out, size_t len);
    void *context;
} source;

void random_replace(void (*fill)(void *context, void *out, size_t len), void *context)
{
    source.fill = fill;
    source.context = context;
}

void random_fill(void *out, size_t len)
{
    if (source.fill) {
        source.fill(source.context, out, len);
        return;
    }
    crypto_must(RAND_bytes_ex(NULL, out, len, 0) == 1, "drawing random bytes");
}

struct id random_id(void)
{
    struct id id;
    random_fill(&id, sizeof id);
    return id;
}

struct hash random_hash(void)
{
    struct hash hash;
    random_fill(&hash, sizeof hash);
    return hash;
}

uint64_t random_u64(void)
{
    uint64_t value;
    do {
        random_fill(&value, sizeof value);
    } while (value == 0);
    return value;
}
