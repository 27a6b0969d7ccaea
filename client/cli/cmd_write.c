/* chartmesh put, upload, merge, retract, relabel: what changes a record. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/commands.h"
#include "client/cli/facts.h"
#include "client/setup/files.h"
#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"

enum { INLINE_MAX = 1 << 20 };
#define CONTENT_MAX_BYTES ((uint64_t)16 << 30)

static bool read_heads(struct cli *cli, Chartmesh__V1__Subject *subject, ProtobufCBinaryData document,
                       const Chartmesh__V1__GetReply **reply, struct err *err)
{
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    request.subject = subject;
    request.document = document;
    request.headers_only = true;
    return chartmesh_record_get(cli->client, &request, NULL, &cli->arena, reply, err);
}

/* The heads that a change is based on: those given, or those there are now if there is no conflict to settle
 * first. */
static bool base_heads(struct cli *cli, Chartmesh__V1__Subject *subject, ProtobufCBinaryData document,
                       const struct cli_list *given, ProtobufCBinaryData **heads, size_t *count, struct err *err)
{
    const Chartmesh__V1__GetReply *now;
    if (given->count) {
        return cli_hexes(cli, "--if-head", given, HASH_LEN, heads, count, err);
    }
    if (!read_heads(cli, subject, document, &now, err)) {
        return false;
    }
    if (now->n_heads > 1) {
        return err_raise(err, ERR_CONFLICT,
                         "the document has %zu heads: settle them with `chartmesh merge`, or name "
                         "those you mean with --if-head",
                         now->n_heads);
    }
    return cli_heads(cli, now->heads, now->n_heads, heads, count, err);
}

static json_t *put_json(const Chartmesh__V1__PutReply *reply)
{
    json_t *result = json_object();
    json_set(result, "document", json_pb(reply->document));
    json_set(result, "version", json_pb(reply->version));
    json_set(result, "unchanged", reply->unchanged ? json_true() : NULL);
    json_set(result, "receipt", json_pb(reply->receipt));
    return result;
}

/* -- upload */

struct sending {
    int fd;
};

static bool read_piece(void *context, uint64_t offset, uint8_t *out, size_t len, struct err *err)
{
    const struct sending *file = context;
    for (size_t have = 0; have < len;) {
        ssize_t got = pread(file->fd, out + have, len - have, (off_t)(offset + have));
        if (got <= 0) {
            return err_raise(err, ERR_STATE, "the file became shorter, or cannot be read");
        }
        have += (size_t)got;
    }
    return true;
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    cli_progress("sent", done, total);
}

static bool open_sending(const char *path, struct sending *file, uint64_t *length, struct err *err)
{
    struct stat found;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &found) != 0 || !S_ISREG(found.st_mode)) {
        return err_raise(err, ERR_NOT_FOUND, "%s: no file that can be read", path);
    }
    *length = (uint64_t)found.st_size;
    return *length <= CONTENT_MAX_BYTES || err_raise(err, ERR_TOO_MUCH, "%s: content has at most 16 GiB", path);
}

static bool send_file(struct cli *cli, const char *path, Chartmesh__V1__UploadHeader *header,
                      const Chartmesh__V1__PutReply **reply, struct err *err)
{
    struct sending file;
    const struct chartmesh_source source = {read_piece, show_progress, &file};
    bool ok = open_sending(path, &file, &header->length, err) &&
              chartmesh_upload(cli->client, header, &source, NULL, &cli->arena, reply, err);
    if (file.fd >= 0) {
        close(file.fd);
    }
    cli_progress_end();
    return ok;
}

/* -- put */

struct put_options {
    struct facts_options facts;
    const char *document, *upload, *sign_with;
    struct cli_list heads, args;
};

/* What a new version is put with: subject, document and heads. */
struct put_place {
    Chartmesh__V1__Subject *subject;
    ProtobufCBinaryData document, *heads;
    size_t head_count;
    Chartmesh__V1__Facts *facts;
};

