/* attack_56, I31: marker strings are planted in everything that a node is told, and looked for in everything that
 * it wrote: the store's files, the keyring, the anchor, the log at its most talkative. */
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/crypto/random.h"
#include "tests/lib/nodes.h"

#define PB(view) ((ProtobufCBinaryData){(view).len, (uint8_t *)(uintptr_t)(view).data})

enum { MARKERS_MAX = 64 };

static const char *chartmeshd;

static struct marker {
    const char *what;
    uint8_t bytes[72];
    size_t len;
} markers[MARKERS_MAX];
static size_t marker_count;
static char found[600];

static void plant(const char *what, struct bytes bytes)
{
    struct marker *marker = &markers[marker_count++];
    assert_true(marker_count <= MARKERS_MAX && bytes.len >= 16 && bytes.len <= sizeof marker->bytes);
    *marker = (struct marker){.what = what, .len = bytes.len};
    memcpy(marker->bytes, bytes.data, bytes.len);
}

/* A word of 24 letters that stands nowhere else; lives as long as the arena. */
static char *word(const char *what, struct arena *arena)
{
    struct err err;
    struct id id = random_id();
    char hex[2 * ID_LEN + 1], *out;
    assert_ok(arena_printf(arena, &out, &err, "MARK%.20s", bytes_hex(BYTES_OF(id), hex)));
    plant(what, bytes_str(out));
    return out;
}

/* ---- Looking -------------------------------------------------------------------------------------------------- */

static int look(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    static uint8_t text[32 << 20];
    (void)place;
    if (kind != FTW_F) {
        return 0;
    }
    FILE *file = fopen(path, "rb");
    assert_true(file && (size_t)info->st_size <= sizeof text);
    size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    for (size_t i = 0; i < marker_count && !found[0]; i++) {
        if (memmem(text, len, markers[i].bytes, markers[i].len)) {
            snprintf(found, sizeof found, "%s stands in %s", markers[i].what, path);
        }
    }
    return 0;
}

static const char *look_in(const char *folder, const char *name)
{
    char path[400];
    found[0] = '\0';
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(nftw(path, look, 16, FTW_PHYS), 0);
    return found;
}

/* ---- Telling -------------------------------------------------------------------------------------------------- */

static void plant_keys(struct nodes *nodes)
{
    static const char *const files[] = {"keys/root.key", "keys/statement.key", "keys/checkpoint.key",
                                        "keys/witness.key", "keys/sealing.key"};
    for (size_t i = 0; i < COUNT(files); i++) {
        struct err err;
        struct hash raw;
        char *hex;
        assert_ok(arena_string(&nodes->arena, BYTES(nodes_text(nodes, 0, files[i]), 2 * HASH_LEN), &hex, &err));
        assert_ok(hex_decode(hex, raw.bytes, HASH_LEN, &err));
        plant(files[i], bytes_str(hex));
        plant(files[i], BYTES_OF(raw));
    }
}

