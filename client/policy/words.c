/* A rule in words. */
#include <stdio.h>
#include <time.h>

#include "client/policy/policy.h"
#include "proto/consent/tables.h"

static void list_codings(struct builder *out, const char *before, Chartmesh__V1__Coding *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        build_text(out, "%s%s|%s", i ? " or " : before, list[i]->system, list[i]->code);
    }
}

static void list_codes(struct builder *out, const char *before, Chartmesh__V1__Coding *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        build_text(out, "%s%s", i ? ", " : before, list[i]->code);
    }
}

static void list_ids(struct builder *out, const char *before, const ProtobufCBinaryData *list, size_t count,
                     struct arena *arena)
{
    for (size_t i = 0; i < count; i++) {
        build_text(out, "%s%s", i ? " or " : before, hex_of(BYTES(list[i].data, list[i].len), arena));
    }
}

static void list_facilities(struct builder *out, const char *before, const ProtobufCBinaryData *list, size_t count,
                            policy_name *name, void *context, struct arena *arena)
{
    for (size_t i = 0; i < count; i++) {
        build_text(out, "%s%s", i ? " or " : before, name(context, BYTES(list[i].data, list[i].len), arena));
    }
}

static void say_day(struct builder *out, const char *before, const Chartmesh__V1__Instant *at)
{
    time_t seconds = at ? (time_t)(at->ms / 1000) : 0;
    struct tm tm;
    char text[40];
    if (at && gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm)) {
        build_text(out, "%s%s", before, text);
    }
}

static void say_period(struct builder *out, const char *before, const Chartmesh__V1__Period *period)
{
    if (period) {
        build_text(out, "%s", before);
        say_day(out, " from ", period->from);
        say_day(out, " until ", period->until);
    }
}

/* Every top of the table is in the list: nothing sensitive at all. */
static bool covers_all(Chartmesh__V1__Coding *const *list, size_t count)
{
    uint64_t covered = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        const struct table_code *code = table_sensitivity_find(list[i]->system, list[i]->code);
        covered |= code ? code->covers : 0;
    }
    for (size_t i = 0; i < table_sensitivity.codes_len; i++) {
        all |= table_sensitivity.codes[i].self;
    }
    return covered == all;
}

static void say_labels(struct builder *out, const Chartmesh__V1__Rule *rule)
{
    static const char letters[] = "?ULMNRV";
    if (rule->confidentiality_max > 0 && rule->confidentiality_max < sizeof letters - 1) {
        build_text(out, ", up to confidentiality %c", letters[rule->confidentiality_max]);
    }
    if (rule->confidentiality_min > 0 && rule->confidentiality_min < sizeof letters - 1) {
        build_text(out, ", from confidentiality %c up", letters[rule->confidentiality_min]);
    }
    list_codes(out,
               rule->effect == CHARTMESH__V1__EFFECT__EFFECT_DENY ? ", of any sensitivity among "
                                                                  : ", of no other sensitivity than ",
               rule->sensitivity, rule->n_sensitivity);
    if (rule->n_without_sensitivity && covers_all(rule->without_sensitivity, rule->n_without_sensitivity)) {
        build_text(out, ", nothing sensitive");
    } else {
        list_codes(out, ", without sensitivity ", rule->without_sensitivity, rule->n_without_sensitivity);
    }
}

static void say_actions(struct builder *out, const Chartmesh__V1__Rule *rule)
{
    static const char *const words[] = {"", "reading", "receiving copies", "searching"};
    for (size_t i = 0; i < rule->n_actions; i++) {
        unsigned action = rule->actions[i];
        build_text(out, "%s%s", i ? " and " : " ", action < COUNT(words) ? words[action] : "?");
    }
}

void policy_words(const Chartmesh__V1__Rule *rule, policy_name *name, void *context, struct arena *arena,
                  struct builder *out)
{
    build_text(out, "%s", rule->effect == CHARTMESH__V1__EFFECT__EFFECT_DENY ? "deny" : "permit");
    list_facilities(out, " ", rule->facilities, rule->n_facilities, name, context, arena);
    if (rule->n_facilities == 0) {
        build_text(out, " anybody");
    }
    say_actions(out, rule);
    for (size_t i = 0; i < rule->n_users; i++) {
        build_text(out, "%s%s", i ? " or " : ", user ", rule->users[i]);
    }
    list_codings(out, ", in the role ", rule->roles, rule->n_roles);
    for (size_t i = 0; i < rule->n_purposes; i++) {
        build_text(out, "%s%s", i ? " or " : ", for ", rule->purposes[i]);
    }
    list_codings(out, ", of class ", rule->classes, rule->n_classes);
    list_ids(out, ", document ", rule->documents, rule->n_documents, arena);
    list_facilities(out, ", written by ", rule->authoring_facilities, rule->n_authoring_facilities, name, context,
                    arena);
    say_labels(out, rule);
    say_period(out, ", about the time", rule->clinical);
    say_period(out, ", valid", rule->valid);
}
