/* grpc.reflection.v1 and v1alpha (the same on the wire), answered from a FileDescriptorSet.
 *
 * A set is repeated field 1, so a file is a slice of it; of each file only its name, package, imports and the
 * names of what it declares are read (google/protobuf/descriptor.proto). */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/reader.h"
#include "proto/rpc/internal.h"
#include "proto/rpc/reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request_type;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_type;

enum { FILES_MAX = 64, NAMES_MAX = 64, NOT_FOUND = 5, UNIMPLEMENTED = 12 };

/* FileDescriptorProto: name 1, package 2, dependency 3, message_type 4, enum_type 5, service 6;
 * the three types' own name is field 1. */
struct file {
    struct bytes whole, name, package;
};

struct reflection {
    struct file files[FILES_MAX];
    size_t count;
    char *names[NAMES_MAX];      /* of the services that are served */
    size_t name_count;
};

/* ---- reading descriptors ---- */

struct field {
    uint32_t number;
    struct bytes body;           /* of a length-prefixed field, else empty */
};

static bool next_field(struct reader *r, struct field *out)
{
    if (!r->ok || !r->left.len) {
        return false;
    }
    uint64_t tag = read_varint(r);
    *out = (struct field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0:
        read_varint(r);
        break;
    case 1:
        read_bytes(r, 8);
        break;
    case 2:
        out->body = read_bytes(r, read_varint(r));
        break;
    case 5:
        read_bytes(r, 4);
        break;
    default:
        r->ok = false;
    }
    return r->ok;
}

static struct bytes first_of(struct bytes message, uint32_t number)
{
    struct reader r = reader_of(message);
    struct field field;
    while (next_field(&r, &field)) {
        if (field.number == number) {
            return field.body;
        }
    }
    return BYTES_NONE;
}

static const struct file *file_named(const struct reflection *reflection, struct bytes name)
{
    for (size_t i = 0; i < reflection->count; i++) {
        if (bytes_equal(reflection->files[i].name, name)) {
            return &reflection->files[i];
        }
    }
    return NULL;
}

/* "pkg.Name" itself, or something in it: "pkg.Name.Inner", a method, a value. */
static bool is_of(const char *symbol, struct bytes package, struct bytes name)
{
    char full[256];
    int len = snprintf(full, sizeof full, "%.*s%s%.*s", (int)package.len, (const char *)package.data,
                       package.len ? "." : "", (int)name.len, (const char *)name.data);
    return len > 0 && (size_t)len < sizeof full && strncmp(symbol, full, (size_t)len) == 0 &&
           (symbol[len] == 0 || symbol[len] == '.');
}

static const struct file *file_declaring(const struct reflection *reflection, const char *symbol)
{
    for (size_t i = 0; i < reflection->count; i++) {
        const struct file *file = &reflection->files[i];
        struct reader r = reader_of(file->whole);
        struct field field;
        while (next_field(&r, &field)) {
            bool declares = field.number >= 4 && field.number <= 6;
            if (declares && is_of(symbol, file->package, first_of(field.body, 1))) {
                return file;
            }
        }
    }
    return NULL;
}

/* ---- answering ---- */

struct answer {
    response_type response;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ListServiceResponse list;
    Grpc__Reflection__V1__ErrorResponse error;
    ProtobufCBinaryData bodies[FILES_MAX];
    Grpc__Reflection__V1__ServiceResponse services[NAMES_MAX], *service_list[NAMES_MAX];
};

static void answer_error(struct answer *answer, int code, const char *text)
{
    answer->error.error_code = code;
    answer->error.error_message = (char *)text;
    answer->response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    answer->response.error_response = &answer->error;
}

/* A file and, breadth first, all that it imports. */
static void answer_file(const struct reflection *reflection, struct answer *answer, const struct file *file)
{
    const struct file *queue[FILES_MAX];
    size_t count = 0;
    if (!file) {
        answer_error(answer, NOT_FOUND, "no such file or symbol here");
        return;
    }
    queue[count++] = file;
    for (size_t at = 0; at < count; at++) {
        struct reader r = reader_of(queue[at]->whole);
        struct field field;
        while (next_field(&r, &field)) {
            const struct file *import = field.number == 3 ? file_named(reflection, field.body) : NULL;
            bool known = !import;
            for (size_t i = 0; i < count && !known; i++) {
                known = queue[i] == import;
            }
            if (!known) {
                queue[count++] = import;
            }
        }
        answer->bodies[at] = (ProtobufCBinaryData){queue[at]->whole.len, (uint8_t *)queue[at]->whole.data};
    }
    answer->files.n_file_descriptor_proto = count;
    answer->files.file_descriptor_proto = answer->bodies;
    answer->response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    answer->response.file_descriptor_response = &answer->files;
}

