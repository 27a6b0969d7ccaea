/* Target functions: note_open, checkpoint_open, checkpoint_add, checkpoint_origin. The keys are those of
 * proto/vectors/notes.txt. */
#include "proto/merkle/checkpoint.h"
#include "tests/fuzz/fuzz.h"

/* A cosignature of 76 bytes by a key that we do not know. */
#define NOBODY                                                                                                    \
    "\xe2\x80\x94 x.example/witness AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"                         \
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ==\n"

static void read_keys(struct note_key keys[3])
{
    static const char *const texts[] = {"4bb5841997f4df6816a94d52b6d6078fd7426412721a729103ff9128059da6bd",
                                        "fce84a3068886290445b3327dcda7241837d800509c672b3b6b63dedf0f1693e",
                                        "e8ee43342b5f0182ed06c351627ab07602d3174745e7158e9e34711ea071b10c"};
    static const char *const names[] = {"f0.example/log/0123456789abcdef", "f1.example/witness",
                                        "f2.example/witness"};
    for (size_t i = 0; i < 3; i++) {
        struct err err;
        keys[i] = (struct note_key){.name = names[i], .type = i == 0 ? NOTE_LOG : NOTE_WITNESS};
        require(hex_decode(texts[i], keys[i].public_key.bytes, HASH_LEN, &err));
    }
}

/* What is accepted was signed by the log, once each by the others, and another line of nobody changes nothing. */
static void accepted(struct bytes wire, const struct checkpoint *checkpoint, const struct note_key *keys)
{
    AUTO_ARENA(arena, 1 << 16);
    struct checkpoint again;
    struct bytes longer;
    struct err err;
    require(checkpoint->signed_by_log && checkpoint->cosigners <= 2);
    require(bytes_equal(checkpoint->origin, bytes_str(keys[0].name)));
    require(checkpoint->body.len && checkpoint->body.data[checkpoint->body.len - 1] == '\n');
    if (checkpoint_add(wire, BYTES_LIT(NOBODY), &arena, &longer, &err) &&
        checkpoint_open(longer, keys, 3, &again, &err)) {
        require(again.size == checkpoint->size && hash_equal(&again.root, &checkpoint->root));
        require(again.cosigners == checkpoint->cosigners);
        fuzz_reached(1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes wire = BYTES(data, size), domain;
    struct note_key keys[3];
    struct checkpoint checkpoint;
    struct note note;
    struct err err;
    uint64_t incarnation;
    read_keys(keys);
    if (checkpoint_open(wire, keys, 3, &checkpoint, &err)) {
        accepted(wire, &checkpoint, keys);
        require(note_open(wire, keys, 3, &note, &err));
    } else {
        require(err.code == ERR_INVALID);
    }
    if (checkpoint_origin(wire, &domain, &incarnation)) {
        require(domain.len > 0 && domain.len < size);
    }
    return 0;
}
