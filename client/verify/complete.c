/* What completeness needs besides the chain: the log's beginning, who may ask, how fresh the answer is. */
#include "client/verify/check.h"
#include "client/verify/words.h"

enum { FRESH_MS = 20000, FRESH_ENTRIES = 4096 };

/* -- the log and its epoch */

static bool check_epoch(struct check *c)
{
    if (c->shown_len == 0 || c->shown[0].index != 0 || !c->shown[0].entry) {
        lack(c, VERIFY_COMPLETE, "entry 0 is not shown");
    }
    struct given *given = find_given(c, bytes_pb(c->said->epoch));
    if (!given) {
        lack(c, VERIFY_COMPLETE, "the log's epoch statement is not here");
        return true;
    }
    if (given->s.kind != STATEMENT_EPOCH) {
        return contradict(c, VERIFY_COMPLETE, &given->frame, "the answer's epoch is not an epoch statement");
    }
    c->epoch = (const void *)given->s.message;
    return (c->epoch->incarnation == c->incarnation &&
            bytes_equal(bytes_pb(c->epoch->head->facility), bytes_pb(c->asked->facility))) ||
           contradict(c, VERIFY_COMPLETE, &given->frame, "the epoch statement is of another log");
}

/* -- the authority (I16) */

static bool covers_subject(const struct check *c)
{
    const Chartmesh__V1__Authority *authority = c->authority;
    bool covered = authority->n_subjects == 0;
    for (size_t i = 0; i < authority->n_subjects && c->asked->subject; i++) {
        covered = covered || subject_equal(authority->subjects[i], c->asked->subject);
    }
    return covered;
}

static bool covers_purpose(const struct check *c)
{
    bool covered = c->authority->n_purposes == 0;
    for (size_t i = 0; i < c->authority->n_purposes; i++) {
        covered = covered || strcmp(c->authority->purposes[i], c->asked->purpose) == 0;
    }
    return covered;
}

static bool covers_time(const struct check *c)
{
    const Chartmesh__V1__Period *valid = c->authority->valid;
    int64_t ms = hlc_ms(c->asked->head->hlc);
    return (!valid->from || ms >= valid->from->ms) && (!valid->until || ms < valid->until->ms);
}

static bool check_scope(struct check *c, const struct given *given)
{
    const Chartmesh__V1__Authority *authority = c->authority;
    struct hash key;
    if (!hash_from(bytes_pb(authority->key), &key)) {
        return contradict(c, VERIFY_COMPLETE, &given->frame, "the authority's key is not 32 bytes");
    }
    struct hash signer = key_id(KEY_ED25519, &key);
    const char *fault = authority->duty != CHARTMESH__V1__DUTY__DUTY_AUDIT                        ? "duty"
                        : strcmp(authority->holder, c->asked->principal) != 0                     ? "holder"
                        : c->query.s.signers != 1 || !hash_equal(&c->query.s.key_ids[0], &signer) ? "key"
                        : !bytes_equal(bytes_pb(authority->head->facility), bytes_pb(c->asked->facility))
                            ? "facility"
                        : !covers_subject(c) ? "subjects"
                        : !covers_purpose(c) ? "purposes"
                        : !covers_time(c)    ? "period"
                                             : NULL;
    return !fault ||
           contradict(c, VERIFY_COMPLETE, &given->frame, "the query is outside its authority: %s", fault);
}

/* Without an authority only a patient asks, about themself. */
static bool check_own_account(struct check *c)
{
    const Chartmesh__V1__Key *key = c->trust && c->query.s.signers == 1
                                        ? trust_key(c->trust, &c->query.s.key_ids[0], c->asked->head->hlc)
                                        : NULL;
    if (!key) {
        lack(c, VERIFY_COMPLETE, "no authority and no enrolled key: who asked is not shown");
        return true;
    }
    return (key->use == CHARTMESH__V1__USE__USE_PATIENT && subject_equal(key->subject, c->asked->subject) &&
            strcmp(key->holder, c->asked->principal) == 0) ||
           contradict(c, VERIFY_COMPLETE, &c->query.frame, "no authority, and not the patient's own key");
}

