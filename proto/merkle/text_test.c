/* proto/vectors/log.txt, map.txt and notes.txt, in the format of proto/vectors/README.md. */
#include <stdio.h>

#include "proto/base/builder.h"
#include "proto/crypto/hash.h"
#include "proto/merkle/checkpoint.h"
#include "proto/merkle/map.h"
#include "proto/merkle/merkle.h"
#include "tests/lib/test.h"
#include "tests/lib/words.h"

enum { ARENA_MAX = 1 << 20, LEAVES_MAX = 64, KEYS_MAX = 8 };

struct reading {
    struct arena *arena;
    struct hash leaves[LEAVES_MAX];       /* log.txt */
    size_t leaves_len;
    struct hash key, chain;               /* map.txt: the last map key and chain */
    struct map *map;
    struct note_key keys[KEYS_MAX];       /* notes.txt */
    size_t keys_len;
    size_t accepted, refused;
};

static void assert_hash(struct hash ours, const char *word)
{
    struct hash expected = word_hash(word);
    assert_bytes_equal(BYTES_OF(ours), BYTES_OF(expected));
}

/* -- log.txt */

static void check_leaf(struct reading *r, const struct words *line)
{
    struct hash commitment = word_hash(line->word[1]);
    uint8_t data[18 + HASH_LEN] = "chartmesh leaf v1\n";
    memcpy(data + 18, commitment.bytes, HASH_LEN);
    assert_true(r->leaves_len < LEAVES_MAX);
    r->leaves[r->leaves_len] = merkle_leaf(BYTES(data, sizeof data));
    assert_hash(r->leaves[r->leaves_len++], line->word[2]);
}

static bool path_holds(struct reading *r, const struct words *line)
{
    struct hash path[MERKLE_PATH_MAX];
    uint64_t index = word_number(line->word[1]), size = word_number(line->word[2]);
    size_t len = word_hashes(line->word[3], path, COUNT(path));
    struct hash root = merkle_root(r->leaves, size);
    return merkle_included(index, size, &r->leaves[index], path, len, &root);
}

static bool is_consistent(struct reading *r, const struct words *line)
{
    struct hash path[MERKLE_PATH_MAX];
    uint64_t from = word_number(line->word[1]), to = word_number(line->word[2]);
    size_t len = word_hashes(line->word[3], path, COUNT(path));
    struct hash older = merkle_root(r->leaves, from), newer = merkle_root(r->leaves, to);
    return merkle_consistent(from, to, &older, &newer, path, len);
}

static void check_tile(const struct words *line)
{
    char path[80];
    tile_path((unsigned)word_number(line->word[1]), word_number(line->word[2]),
              (unsigned)word_number(line->word[3]), path);
    assert_string_equal(path, line->word[4]);
}

/* Commitments and actors are proto/statement's to make; here their hashes are held to the definition. */
static void check_commitment(struct reading *r, const struct words *line)
{
    struct hash blind = word_hash(line->word[1]);
    assert_hash(
        HASH_PARTS(BYTES_LIT("chartmesh entry v1\n"), BYTES_OF(blind), word_bytes(line->word[2], r->arena)),
        line->word[3]);
}

static void check_actor(struct reading *r, const struct words *line)
{
    struct hash salt = word_hash(line->word[1]);
    struct bytes principal = word_bytes(line->word[2], r->arena), user = word_bytes(line->word[3], r->arena);
    uint8_t lengths[8];
    put_u32be(lengths, (uint32_t)principal.len);
    put_u32be(lengths + 4, (uint32_t)user.len);
    assert_hash(HASH_PARTS(BYTES_LIT("chartmesh actor v1\n"), BYTES_OF(salt), BYTES(lengths, 4), principal,
                           BYTES(lengths + 4, 4), user),
                line->word[4]);
}

static void take_log(void *context, const struct words *line)
{
    struct reading *r = context;
    if (words_are(line, "leaf", 3)) {
        check_leaf(r, line);
    } else if (words_are(line, "root", 3)) {
        assert_hash(merkle_root(r->leaves, word_number(line->word[1])), line->word[2]);
    } else if (words_are(line, "path", 4)) {
        assert_true(path_holds(r, line));
    } else if (words_are(line, "refuse-path", 4)) {
        assert_false(path_holds(r, line));
        r->refused++;
    } else if (words_are(line, "consistent", 4)) {
        assert_true(is_consistent(r, line));
    } else if (words_are(line, "refuse-consistent", 4)) {
        assert_false(is_consistent(r, line));
        r->refused++;
    } else if (words_are(line, "tile", 5)) {
        check_tile(line);
    } else if (words_are(line, "commitment", 4)) {
        check_commitment(r, line);
    } else if (words_are(line, "actor", 5)) {
        check_actor(r, line);
    } else {
        words_unknown(line);
    }
    r->accepted++;
}

