/* chartmesh import: FHIR bundles into records, through the library. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "client/cli/commands.h"
#include "client/cli/node.h"
#include "client/import/import.h"
#include "client/setup/files.h"
#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/crypto/hash.h"

enum { ATTEMPTS = 6, CALL_MEMORY = 4 << 20, REPORT_MEMORY = 512 << 20, FILES_MAX = 1 << 20 };

struct importing {
    struct cli *cli;
    struct cli_list organizations;           /* none: all */
    size_t bundle, bundles;
    struct fhir_options fhir;
    struct import_report report;
};

/* -- the calls */

/* Busy, or somebody else wrote meanwhile: the same call again may succeed. Import keys keep it from counting
 * twice. */
static bool once_more(const struct err *err, unsigned *attempt)
{
    bool passing =
        err->code == ERR_UNAVAILABLE || err->code == ERR_CONFLICT ||
        (err->code == ERR_TOO_MUCH && err->reason == CHARTMESH__V1__ERROR_REASON__ERROR_REASON_OVERLOADED);
    if (!passing || *attempt >= ATTEMPTS) {
        return false;
    }
    const struct timespec nap = {.tv_nsec = 50000000L << MIN(*attempt, 4u)};
    nanosleep(&nap, NULL);
    ++*attempt;
    return true;
}

static bool register_patient(void *context, const struct import_put *put, struct id *patient,
                             struct import_done *done, struct err *err)
{
    struct importing *importing = context;
    AUTO_ARENA(arena, CALL_MEMORY);
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    const Chartmesh__V1__RegisterReply *reply;
    unsigned attempt = 0;
    request.resource = pb_bytes(put->content);
    request.labels = (Chartmesh__V1__Labels *)(uintptr_t)put->labels;
    request.import_key = (Chartmesh__V1__ImportKey *)(uintptr_t)put->key;
    while (!chartmesh_patient_register(importing->cli->client, &request, NULL, &arena, &reply, err)) {
        if (!once_more(err, &attempt)) {
            return false;
        }
    }
    done->unchanged = reply->unchanged;
    return (reply->subject && id_from(bytes_pb(reply->subject->patient), patient)) ||
           err_raise(err, ERR_CORRUPT, "the node's answer names no patient");
}

static bool put_document(void *context, const struct import_put *put, struct import_done *done, struct err *err)
{
    struct importing *importing = context;
    AUTO_ARENA(arena, CALL_MEMORY);
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    const Chartmesh__V1__PutReply *reply;
    unsigned attempt = 0;
    subject.patient = pb_bytes(BYTES_OF(put->patient));
    request.subject = &subject;
    request.facts = (Chartmesh__V1__Facts *)(uintptr_t)put->facts;
    request.import_key = (Chartmesh__V1__ImportKey *)(uintptr_t)put->key;
    request.content = pb_bytes(put->content);
    while (!chartmesh_record_put(importing->cli->client, &request, NULL, &arena, &reply, err)) {
        if (!once_more(err, &attempt)) {
            return false;
        }
    }
    done->unchanged = reply->unchanged;
    return true;
}

static bool read_content(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    const struct bytes *content = context;
    if (offset > content->len || len > content->len - offset) {
        return err_raise(err, ERR_INTERNAL, "upload: a piece beyond the end");
    }
    memcpy(out, content->data + offset, len);
    return true;
}

static bool upload_document(void *context, const struct import_put *put, struct import_done *done, struct err *err)
{
    struct importing *importing = context;
    AUTO_ARENA(arena, CALL_MEMORY);
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    Chartmesh__V1__UploadHeader header = CHARTMESH__V1__UPLOAD_HEADER__INIT;
    const Chartmesh__V1__PutReply *reply;
    struct bytes content = put->content;
    const struct chartmesh_source source = {read_content, NULL, &content};
    struct hash id =
        HASH_PARTS(bytes_str(put->key->system), BYTES_LIT("|"), bytes_str(put->key->id), BYTES_LIT("|"), content);
    unsigned attempt = 0;
    subject.patient = pb_bytes(BYTES_OF(put->patient));
    header.upload = pb_bytes(BYTES(id.bytes, ID_LEN));
    header.subject = &subject;
    header.facts = (Chartmesh__V1__Facts *)(uintptr_t)put->facts;
    header.import_key = (Chartmesh__V1__ImportKey *)(uintptr_t)put->key;
    header.length = content.len;
    while (!chartmesh_upload(importing->cli->client, &header, &source, NULL, &arena, &reply, err)) {
        if (!once_more(err, &attempt)) {
            return false;
        }
    }
    done->unchanged = reply->unchanged;
    return true;
}

/* -- what is imported */

static bool selected(void *context, const struct fhir_document *document)
{
    const struct importing *importing = context;
    const struct cli_list *wanted = &importing->organizations;
    bool found = wanted->count == 0 || document->kind != FHIR_ENCOUNTER;
    for (size_t i = 0; i < wanted->count && !found; i++) {
        found = bytes_equal(bytes_str(wanted->items[i]), document->facility) ||
                bytes_equal(bytes_str(wanted->items[i]), document->facility_name);
    }
    return found;
}

static void progress(void *context, size_t done, size_t total, const struct fhir_document *document)
{
    const struct importing *importing = context;
    char what[64];
    (void)document;
    snprintf(what, sizeof what, "bundle %zu of %zu", importing->bundle, importing->bundles);
    cli_progress(what, done, total);
}

