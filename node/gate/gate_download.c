/* Downloads: ranges of large content, piece by piece. */
#include "node/gate/gate_inside.h"

#include <stdlib.h>

struct gate_download {
    struct gate *gate;
    struct arena arena;
    struct caller caller;
    struct subject subject;
    struct chart_content content;
    struct content_meta meta;
    struct hash version, commitment;
    uint64_t at, until, released;
};

static bool keep_text(struct arena *arena, const char **text, struct err *err)
{
    char *copy;
    if (!arena_string(arena, bytes_str(*text ? *text : ""), &copy, err)) {
        return false;
    }
    *text = copy;
    return true;
}

static bool download_open(struct gate *gate, const struct caller *caller, const struct subject *subject,
                          const struct chart_version *version, const Chartmesh__V1__DownloadRequest *request,
                          struct gate_download **out, struct err *err)
{
    struct gate_download *d = calloc(1, sizeof *d);
    if (!d) {
        return err_raise(err, ERR_TOO_MUCH, "download: no memory");
    }
    d->gate = gate;
    d->caller = *caller;
    d->caller.role = NULL;
    d->subject = *subject;
    d->version = version->id;
    arena_init(&d->arena, 64 << 10);
    bool ok =
        keep_text(&d->arena, &d->caller.principal, err) && keep_text(&d->arena, &d->caller.user, err) &&
        keep_text(&d->arena, &d->caller.role_text, err) && keep_text(&d->arena, &d->caller.purpose, err) &&
        chart_content_load(gate->chart, &subject->p, &version->content, &d->content, err) &&
        chart_content_meta_read(gate->chart, &subject->p, &version->document, &version->content, &d->meta, err);
    d->at = request->offset;
    d->until = request->length ? request->offset + request->length : d->meta.length;
    if (ok && (request->offset > d->meta.length || d->until > d->meta.length || d->until < d->at)) {
        ok = err_raise_reason(err, ERR_RANGE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_RANGE_INVALID,
                              "range: the content has %ju bytes", (uintmax_t)d->meta.length);
    }
    struct hash commitment = content_commitment(&d->meta.salt, d->meta.length, &d->meta.root);
    if (ok && !bytes_equal(BYTES_OF(commitment), bytes_pb(version->message->commitment))) {
        ok = err_raise(err, ERR_CORRUPT, "content: it is not what its version commits to");
    }
    if (!ok) {
        d->version = (struct hash){0};
        gate_download_close(d);
        return false;
    }
    *out = d;
    return true;
}

bool gate_download(struct gate *gate, const struct caller *caller, const Chartmesh__V1__DownloadRequest *request,
                   const struct subject *subject, struct arena *arena, Chartmesh__V1__DownloadReply *first,
                   struct gate_download **out, struct err *err)
{
    struct id document;
    struct document_read read;
    uint64_t extent = 0, index;
    struct gate_download *download = NULL;
    if (!id_from(bytes_pb(request->document), &document)) {
        return err_raise_field(err, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FIELD_INVALID, "document",
                               "must be 16 bytes");
    }
    if (!document_load(gate, subject, &document, arena, &read, err)) {
        return false;
    }
    for (size_t i = 0; i < read.count; i++) {
        if (bytes_equal(bytes_pb(request->version), BYTES_OF(read.versions[i].id)) &&
            !document_decide(gate, &read, caller, CONSENT_READ, i, arena, err)) {
            return false;
        }
    }
    if (read.permitted == 0) {
        return refuse_document(gate, caller, subject, &read, arena, err);
    }
    const struct chart_version *version = &read.versions[read.places[0]];
    bool here;
    if (!content_is_here(gate, version, &here, err)) {
        return false;
    }
    if (!here) {
        err_raise_reason(err, ERR_STATE, CHARTMESH__V1__ERROR_REASON__ERROR_REASON_CONTENT_INCOMPLETE,
                         "content: not all of it has arrived yet: try again later");
        return refuse_version(gate, caller, subject, &read, arena, err);
    }
    if (!download_open(gate, caller, subject, version, request, &download, err)) {
        return err->code == ERR_RANGE && refuse_version(gate, caller, subject, &read, arena, err);
    }
    if (!view_fill(gate, subject, version, false, arena, &first->version, &extent, err) ||
        !copy_pb(arena, BYTES_OF(download->meta.salt), &first->version->salt, err) ||
        !copy_pb(arena, BYTES_OF(download->meta.root), &first->version->root, err) ||
        !document_log(gate, caller, subject, &read, download->until - download->at, arena, &index, err) ||
        !receipt_into(gate, caller, index, arena, &first->receipt, err)) {
        download->version = (struct hash){0};
        gate_download_close(download);
        return false;
    }
    first->offset = download->at;
    *out = download;
    return true;
}

bool gate_download_next(struct gate_download *d, struct arena *arena, struct bytes *piece, uint64_t *offset,
                        struct err *err)
{
    enum { PIECE_CHUNKS = 4 };
    void *memory;
    *offset = d->at;
    *piece = BYTES_NONE;
    if (d->at >= d->until) {
        return true;
    }
    if (!arena_alloc(arena, PIECE_CHUNKS * CHUNK_LEN, &memory, err)) {
        return false;
    }
    uint8_t *out = memory;
    size_t len = 0;
    for (size_t i = 0; i < PIECE_CHUNKS && d->at < d->until; i++) {
        AUTO_ARENA(scratch, 1 << 20);
        struct bytes coded, plain;
        uint64_t index = d->at >> CHUNK_LOG2;
        if (!read_chunk(d->gate, &d->content, d->meta.length, index, &scratch, &coded, &plain, err)) {
            return err_wrap(err, "download");
        }
        size_t skip = (size_t)(d->at & (CHUNK_LEN - 1));
        size_t take = (size_t)MIN(plain.len - skip, d->until - d->at);
        memcpy(out + len, plain.data + skip, take);
        len += take;
        d->at += take;
    }
    d->released += len;
    *piece = BYTES(out, len);
    return true;
}

void gate_download_close(struct gate_download *d)
{
    if (!d) {
        return;
    }
    if (!hash_is_zero(&d->version)) {
        struct err ignored;                  /* the READ entry stands; a node that cannot write ends by itself */
        const struct read_entry entry = {.kind = CHARTMESH__V1__ENTRY_KIND__ENTRY_KIND_READ_END,
                                         .caller = &d->caller,
                                         .subject = &d->subject,
                                         .objects = &d->version,
                                         .objects_len = 1,
                                         .extent = d->released};
        if (!log_read(d->gate, &entry, NULL, &ignored)) {
            d->released = 0;
        }
    }
    secret_wipe(&d->content.keys, sizeof d->content.keys);
    arena_done(&d->arena);
    free(d);
}
