#include "proto/merkle/checkpoint.h"

#include "proto/base/builder.h"
#include "proto/base/reader.h"
#include "proto/crypto/hash.h"

enum { KEY_ID_LEN = 4, TIME_LEN = 8, NAME_MAX_LEN = 256, DECODE_MAX = 4 * NOTE_MAX };

static const char dash[] = "\xe2\x80\x94 ";     /* U+2014 and a space */

uint32_t note_key_hash(const struct note_key *key)
{
    uint8_t type = (uint8_t)key->type;
    struct hash hash =
        HASH_PARTS(bytes_str(key->name), BYTES_LIT("\n"), BYTES(&type, 1), BYTES_OF(key->public_key));
    return get_u32be(hash.bytes);
}

/* C2SP signed-note: "MUST be valid UTF-8 and MUST NOT contain any ASCII control characters (those below U+0020)
 * other than newline". */
static bool text_fits(struct bytes text, bool newlines)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20 && !(newlines && text.data[i] == '\n')) {
            return false;
        }
    }
    return utf8_valid(text);
}

static bool contains(struct bytes text, struct bytes part)
{
    return memmem(text.data, text.len, part.data, part.len) != NULL;
}

/* "Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus (U+002B) characters." */
static bool name_fits(struct bytes name)
{
    static const char *const refused[] = {
        " ",
        "+",
        "\xc2\x85",
        "\xc2\xa0",
        "\xe1\x9a\x80",
        "\xe2\x80\x80",
        "\xe2\x80\x81",
        "\xe2\x80\x82",
        "\xe2\x80\x83",
        "\xe2\x80\x84",
        "\xe2\x80\x85",
        "\xe2\x80\x86",
        "\xe2\x80\x87",
        "\xe2\x80\x88",
        "\xe2\x80\x89",
        "\xe2\x80\x8a",
        "\xe2\x80\xa8",
        "\xe2\x80\xa9",
        "\xe2\x80\xaf",
        "\xe2\x81\x9f",
        "\xe3\x80\x80",
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        if (contains(name, bytes_str(refused[i]))) {
            return false;
        }
    }
    return name.len > 0 && name.len <= NAME_MAX_LEN && text_fits(name, false);
}

/* split finds the last empty line: the text before it, with its own LF, and the signature lines after it. */
static bool split(struct bytes note, struct bytes *text, struct bytes *lines, struct err *err)
{
    if (note.len > NOTE_MAX || !text_fits(note, true)) {
        return err_raise(err, ERR_INVALID, "note: too long, not UTF-8, or with control characters");
    }
    for (size_t at = note.len; at >= 2; at--) {
        if (note.data[at - 1] == '\n' && note.data[at - 2] == '\n') {
            *text = BYTES(note.data, at - 1);
            *lines = BYTES(note.data + at, note.len - at);
            return true;
        }
    }
    return err_raise(err, ERR_INVALID, "note: no empty line before the signatures");
}

/* One signature line, taken apart. */
struct line {
    struct bytes name;
    uint32_t key_id;
    struct bytes sig;                     /* in the arena */
};

static bool line_parse(struct bytes text, struct arena *arena, struct line *out, struct err *err)
{
    struct reader r = reader_of(text);
    struct bytes prefix = read_bytes(&r, sizeof dash - 1);
    const uint8_t *space = r.ok && r.left.len ? memchr(r.left.data, ' ', r.left.len) : NULL;
    if (!space || !bytes_equal(prefix, BYTES_LIT("\xe2\x80\x94 "))) {
        return err_raise(err, ERR_INVALID, "note: not a signature line");
    }
    struct line line = {.name = read_bytes(&r, (size_t)(space - r.left.data))};
    read_bytes(&r, 1);
    struct bytes decoded;
    if (!name_fits(line.name) || !base64_decode(r.left, arena, &decoded, err)) {
        return err_raise(err, ERR_INVALID, "note: a signature line's name or base64");
    }
    r = reader_of(decoded);
    line.key_id = read_u32be(&r);
    line.sig = r.left;
    if (!r.ok || r.left.len == 0) {
        return err_raise(err, ERR_INVALID, "note: a signature of %zu bytes", decoded.len);
    }
    *out = line;
    return true;
}

/* C2SP tlog-cosignature: the header line, the time, then the whole text of the note. */
static void cosigned_message(struct builder *message, uint64_t time_s, struct bytes text)
{
    build_text(message, "cosignature/v1\ntime %ju\n", (uintmax_t)time_s);
    build_bytes(message, text);
}

