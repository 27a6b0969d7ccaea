/* What a person or a program sees: results on standard output, everything else on standard error. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/cli.h"

static void print_value(const char *name, const json_t *value, int depth);

static void print_members(const json_t *object, int depth)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        print_value(name, value, depth);
    }
}

static void print_scalar(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        printf("%s", json_string_value(value));
        break;
    case JSON_INTEGER:
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        printf("%g", json_real_value(value));
        break;
    case JSON_TRUE:
        printf("yes");
        break;
    case JSON_FALSE:
        printf("no");
        break;
    default:
        printf("-");
        break;
    }
}

static void print_array(const char *name, const json_t *array, int depth)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        print_value(name, json_array_get(array, i), depth);
    }
    if (json_array_size(array) == 0) {
        printf("%*s%s: none\n", 2 * depth, "", name);
    }
}

static void print_value(const char *name, const json_t *value, int depth)
{
    if (json_is_array(value)) {
        print_array(name, value, depth);
    } else if (json_is_object(value)) {
        printf("%*s%s:\n", 2 * depth, "", name);
        print_members(value, depth + 1);
    } else {
        printf("%*s%s: ", 2 * depth, "", name);
        print_scalar(value);
        printf("\n");
    }
}

void cli_print(const struct cli *cli, json_t *result, cli_text *text)
{
    if (cli->json) {
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        printf("\n");
    } else if (text) {
        text(result);
    } else {
        print_members(result, 0);
    }
    fflush(stdout);
    json_decref(result);
}

void cli_note(const char *format, ...)
{
    cli_progress_end();
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* -- progress */

static bool drawn;

void cli_progress(const char *what, uint64_t done, uint64_t total)
{
    static int64_t last_ms;
    int64_t now = cli_now_ms();
    if (!isatty(STDERR_FILENO) || (done != total && now - last_ms < 100)) {
        return;
    }
    last_ms = now;
    drawn = true;
    if (total) {
        fprintf(stderr, "\r\033[K%s: %3u %%  (%llu of %llu)", what, (unsigned)(done * 100 / total),
                (unsigned long long)done, (unsigned long long)total);
    } else {
        fprintf(stderr, "\r\033[K%s: %llu", what, (unsigned long long)done);
    }
    fflush(stderr);
}

void cli_progress_end(void)
{
    if (drawn) {
        fprintf(stderr, "\r\033[K");
        drawn = false;
    }
}

int64_t cli_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* -- JSON */

json_t *json_hex(struct bytes view)
{
    char *text = malloc(2 * view.len + 1);
    json_t *value = text ? json_string(bytes_hex(view, text)) : NULL;
    free(text);
    return value;
}

void json_set(json_t *object, const char *name, json_t *value)
{
    if (value) {
        json_object_set_new(object, name, value);
    }
}