static bool import_file(struct importing *importing, const char *path, struct err *err)
{
    AUTO_ARENA(arena, (size_t)BUNDLE_BYTES_MAX + FHIR_PLAN_BUDGET + 4096);
    struct bytes text;
    struct fhir_plan plan;
    struct err why;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (!file_read(path, BUNDLE_BYTES_MAX, &arena, &text, &why) ||
        !fhir_plan(text, &importing->fhir, &arena, &plan, &why)) {
        return report_bundle_failed(&importing->report, name, &why, err);
    }
    const struct import_calls calls = {importing, register_patient, put_document, upload_document};
    const struct import_options options = {selected, progress, importing};
    return import_run(name, &plan, &calls, &options, &importing->report, err);
}

static int not_hidden_json(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

/* A folder stands for its .json files, by name. */
static bool add_path(struct cli *cli, struct cli_list *files, const char *path, struct err *err)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        return err_raise(err, ERR_NOT_FOUND, "%s: no such file or folder", path);
    }
    struct dirent **names = NULL;
    int count = S_ISDIR(found.st_mode) ? scandir(path, &names, not_hidden_json, alphasort) : 0;
    if (count < 0) {
        return err_raise(err, ERR_STATE, "%s: cannot be read", path);
    }
    bool ok = files->count + (size_t)count < FILES_MAX || err_raise(err, ERR_TOO_MUCH, "too many files");
    if (ok && !S_ISDIR(found.st_mode)) {
        files->items[files->count++] = path;
    }
    for (int i = 0; i < count; i++) {
        ok = ok && path_join(path, names[i]->d_name, &cli->arena, &files->items[files->count++], err);
        free(names[i]);
    }
    free(names);
    return ok;
}

static bool list_files(struct cli *cli, const struct cli_list *paths, struct cli_list *out, struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, FILES_MAX, sizeof *out->items, &room, err)) {
        return false;
    }
    out->items = room;
    for (size_t i = 0; i < paths->count; i++) {
        if (!add_path(cli, out, paths->items[i], err)) {
            return false;
        }
    }
    return out->count > 0 || err_raise(err, ERR_NOT_FOUND, "no .json file there");
}

static bool print_report(struct cli *cli, const struct import_report *report, bool every, struct err *err)
{
    AUTO_BUILDER(text, 1 << 30);
    if (!cli->json) {
        report_text(report, every, &text);
    } else if (!report_json(report, &text, err)) {
        return false;
    }
    return cli_output("-", builder_view(&text), err);
}

static bool import_files(struct importing *importing, const struct cli_list *files, bool every, struct err *err)
{
    AUTO_ARENA(arena, REPORT_MEMORY);
    bool ok = true;
    report_init(&importing->report, &arena);
    importing->bundles = files->count;
    for (size_t i = 0; ok && i < files->count; i++) {
        importing->bundle = i + 1;
        ok = import_file(importing, files->items[i], err);
    }
    cli_progress_end();
    struct err ignored;
    if (!print_report(importing->cli, &importing->report, every, ok ? err : &ignored) || !ok) {
        return ok ? false : err_wrap(err, "import broke off (run it again: it goes on)");
    }
    return report_complete(&importing->report) ||
           err_raise(err, ERR_STATE, "something was not imported: the report says what and why");
}

static bool read_rules(struct importing *importing, const char *path, struct sensitivity **rules, struct err *err)
{
    struct bytes text;
    if (path && (!file_read(path, SENSITIVITY_FILE_MAX, &importing->cli->arena, &text, err) ||
                 !sensitivity_read(text, 0, rules, err))) {
        return err_wrap(err, "--rules %s", path);
    }
    importing->fhir.rules = (struct resource_rules){.sensitivity = *rules};
    return true;
}

bool cmd_import(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *rules_path = NULL, *system = NULL;
    bool every = false;
    struct importing importing = {.cli = cli};
    struct cli_list args = {0}, files = {0};
    struct sensitivity *rules = NULL;
    const struct cli_option table[] = {
        {"rules", "FILE", "codes that make a resource sensitive", .text = &rules_path},
        {"organization", "ID|NAME", "only encounters of this one (all)", .list = &importing.organizations},
        {"system", "NAME", "the source system (the patient's first identifier's)", .text = &system},
        {"all-skipped", NULL, "list every resource that is in no document", .flag = &every},
    };
    const struct cli_usage usage = {
        .name = "import",
        .args = "FILE|FOLDER…",
        .args_min = 1,
        .args_max = FILES_MAX - 1,
        .about =
            "Imports FHIR R4 bundles, one patient each: the Patient is registered, every encounter with all that\n"
            "points at it becomes one document, and so does each list that belongs to no encounter. Running it\n"
            "again adds nothing, and goes on where it broke off. Fails when something of the patient's was left "
            "out.",
        .examples = "  chartmesh import patient.json\n"
                    "  chartmesh import bundles/ --rules sensitivity.json --output json\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !list_files(cli, &args, &files, err) ||
        !read_rules(&importing, rules_path, &rules, err)) {
        return false;
    }
    importing.fhir.system = bytes_str(system);
    bool ok = cli_connect(cli, err) && import_files(&importing, &files, every, err);
    sensitivity_free(rules);
    return ok;
}