static bool line_verifies(const struct line *line, const struct note_key *key, struct bytes text, uint64_t *time_s)
{
    *time_s = 0;
    if (key->type == NOTE_LOG) {
        return verify(&key->public_key, text, line->sig);
    }
    struct reader r = reader_of(line->sig);
    *time_s = read_u64be(&r);
    if (!r.ok || *time_s > INT64_MAX) {
        return false;
    }
    AUTO_BUILDER(message, NOTE_MAX + 64);
    cosigned_message(&message, *time_s, text);
    return message.ok && verify(&key->public_key, builder_view(&message), r.left);
}

static bool key_of_line(const struct line *line, const struct note_key *keys, size_t count, size_t *key)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(line->name, bytes_str(keys[i].name)) && note_key_hash(&keys[i]) == line->key_id) {
            *key = i;
            return true;
        }
    }
    return false;
}

/* take_line verifies one line if its key is known, and notes it; once for each key. */
static bool take_line(const struct line *line, const struct note_key *keys, size_t count, struct note *note,
                      struct err *err)
{
    size_t key;
    if (!key_of_line(line, keys, count, &key)) {
        return true;
    }
    for (size_t i = 0; i < note->signers; i++) {
        if (note->signed_by[i].key == key) {
            return err_raise(err, ERR_INVALID, "note: %s signed twice", keys[key].name);
        }
    }
    uint64_t time_s;
    if (!line_verifies(line, &keys[key], note->text, &time_s)) {
        return err_raise(err, ERR_INVALID, "note: the signature of %s does not verify", keys[key].name);
    }
    note->signed_by[note->signers].key = key;
    note->signed_by[note->signers++].time_s = time_s;
    return true;
}

bool note_open(struct bytes bytes, const struct note_key *keys, size_t count, struct note *out, struct err *err)
{
    AUTO_ARENA(arena, DECODE_MAX);
    struct note note = {0};
    struct bytes lines;
    if (!split(bytes, &note.text, &lines, err)) {
        return false;
    }
    struct reader r = reader_of(lines);
    size_t seen = 0;
    while (r.left.len > 0 || seen == 0) {
        struct bytes text = read_line(&r);
        struct line line;
        if (!r.ok || ++seen > NOTE_SIGNATURES_MAX) {
            return err_raise(err, ERR_INVALID, "note: no signature line, too many, or one without its LF");
        }
        if (!line_parse(text, &arena, &line, err) || !take_line(&line, keys, count, &note, err)) {
            return false;
        }
    }
    *out = note;
    return true;
}

static bool size_parse(struct bytes text, uint64_t *out)
{
    uint64_t size = 0;
    if (text.len == 0 || (text.data[0] == '0' && text.len > 1)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = text.data[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, digit, &size)) {
            return false;
        }
    }
    *out = size;
    return true;
}

/* C2SP tlog-checkpoint: origin, size, root; formats 6: no extension lines. */
static bool body_parse(struct bytes text, struct checkpoint *out, struct err *err)
{
    AUTO_ARENA(arena, 1 << 14);
    struct reader r = reader_of(text);
    struct bytes origin = read_line(&r), size = read_line(&r), root = read_line(&r), decoded;
    if (!reader_end(&r) || origin.len == 0) {
        return err_raise(err, ERR_INVALID, "checkpoint: not origin, size and root alone");
    }
    if (!size_parse(size, &out->size)) {
        return err_raise(err, ERR_INVALID, "checkpoint: the size is not a decimal number");
    }
    if (!base64_decode(root, &arena, &decoded, err) || !hash_from(decoded, &out->root)) {
        return err_raise(err, ERR_INVALID, "checkpoint: the root is not 32 bytes of base64");
    }
    out->origin = origin;
    out->body = text;
    return true;
}

