#include "proto/crypto/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SECRET_HEAP = 1 << 20, SECRET_MIN = 32 };

static struct crypto_library library;
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

void crypto_must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "crypto: %s failed\n", what);
        abort();
    }
}

/* A page that a fork empties. */
static const volatile uint8_t *process_mark(void)
{
    uint8_t *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return NULL;
    }
    if (madvise(page, 1, MADV_WIPEONFORK) != 0) {
        munmap(page, 1);
        return NULL;
    }
    *page = 1;
    return page;
}

/* OpenSSL keeps raw private keys in its secure heap once there is one: mmapped between guard pages, locked, out
 * of core dumps, wiped when freed. Its own answer 2 means "not locked": the limit (ulimit -l) is too small. */
static void make_ready(void)
{
    int heap = CRYPTO_secure_malloc_init(SECRET_HEAP, SECRET_MIN);
    library.locked = heap == 1;
    library.process_mark = process_mark();
    library.aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    library.aes_256_ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);    /* one block at a time: key wrap */
    crypto_must(heap != 0 && library.aes_256_gcm && library.aes_256_ecb, "making OpenSSL ready");
}

const struct crypto_library *crypto_library(void)
{
    crypto_must(CRYPTO_THREAD_run_once(&once, make_ready), "making OpenSSL ready");
    return &library;
}