static bool make_place(struct cli *cli, const struct put_options *options, struct put_place *out, struct err *err)
{
    *out = (struct put_place){0};
    if (!cli_connect(cli, err) || !cli_subject(cli, options->args.items[0], &out->subject, err) ||
        !facts_make(cli, &options->facts, &out->facts, err)) {
        return false;
    }
    return !options->document ||
           (cli_hex(cli, "--document", options->document, ID_LEN, &out->document, err) &&
            base_heads(cli, out->subject, out->document, &options->heads, &out->heads, &out->head_count, err));
}

static bool put_large(struct cli *cli, const struct put_options *options, const struct put_place *place,
                      const Chartmesh__V1__PutReply **reply, struct err *err)
{
    Chartmesh__V1__UploadHeader header = CHARTMESH__V1__UPLOAD_HEADER__INIT;
    struct id upload = random_id();
    header.upload = pb_bytes(BYTES_OF(upload));
    if (options->upload && !cli_hex(cli, "--upload", options->upload, ID_LEN, &header.upload, err)) {
        return false;
    }
    header.subject = place->subject;
    header.document = place->document;
    header.if_heads = place->heads;
    header.n_if_heads = place->head_count;
    header.facts = place->facts;
    if (send_file(cli, options->args.items[1], &header, reply, err)) {
        return true;
    }
    if (err->code == ERR_UNAVAILABLE || err->code == ERR_DEADLINE) {
        cli_note("chartmesh: to go on where it broke off, give `chartmesh upload` also --upload %s",
                 hex_of(bytes_pb(header.upload), &cli->arena));
    }
    return false;
}

static bool is_large(const char *path)
{
    struct stat found;
    return strcmp(path, "-") != 0 && stat(path, &found) == 0 && found.st_size > INLINE_MAX;
}

static bool put_signed(struct cli *cli, const char *path, const Chartmesh__V1__PutRequest *request,
                       const Chartmesh__V1__PutReply **reply, struct err *err)
{
    AUTO_WIPE_HASH(seed);
    struct signing_key *key;
    if (!secret_file_read(path, &seed, err) || !signing_key_new(&seed, &key, err)) {
        return false;
    }
    bool ok = chartmesh_put_signed(cli->client, request, key, NULL, &cli->arena, reply, err);
    signing_key_free(key);
    return ok;
}

bool cmd_put(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct put_options options = {0};
    const struct cli_option table[] = {
        {"document", "DOCUMENT", "a new version of this one (a new document)", .text = &options.document},
        {"if-head", "VERSION", "only if these are its heads (as they are now)", .list = &options.heads},
        {"sign-with", "FILE", "an enrolled key signs, not the node (at most 1 MiB)", .text = &options.sign_with},
        FACTS_OPTIONS(options.facts),
    };
    const struct cli_usage usage = {
        .name = "put",
        .args = "PATIENT FILE",
        .args_min = 2,
        .args_max = 2,
        .about =
            "Writes a document, or a new version of one. FILE may be - for standard input; more than 1 MiB is\n"
            "uploaded. Prints the ids of document and version.",
        .examples =
            "  chartmesh put PATIENT note.json --class urn:chartmesh:class|encounter \\\n"
            "      --media-type application/fhir+json --title \"Visit\"\n"
            "  chartmesh put PATIENT note2.json --document DOCUMENT --class urn:chartmesh:class|encounter\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    struct put_place place;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    const Chartmesh__V1__PutReply *reply;
    struct bytes content;
    if (!cli_parse(cli, &usage, argc, argv, &options.args, err) || !make_place(cli, &options, &place, err)) {
        return false;
    }
    if (!options.sign_with && is_large(options.args.items[1])) {
        if (!put_large(cli, &options, &place, &reply, err)) {
            return false;
        }
        cli_print(cli, put_json(reply), NULL);
        return true;
    }
    if (!cli_input(cli, options.args.items[1], INLINE_MAX, &content, err)) {
        return false;
    }
    request.subject = place.subject;
    request.document = place.document;
    request.if_heads = place.heads;
    request.n_if_heads = place.head_count;
    request.facts = place.facts;
    request.content = pb_bytes(content);
    bool ok = options.sign_with ? put_signed(cli, options.sign_with, &request, &reply, err)
                                : chartmesh_record_put(cli->client, &request, NULL, &cli->arena, &reply, err);
    if (!ok) {
        return false;
    }
    cli_print(cli, put_json(reply), NULL);
    return true;
}

bool cmd_upload(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct put_options options = {0};
    const struct cli_option table[] = {
        {"upload", "ID", "go on with this upload, or begin it under this id", .text = &options.upload},
        {"document", "DOCUMENT", "a new version of this one (a new document)", .text = &options.document},
        {"if-head", "VERSION", "only if these are its heads (as they are now)", .list = &options.heads},
        FACTS_OPTIONS(options.facts),
    };
    const struct cli_usage usage = {
        .name = "upload",
        .args = "PATIENT FILE",
        .args_min = 2,
        .args_max = 2,
        .about = "Writes a document of any size up to 16 GiB, piece by piece. A broken connection is taken up "
                 "again; a\n"
                 "broken program goes on with the same --upload id.",
        .examples = "  chartmesh upload PATIENT scan.dcm --class urn:chartmesh:class|imaging \\\n"
                    "      --media-type application/dicom --title \"X-ray\"\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    struct put_place place;
    const Chartmesh__V1__PutReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &options.args, err) || !make_place(cli, &options, &place, err) ||
        !put_large(cli, &options, &place, &reply, err)) {
        return false;
    }
    cli_print(cli, put_json(reply), NULL);
    return true;
}

