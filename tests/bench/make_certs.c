/* Certificates of one run for the peers: make_certs FOLDER writes ca.pem, server.pem, server.key, client.pem and
 * client.key. The server's name is node.bench. */
#include <stdio.h>

#include "tests/bench/echo.h"

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    bench_must(file != NULL, NULL, path);
    bench_must(fputs(text, file) >= 0 && fclose(file) == 0, NULL, path);
}

int main(int argc, char **argv)
{
    struct bench_certs certs;
    AUTO_ARENA(arena, 1 << 20);
    bench_must(argc == 2, NULL, "make_certs FOLDER");
    bench_certs_make(&arena, &certs);
    write_text(argv[1], "ca.pem", certs.ca);
    write_text(argv[1], "server.pem", certs.server);
    write_text(argv[1], "server.key", certs.server_key);
    write_text(argv[1], "client.pem", certs.client);
    write_text(argv[1], "client.key", certs.client_key);
    return 0;
}