/* -- map.txt */

static void check_key(struct reading *r, const struct words *line)
{
    struct id facility = word_id(line->word[1]);
    if (strcmp(line->word[0], "patient") == 0) {
        struct id patient = word_id(line->word[2]);
        r->key = map_key_patient(&facility, &patient);
    } else {
        struct hash actor = word_hash(line->word[2]);
        r->key = map_key_actor(&facility, &actor);
    }
    assert_hash(r->key, line->word[3]);
}

static bool map_holds(struct reading *r, const struct words *line, bool present)
{
    struct hash key = word_hash(line->word[1]), value = {0}, root = map_root(r->map), siblings[MAP_DEPTH_MAX + 1];
    struct map_proof proof = {.end = present ? MAP_PRESENT : MAP_NOTHING};
    if (present) {
        value = word_hash(line->word[2]);
    } else if (strcmp(line->word[2], "-") != 0) {
        char other[2 * HASH_LEN + 1];
        snprintf(other, sizeof other, "%s", line->word[2]);
        proof.end = MAP_OTHER;
        proof.other_key = word_hash(other);
        proof.other_value = word_hash(line->word[2] + sizeof other);
    }
    proof.siblings_len = word_hashes(line->word[3], siblings, COUNT(siblings));
    if (proof.siblings_len > MAP_DEPTH_MAX) {
        return false;
    }
    memcpy(proof.siblings, siblings, proof.siblings_len * sizeof *siblings);
    return map_verify(&root, &key, present ? &value : NULL, &proof);
}

static bool take_proof(struct reading *r, const struct words *line)
{
    if (words_are(line, "present", 4)) {
        assert_true(map_holds(r, line, true));
    } else if (words_are(line, "absent", 4)) {
        assert_true(map_holds(r, line, false));
    } else if (words_are(line, "refuse-present", 4)) {
        assert_false(map_holds(r, line, true));
        r->refused++;
    } else if (words_are(line, "refuse-absent", 4)) {
        assert_false(map_holds(r, line, false));
        r->refused++;
    } else {
        return false;
    }
    return true;
}

static void take_map(void *context, const struct words *line)
{
    struct reading *r = context;
    r->accepted++;
    if (words_are(line, "patient", 4) || words_are(line, "actor", 4)) {
        check_key(r, line);
    } else if (words_are(line, "chain", 2)) {
        r->chain = chain_start(&r->key);
        assert_hash(r->chain, line->word[1]);
    } else if (words_are(line, "link", 3)) {
        struct hash commitment = word_hash(line->word[1]);
        r->chain = chain_next(&r->chain, &commitment);
        assert_hash(r->chain, line->word[2]);
    } else if (words_are(line, "value", 4)) {
        assert_hash(map_value(word_number(line->word[1]), word_number(line->word[2]), &r->chain), line->word[3]);
    } else if (words_are(line, "map", 1)) {
        map_free(r->map);
        r->map = map_new();
    } else if (words_are(line, "set", 3)) {
        struct hash key = word_hash(line->word[1]), value = word_hash(line->word[2]);
        map_set(r->map, &key, &value);
    } else if (words_are(line, "root", 2)) {
        assert_hash(map_root(r->map), line->word[1]);
    } else if (!take_proof(r, line)) {
        words_unknown(line);
    }
}

/* -- notes.txt */

static void take_key(struct reading *r, const struct words *line)
{
    struct err err;
    char *name;
    uint8_t id[4];
    assert_true(r->keys_len < KEYS_MAX);
    assert_ok(arena_string(r->arena, bytes_str(line->word[1]), &name, &err));
    struct note_key *key = &r->keys[r->keys_len++];
    *key = (struct note_key){.name = name,
                             .type = word_number(line->word[2]) == NOTE_LOG ? NOTE_LOG : NOTE_WITNESS,
                             .public_key = word_hash(line->word[3])};
    put_u32be(id, note_key_hash(key));
    assert_bytes_equal(BYTES(id, sizeof id), word_bytes(line->word[4], r->arena));
}