bool cmd_abort(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct cli_list args = {0};
    const struct cli_usage usage = {
        .name = "abort",
        .args = "ID",
        .args_min = 1,
        .args_max = 1,
        .about = "Gives up an upload that is not finished: what had come goes. ID is what `chartmesh upload` was "
                 "given\n"
                 "or said when it broke off. One that is finished stays: `chartmesh retract` is for that.",
        .examples = "  chartmesh abort 00112233445566778899aabbccddeeff\n",
        .connects = true,
    };
    Chartmesh__V1__AbortUploadRequest request = CHARTMESH__V1__ABORT_UPLOAD_REQUEST__INIT;
    const Chartmesh__V1__AbortUploadReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_hex(cli, "upload", args.items[0], ID_LEN, &request.upload, err) ||
        !chartmesh_record_abort_upload(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "aborted", json_boolean(reply->aborted));
    cli_print(cli, result, NULL);
    return true;
}

bool cmd_merge(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct facts_options facts = {0};
    struct cli_list parents = {0}, args = {0};
    const struct cli_option table[] = {
        {"parent", "VERSION", "a head that this settles (all there are now)", .list = &parents},
        FACTS_OPTIONS(facts),
    };
    const struct cli_usage usage = {
        .name = "merge",
        .args = "PATIENT DOCUMENT FILE",
        .args_min = 3,
        .args_max = 3,
        .about = "Settles a conflict: FILE is the content that takes the place of all heads.",
        .examples = "  chartmesh merge PATIENT DOCUMENT settled.json --class urn:chartmesh:class|encounter\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__MergeRequest request = CHARTMESH__V1__MERGE_REQUEST__INIT;
    const Chartmesh__V1__GetReply *now;
    const Chartmesh__V1__PutReply *reply;
    struct bytes content;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err) ||
        !cli_hex(cli, "document", args.items[1], ID_LEN, &request.document, err) ||
        !cli_input(cli, args.items[2], INLINE_MAX, &content, err) ||
        !facts_make(cli, &facts, &request.facts, err) ||
        !cli_hexes(cli, "--parent", &parents, HASH_LEN, &request.parents, &request.n_parents, err)) {
        return false;
    }
    if (parents.count == 0 &&
        (!read_heads(cli, request.subject, request.document, &now, err) ||
         !cli_heads(cli, now->heads, now->n_heads, &request.parents, &request.n_parents, err))) {
        return false;
    }
    request.content = pb_bytes(content);
    if (request.n_parents < 2) {
        return err_raise(err, ERR_STATE, "the document has one head: there is nothing to merge");
    }
    if (!chartmesh_record_merge(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    cli_print(cli, put_json(reply), NULL);
    return true;
}

/* Which head is meant, and what the heads are: as told, or as they are now. */
struct head_options {
    const char *version;
    struct cli_list heads, args;
};

struct picked_head {
    Chartmesh__V1__Subject *subject;
    ProtobufCBinaryData document, version, *heads;
    size_t head_count;
};

static bool pick_head(struct cli *cli, const struct head_options *options, struct picked_head *out,
                      struct err *err)
{
    const Chartmesh__V1__GetReply *now;
    *out = (struct picked_head){0};
    if (!cli_connect(cli, err) || !cli_subject(cli, options->args.items[0], &out->subject, err) ||
        !cli_hex(cli, "document", options->args.items[1], ID_LEN, &out->document, err) ||
        (options->version && !cli_hex(cli, "--version", options->version, HASH_LEN, &out->version, err)) ||
        !cli_hexes(cli, "--if-head", &options->heads, HASH_LEN, &out->heads, &out->head_count, err)) {
        return false;
    }
    if (options->heads.count == 0 &&
        (!read_heads(cli, out->subject, out->document, &now, err) ||
         !cli_heads(cli, now->heads, now->n_heads, &out->heads, &out->head_count, err))) {
        return false;
    }
    if (!options->version && out->head_count != 1) {
        return err_raise(err, ERR_CONFLICT, "the document has %zu heads: say which with --version",
                         out->head_count);
    }
    out->version = options->version ? out->version : out->heads[0];
    return true;
}

bool cmd_retract(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct head_options options = {0};
    const struct cli_option table[] = {
        {"version", "VERSION", "which head was entered in error (the only one)", .text = &options.version},
        {"if-head", "VERSION", "only if these are its heads (as they are now)", .list = &options.heads},
    };
    const struct cli_usage usage = {
        .name = "retract",
        .args = "PATIENT DOCUMENT",
        .args_min = 2,
        .args_max = 2,
        .about =
            "Marks a version as entered in error: its content is hidden from then on, here and at every holder,\n"
            "and stays in the history.",
        .examples = "  chartmesh retract PATIENT DOCUMENT\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    struct picked_head head;
    Chartmesh__V1__RetractRequest request = CHARTMESH__V1__RETRACT_REQUEST__INIT;
    const Chartmesh__V1__PutReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &options.args, err) || !pick_head(cli, &options, &head, err)) {
        return false;
    }
    request.subject = head.subject;
    request.document = head.document;
    request.version = head.version;
    request.if_heads = head.heads;
    request.n_if_heads = head.head_count;
    if (!chartmesh_record_retract(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    cli_print(cli, put_json(reply), NULL);
    return true;
}

bool cmd_relabel(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct head_options options = {0};
    const char *confidentiality = NULL;
    struct cli_list sensitivity = {0};
    const struct cli_option table[] = {
        {"confidentiality", "U|L|M|N|R|V", "the new label", .text = &confidentiality, .needed = true},
        {"sensitivity", "CODE", "of v3-ActCode: all there are from now on", .list = &sensitivity},
        {"version", "VERSION", "which head (the only one)", .text = &options.version},
        {"if-head", "VERSION", "only if these are its heads (as they are now)", .list = &options.heads},
    };
    const struct cli_usage usage = {
        .name = "relabel",
        .args = "PATIENT DOCUMENT",
        .args_min = 2,
        .args_max = 2,
        .about =
            "Gives a version of an own patient other labels; the content stays. Labels may go down here. Where\n"
            "they go up, everyone who has a copy is told.",
        .examples = "  chartmesh relabel PATIENT DOCUMENT --confidentiality R --sensitivity PSY\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    struct picked_head head;
    Chartmesh__V1__Labels labels = CHARTMESH__V1__LABELS__INIT;
    Chartmesh__V1__RelabelRequest request = CHARTMESH__V1__RELABEL_REQUEST__INIT;
    const Chartmesh__V1__PutReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &options.args, err) ||
        !cli_confidentiality(cli, confidentiality, &labels.confidentiality, err) ||
        !cli_sensitivities(cli, &sensitivity, &labels.sensitivity, &labels.n_sensitivity, err) ||
        !pick_head(cli, &options, &head, err)) {
        return false;
    }
    request.subject = head.subject;
    request.document = head.document;
    request.version = head.version;
    request.if_heads = head.heads;
    request.n_if_heads = head.head_count;
    request.labels = &labels;
    if (!chartmesh_record_relabel(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    cli_print(cli, put_json(reply), NULL);
    return true;
}