static void answer_list(const struct reflection *reflection, struct answer *answer)
{
    for (size_t i = 0; i < reflection->name_count; i++) {
        grpc__reflection__v1__service_response__init(&answer->services[i]);
        answer->services[i].name = reflection->names[i];
        answer->service_list[i] = &answer->services[i];
    }
    answer->list.n_service = reflection->name_count;
    answer->list.service = answer->service_list;
    answer->response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    answer->response.list_services_response = &answer->list;
}

static void on_request(struct rpc_call *stream, void *arg, const ProtobufCMessage *message)
{
    const struct reflection *reflection = arg;
    const request_type *request = (const void *)message;
    struct answer answer;
    struct err err;
    grpc__reflection__v1__server_reflection_response__init(&answer.response);
    grpc__reflection__v1__file_descriptor_response__init(&answer.files);
    grpc__reflection__v1__list_service_response__init(&answer.list);
    grpc__reflection__v1__error_response__init(&answer.error);
    answer.response.valid_host = request->host;
    answer.response.original_request = (request_type *)request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(reflection, &answer, file_named(reflection, bytes_str(request->file_by_filename)));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(reflection, &answer, file_declaring(reflection, request->file_containing_symbol));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_list(reflection, &answer);
        break;
    default:
        answer_error(&answer, UNIMPLEMENTED, "there are no extensions here");
    }
    if (!rpc_stream_offer(stream, &answer.response.base, &err)) {
        rpc_stream_close(stream, &err);
    }
}

static void on_closed(struct rpc_call *stream, void *arg, const struct err *why)
{
    (void)stream;
    (void)arg;
    (void)why;
}

static bool info_open(struct rpc_call *stream, void *ctx, const ProtobufCMessage *none, struct err *err)
{
    static const struct rpc_events events = {.message = on_request, .closed = on_closed};
    (void)none;
    (void)err;
    rpc_stream_listen(stream, &events, ctx);
    return true;
}

#define INFO(package)                                                                                             \
    {                                                                                                             \
        .path = "/" package ".ServerReflection/ServerReflectionInfo", .kind = RPC_BIDI, .lane = RPC_INLINE,       \
        .flags = RPC_PUBLIC, .in = &grpc__reflection__v1__server_reflection_request__descriptor,                  \
        .out = &grpc__reflection__v1__server_reflection_response__descriptor, .open = info_open,                  \
        .max_request = 4096                                                                                       \
    }

static const struct rpc_method methods[] = {INFO("grpc.reflection.v1"), INFO("grpc.reflection.v1alpha")};

/* ---- life ---- */

static bool add_file(struct reflection *reflection, struct bytes whole, struct err *err)
{
    struct file file = {whole, first_of(whole, 1), first_of(whole, 2)};
    if (file_named(reflection, file.name)) {
        return true;             /* two sets joined may both have an import */
    }
    if (!file.name.len || reflection->count == FILES_MAX) {
        return err_raise(err, ERR_INVALID, "reflection: a file without a name, or more than %d", FILES_MAX);
    }
    reflection->files[reflection->count++] = file;
    return true;
}

bool reflection_new(struct bytes descriptors, struct reflection **out, struct rpc_service *service,
                    struct err *err)
{
    struct reflection *reflection = calloc(1, sizeof *reflection);
    if (!reflection) {
        return err_raise(err, ERR_TOO_MUCH, "rpc: no memory");
    }
    *out = reflection;
    *service = (struct rpc_service){methods, COUNT(methods), reflection};
    struct reader r = reader_of(descriptors);
    struct field field;
    while (next_field(&r, &field)) {
        if (field.number == 1 && !add_file(reflection, field.body, err)) {
            return false;
        }
    }
    return reader_end(&r) || err_raise(err, ERR_INVALID, "reflection: not a FileDescriptorSet");
}

static void add_name(struct reflection *reflection, const char *path)
{
    size_t len = strcspn(path + 1, "/");
    for (size_t i = 0; i < reflection->name_count; i++) {
        if (strlen(reflection->names[i]) == len && memcmp(reflection->names[i], path + 1, len) == 0) {
            return;
        }
    }
    char *name = reflection->name_count < NAMES_MAX ? strndup(path + 1, len) : NULL;
    if (name) {
        reflection->names[reflection->name_count++] = name;
    }
}

void reflection_list(struct reflection *reflection, const struct rpc_service *services, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < services[i].count; j++) {
            add_name(reflection, services[i].methods[j].path);
        }
    }
}

void reflection_free(struct reflection *reflection)
{
    for (size_t i = 0; reflection && i < reflection->name_count; i++) {
        free(reflection->names[i]);
    }
    free(reflection);
}