static void tell(struct nodes *nodes)
{
    static const size_t lengths[] = {200, 6000, 200000};
    struct err err;
    struct arena *arena = &nodes->arena;
    Chartmesh__V1__Coding class = CHARTMESH__V1__CODING__INIT;
    Chartmesh__V1__Facts facts = CHARTMESH__V1__FACTS__INIT;
    Chartmesh__V1__PutRequest put = CHARTMESH__V1__PUT_REQUEST__INIT;
    Chartmesh__V1__RegisterRequest request = CHARTMESH__V1__REGISTER_REQUEST__INIT;
    Chartmesh__V1__LookupRequest lookup = CHARTMESH__V1__LOOKUP_REQUEST__INIT;
    const Chartmesh__V1__RegisterReply *registered;
    const Chartmesh__V1__LookupReply *looked;
    const Chartmesh__V1__PutReply *written;
    const Chartmesh__V1__GetReply *read;
    char *resource, *name = word("a patient's name", arena), *mrn = word("a patient's number", arena);
    struct chartmesh *node = nodes_open(nodes, 0, CLIENT_APP, "emr");
    const struct chartmesh_call call = {.caller = {.user = word("a user", arena)},
                                        .idempotency_key = word("an idempotency key", arena)};
    assert_ok(arena_printf(arena, &resource, &err,
                           "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"%s\"}],"
                           "\"identifier\":[{\"system\":\"urn:mrn\",\"value\":\"%s\"}]}",
                           name, mrn));
    request.resource = PB(bytes_str(resource));
    assert_ok(chartmesh_patient_register(node, &request, &call, arena, &registered, &err));
    lookup.system = "urn:mrn";
    lookup.value = mrn;
    assert_ok(chartmesh_patient_lookup(node, &lookup, NULL, arena, &looked, &err));
    class.system = "urn:chartmesh:class";
    class.code = "note";
    facts.class_ = &class;
    facts.media_type = "text/plain";
    facts.title = word("a title", arena);
    put.subject = registered->subject;
    put.facts = &facts;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        void *content;
        const char *mark = word("content", arena);
        Chartmesh__V1__GetRequest get = CHARTMESH__V1__GET_REQUEST__INIT;
        assert_ok(arena_alloc(arena, lengths[i], &content, &err));
        random_fill(content, lengths[i]);
        memcpy((uint8_t *)content + lengths[i] / 2, mark, strlen(mark));
        put.content = PB(BYTES(content, lengths[i]));
        assert_ok(chartmesh_record_put(node, &put, NULL, arena, &written, &err));
        get.subject = registered->subject;
        get.document = written->document;
        assert_ok(chartmesh_record_get(node, &get, NULL, arena, &read, &err));
        plant("the salt of a content", BYTES(read->heads[0]->salt.data, read->heads[0]->salt.len));
        get.document = registered->subject->patient; /* a refusal tells of nothing either */
        assert_false(chartmesh_record_get(node, &get, &call, arena, &read, &err));
    }
    chartmesh_close(node);
}

/* No core is written, whatever ends it: its limit says so while it runs. */
static void check_core_limit(const struct nodes *nodes)
{
    char path[64], line[200] = "";
    bool none = false;
    snprintf(path, sizeof path, "/proc/%d/limits", (int)nodes->list[0].pid);
    FILE *limits = fopen(path, "re");
    assert_non_null(limits);
    while (fgets(line, sizeof line, limits)) {
        char soft[32] = "", hard[32] = "";
        none = none || (sscanf(line, "Max core file size %31s %31s", soft, hard) == 2 && strcmp(soft, "0") == 0 &&
                        strcmp(hard, "0") == 0);
    }
    fclose(limits);
    assert_true(none);
}

static void test_secret__attack_56_nothing_that_a_node_is_told_stands_in_its_files_in_clear(void **state)
{
    struct nodes *nodes = nodes_new(chartmeshd, 1);
    const char *folder = nodes->list[0].folder, *names[] = {"data", "log"};
    char config[300];
    (void)state;
    snprintf(config, sizeof config, "%s/chartmeshd.conf", folder);
    FILE *file = fopen(config, "a");
    assert_true(file && fputs("\nlog { level = debug }\n", file) >= 0 && fclose(file) == 0);
    plant_keys(nodes);
    nodes_start(nodes, 0);
    check_core_limit(nodes);
    tell(nodes);
    nodes_stop(nodes, 0, SIGABRT); /* in the middle of it: what is in the write-ahead log */
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < COUNT(names); i++) {
            assert_string_equal(look_in(folder, names[i]), "");
        }
        nodes_start(nodes, 0); /* and in tables and blobs */
        assert_int_equal(nodes_stop(nodes, 0, SIGTERM), 0);
    }
    /* The search finds what is there: the keys, where they belong. */
    assert_non_null(strstr(look_in(folder, "keys"), ".key stands in"));
    nodes_free(nodes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret__attack_56_nothing_that_a_node_is_told_stands_in_its_files_in_clear),
    };
    chartmeshd = argc > 1 ? argv[1] : "node/chartmeshd";
    return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
