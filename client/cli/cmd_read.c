/* chartmesh get, list, history, download, watch: what is in a record. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/commands.h"
#include "client/cli/node.h"

/* Adds checked versions to a list; fails with the first that does not verify. */
static bool add_versions(struct cli *cli, Chartmesh__V1__VersionView *const *views, size_t count,
                         bool with_content, json_t *list, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        json_t *one;
        if (!json_version(cli, views[i], with_content, &one, err)) {
            return false;
        }
        json_array_append_new(list, one);
    }
    return true;
}

static void list_text(const json_t *result)
{
    size_t i;
    json_t *document;
    json_array_foreach(json_object_get(result, "documents"), i, document)
    {
        json_t *head = json_array_get(json_object_get(document, "heads"), 0);
        if (!head) {
            printf("%s  not here, or not for this caller\n",
                   json_string_value(json_object_get(document, "document")));
            continue;
        }
        const char *class = json_string_value(json_object_get(head, "class"));
        const char *title = json_string_value(json_object_get(head, "title"));
        const char *facility = json_string_value(json_object_get(head, "facility"));
        const json_t *labels = json_object_get(head, "labels");
        printf("%s  %s  %-24s  %-20s  %s%s%s\n", json_string_value(json_object_get(document, "document")),
               json_string_value(json_object_get(labels, "confidentiality")), class ? class : "-",
               facility ? facility : "-", title ? title : "",
               json_is_true(json_object_get(document, "conflict")) ? "  CONFLICT" : "",
               json_is_true(json_object_get(head, "retracted")) ? "  RETRACTED" : "");
    }
    if (json_array_size(json_object_get(result, "documents")) == 0) {
        fprintf(stderr, "nothing that may be shown\n");
    }
}

static bool add_documents(struct cli *cli, Chartmesh__V1__DocumentView *const *views, size_t count,
                          bool with_content, json_t *list, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        const Chartmesh__V1__DocumentView *document = views[i];
        json_t *one = json_object(), *heads = json_array();
        json_array_append_new(list, one);
        json_set(one, "document", json_pb(document->document));
        json_set(one, "conflict", json_boolean(document->conflict));
        json_set(one, "effective_labels", json_labels(document->effective_labels));
        json_set(one, "heads", heads);
        if (!add_versions(cli, document->heads, document->n_heads, with_content, heads, err)) {
            return false;
        }
    }
    return true;
}

static bool get_output(const char *out, const Chartmesh__V1__GetReply *reply, struct err *err)
{
    if (reply->n_heads != 1) {
        return err_raise(err, ERR_STATE, "the document has %zu heads, a conflict: choose one with --version",
                         reply->n_heads);
    }
    const Chartmesh__V1__VersionView *head = reply->heads[0];
    if (!head->complete || (head->content.len == 0 && head->salt.len == 0)) {
        return err_raise(err, ERR_STATE,
                         "the content is not in the answer (retracted, large or not here yet): "
                         "`chartmesh download` fetches large content");
    }
    return cli_output(out, bytes_pb(head->content), err);
}

