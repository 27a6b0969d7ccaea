#include "node/server/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "proto/chartmesh/v1/common.pb-c.h"

struct journal {
    struct world *world;
    struct world_lane *lane;         /* one worker: the only one that writes, but for journal_last */
    const char *file;
    _Atomic enum config_level level;
    atomic_int fd;
    atomic_uint dropped;             /* and not told yet */
    atomic_uint_fast64_t dropped_ever;
};

/* One line on its way. */
struct letter {
    struct journal *journal;
    char *text;
    size_t len;
};

static const char *const level_names[] = {[CONFIG_LOG_DEBUG] = "debug",
                                          [CONFIG_LOG_INFO] = "info",
                                          [CONFIG_LOG_WARN] = "warn",
                                          [CONFIG_LOG_ERROR] = "error"};

/* -- From facts to text */

static void add(json_t *object, const char *key, const char *value)
{
    if (value && value[0]) {
        json_t *text = json_string(value);
        json_object_set_new(object, key, text ? text : json_string("(not UTF-8)"));
    }
}

static void add_number(json_t *object, const char *key, uint64_t value)
{
    if (value) {
        json_object_set_new(object, key, json_integer((json_int_t)value));
    }
}

const char *journal_reason(uint32_t reason)
{
    static const char prefix[] = "ERROR_REASON_";
    const ProtobufCEnumValue *value =
        reason ? protobuf_c_enum_descriptor_get_value(&chartmesh__v1__error_reason__descriptor, (int)reason)
               : NULL;
    return value ? value->name + sizeof prefix - 1 : NULL;
}

static void add_err(json_t *object, const struct err *err)
{
    char place[96];
    add(object, "code", err_code_name(err->code));
    add(object, "reason", journal_reason(err->reason));
    add(object, "field", err->field);
    add(object, "error", err->text);
    if (err->file) {
        snprintf(place, sizeof place, "%s:%d", err->file, err->line);
        add(object, "at", place);
    }
}

static char *line_text(struct journal *journal, enum config_level level, const struct journal_line *line)
{
    char now[WORLD_TIME_TEXT];
    json_t *object = json_object();
    add(object, "ts", world_time_text(world_now_ms(journal->world), now));
    add(object, "level", level_names[level]);
    add(object, "event", line->event);
    add(object, "request", line->request_id);
    add(object, "method", line->method);
    add(object, "principal", line->principal);
    add(object, "peer", line->peer);
    add(object, "lane", line->lane);
    add(object, "code", line->code);
    if (line->err) {
        add_err(object, line->err);
    }
    add(object, "text", line->text);
    if (line->us) {
        json_object_set_new(object, "ms", json_real((double)line->us / 1000));
    }
    add_number(object, "bytes_in", line->bytes_in);
    add_number(object, "bytes_out", line->bytes_out);
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
    json_decref(object);
    return text;
}

/* -- From text to the file */

static void write_text(struct journal *journal, char *text, size_t len)
{
    text[len] = '\n';                /* in place of the NUL: one write, one line */
    size_t done = 0;
    while (done <= len) {
        ssize_t n = write(journal->fd, text + done, len + 1 - done);
        if (n < 0 && errno != EINTR) {
            return;                  /* a full disk stops no care: what cannot be told is not told */
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

static void deliver(void *arg)
{
    struct letter *letter = arg;
    write_text(letter->journal, letter->text, letter->len);
    free(letter->text);
    free(letter);
}

static void drop(struct journal *journal)
{
    journal->dropped++;
    journal->dropped_ever++;
}

uint64_t journal_dropped(const struct journal *journal)
{
    return journal->dropped_ever;
}

static void post(struct journal *journal, enum config_level level, const struct journal_line *line)
{
    struct letter *letter = malloc(sizeof *letter);
    char *text = letter ? line_text(journal, level, line) : NULL;
    if (!text) {
        free(letter);
        drop(journal);
        return;
    }
    *letter = (struct letter){.journal = journal, .text = text, .len = strlen(text)};
    world_submit(journal->lane, deliver, letter);
}

void journal_level(struct journal *journal, enum config_level level)
{
    journal->level = level;
}

bool journal_takes(const struct journal *journal, enum config_level level)
{
    return level >= journal->level;
}

void journal_write(struct journal *journal, enum config_level level, const struct journal_line *line)
{
    if (!journal_takes(journal, level)) {
        return;
    }
    if (world_lane_queued(journal->lane) >= JOURNAL_QUEUE_MAX) {
        drop(journal);
        return;
    }
    unsigned dropped = atomic_exchange(&journal->dropped, 0);
    if (dropped) {
        char text[64];
        snprintf(text, sizeof text, "%u lines came faster than they could be written", dropped);
        post(journal, CONFIG_LOG_WARN, &(struct journal_line){.event = "log_dropped", .text = text});
    }
    post(journal, level, line);
}

void journal_last(struct journal *journal, const struct journal_line *line)
{
    char *text = line_text(journal, CONFIG_LOG_ERROR, line);
    if (text) {
        write_text(journal, text, strlen(text));
        free(text);
    }
}

/* -- Opening */

static bool open_file(const char *file, int *fd, struct err *err)
{
    *fd = file ? open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : STDERR_FILENO;
    return *fd >= 0 || err_raise(err, ERR_STATE, "log file %s: %s", file, strerror(errno));
}

bool journal_open(struct world *world, const char *file, enum config_level level, struct journal **out,
                  struct err *err)
{
    int fd;
    struct journal *journal = calloc(1, sizeof *journal);
    if (!journal) {
        return err_raise(err, ERR_TOO_MUCH, "log: no memory");
    }
    *journal = (struct journal){.world = world, .file = file, .level = level};
    if (!open_file(file, &fd, err)) {
        free(journal);
        return false;
    }
    journal->fd = fd;
    if (!world_lane_open(world, "journal", 1, &journal->lane, err)) {
        journal_close(journal);
        return false;
    }
    *out = journal;
    return true;
}

/* The new file takes the old one's descriptor, so that a line being written goes to one or the other. */
bool journal_reopen(struct journal *journal, struct err *err)
{
    int fd;
    if (!journal->file) {
        return true;
    }
    if (!open_file(journal->file, &fd, err)) {
        return false;
    }
    bool ok = dup3(fd, journal->fd, O_CLOEXEC) >= 0;
    close(fd);
    return ok || err_raise(err, ERR_STATE, "log file %s: %s", journal->file, strerror(errno));
}

void journal_close(struct journal *journal)
{
    if (!journal) {
        return;
    }
    world_lane_close(journal->lane);
    if (journal->file) {
        close(journal->fd);
    }
    free(journal);
}