bool checkpoint_open(struct bytes bytes, const struct note_key *keys, size_t count, struct checkpoint *out,
                     struct err *err)
{
    struct note note;
    struct checkpoint checkpoint = {0};
    if (!note_open(bytes, keys, count, &note, err) || !body_parse(note.text, &checkpoint, err)) {
        return false;
    }
    for (size_t i = 0; i < note.signers; i++) {
        const struct note_key *key = &keys[note.signed_by[i].key];
        if (key->type == NOTE_WITNESS) {
            checkpoint.cosigned[checkpoint.cosigners].key = note.signed_by[i].key;
            checkpoint.cosigned[checkpoint.cosigners++].time_s = note.signed_by[i].time_s;
        } else if (bytes_equal(bytes_str(key->name), checkpoint.origin)) {
            checkpoint.signed_by_log = true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (keys[i].type == NOTE_LOG && !checkpoint.signed_by_log) {
            return err_raise(err, ERR_INVALID, "checkpoint: not signed by its log");
        }
    }
    *out = checkpoint;
    return true;
}

bool checkpoint_origin(struct bytes origin, struct bytes *domain, uint64_t *incarnation)
{
    enum { TAIL_LEN = sizeof "/log/" - 1 + 16 };
    if (origin.len <= TAIL_LEN) {
        return false;
    }
    struct reader r = reader_of(origin);
    struct bytes name = read_bytes(&r, origin.len - TAIL_LEN);
    if (!bytes_equal(read_bytes(&r, 5), BYTES_LIT("/log/")) || memchr(name.data, '/', name.len)) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef", *digit = memchr(digits, r.left.data[i], 16);
        if (!digit) {
            return false;
        }
        value = value << 4 | (uint64_t)(digit - digits);
    }
    *domain = name;
    *incarnation = value;
    return true;
}

static void build_base64(struct builder *b, struct bytes bytes)
{
    char text[4 * ((KEY_ID_LEN + TIME_LEN + SIGNATURE_LEN + 2) / 3) + 1];
    build_text(b, "%s", base64_encode(bytes, text));
}

/* A signature line: "— <name> base64(key id || time of a cosignature || signature)\n". */
static void build_line(struct builder *b, const struct note_key *key, uint64_t time_s, struct signature signature)
{
    AUTO_BUILDER(raw, KEY_ID_LEN + TIME_LEN + SIGNATURE_LEN);
    build_u32be(&raw, note_key_hash(key));
    if (key->type == NOTE_WITNESS) {
        build_u64be(&raw, time_s);
    }
    build_bytes(&raw, BYTES_OF(signature));
    build_text(b, "%s%s ", dash, key->name);
    build_base64(b, builder_view(&raw));
    build_u8(b, '\n');
}

bool checkpoint_sign(const char *origin, uint64_t size, const struct hash *root, const struct signing_key *key,
                     struct arena *arena, struct bytes *out, struct err *err)
{
    if (!name_fits(bytes_str(origin))) {
        return err_raise(err, ERR_INVALID, "checkpoint: '%s' cannot be an origin", origin);
    }
    AUTO_BUILDER(note, NOTE_MAX);
    build_text(&note, "%s\n%ju\n", origin, (uintmax_t)size);
    build_base64(&note, BYTES_OF(*root));
    build_u8(&note, '\n');
    struct signature signature = sign(key, builder_view(&note));
    struct note_key signer = {.name = origin, .type = NOTE_LOG, .public_key = *signing_key_public(key)};
    build_u8(&note, '\n');
    build_line(&note, &signer, 0, signature);
    return builder_copy(&note, arena, out, err) || err_wrap(err, "checkpoint");
}

bool checkpoint_cosign(struct bytes note, const char *name, uint64_t time_s, const struct signing_key *key,
                       struct arena *arena, struct bytes *line, struct err *err)
{
    struct checkpoint checkpoint;
    if (!checkpoint_open(note, NULL, 0, &checkpoint, err)) {
        return err_wrap(err, "cosign");
    }
    if (!name_fits(bytes_str(name)) || time_s > INT64_MAX) {
        return err_raise(err, ERR_INVALID, "cosign: '%s' cannot be a witness's name", name);
    }
    AUTO_BUILDER(message, NOTE_MAX + 64);
    cosigned_message(&message, time_s, checkpoint.body);
    struct note_key signer = {.name = name, .type = NOTE_WITNESS, .public_key = *signing_key_public(key)};
    AUTO_BUILDER(built, NOTE_MAX);
    build_line(&built, &signer, time_s, sign(key, builder_view(&message)));
    return builder_copy(&built, arena, line, err) || err_wrap(err, "cosign");
}

bool checkpoint_add(struct bytes note, struct bytes line, struct arena *arena, struct bytes *out, struct err *err)
{
    AUTO_BUILDER(built, NOTE_MAX);
    build_bytes(&built, note);
    build_bytes(&built, line);
    struct checkpoint checkpoint;
    if (!built.ok) {
        return err_raise(err, ERR_TOO_MUCH, "checkpoint: over %d bytes with the cosignature", NOTE_MAX);
    }
    return (checkpoint_open(builder_view(&built), NULL, 0, &checkpoint, err) &&
            builder_copy(&built, arena, out, err)) ||
           err_wrap(err, "checkpoint: add a cosignature");
}