static bool check_authority(struct check *c)
{
    if (c->asked->authority.len == 0) {
        return check_own_account(c);
    }
    struct given *given = find_given(c, bytes_pb(c->asked->authority));
    if (!given) {
        lack(c, VERIFY_COMPLETE, "the authority of the query is not here");
        return true;
    }
    if (given->s.kind != STATEMENT_AUTHORITY) {
        return contradict(c, VERIFY_COMPLETE, &given->frame,
                          "the query's authority is not an authority statement");
    }
    c->authority = (const void *)given->s.message;
    return check_scope(c, given);
}

/* -- older checkpoints (I17) */

static bool check_older_note(struct check *c, const struct older *older, const struct hash *root)
{
    struct checkpoint checkpoint;
    struct err why;
    struct note_key log = {.name = c->said->origin, .type = NOTE_LOG};
    if (older->message->note.len == 0) {
        return true;
    }
    log.public_key = c->member ? c->member->checkpoint_key : log.public_key;
    if (!checkpoint_open(bytes_pb(older->message->note), &log, c->member ? 1 : 0, &checkpoint, &why)) {
        return judge(c, VERIFY_COMPLETE, &older->frame, &why);
    }
    return (bytes_equal(checkpoint.origin, c->checkpoint.origin) && checkpoint.size == older->message->size &&
            hash_equal(&checkpoint.root, root)) ||
           contradict(c, VERIFY_COMPLETE, &older->frame, "the older checkpoint is of another tree");
}

static bool check_older(struct check *c, const struct older *older)
{
    enum { PATH_MAX_LEN = 2 * MERKLE_PATH_MAX };
    struct hash path[PATH_MAX_LEN], root;
    const Chartmesh__V1__ConsistencyFrame *message = older->message;
    bool ok = message->n_path <= PATH_MAX_LEN && hash_from(bytes_pb(message->root), &root);
    for (size_t i = 0; ok && i < message->n_path; i++) {
        ok = hash_from(bytes_pb(message->path[i]), &path[i]);
    }
    if (!ok ||
        !merkle_consistent(message->size, c->checkpoint.size, &root, &c->checkpoint.root, path, message->n_path)) {
        return contradict(c, VERIFY_COMPLETE, &older->frame, "the tree of %ju entries is no beginning of this one",
                          (uintmax_t)message->size);
    }
    if (c->asked->known_size == message->size && c->asked->known_size > 0 &&
        !bytes_equal(bytes_pb(c->asked->known_root), BYTES_OF(root))) {
        return contradict(c, VERIFY_COMPLETE, &older->frame, "another root than the one that the asker knew");
    }
    return check_older_note(c, older, &root);
}

static bool check_known(struct check *c)
{
    bool found = c->asked->known_size == 0;
    for (size_t i = 0; i < c->older_len; i++) {
        if (!check_older(c, &c->older[i])) {
            return false;
        }
        found = found || c->older[i].message->size == c->asked->known_size;
    }
    if (!found) {
        lack(c, VERIFY_COMPLETE, "the tree that the asker knew, of %ju entries, is not shown as a beginning",
             (uintmax_t)c->asked->known_size);
    }
    return true;
}

/* -- after the map epoch, and how long after */

static const struct shown *own_query(const struct check *c)
{
    for (size_t i = 0; i < c->shown_len; i++) {
        const Chartmesh__V1__Entry *entry = c->shown[i].entry;
        if (entry && entry->kind == ENTRY_KIND(AUDIT_QUERY) && entry_names(entry, BYTES_OF(c->query.s.id))) {
            return &c->shown[i];
        }
    }
    return NULL;
}

static bool check_after_map(struct check *c, const struct shown *own)
{
    for (size_t i = 0; i < c->shown_len; i++) {
        const struct shown *shown = &c->shown[i];
        if (shown->index > c->map->at->index && shown != own && shown->entry->kind != ENTRY_KIND(ENROL)) {
            return contradict(c, VERIFY_COMPLETE, &shown->frame,
                              "entry %ju, after the map epoch, is not this query's", (uintmax_t)shown->index);
        }
    }
    return true;
}

