/* What happened, one row an entry: the summary for people. */
#include "client/verify/check.h"
#include "client/verify/words.h"

static const char *domain_of(struct check *c, struct bytes facility)
{
    struct id id;
    const struct member *member = c->trust && id_from(facility, &id) ? trust_member(c->trust, &id) : NULL;
    struct bytes domain = member ? bytes_str(member->domain) : BYTES_NONE;
    char *copy;
    if (!member) {
        return hex_of(facility, c->arena);
    }
    return arena_string(c->arena, domain, &copy, c->err) ? copy : "";
}

/* The first object that says something about itself. */
static const char *what_of(struct check *c, const Chartmesh__V1__Entry *entry)
{
    for (size_t i = 0; i < entry->n_objects; i++) {
        const struct given *given = find_given(c, bytes_pb(entry->objects[i]));
        if (given && given->s.kind == STATEMENT_VERSION) {
            const Chartmesh__V1__Version *version = (const void *)given->s.message;
            return *version->title ? version->title : version->class_->code;
        }
        if (given) {
            return statement_name(given->s.kind);
        }
    }
    return "";
}

static void fill_opened(struct check *c, const Chartmesh__V1__Entry *entry, struct verify_row *row)
{
    const struct shown *enrolment = enrolment_of(c, bytes_pb(entry->actor));
    row->time_ms = hlc_ms(entry->hlc);
    row->kind = entry_kind_name(entry->kind);
    row->principal = enrolment          ? enrolment->entry->enrol->principal
                     : entry->actor.len ? hex_of(bytes_pb(entry->actor), c->arena)
                                        : NULL;
    row->user = enrolment ? enrolment->entry->enrol->user : "";
    row->role = entry->role;
    row->purpose = entry->purpose;
    row->reason = entry->reason;
    row->effect = entry->decision ? effect_name(entry->decision->effect) : NULL;
    row->step = entry->decision ? entry->decision->step : 0;
    row->counterpart = entry->counterpart.len ? domain_of(c, bytes_pb(entry->counterpart)) : "";
    row->what = what_of(c, entry);
    row->objects = entry->n_objects;
}

static bool say_about(struct check *c)
{
    char *about;
    const Chartmesh__V1__Subject *subject = c->asked->subject;
    bool ok =
        subject
            ? arena_printf(c->arena, &about, c->err, "patient %s of %s",
                           hex_of(bytes_pb(subject->patient), c->arena), domain_of(c, bytes_pb(subject->facility)))
            : arena_printf(c->arena, &about, c->err, "actor %s", hex_of(bytes_pb(c->asked->actor), c->arena));
    c->report->about = ok ? about : "";
    return ok;
}

/* The trust ends with the verification, so names that it holds are copied. */
static bool keep_facility(struct check *c)
{
    char *copy;
    if (!arena_string(c->arena, bytes_str(c->report->facility), &copy, c->err)) {
        return false;
    }
    c->report->facility = copy;
    return true;
}

bool make_rows(struct check *c)
{
    void *room;
    if (!arena_array(c->arena, c->shown_len, sizeof(struct verify_row), &room, c->err)) {
        return false;
    }
    struct verify_row *rows = room;
    for (size_t i = 0; i < c->shown_len; i++) {
        rows[i] =
            (struct verify_row){.index = c->shown[i].index, .kind = "WITHHELD", .counterpart = "", .what = ""};
        if (c->shown[i].entry) {
            fill_opened(c, c->shown[i].entry, &rows[i]);
        }
    }
    c->report->rows = rows;
    c->report->rows_len = c->shown_len;
    return keep_facility(c) && (!c->asked || say_about(c));
}
