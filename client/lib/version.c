#include "client/lib/internal.h"
#include "proto/chartmesh/v1/message.h"
#include "proto/content/content.h"

static bool no_fit(const char *what, struct err *err)
{
    return err_raise(err, ERR_CORRUPT, "what the node sent does not verify: %s", what);
}

bool chartmesh_statement_check(const Chartmesh__V1__Envelope *envelope, enum statement_kind kind,
                               const struct trust *trust, struct arena *arena, struct statement *out,
                               bool *trusted, struct err *err)
{
    struct bytes bytes;
    struct statement statement;
    if (!envelope) {
        return no_fit("no statement", err);
    }
    if (!message_pack(&envelope->base, arena, &bytes, err)) {
        return false;
    }
    if (!statement_parse(bytes, arena, &statement, err)) {
        err->code = err->code == ERR_INVALID ? ERR_CORRUPT : err->code;
        return err_wrap(err, "what the node sent does not verify");
    }
    if (statement.kind != kind) {
        return no_fit("a statement of another kind", err);
    }
    bool known = trust && trust_check(trust, bytes, kind, 0, NULL, arena, &statement, err);
    if (trust && !known && err->code != ERR_NOT_FOUND) {
        err->code = err->code == ERR_INVALID ? ERR_CORRUPT : err->code;
        return err_wrap(err, "what the node sent does not verify");
    }
    *out = statement;
    *trusted = known;
    return true;
}

/* Content in the reply, or none of it: then its root may still be held against the commitment. */
static bool check_content(const Chartmesh__V1__VersionView *view, const Chartmesh__V1__Version *version,
                          bool *checked, struct err *err)
{
    struct hash salt, root, commitment;
    struct bytes content = bytes_pb(view->content);
    bool whole = content.len > 0 || (version->length == 0 && view->complete);
    *checked = false;
    if (!hash_from(bytes_pb(view->salt), &salt)) {
        return content.len == 0 || no_fit("content without its salt", err);
    }
    if (whole) {
        commitment = content_commit(&salt, content, &root);
    } else if (hash_from(bytes_pb(view->root), &root)) {
        commitment = content_commitment(&salt, version->length, &root);
    } else {
        return true;
    }
    *checked = whole;
    return bytes_equal(bytes_pb(version->commitment), BYTES_OF(commitment)) ||
           no_fit("content that is not what was signed", err);
}

bool chartmesh_version_check(const Chartmesh__V1__VersionView *view, const struct trust *trust,
                             struct arena *arena, struct chartmesh_version *out, struct err *err)
{
    struct statement statement;
    struct chartmesh_version version;
    if (!chartmesh_statement_check(view->statement, STATEMENT_VERSION, trust, arena, &statement, &version.trusted,
                                   err)) {
        return err_wrap(err, "version");
    }
    version.id = statement.id;
    version.message = (const Chartmesh__V1__Version *)(const void *)statement.message;
    if (view->version.len && !bytes_equal(bytes_pb(view->version), BYTES_OF(statement.id))) {
        return no_fit("a version under another's id", err);
    }
    if (!check_content(view, version.message, &version.content_checked, err)) {
        return false;
    }
    *out = version;
    return true;
}
