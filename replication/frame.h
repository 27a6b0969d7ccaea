/* replication/frame.h - the small frames: packing them, and envelopes in and out of them. Pure. */
#pragma once

#include "replication/batch.h"

/* rule_broken raises ERR_INVALID for a peer's fault; `rule` becomes err.field and goes back to the peer. */
#define rule_broken(err, rule, ...)                                                                               \
    err_raise_field((err), CHARTMESH__V1__ERROR_REASON__ERROR_REASON_FIELD_INVALID, (rule), __VA_ARGS__)

/* frame_unpack reads one frame that holds exactly one of its members. ERR_INVALID, ERR_TOO_MUCH. */
NODISCARD bool frame_unpack(struct bytes wire, struct arena *arena, Chartmesh__V1__Frame **out, struct err *err);

/* frame_pack packs a frame of at most FRAME_MAX bytes (ERR_TOO_MUCH). */
NODISCARD bool frame_pack(const Chartmesh__V1__Frame *frame, struct arena *arena, struct bytes *out,
                          struct err *err);

/* frame_ack signs and packs an Ack: everything up to `place` of `stream` is durable, except as `except` says. */
NODISCARD bool ack_sign(const struct stream *stream, const struct place *place,
                        const Chartmesh__V1__Exception *except, size_t count, uint64_t hlc,
                        const struct signing_key *key, struct arena *arena, struct bytes *envelope,
                        struct err *err);
NODISCARD bool frame_ack(struct bytes envelope, struct arena *arena, struct bytes *out, struct err *err);
NODISCARD bool frame_credit(uint64_t items, uint64_t bytes, struct arena *arena, struct bytes *out,
                            struct err *err);
NODISCARD bool frame_want(const struct hash *version, const struct hash *disclosure, uint64_t from, uint32_t count,
                          struct arena *arena, struct bytes *out, struct err *err);

/* frame_chunk packs one coded chunk with its inclusion path. */
NODISCARD bool frame_chunk(const struct hash *version, const struct hash *disclosure, uint64_t index,
                           struct bytes coded, const struct hash *path, size_t path_len, struct arena *arena,
                           struct bytes *out, struct err *err);

/* envelope_bytes packs an envelope that came inside a frame; envelope_of unpacks one to put into a frame. The
 * signed payload is carried as it is. */
NODISCARD bool envelope_bytes(const Chartmesh__V1__Envelope *envelope, struct arena *arena, struct bytes *out,
                              struct err *err);
NODISCARD bool envelope_of(struct bytes bytes, struct arena *arena, Chartmesh__V1__Envelope **out,
                           struct err *err);
