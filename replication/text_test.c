/* proto/vectors/frames.txt, in the format of proto/vectors/README.md. */
#include <stdio.h>

#include "replication/frame.h"
#include "tests/lib/test.h"
#include "tests/lib/words.h"

enum { BUDGET = 16 << 20 };

struct reading {
    struct trust *trust;
    struct stream stream;
    struct place at;
    size_t taken, refused;
};

static void begin(struct reading *r, const struct words *line, struct arena *arena)
{
    struct err err;
    struct hash network = word_hash(line->word[1]);
    assert_null(r->trust);
    assert_ok(trust_new(&network, &r->trust, &err));
    assert_ok(trust_file(r->trust, word_bytes(line->word[2], arena), &err));
}

static void batch_line(struct reading *r, const char *frame, bool *ok, struct batch *batch, struct arena *arena,
                       struct err *err)
{
    Chartmesh__V1__Frame *message;
    struct statement head;
    *ok = frame_unpack(word_bytes(frame, arena), arena, &message, err);
    if (*ok) {
        assert_int_equal(message->f_case, CHARTMESH__V1__FRAME__F_BATCH);
        *ok = batch_head(message->batch, &r->stream, r->trust, arena, &head, err) &&
              batch_check(message->batch, &head, &r->stream, &r->at, r->trust, arena, batch, err);
    }
}

static void batch_taken(struct reading *r, const struct words *line, struct arena *arena)
{
    bool ok;
    struct err err;
    struct batch batch;
    struct hash chain = word_hash(line->word[3]);
    batch_line(r, line->word[4], &ok, &batch, arena, &err);
    assert_ok(ok);
    assert_int_equal(batch.count, word_number(line->word[1]));
    assert_int_equal(batch.after.n, word_number(line->word[2]));
    assert_true(hash_equal(&batch.after.chain, &chain));
    r->taken++;
}

static void batch_refused(struct reading *r, const struct words *line, struct arena *arena)
{
    bool ok;
    struct err err = {0};
    struct batch batch;
    batch_line(r, line->word[1], &ok, &batch, arena, &err);
    assert_err(ERR_INVALID, ok);
    assert_string_equal(err.field, line->word[2]);
    r->refused++;
}

static void frame_taken(struct reading *r, const struct words *line, struct arena *arena)
{
    static const char *const members[] = {
        [CHARTMESH__V1__FRAME__F_HELLO] = "hello", [CHARTMESH__V1__FRAME__F_BATCH] = "batch",
        [CHARTMESH__V1__FRAME__F_ACK] = "ack",     [CHARTMESH__V1__FRAME__F_CREDIT] = "credit",
        [CHARTMESH__V1__FRAME__F_WANT] = "want",   [CHARTMESH__V1__FRAME__F_CHUNK] = "chunk",
        [CHARTMESH__V1__FRAME__F_LEASE] = "lease",
    };
    struct err err;
    struct bytes bytes = word_bytes(line->word[2], arena), again;
    Chartmesh__V1__Frame *frame;
    assert_ok(frame_unpack(bytes, arena, &frame, &err));
    assert_string_equal(members[frame->f_case], line->word[1]);
    assert_ok(frame_pack(frame, arena, &again, &err));
    assert_bytes_equal(again, bytes);
    r->taken++;
}

static void each(void *context, const struct words *line)
{
    struct reading *r = context;
    struct err err;
    Chartmesh__V1__Frame *frame;
    AUTO_ARENA(arena, BUDGET);
    if (words_are(line, "trust", 3)) {
        begin(r, line, &arena);
    } else if (words_are(line, "stream", 6)) {
        r->stream = (struct stream){.network = *trust_network(r->trust),
                                    .sender = word_id(line->word[1]),
                                    .incarnation = word_number(line->word[2]),
                                    .receiver = word_id(line->word[3]),
                                    .receiver_incarnation = word_number(line->word[4]),
                                    .lane = (Chartmesh__V1__Lane)word_number(line->word[5])};
    } else if (words_are(line, "at", 3)) {
        r->at = (struct place){word_number(line->word[1]), word_hash(line->word[2])};
    } else if (words_are(line, "batch", 5)) {
        batch_taken(r, line, &arena);
    } else if (words_are(line, "refuse-batch", 3)) {
        batch_refused(r, line, &arena);
    } else if (words_are(line, "frame", 3)) {
        frame_taken(r, line, &arena);
    } else if (strcmp(line->word[0], "refuse-frame") == 0 && line->count > 2) {
        assert_err(ERR_INVALID, frame_unpack(word_bytes(line->word[1], &arena), &arena, &frame, &err));
        r->refused++;
    } else {
        words_unknown(line);
    }
}

static void test_replication__the_text_vectors_hold(void **state)
{
    (void)state;
    struct reading r = {0};
    words_read("proto/vectors/frames.txt", each, &r);
    print_message("frames.txt: %zu taken, %zu refused\n", r.taken, r.refused);
    assert_true(r.taken > 0 && r.refused > 0);
    trust_free(r.trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replication__the_text_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
