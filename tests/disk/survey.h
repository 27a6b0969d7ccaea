/* tests/disk/survey.h - everything that a node serves, asked for and written down, so that two nodes over two
 * copies of one data folder can be compared. */
#pragma once

#include "tests/lib/on_disk.h"

enum { SURVEY_MAX = 400, SURVEY_DOCUMENTS = 4 };

/* What there is to ask for. */
struct survey_facts {
    struct id patient, documents[SURVEY_DOCUMENTS];
    struct hash first;           /* the version of documents[0] that another one superseded */
    uint64_t entries;            /* of the log, when this was written */
};

struct answer {
    char name[32];               /* "Records/Get 2", "entry 17" */
    enum err_code code;          /* ERR_NONE: answered */
    struct hash hash;            /* of the answer */
    char text[240];              /* of the error */
};

struct survey {
    enum err_code opened;        /* ERR_NONE: it opened */
    char text[240];
    size_t count;
    struct answer answers[SURVEY_MAX];
};

/* survey_make fills a fresh node: a patient, documents in rows and in blobs, two versions of one, a policy. */
void survey_make(struct on_disk *node, struct survey_facts *out);

/* survey_take asks for all of it. */
void survey_take(struct on_disk *node, const struct survey_facts *facts, struct survey *out);