/* Several documents, one question, one entry in the node's log. */
static bool get_batch(struct cli *cli, Chartmesh__V1__GetRequest *request, const struct cli_list *args,
                      struct err *err)
{
    const Chartmesh__V1__GetReply *reply;
    void *items, *list;
    size_t count = args->count - 1;
    if (!arena_array(&cli->arena, count, sizeof(Chartmesh__V1__GetItem), &items, err) ||
        !arena_array(&cli->arena, count, sizeof *request->batch, &list, err)) {
        return false;
    }
    request->batch = list;
    request->n_batch = count;
    for (size_t i = 0; i < count; i++) {
        Chartmesh__V1__GetItem *item = request->batch[i] = (Chartmesh__V1__GetItem *)items + i;
        chartmesh__v1__get_item__init(item);
        if (!cli_hex(cli, "document", args->items[i + 1], ID_LEN, &item->document, err)) {
            return false;
        }
    }
    if (!chartmesh_record_get(cli->client, request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *documents = json_array();
    json_set(result, "documents", documents);
    json_set(result, "receipt", json_pb(reply->receipt));
    if (!add_documents(cli, reply->batch, reply->n_batch, cli->json, documents, err)) {
        json_decref(result);
        return false;
    }
    cli_print(cli, result, list_text);
    return true;
}

bool cmd_get(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *version = NULL, *out = NULL;
    bool headers = false, retracted = false;
    struct cli_list args = {0};
    const struct cli_option options[] = {
        {"version", "VERSION", "this one instead of the heads", .text = &version},
        {"out", "FILE", "write the content there (- for standard output)", .text = &out},
        {"headers", NULL, "no content", .flag = &headers},
        {"retracted", NULL, "also content that was entered in error", .flag = &retracted},
    };
    const struct cli_usage usage = {
        .name = "get",
        .args = "PATIENT DOCUMENT...",
        .args_min = 2,
        .args_max = 257,
        .about = "Reads a document: all its heads, each checked against its signature. Several heads are a\n"
                 "conflict: both are kept until `chartmesh merge` settles them. Several documents of a patient "
                 "are one\n"
                 "read; what is not here, or not for this caller, is said for each.",
        .examples = "  chartmesh get PATIENT DOCUMENT\n"
                    "  chartmesh get PATIENT DOCUMENT --out - | jq .\n"
                    "  chartmesh get clinic.example/PATIENT DOCUMENT --output json\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const Chartmesh__V1__GetReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err)) {
        return false;
    }
    request.headers_only = headers;
    request.with_retracted = retracted;
    if (args.count > 2) {
        return version || out ? cli_usage_error(cli, err, "--version and --out go with one document")
                              : get_batch(cli, &request, &args, err);
    }
    if (!cli_hex(cli, "document", args.items[1], ID_LEN, &request.document, err) ||
        (version && !cli_hex(cli, "--version", version, HASH_LEN, &request.version, err))) {
        return false;
    }
    if (!chartmesh_record_get(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *heads = json_array();
    json_set(result, "document", json_pb(reply->document));
    json_set(result, "conflict", json_boolean(reply->conflict));
    json_set(result, "effective_labels", json_labels(reply->effective_labels));
    json_set(result, "heads", heads);
    json_set(result, "receipt", json_pb(reply->receipt));
    if (!add_versions(cli, reply->heads, reply->n_heads, cli->json, heads, err)) {
        json_decref(result);
        return false;
    }
    if (!out) {
        cli_print(cli, result, NULL);
        return true;
    }
    json_decref(result);
    return get_output(out, reply, err);
}

/* -- list */

bool cmd_list(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *from = NULL, *until = NULL, *max = NULL, *as_of = NULL;
    struct cli_list class = {0}, category = {0}, args = {0};
    const struct cli_option options[] = {
        {"class", "SYSTEM|CODE", "any of these", .list = &class},
        {"category", "SYSTEM|CODE", "any of these", .list = &category},
        {"from", "TIME", "about this time or later", .text = &from},
        {"until", "TIME", "about an earlier time than this", .text = &until},
        {"max", "U|L|M|N|R|V", "confidentiality up to", .text = &max},
        {"as-of", "TIME", "what this node knew then", .text = &as_of},
    };
    const struct cli_usage usage = {
        .name = "list",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about = "Lists a patient's documents, as far as the caller may see them: id, confidentiality, class, "
                 "writer, title.",
        .examples = "  chartmesh list PATIENT\n  chartmesh list clinic.example/PATIENT --from 2024-01-01\n"
                    "  chartmesh list PATIENT --as-of 2024-06-30\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    Chartmesh__V1__ListRequest request = CHARTMESH__V1__LIST_REQUEST__INIT;
    const Chartmesh__V1__ListReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err) ||
        !cli_codings(cli, "--class", &class, &request.class_, &request.n_class_, err) ||
        !cli_codings(cli, "--category", &category, &request.category, &request.n_category, err) ||
        !cli_period(cli, from, until, &request.clinical, err) ||
        (as_of && !cli_time(cli, "--as-of", as_of, &request.as_of, err)) ||
        (max && !cli_confidentiality(cli, max, &request.confidentiality_max, err))) {
        return false;
    }
    json_t *result = json_object(), *list = json_array();
    json_set(result, "documents", list);
    request.page_size = 256;
    do {
        if (!chartmesh_record_list(cli->client, &request, NULL, &cli->arena, &reply, err) ||
            !add_documents(cli, reply->documents, reply->n_documents, false, list, err)) {
            json_decref(result);
            return false;
        }
        request.page_token = reply->next_page_token;
    } while (request.page_token.len);
    cli_print(cli, result, list_text);
    return true;
}

bool cmd_history(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct cli_list args = {0};
    const struct cli_usage usage = {
        .name = "history",
        .args = "PATIENT DOCUMENT",
        .args_min = 2,
        .args_max = 2,
        .about = "Shows every version of a document, parents first, and which are its heads.",
        .examples = "  chartmesh history PATIENT DOCUMENT\n",
        .connects = true,
    };
    Chartmesh__V1__HistoryRequest request = CHARTMESH__V1__HISTORY_REQUEST__INIT;
    const Chartmesh__V1__HistoryReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err) ||
        !cli_hex(cli, "document", args.items[1], ID_LEN, &request.document, err)) {
        return false;
    }
    json_t *result = json_object(), *versions = json_array(), *heads = NULL;
    json_set(result, "versions", versions);
    do {
        if (!chartmesh_record_history(cli->client, &request, NULL, &cli->arena, &reply, err) ||
            !add_versions(cli, reply->versions, reply->n_versions, false, versions, err)) {
            json_decref(heads);
            json_decref(result);
            return false;
        }
        json_decref(heads);
        heads = json_pbs(reply->heads, reply->n_heads);
        request.page_token = reply->next_page_token;
    } while (request.page_token.len);
    json_set(result, "heads", heads);
    cli_print(cli, result, NULL);
    return true;
}

/* -- download */

/* A file that grows; what stands in it already is read back to be checked. */
struct growing {
    int fd;
    bool to_stdout;
    uint64_t start;              /* of the content, at the file's beginning */
};

static bool write_piece(void *context, uint64_t offset, struct bytes piece, struct err *err)
{
    const struct growing *file = context;
    for (size_t done = 0; done < piece.len;) {
        ssize_t put = file->to_stdout ? write(STDOUT_FILENO, piece.data + done, piece.len - done)
                                      : pwrite(file->fd, piece.data + done, piece.len - done,
                                               (off_t)(offset - file->start + done));
        if (put <= 0) {
            return err_raise(err, ERR_STATE, "the output cannot be written");
        }
        done += (size_t)put;
    }
    return true;
}

static bool read_piece(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    const struct growing *file = context;
    return pread(file->fd, out, len, (off_t)offset) == (ssize_t)len ||
           err_raise(err, ERR_STATE, "the file to resume cannot be read");
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    cli_progress("received", done, total);
}

static bool open_growing(const char *path, bool resume, struct growing *file, uint64_t *have, struct err *err)
{
    file->fd = -1;
    file->to_stdout = strcmp(path, "-") == 0;
    *have = 0;
    if (file->to_stdout) {
        return true;
    }
    struct stat found;
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (resume ? 0 : O_EXCL), 0600);
    if (file->fd < 0 || fstat(file->fd, &found) != 0) {
        return err_raise(err, ERR_STATE,
                         "%s cannot be made: it is there already (--resume goes on), or the folder is not", path);
    }
    *have = (uint64_t)found.st_size;
    return true;
}