/* Only enrolments that are shown stand between the map epoch and the query's entry. */
static bool only_enrolments_between(const struct check *c, const struct shown *own)
{
    uint64_t between = 0;
    for (size_t i = 0; i < c->shown_len; i++) {
        between += c->shown[i].index > c->map->at->index && c->shown[i].index < own->index;
    }
    return own->index > c->map->at->index && between == own->index - c->map->at->index - 1;
}

static bool check_fresh(struct check *c, const struct shown *own)
{
    if (c->asked->map_epoch || own->index < c->map->at->index) {
        return true;
    }
    if (own->index > c->report->map_epoch + FRESH_ENTRIES) {
        return contradict(c, VERIFY_COMPLETE, &own->frame, "the map epoch is older than %d entries",
                          FRESH_ENTRIES);
    }
    return hlc_ms(own->entry->hlc) - hlc_ms(c->map_entry->hlc) <= FRESH_MS || only_enrolments_between(c, own) ||
           contradict(c, VERIFY_COMPLETE, &own->frame, "the map epoch is older than %d s", FRESH_MS / 1000);
}

/* The query's entry names query and authority, and was made by whoever asked. */
static bool check_own_query(struct check *c, const struct shown *own)
{
    const Chartmesh__V1__Entry *entry = own->entry;
    bool authorized = c->asked->authority.len > 0;
    if (entry->n_objects != 1u + authorized ||
        (authorized && !entry_names(entry, bytes_pb(c->asked->authority))) ||
        (c->asked->subject ? !subject_equal(entry->subject, c->asked->subject) : entry->subject != NULL)) {
        return contradict(c, VERIFY_COMPLETE, &own->frame, "the query's entry is about something else");
    }
    const struct shown *enrolment = enrolment_of(c, bytes_pb(entry->actor));
    return !enrolment || strcmp(enrolment->entry->enrol->principal, c->asked->principal) == 0 ||
           contradict(c, VERIFY_COMPLETE, &own->frame, "the query's entry is somebody else's than who asked");
}

static bool check_query_entry(struct check *c)
{
    const struct shown *own = own_query(c);
    if (!check_after_map(c, own)) {
        return false;
    }
    if (!own) {
        lack(c, VERIFY_COMPLETE, "the entry that records this query is not shown");
        return true;
    }
    return check_own_query(c, own) && check_fresh(c, own);
}

static void check_enrolled(struct check *c)
{
    for (size_t i = 0; i < c->shown_len; i++) {
        const Chartmesh__V1__Entry *entry = c->shown[i].entry;
        if (entry && entry->actor.len > 0 && !enrolment_of(c, bytes_pb(entry->actor))) {
            lack(c, VERIFY_COMPLETE, "the enrolment of the actor of entry %ju is not shown",
                 (uintmax_t)c->shown[i].index);
        }
    }
}

/* -- times */

static void check_times(struct check *c)
{
    for (size_t i = 0; i < c->shown_len; i++) {
        const Chartmesh__V1__Entry *entry = c->shown[i].entry;
        /* A cosignature tells whole seconds: its own second counts as not later. */
        if (c->cosigned_ms && entry && hlc_ms(entry->hlc) >= (int64_t)c->cosigned_ms + 1000) {
            lack(c, VERIFY_TIMES, "entry %ju says that it is later than the cosignature that covers it",
                 (uintmax_t)c->shown[i].index);
        }
    }
    c->reached[VERIFY_TIMES] = true;
}

bool check_complete(struct check *c)
{
    if (!check_epoch(c) || !check_authority(c) || !check_known(c) || !check_query_entry(c)) {
        return false;
    }
    check_enrolled(c);
    check_times(c);
    if (c->report->withheld) {
        lack(c, VERIFY_COMPLETE, "complete; %ju withheld", (uintmax_t)c->report->withheld);
    }
    c->reached[VERIFY_COMPLETE] = true;
    return true;
}
