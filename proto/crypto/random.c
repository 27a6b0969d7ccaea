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

/* OpenSSL asks the system for the process id at every call, to notice a fork: dearer than the bytes of a nonce. So
 * each thread draws a stock, hands every byte of it out once, and wipes it. A child process sees that the mark is
 * gone and draws each time: it shares no stock with its parent. */
enum { STOCK = 512, STOCK_MOST = 64 };
static _Thread_local struct {
    uint8_t bytes[STOCK];
    size_t left;
} stock;

static void draw(void *out, size_t len)
{
    crypto_must(RAND_bytes_ex(NULL, out, len, 0) == 1, "drawing random bytes");
}

void random_fill(void *out, size_t len)
{
    if (source.fill) {
        source.fill(source.context, out, len);
        return;
    }
    const volatile uint8_t *mark = crypto_library()->process_mark;
    if (len > STOCK_MOST || !mark || !*mark) {
        draw(out, len);
        return;
    }
    if (stock.left < len) {
        draw(stock.bytes, STOCK);
        stock.left = STOCK;
    }
    stock.left -= len;
    memcpy(out, stock.bytes + stock.left, len);
    OPENSSL_cleanse(stock.bytes + stock.left, len);
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