static void check_note(struct reading *r, const struct words *line)
{
    struct err err;
    struct checkpoint checkpoint;
    AUTO_BUILDER(cosigned, 1 << 10);
    assert_ok(checkpoint_open(word_bytes(line->word[5], r->arena), r->keys, r->keys_len, &checkpoint, &err));
    assert_bytes_equal(checkpoint.origin, bytes_str(line->word[1]));
    assert_int_equal(checkpoint.size, word_number(line->word[2]));
    assert_hash(checkpoint.root, line->word[3]);
    for (size_t i = 0; i < checkpoint.cosigners; i++) {
        build_text(&cosigned, "%s%s=%ju", i ? "," : "", r->keys[checkpoint.cosigned[i].key].name,
                   (uintmax_t)checkpoint.cosigned[i].time_s);
    }
    assert_bytes_equal(checkpoint.cosigners ? builder_view(&cosigned) : BYTES_LIT("-"), bytes_str(line->word[4]));
}

static void take_note(void *context, const struct words *line)
{
    struct reading *r = context;
    struct err err;
    struct checkpoint checkpoint;
    if (words_are(line, "key", 5)) {
        take_key(r, line);
    } else if (words_are(line, "accept", 6)) {
        check_note(r, line);
        r->accepted++;
    } else if (line->count > 2 && strcmp(line->word[0], "refuse") == 0) {
        assert_err(ERR_INVALID,
                   checkpoint_open(word_bytes(line->word[1], r->arena), r->keys, r->keys_len, &checkpoint, &err));
        r->refused++;
    } else {
        words_unknown(line);
    }
}

static void read_all(const char *path, void (*each)(void *context, const struct words *line))
{
    AUTO_ARENA(arena, ARENA_MAX);
    struct reading r = {.arena = &arena};
    size_t lines = words_read(path, each, &r);
    map_free(r.map);
    print_message("%s: %zu lines, %zu of them refused\n", path, lines, r.refused);
    assert_true(r.accepted > 0 && r.refused > 0);
}

static void test_merkle__the_text_vectors_hold(void **state)
{
    (void)state;
    read_all("proto/vectors/log.txt", take_log);
    read_all("proto/vectors/map.txt", take_map);
    read_all("proto/vectors/notes.txt", take_note);
}

/* A note made here reads as it was made, and only so. */
static void test_checkpoint__what_is_signed_and_cosigned_opens(void **state)
{
    (void)state;
    struct err err;
    struct hash log_seed = {{1}}, witness_seed = {{2}}, root = {{3}};
    struct signing_key *log, *witness;
    struct bytes note, line, whole;
    struct checkpoint checkpoint;
    AUTO_ARENA(arena, ARENA_MAX);
    assert_ok(signing_key_new(&log_seed, &log, &err));
    assert_ok(signing_key_new(&witness_seed, &witness, &err));
    struct note_key keys[] = {
        {.name = "a.example/log/00000000000000ff", .type = NOTE_LOG, .public_key = *signing_key_public(log)},
        {.name = "b.example/witness", .type = NOTE_WITNESS, .public_key = *signing_key_public(witness)}};
    assert_ok(checkpoint_sign(keys[0].name, 5, &root, log, &arena, &note, &err));
    assert_ok(checkpoint_cosign(note, keys[1].name, 1750000000, witness, &arena, &line, &err));
    assert_ok(checkpoint_add(note, line, &arena, &whole, &err));
    assert_ok(checkpoint_open(whole, keys, 2, &checkpoint, &err));
    assert_true(checkpoint.signed_by_log && checkpoint.size == 5 && hash_equal(&checkpoint.root, &root));
    assert_int_equal(checkpoint.cosigners, 1);
    assert_int_equal(checkpoint.cosigned[0].time_s, 1750000000);

    struct bytes domain;
    uint64_t incarnation;
    assert_true(checkpoint_origin(checkpoint.origin, &domain, &incarnation));
    assert_bytes_equal(domain, BYTES_LIT("a.example"));
    assert_int_equal(incarnation, 0xff);
    assert_false(checkpoint_origin(BYTES_LIT("a.example/log/00000000000000FF"), &domain, &incarnation));
    assert_false(checkpoint_origin(BYTES_LIT("/log/00000000000000ff"), &domain, &incarnation));
    assert_false(checkpoint_origin(BYTES_LIT("a/b/log/00000000000000ff"), &domain, &incarnation));

    assert_ok(checkpoint_add(whole, line, &arena, &whole, &err));
    assert_err(ERR_INVALID, checkpoint_open(whole, keys, 2, &checkpoint, &err));
    assert_err(ERR_INVALID, checkpoint_add(note, BYTES_LIT("no line\n"), &arena, &whole, &err));
    assert_err(ERR_INVALID, checkpoint_sign("has space", 5, &root, log, &arena, &note, &err));
    assert_err(ERR_INVALID, checkpoint_cosign(note, "a+b", 1, witness, &arena, &line, &err));
    signing_key_free(log);
    signing_key_free(witness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merkle__the_text_vectors_hold),
        cmocka_unit_test(test_checkpoint__what_is_signed_and_cosigned_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
