/* make_patients DIR [SEED]: writes the demo's patients (tests/demo/README.md says what lies where). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/demo/patients.h"

static bool make_folder(const char *path, struct err *err)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ||
           err_raise(err, ERR_STATE, "cannot make '%s': %s", path, strerror(errno));
}

static bool write_file(const char *path, const struct builder *content, struct err *err)
{
    FILE *file = content->ok ? fopen(path, "wb") : NULL;
    if (!file) {
        return err_raise(err, ERR_STATE, "cannot write '%s': %s", path,
                         content->ok ? strerror(errno) : "too large");
    }
    bool ok = fwrite(content->data, 1, content->len, file) == content->len;
    ok = fclose(file) == 0 && ok;
    return ok || err_raise(err, ERR_STATE, "cannot write '%s'", path);
}

static bool write_chart(const char *folder, size_t person, enum patients_place place, uint64_t seed,
                        struct builder *list, struct err *err)
{
    char path[4096];
    const struct patients_person *p = &patients[person];
    AUTO_BUILDER(content, PATIENTS_BUNDLE_MAX);
    if (!p->at[place]) {
        return true;
    }
    snprintf(path, sizeof path, "%s/%s/%s.json", folder, patients_place_name[place], p->name);
    build_text(list, "%s\t%s\t%s/%s.json\t%s\t%s\n", p->name, patients_place_name[place],
               patients_place_name[place], p->name, p->number, p->remark);
    patients_bundle(person, place, seed, &content);
    return write_file(path, &content, err);
}

static bool write_person(const char *folder, size_t person, uint64_t seed, struct builder *list, struct err *err)
{
    char path[4096];
    for (enum patients_place place = 0; place < PLACE_COUNT; place++) {
        if (!write_chart(folder, person, place, seed, list, err)) {
            return false;
        }
    }
    if (!patients[person].xray) {
        return true;
    }
    AUTO_BUILDER(image, PATIENTS_IMAGE_MAX);
    snprintf(path, sizeof path, "%s/images/%s-chest.png", folder, patients[person].name);
    patients_image(person, seed, &image);
    return write_file(path, &image, err);
}

static bool write_all(const char *folder, uint64_t seed, struct err *err)
{
    char path[4096];
    static const char *const FOLDERS[] = {"", "/hospital", "/clinic", "/laboratory", "/images"};
    AUTO_BUILDER(list, 65536);
    for (size_t i = 0; i < COUNT(FOLDERS); i++) {
        snprintf(path, sizeof path, "%s%s", folder, FOLDERS[i]);
        if (!make_folder(path, err)) {
            return false;
        }
    }
    build_text(&list, "person\tplace\tfile\tnumber\tremark\n");
    for (size_t i = 0; i < PATIENTS_COUNT; i++) {
        if (!write_person(folder, i, seed, &list, err)) {
            return false;
        }
    }
    snprintf(path, sizeof path, "%s/patients.tsv", folder);
    return write_file(path, &list, err);
}

int main(int argc, char **argv)
{
    struct err err;
    char *rest = "";
    uint64_t seed = argc == 3 ? strtoumax(argv[2], &rest, 10) : 1;
    if (argc < 2 || argc > 3 || *rest) {
        fprintf(stderr, "usage: make_patients DIR [SEED]\n");
        return 2;
    }
    if (!write_all(argv[1], seed, &err)) {
        fprintf(stderr, "make_patients: %s\n", err.text);
        return 1;
    }
    return 0;
}
