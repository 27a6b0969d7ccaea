#include "replication/frame.h"

#include "proto/chartmesh/v1/common.pb-c.h"
#include "proto/chartmesh/v1/message.h"

bool frame_unpack(struct bytes wire, struct arena *arena, Chartmesh__V1__Frame **out, struct err *err)
{
    ProtobufCMessage *message;
    if (wire.len > FRAME_MAX) {
        return rule_broken(err, "FRAME", "frame: %zu bytes, at most %d", wire.len, FRAME_MAX);
    }
    if (!message_unpack(&chartmesh__v1__frame__descriptor, wire, arena, &message, err)) {
        return err_wrap(err, "frame");
    }
    Chartmesh__V1__Frame *frame = (Chartmesh__V1__Frame *)message;
    if (frame->f_case == CHARTMESH__V1__FRAME__F__NOT_SET) {
        return rule_broken(err, "FRAME", "frame: empty");
    }
    *out = frame;
    return true;
}

bool frame_pack(const Chartmesh__V1__Frame *frame, struct arena *arena, struct bytes *out, struct err *err)
{
    size_t len = protobuf_c_message_get_packed_size(&frame->base);
    if (len > FRAME_MAX) {
        return err_raise(err, ERR_TOO_MUCH, "frame: %zu bytes, at most %d", len, FRAME_MAX);
    }
    return message_pack(&frame->base, arena, out, err);
}

bool envelope_bytes(const Chartmesh__V1__Envelope *envelope, struct arena *arena, struct bytes *out,
                    struct err *err)
{
    return message_pack(&envelope->base, arena, out, err);
}

bool envelope_of(struct bytes bytes, struct arena *arena, Chartmesh__V1__Envelope **out, struct err *err)
{
    ProtobufCMessage *message;
    if (!message_unpack(&chartmesh__v1__envelope__descriptor, bytes, arena, &message, err)) {
        return err_wrap(err, "envelope");
    }
    *out = (Chartmesh__V1__Envelope *)message;
    return true;
}

bool ack_sign(const struct stream *stream, const struct place *place, const Chartmesh__V1__Exception *except,
              size_t count, uint64_t hlc, const struct signing_key *key, struct arena *arena,
              struct bytes *envelope, struct err *err)
{
    Chartmesh__V1__StreamAck ack = CHARTMESH__V1__STREAM_ACK__INIT;
    void *memory = NULL;
    if (!arena_array(arena, count, sizeof(Chartmesh__V1__Exception *), &memory, err) ||
        !head_make(&stream->network, &stream->receiver, hlc, arena, &ack.head, err)) {
        return false;
    }
    ack.except = memory;
    ack.n_except = count;
    for (size_t i = 0; i < count; i++) {
        ack.except[i] = (Chartmesh__V1__Exception *)(uintptr_t)&except[i];
    }
    ack.sender = pb_bytes(BYTES_OF(stream->sender));
    ack.sender_incarnation = stream->incarnation;
    ack.receiver_incarnation = stream->receiver_incarnation;
    ack.lane = stream->lane;
    ack.n = place->n;
    ack.chain = pb_bytes(BYTES_OF(place->chain));
    struct statement statement;
    if (!statement_sign(STATEMENT_STREAM_ACK, &ack.base, &key, 1, arena, &statement, err)) {
        return err_wrap(err, "ack");
    }
    *envelope = statement.envelope;
    return true;
}

bool frame_ack(struct bytes envelope, struct arena *arena, struct bytes *out, struct err *err)
{
    Chartmesh__V1__Frame frame = CHARTMESH__V1__FRAME__INIT;
    frame.f_case = CHARTMESH__V1__FRAME__F_ACK;
    return envelope_of(envelope, arena, &frame.ack, err) && frame_pack(&frame, arena, out, err);
}

bool frame_credit(uint64_t items, uint64_t bytes, struct arena *arena, struct bytes *out, struct err *err)
{
    Chartmesh__V1__Credit credit = CHARTMESH__V1__CREDIT__INIT;
    Chartmesh__V1__Frame frame = CHARTMESH__V1__FRAME__INIT;
    credit.items = items;
    credit.bytes = bytes;
    frame.f_case = CHARTMESH__V1__FRAME__F_CREDIT;
    frame.credit = &credit;
    return frame_pack(&frame, arena, out, err);
}

bool frame_want(const struct hash *version, const struct hash *disclosure, uint64_t from, uint32_t count,
                struct arena *arena, struct bytes *out, struct err *err)
{
    Chartmesh__V1__Want want = CHARTMESH__V1__WANT__INIT;
    Chartmesh__V1__Frame frame = CHARTMESH__V1__FRAME__INIT;
    want.version = pb_bytes(BYTES_OF(*version));
    want.disclosure = pb_bytes(BYTES_OF(*disclosure));
    want.from = from;
    want.count = count;
    frame.f_case = CHARTMESH__V1__FRAME__F_WANT;
    frame.want = &want;
    return frame_pack(&frame, arena, out, err);
}

bool frame_chunk(const struct hash *version, const struct hash *disclosure, uint64_t index, struct bytes coded,
                 const struct hash *path, size_t path_len, struct arena *arena, struct bytes *out, struct err *err)
{
    Chartmesh__V1__Chunk chunk = CHARTMESH__V1__CHUNK__INIT;
    Chartmesh__V1__Frame frame = CHARTMESH__V1__FRAME__INIT;
    ProtobufCBinaryData hashes[BATCH_PROOF_MAX];
    if (path_len > COUNT(hashes)) {
        return err_raise(err, ERR_INTERNAL, "chunk: a path of %zu hashes", path_len);
    }
    for (size_t i = 0; i < path_len; i++) {
        hashes[i] = pb_bytes(BYTES_OF(path[i]));
    }
    chunk.version = pb_bytes(BYTES_OF(*version));
    chunk.disclosure = pb_bytes(BYTES_OF(*disclosure));
    chunk.index = index;
    chunk.coded = pb_bytes(coded);
    chunk.path = hashes;
    chunk.n_path = path_len;
    frame.f_case = CHARTMESH__V1__FRAME__F_CHUNK;
    frame.chunk = &chunk;
    return frame_pack(&frame, arena, out, err);
}