static bool run_download(struct cli *cli, Chartmesh__V1__DownloadRequest *request, const char *path, bool resume,
                         struct chartmesh_version *version, struct err *err)
{
    struct growing file;
    uint64_t have;
    if (!open_growing(path, resume, &file, &have, err)) {
        return false;
    }
    file.start = request->offset;
    request->offset += have;
    const struct chartmesh_sink sink = {write_piece, show_progress, &file};
    const struct chartmesh_source before = {read_piece, NULL, &file};
    bool ok = chartmesh_download(cli->client, request, &sink, have ? &before : NULL, cli_trust_of(cli), NULL,
                                 &cli->arena, version, err);
    ok = ok && (file.to_stdout || fsync(file.fd) == 0 || err_raise(err, ERR_STATE, "%s cannot be written", path));
    if (file.fd >= 0) {
        close(file.fd);
    }
    return ok;
}

bool cmd_download(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *version = NULL, *out = NULL, *offset = NULL, *length = NULL;
    bool resume = false;
    struct cli_list args = {0};
    const struct cli_option options[] = {
        {"version", "VERSION", "which one", .text = &version, .needed = true},
        {"out", "FILE", "where to (- for standard output)", .text = &out, .needed = true},
        {"resume", NULL, "FILE has the beginning: go on behind it", .flag = &resume},
        {"offset", "BYTE", "begin there (0)", .text = &offset},
        {"length", "BYTES", "so many (to the end)", .text = &length},
    };
    const struct cli_usage usage = {
        .name = "download",
        .args = "PATIENT DOCUMENT",
        .args_min = 2,
        .args_max = 2,
        .about =
            "Receives a version's content of any size and checks that it is what was signed (not of a range).",
        .examples = "  chartmesh download PATIENT DOCUMENT --version VERSION --out scan.dcm\n"
                    "  chartmesh download PATIENT DOCUMENT --version VERSION --out scan.dcm --resume\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    Chartmesh__V1__DownloadRequest request = CHARTMESH__V1__DOWNLOAD_REQUEST__INIT;
    struct chartmesh_version got;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) ||
        (offset && !cli_number(cli, "offset", offset, 0, UINT64_C(1) << 40, &request.offset, err)) ||
        (length && !cli_number(cli, "length", length, 1, UINT64_C(1) << 40, &request.length, err))) {
        return false;
    }
    if (resume && (offset || length || strcmp(out, "-") == 0)) {
        return cli_usage_error(cli, err, "--resume goes with whole content in a file");
    }
    if (!cli_connect(cli, err) || !cli_subject(cli, args.items[0], &request.subject, err) ||
        !cli_hex(cli, "document", args.items[1], ID_LEN, &request.document, err) ||
        !cli_hex(cli, "--version", version, HASH_LEN, &request.version, err) ||
        !run_download(cli, &request, out, resume, &got, err)) {
        return false;
    }
    cli_progress_end();
    if (strcmp(out, "-") != 0) {
        json_t *result = json_object();
        json_set(result, "version", json_hex(BYTES_OF(got.id)));
        json_set(result, "length", json_integer((json_int_t)got.message->length));
        json_set(result, "content", json_string(got.content_checked ? "verified" : "a range: not verified"));
        json_set(result, "signature", json_string(got.trusted ? "verified" : "unknown signer"));
        cli_print(cli, result, NULL);
    }
    return true;
}

