#include "tests/disk/work.h"

#include <stdlib.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/random.h"
#include "proto/merkle/checkpoint.h"

#define PB(view) ((ProtobufCBinaryData){(view).len, (uint8_t *)(uintptr_t)(view).data})

enum { CALL_ARENA = 8 << 20 };

bool work_register(struct chartmesh *node, struct id *patient, struct err *err)
{
    static const char resource[] = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    const Chartmesh__V1__RegisterReply *reply;
    request.resource = PB(bytes_str(resource));
    if (!chartmesh_patient_register(node, &request, NULL, &arena, &reply, err)) {
        return false;
    }
    return id_from(BYTES(reply->subject->patient.data, reply->subject->patient.len), patient);
}

static Chartmesh__V1__Subject subject_of(const struct id *patient)
{
    Chartmesh__V1__Subject subject = CHARTMESH__V1__SUBJECT__INIT;
    subject.patient = PB(BYTES_OF(*patient));
    return subject;
}

static bool is_written(const Chartmesh__V1__GetReply *reply, const struct ack *ack, struct err *err)
{
    struct hash content = {0};
    if (reply->n_heads == 1) {
        content = hash_of(BYTES(reply->heads[0]->content.data, reply->heads[0]->content.len));
    }
    return hash_equal(&content, &ack->content) ||
           err_raise(err, ERR_CORRUPT, "an acknowledged document: %zu heads, or other content", reply->n_heads);
}

bool work_get(struct chartmesh *node, const struct ack *ack, struct err *err)
{
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__Subject subject = subject_of(&ack->patient);
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const Chartmesh__V1__GetReply *reply;
    request.subject = &subject;
    request.document = PB(BYTES_OF(ack->document));
    return chartmesh_record_get(node, &request, NULL, &arena, &reply, err) && is_written(reply, ack, err);
}

bool work_put(struct chartmesh *node, const struct id *patient, size_t len, struct ack *out, struct err *err)
{
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    Chartmesh__V1__PutRequest request = CHARTMESH__V1__PUT_REQUEST__INIT;
    Chartmesh__V1__Subject subject = subject_of(patient);
    const Chartmesh__V1__PutReply *reply;
    void *content;
    if (!arena_alloc(&arena, len, &content, err)) {
        return false;
    }
    random_fill(content, len);
    class.system = "urn:chartmesh:class";
    class.code = "note";
    facts.media_type = "application/octet-stream";
    facts.class_ = &class;
    request.subject = &subject;
    request.facts = &facts;
    request.content = PB(BYTES(content, len));
    if (!chartmesh_record_put(node, &request, NULL, &arena, &reply, err)) {
        return false;
    }
    *out = (struct ack){.kind = ACK_VERSION, .patient = *patient, .content = hash_of(BYTES(content, len))};
    return id_from(BYTES(reply->document.data, reply->document.len), &out->document) && work_get(node, out, err);
}

bool work_checkpoint(struct chartmesh *node, struct ack *out, struct err *err)
{
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__CheckpointRequest request = CHARTMESH__V1__CHECKPOINT_REQUEST__INIT;
    const Chartmesh__V1__CheckpointReply *reply;
    struct checkpoint checkpoint;
    if (!chartmesh_audit_checkpoint(node, &request, NULL, &arena, &reply, err) ||
        !checkpoint_open(BYTES(reply->note.data, reply->note.len), NULL, 0, &checkpoint, err)) {
        return false;
    }
    *out = (struct ack){.kind = ACK_CHECKPOINT, .size = checkpoint.size, .root = checkpoint.root};
    return true;
}

static bool holds_version(struct on_disk *node, const struct ack *ack, struct err *err)
{
    AUTO_ARENA(arena, CALL_ARENA);
    Chartmesh__V1__Subject subject = subject_of(&ack->patient);
    Chartmesh__V1__GetRequest request = CHARTMESH__V1__GET_REQUEST__INIT;
    const ProtobufCMessage *message;
    request.subject = &subject;
    request.document = PB(BYTES_OF(ack->document));
    if (!on_disk_call(node, "/chartmesh.v1.Records/Get", false, &request.base, &arena, &message, err)) {
        return err_wrap(err, "an acknowledged document");
    }
    return is_written((const Chartmesh__V1__GetReply *)message, ack, err);
}

static bool holds_checkpoint(struct on_disk *node, const struct ack *ack, struct err *err)
{
    struct hash root;
    if (!log_root_at(node->service.log, ack->size, &root, err)) {
        return err_wrap(err, "an acknowledged checkpoint");
    }
    return hash_equal(&root, &ack->root) ||
           err_raise(err, ERR_CORRUPT, "an acknowledged checkpoint of %ju entries: another root",
                     (uintmax_t)ack->size);
}

bool work_holds(struct on_disk *node, const struct ack *acks, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        bool ok = acks[i].kind == ACK_VERSION ? holds_version(node, &acks[i], err)
                                              : holds_checkpoint(node, &acks[i], err);
        if (!ok) {
            return false;
        }
    }
    return true;
}