/* -- watch */

struct watching {
    struct cli *cli;
    uint64_t count, max;         /* max 0: until interrupted */
};

static bool event_json(struct cli *cli, const Chartmesh__V1__WatchEvent *event, json_t **out, struct err *err)
{
    json_t *one = json_object(), *version = NULL;
    json_set(one, "event", json_enum(&chartmesh__v1__watch_kind__descriptor, (int)event->kind));
    json_set(one, "patient", json_subject(cli, event->subject));
    json_set(one, "document", json_pb(event->document));
    if (event->version && !json_version(cli, event->version, false, &version, err)) {
        json_decref(one);
        return false;
    }
    json_set(one, "version", version);
    json_set(one, "conflict", event->conflict ? json_true() : NULL);
    json_set(one, "resume", json_pb(event->resume_token));
    *out = one;
    return true;
}

static void print_event(const struct cli *cli, const json_t *one)
{
    if (cli->json) {
        json_dumpf(one, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        printf("\n");
    } else {
        const json_t *version = json_object_get(one, "version");
        const char *patient = json_string_value(json_object_get(one, "patient"));
        const char *document = json_string_value(json_object_get(one, "document"));
        const char *title = json_string_value(json_object_get(version, "title"));
        printf("%-8s %s %s %s%s\n", json_string_value(json_object_get(one, "event")), patient ? patient : "",
               document ? document : "", title ? title : "", json_object_get(one, "conflict") ? " CONFLICT" : "");
    }
    fflush(stdout);
}

static bool on_event(void *context, const Chartmesh__V1__WatchEvent *event, bool *stop, struct err *err)
{
    struct watching *watching = context;
    struct cli *cli = watching->cli;
    json_t *one;
    if (!event_json(cli, event, &one, err)) {
        return false;
    }
    bool counts = event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_VERSION ||
                  event->kind == CHARTMESH__V1__WATCH_KIND__WATCH_KIND_REMOVED;
    if (cli->json || event->kind != CHARTMESH__V1__WATCH_KIND__WATCH_KIND_HEARTBEAT) {
        print_event(cli, one);
    }
    json_decref(one);
    watching->count += counts;
    *stop = watching->max && watching->count >= watching->max;
    return true;
}

static void on_lost(void *context, const struct err *why)
{
    (void)context;
    cli_note("chartmesh: the connection is lost, trying again: %s", why->text);
}

bool cmd_watch(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *resume = NULL, *count = NULL;
    struct cli_list args = {0};
    const struct cli_option options[] = {
        {"resume", "TOKEN", "go on behind this event", .text = &resume},
        {"count", "N", "end after so many events", .text = &count},
    };
    const struct cli_usage usage = {
        .name = "watch",
        .args = "[PATIENT]",
        .args_max = 1,
        .about =
            "Shows changes as they happen, of one patient or of all, a line each. Lost connections are taken up\n"
            "again, and nothing is missed. Ends when interrupted, or after --count events.",
        .examples = "  chartmesh watch PATIENT\n  chartmesh watch --output json | jq -c .event\n",
        .options = options,
        .option_count = COUNT(options),
        .connects = true,
    };
    Chartmesh__V1__WatchRequest request = CHARTMESH__V1__WATCH_REQUEST__INIT;
    struct watching watching = {.cli = cli};
    if (!cli_parse(cli, &usage, argc, argv, &args, err) ||
        (count && !cli_number(cli, "count", count, 1, UINT32_MAX, &watching.max, err)) || !cli_connect(cli, err) ||
        (args.count && !cli_subject(cli, args.items[0], &request.subject, err)) ||
        (resume && !cli_hex(cli, "--resume", resume, strlen(resume) / 2, &request.resume_token, err))) {
        return false;
    }
    const struct chartmesh_watcher watcher = {on_event, on_lost, &watching};
    return chartmesh_watch(cli->client, &request, &watcher, NULL, err);
}
