/* chartmesh consent: who may have a patient's record, as the patient says. */
#include <stdio.h>
#include <stdlib.h>

#include "client/cli/commands.h"
#include "client/cli/node.h"
#include "client/policy/policy.h"

/* A policy as it is now, to be changed. */
struct current {
    Chartmesh__V1__Subject *subject;
    struct policy_tree tree;
    ProtobufCBinaryData *heads;
    size_t head_count;
};

static bool parse_policy(struct cli *cli, const Chartmesh__V1__PolicyView *view, const Chartmesh__V1__Policy **out,
                         bool *trusted, struct err *err)
{
    struct statement statement;
    if (!chartmesh_statement_check(view->statement, STATEMENT_POLICY, cli_trust_of(cli), &cli->arena, &statement,
                                   trusted, err)) {
        return false;
    }
    *out = (const Chartmesh__V1__Policy *)(const void *)statement.message;
    return true;
}

static bool get_policy(struct cli *cli, Chartmesh__V1__Subject *subject,
                       const Chartmesh__V1__GetPolicyReply **reply, struct err *err)
{
    Chartmesh__V1__GetPolicyRequest request = CHARTMESH__V1__GET_POLICY_REQUEST__INIT;
    request.subject = subject;
    return chartmesh_consent_get(cli->client, &request, NULL, &cli->arena, reply, err);
}

/* One head, or none yet. LAW policies are a set of their own, which these commands leave alone. */
struct head {
    const Chartmesh__V1__PolicyView *view;
    const Chartmesh__V1__Policy *policy;
};

static bool recorded_heads(struct cli *cli, const Chartmesh__V1__GetPolicyReply *reply, struct head **out,
                           size_t *count, struct err *err)
{
    void *room;
    if (!arena_array(&cli->arena, reply->n_heads, sizeof **out, &room, err)) {
        return false;
    }
    *out = room;
    *count = 0;
    for (size_t i = 0; i < reply->n_heads; i++) {
        const Chartmesh__V1__Policy *policy;
        bool trusted;
        if (!parse_policy(cli, reply->heads[i], &policy, &trusted, err)) {
            return false;
        }
        if (policy->assertor->who != CHARTMESH__V1__WHO__WHO_LAW) {
            (*out)[(*count)++] = (struct head){reply->heads[i], policy};
        }
    }
    return true;
}

/* Which head to start from; with several the caller chooses: all of them are in force until one replaces them. */
static bool choose_head(struct cli *cli, const struct head *heads, size_t count, const char *wanted,
                        const Chartmesh__V1__Policy **out, struct err *err)
{
    *out = count == 1 ? heads[0].policy : NULL;
    for (size_t i = 0; wanted && i < count; i++) {
        if (strcmp(hex_of(bytes_pb(heads[i].view->policy), &cli->arena), wanted) == 0) {
            *out = heads[i].policy;
            return true;
        }
    }
    if (wanted) {
        return err_raise(err, ERR_NOT_FOUND, "%s is not a head of the policy", wanted);
    }
    return count <= 1 || err_raise(err, ERR_CONFLICT,
                                   "the policy has %zu heads, all in force: choose with --head the one to go on "
                                   "from (`chartmesh consent show`)",
                                   count);
}

static bool load_current(struct cli *cli, const char *patient, const char *head, struct current *out,
                         struct err *err)
{
    const Chartmesh__V1__GetPolicyReply *reply;
    const Chartmesh__V1__Policy *policy;
    struct head *heads;
    void *room;
    if (!cli_connect(cli, err) || !cli_subject(cli, patient, &out->subject, err) ||
        !get_policy(cli, out->subject, &reply, err) ||
        !recorded_heads(cli, reply, &heads, &out->head_count, err) ||
        !choose_head(cli, heads, out->head_count, head, &policy, err) ||
        !policy_tree_of(policy, &out->tree, err) ||
        !arena_array(&cli->arena, out->head_count, sizeof *out->heads, &room, err)) {
        return false;
    }
    out->heads = room;
    for (size_t i = 0; i < out->head_count; i++) {
        out->heads[i] = heads[i].view->policy;
    }
    return true;
}

static bool set_policy(struct cli *cli, struct current *current, uint32_t rule, struct err *err)
{
    Chartmesh__V1__SetPolicyRequest request = CHARTMESH__V1__SET_POLICY_REQUEST__INIT;
    const Chartmesh__V1__SetPolicyReply *reply;
    request.subject = current->subject;
    request.if_heads = current->heads;
    request.n_if_heads = current->head_count;
    request.base_effect = current->tree.base;
    request.rules = current->tree.rules;
    request.n_rules = current->tree.count;
    if (!chartmesh_consent_set(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object();
    json_set(result, "policy", json_pb(reply->policy));
    json_set(result, "rule", rule ? json_integer(rule) : NULL);
    json_set(result, "rules", json_integer((json_int_t)current->tree.count));
    json_set(result, "generation", json_integer((json_int_t)reply->generation));
    json_set(result, "grants", json_integer(reply->grants));
    json_set(result, "orders", json_integer(reply->orders));
    json_set(result, "receipt", json_pb(reply->receipt));
    cli_print(cli, result, NULL);
    if (reply->orders) {
        cli_note("%u purge orders went out; `chartmesh consent cases` shows what has come back.", reply->orders);
    }
    return true;
}

/* -- grant and deny */

struct scope_options {
    const char *to, *head, *from, *until, *max, *min;
    bool sensitive;
    struct cli_list purposes, classes, roles, sensitivity, documents, args;
};

/* clang-format off */
#define SCOPE_OPTIONS(s)                                                                                          \
    {"to", "FACILITY", "whom: a domain or an id", .text = &(s).to, .needed = true},                               \
    {"purpose", "CODE", "for this purpose of use", .list = &(s).purposes},                                        \
    {"class", "SYSTEM|CODE", "only documents of this class", .list = &(s).classes},                               \
    {"role", "SYSTEM|CODE", "only for users in this role", .list = &(s).roles},                                   \
    {"document", "DOCUMENT", "only this one", .list = &(s).documents},                                            \
    {"sensitivity", "CODE", "only what has such a label", .list = &(s).sensitivity},                              \
    {"from", "TIME", "valid from then", .text = &(s).from},                                                       \
    {"until", "TIME", "valid until then", .text = &(s).until},                                                    \
    {"head", "POLICY", "go on from this head, where there are several", .text = &(s).head}
/* clang-format on */

static bool make_scope(struct cli *cli, const struct scope_options *options, struct policy_scope *out,
                       struct err *err)
{
    Chartmesh__V1__Coding **classes, **roles, **sensitivity;
    ProtobufCBinaryData *documents;
    *out = (struct policy_scope){.purposes = options->purposes.items,
                                 .purpose_count = options->purposes.count,
                                 .sensitive = options->sensitive || options->sensitivity.count > 0};
    if (!cli_facility(cli, options->to, &out->facility, err) ||
        !cli_codings(cli, "--class", &options->classes, &classes, &out->class_count, err) ||
        !cli_codings(cli, "--role", &options->roles, &roles, &out->role_count, err) ||
        !cli_sensitivities(cli, &options->sensitivity, &sensitivity, &out->sensitivity_count, err) ||
        !cli_hexes(cli, "--document", &options->documents, ID_LEN, &documents, &out->document_count, err) ||
        !cli_period(cli, options->from, options->until, &out->valid, err) ||
        (options->max && !cli_confidentiality(cli, options->max, &out->max, err)) ||
        (options->min && !cli_confidentiality(cli, options->min, &out->min, err))) {
        return false;
    }
    out->classes = classes;
    out->roles = roles;
    out->sensitivity = sensitivity;
    out->documents = documents;
    return true;
}

bool cmd_consent_grant(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct scope_options options = {0};
    const struct cli_option table[] = {
        SCOPE_OPTIONS(options),
        {"max", "U|L|M|N|R|V", "confidentiality up to (N)", .text = &options.max},
        {"sensitive", NULL, "also what has a sensitivity label", .flag = &options.sensitive},
    };
    const struct cli_usage usage = {
        .name = "consent grant",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about =
            "Lets another facility have copies of a patient's record and read them: for treatment (TREAT) unless\n"
            "--purpose says otherwise, up to confidentiality N, nothing sensitive unless --sensitive or\n"
            "--sensitivity says so. With --class the patient's identity goes with it.",
        .examples =
            "  chartmesh consent grant PATIENT --to clinic.example\n"
            "  chartmesh consent grant PATIENT --to laboratory.example --class urn:chartmesh:class|laboratory\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    static const char *treat[] = {"TREAT"};
    struct current current = {0};
    struct policy_scope scope;
    uint32_t rule;
    if (!cli_parse(cli, &usage, argc, argv, &options.args, err)) {
        return false;
    }
    if (options.purposes.count == 0) {
        options.purposes = (struct cli_list){treat, 1};
    }
    return make_scope(cli, &options, &scope, err) &&
           load_current(cli, options.args.items[0], options.head, &current, err) &&
           policy_grant(&current.tree, &scope, &cli->arena, &rule, err) && set_policy(cli, &current, rule, err);
}

bool cmd_consent_deny(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct scope_options options = {0};
    const struct cli_option table[] = {
        SCOPE_OPTIONS(options),
        {"min", "U|L|M|N|R|V", "only from this confidentiality up", .text = &options.min},
    };
    const struct cli_usage usage = {
        .name = "consent deny",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about =
            "Forbids a facility what the options say (without any: everything), whatever else is granted. What\n"
            "it has of that is ordered back.",
        .examples = "  chartmesh consent deny PATIENT --to clinic.example --sensitivity HIV\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    struct current current = {0};
    struct policy_scope scope;
    uint32_t rule;
    return cli_parse(cli, &usage, argc, argv, &options.args, err) && make_scope(cli, &options, &scope, err) &&
           load_current(cli, options.args.items[0], options.head, &current, err) &&
           policy_deny(&current.tree, &scope, &cli->arena, &rule, err) && set_policy(cli, &current, rule, err);
}

bool cmd_consent_revoke(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *to = NULL, *rule = NULL, *head = NULL;
    struct cli_list args = {0};
    const struct cli_option table[] = {
        {"to", "FACILITY", "take back all that it was permitted", .text = &to},
        {"rule", "ID", "take away this rule, whatever it says", .text = &rule},
        {"head", "POLICY", "go on from this head, where there are several", .text = &head},
    };
    const struct cli_usage usage = {
        .name = "consent revoke",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about =
            "Takes a grant back: copies at the facility are ordered to be purged, and each signed receipt closes\n"
            "its case.",
        .examples = "  chartmesh consent revoke PATIENT --to clinic.example\n"
                    "  chartmesh consent revoke PATIENT --rule 3\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    struct current current = {0};
    struct id facility;
    uint64_t id = 0;
    size_t changed;
    if (!cli_parse(cli, &usage, argc, argv, &args, err)) {
        return false;
    }
    if (!to == !rule) {
        return cli_usage_error(cli, err, "give --to or --rule");
    }
    if ((rule && !cli_number(cli, "rule", rule, 1, UINT32_MAX, &id, err)) ||
        (to && !cli_facility(cli, to, &facility, err)) || !load_current(cli, args.items[0], head, &current, err)) {
        return false;
    }
    return (to ? policy_revoke(&current.tree, &facility, &cli->arena, &changed, err)
               : policy_drop(&current.tree, (uint32_t)id, err)) &&
           set_policy(cli, &current, 0, err);
}

/* -- show */

static const char *facility_name(void *context, struct bytes facility, struct arena *arena)
{
    const struct trust *trust = context;
    struct id id;
    const struct member *member = trust && id_from(facility, &id) ? trust_member(trust, &id) : NULL;
    return member ? member->domain : hex_of(facility, arena);
}

static json_t *rules_json(struct cli *cli, const Chartmesh__V1__Policy *policy)
{
    json_t *rules = json_array();
    for (size_t i = 0; i < policy->n_rules; i++) {
        AUTO_BUILDER(words, 64 << 10);
        const Chartmesh__V1__Rule *rule = policy->rules[i];
        json_t *one = json_object();
        policy_words(rule, facility_name, (void *)(uintptr_t)cli_trust_of(cli), &cli->arena, &words);
        json_set(one, "id", json_integer(rule->id));
        json_set(one, "parent", rule->parent ? json_integer(rule->parent) : NULL);
        json_set(one, "effect", json_enum(&chartmesh__v1__effect__descriptor, (int)rule->effect));
        json_set(one, "words", json_stringn((const char *)words.data, words.len));
        json_array_append_new(rules, one);
    }
    return rules;
}

static bool policy_json(struct cli *cli, const Chartmesh__V1__PolicyView *view, json_t **out, struct err *err)
{
    const Chartmesh__V1__Policy *policy;
    bool trusted;
    if (!parse_policy(cli, view, &policy, &trusted, err)) {
        return false;
    }
    json_t *one = json_object();
    json_set(one, "policy", json_pb(view->policy));
    json_set(one, "who", json_enum(&chartmesh__v1__who__descriptor, (int)policy->assertor->who));
    if (policy->assertor->author) {
        json_set(one, "recorded_by", json_text(policy->assertor->author->user));
    }
    json_set(one, "written", json_ms((int64_t)(policy->head->hlc >> 16)));
    json_set(one, "signature", json_string(trusted ? "verified" : "unknown signer"));
    json_set(one, "base", json_enum(&chartmesh__v1__effect__descriptor, (int)policy->base_effect));
    json_set(one, "parents", json_pbs(policy->parents, policy->n_parents));
    json_set(one, "rules", rules_json(cli, policy));
    *out = one;
    return true;
}

static bool policies_json(struct cli *cli, Chartmesh__V1__PolicyView *const *views, size_t count, json_t *list,
                          struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        json_t *one;
        if (!policy_json(cli, views[i], &one, err)) {
            return false;
        }
        json_array_append_new(list, one);
    }
    return true;
}

static unsigned depth_of(const json_t *rules, const json_t *rule)
{
    unsigned depth = 0;
    size_t i;
    json_t *other;
    for (json_int_t parent = json_integer_value(json_object_get(rule, "parent")); parent && depth < 4; depth++) {
        json_int_t above = 0;
        json_array_foreach(rules, i, other)
        {
            if (json_integer_value(json_object_get(other, "id")) == parent) {
                above = json_integer_value(json_object_get(other, "parent"));
            }
        }
        parent = above;
    }
    return depth;
}

static void show_text(const json_t *result)
{
    const json_t *heads = json_object_get(result, "heads");
    size_t i, j;
    json_t *head, *rule;
    if (json_array_size(heads) == 0) {
        printf("no policy: what the facility's own rules say, and nothing to other facilities\n");
    }
    json_array_foreach(heads, i, head)
    {
        const json_t *rules = json_object_get(head, "rules");
        const char *base = json_string_value(json_object_get(head, "base"));
        printf("policy %s (%s, %s)\n", json_string_value(json_object_get(head, "policy")),
               json_string_value(json_object_get(head, "who")),
               json_string_value(json_object_get(head, "signature")));
        json_array_foreach(rules, j, rule)
        {
            printf("  %*s%" JSON_INTEGER_FORMAT ". %s\n", 4 * (int)depth_of(rules, rule), "",
                   json_integer_value(json_object_get(rule, "id")),
                   json_string_value(json_object_get(rule, "words")));
        }
        printf("  otherwise: %s\n",
               base ? base : "not spoken of: the facility's own rules, and nothing to others");
    }
}

bool cmd_consent_show(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct cli_list args = {0};
    const struct cli_usage usage = {
        .name = "consent show",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about = "Shows the policy in force, rule by rule in words. Several heads are all in force; the most "
                 "restrictive wins.",
        .examples = "  chartmesh consent show PATIENT\n",
        .connects = true,
    };
    Chartmesh__V1__Subject *subject;
    const Chartmesh__V1__GetPolicyReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &subject, err) || !get_policy(cli, subject, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *heads = json_array();
    json_set(result, "generation", json_integer((json_int_t)reply->generation));
    json_set(result, "heads", heads);
    if (!policies_json(cli, reply->heads, reply->n_heads, heads, err)) {
        json_decref(result);
        return false;
    }
    cli_print(cli, result, show_text);
    return true;
}

bool cmd_consent_history(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct cli_list args = {0};
    const struct cli_usage usage = {
        .name = "consent history",
        .args = "PATIENT",
        .args_min = 1,
        .args_max = 1,
        .about = "Shows every version of the policy, and which are its heads.",
        .examples = "  chartmesh consent history PATIENT\n",
        .connects = true,
    };
    Chartmesh__V1__PolicyHistoryRequest request = CHARTMESH__V1__POLICY_HISTORY_REQUEST__INIT;
    const Chartmesh__V1__PolicyHistoryReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err) ||
        !chartmesh_consent_history(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    json_t *result = json_object(), *versions = json_array();
    json_set(result, "versions", versions);
    json_set(result, "heads", json_pbs(reply->heads, reply->n_heads));
    if (!policies_json(cli, reply->versions, reply->n_versions, versions, err)) {
        json_decref(result);
        return false;
    }
    cli_print(cli, result, NULL);
    return true;
}

/* -- explain */

static const char *action_list = "READ, DISCLOSE or SEARCH";

static bool read_action(struct cli *cli, const char *text, Chartmesh__V1__Action *out, struct err *err)
{
    const ProtobufCEnumDescriptor *type = &chartmesh__v1__action__descriptor;
    for (unsigned i = 0; i < type->n_values; i++) {
        if (type->values[i].value && strcmp(type->values[i].name + strlen("ACTION_"), text) == 0) {
            *out = (Chartmesh__V1__Action)type->values[i].value;
            return true;
        }
    }
    return cli_usage_error(cli, err, "--action is %s", action_list);
}

static json_t *explain_json(const Chartmesh__V1__ExplainReply *reply)
{
    json_t *result = json_object(), *reasons = json_array(), *basis = json_array();
    for (size_t i = 0; i < reply->n_reasons; i++) {
        json_array_append_new(reasons, json_string(reply->reasons[i]));
    }
    for (size_t i = 0; i < reply->n_basis; i++) {
        json_t *one = json_object(), *rules = json_array();
        for (size_t j = 0; j < reply->basis[i]->n_rules; j++) {
            json_array_append_new(rules, json_integer(reply->basis[i]->rules[j]));
        }
        json_set(one, "policy", json_pb(reply->basis[i]->policy));
        json_set(one, "rules", rules);
        json_array_append_new(basis, one);
    }
    json_set(result, "effect", json_enum(&chartmesh__v1__effect__descriptor, (int)reply->effect));
    json_set(result, "step", json_integer(reply->step));
    json_set(result, "reason", reasons);
    json_set(result, "basis", basis);
    return result;
}

bool cmd_consent_explain(struct cli *cli, int argc, char **argv, struct err *err)
{
    const char *action = "READ", *given = NULL, *at = NULL, *facility = NULL, *user = NULL, *role = NULL,
               *purpose = NULL;
    struct cli_list args = {0};
    const struct cli_option table[] = {
        {"action", "ACTION", "READ (as usual), DISCLOSE or SEARCH", .text = &given},
        {"facility", "FACILITY", "who acts, or who would receive (own)", .text = &facility},
        {"as-user", "NAME", "which user (the profile's)", .text = &user},
        {"as-role", "SYSTEM|CODE", "in which role (the profile's)", .text = &role},
        {"as-purpose", "CODE", "for which purpose (the profile's)", .text = &purpose},
        {"at", "TIME", "as of then (now)", .text = &at},
    };
    const struct cli_usage usage = {
        .name = "consent explain",
        .args = "PATIENT DOCUMENT",
        .args_min = 2,
        .args_max = 2,
        .about = "Says whether an act would be permitted, and why: the step that decided, the policies and rules.",
        .examples = "  chartmesh consent explain PATIENT DOCUMENT\n"
                    "  chartmesh consent explain PATIENT DOCUMENT --action DISCLOSE --facility clinic.example\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__ExplainRequest request = CHARTMESH__V1__EXPLAIN_REQUEST__INIT;
    const Chartmesh__V1__ExplainReply *reply;
    struct id id;
    if (!cli_parse(cli, &usage, argc, argv, &args, err)) {
        return false;
    }
    user = user ? user : cli->profile.user;
    role = role ? role : cli->profile.role;
    purpose = purpose ? purpose : cli->profile.purpose;
    if (!read_action(cli, given ? given : action, &request.action, err) ||
        !cli_subject(cli, args.items[0], &request.subject, err) ||
        !cli_hex(cli, "document", args.items[1], ID_LEN, &request.document, err) ||
        (facility && !cli_facility(cli, facility, &id, err)) ||
        (role && !cli_coding(cli, "--as-role", role, &request.role, err)) ||
        (at && !cli_time(cli, "--at", at, &request.at, err)) || !cli_connect(cli, err)) {
        return false;
    }
    request.facility = facility ? pb_bytes(BYTES_OF(id)) : request.facility;
    request.user = (char *)(uintptr_t)(user ? user : "");
    request.purpose = (char *)(uintptr_t)(purpose ? purpose : "");
    if (!chartmesh_consent_explain(cli->client, &request, NULL, &cli->arena, &reply, err)) {
        return false;
    }
    cli_print(cli, explain_json(reply), NULL);
    return true;
}

/* -- cases */

static bool case_json(struct cli *cli, const Chartmesh__V1__Case *one, json_t **out, struct err *err)
{
    struct statement statement;
    bool trusted = false;
    if (one->receipt_statement &&
        !chartmesh_statement_check(one->receipt_statement, STATEMENT_PURGE_RECEIPT, cli_trust_of(cli), &cli->arena,
                                   &statement, &trusted, err)) {
        return false;
    }
    json_t *object = json_object();
    json_set(object, "patient", json_subject(cli, one->subject));
    json_set(object, "facility", one->domain[0] ? json_string(one->domain) : json_facility(cli, one->facility));
    json_set(object, "state", json_string(one->closed ? "closed" : "open"));
    json_set(object, "cause", json_enum(&chartmesh__v1__cause__descriptor, (int)one->cause));
    json_set(object, "order", json_pb(one->order));
    json_set(object, "documents", json_pbs(one->documents, one->n_documents));
    json_set(object, "opened", json_time(one->opened));
    json_set(object, "closed", json_time(one->closed));
    json_set(object, "outcome", json_enum(&chartmesh__v1__outcome__descriptor, (int)one->outcome));
    if (one->receipt_statement) {
        json_set(object, "receipt", json_hex(BYTES_OF(statement.id)));
        json_set(object, "receipt_signature", json_string(trusted ? "verified" : "unknown signer"));
    }
    *out = object;
    return true;
}

static void cases_text(const json_t *result)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(result, "cases"), i, one)
    {
        const char *closed = json_string_value(json_object_get(one, "closed"));
        const char *outcome = json_string_value(json_object_get(one, "outcome"));
        const char *receipt = json_string_value(json_object_get(one, "receipt"));
        printf("%-7s %-24s %-9s %s  opened %s%s%s%s%s%s%s\n", json_string_value(json_object_get(one, "state")),
               json_string_value(json_object_get(one, "facility")),
               json_string_value(json_object_get(one, "cause")),
               json_string_value(json_object_get(one, "patient")),
               json_string_value(json_object_get(one, "opened")), closed ? "  closed " : "", closed ? closed : "",
               outcome ? "  " : "", outcome ? outcome : "", receipt ? "  receipt " : "", receipt ? receipt : "");
    }
    if (json_array_size(json_object_get(result, "cases")) == 0) {
        printf("no cases\n");
    }
}

static bool add_cases(struct cli *cli, const Chartmesh__V1__CasesReply *reply, json_t *list, struct err *err)
{
    for (size_t i = 0; i < reply->n_cases; i++) {
        json_t *one;
        if (!case_json(cli, reply->cases[i], &one, err)) {
            return false;
        }
        json_array_append_new(list, one);
    }
    return true;
}

bool cmd_consent_cases(struct cli *cli, int argc, char **argv, struct err *err)
{
    bool closed = false;
    struct cli_list args = {0};
    const struct cli_option table[] = {
        {"closed", NULL, "also those whose receipt came", .flag = &closed},
    };
    const struct cli_usage usage = {
        .name = "consent cases",
        .args = "[PATIENT]",
        .args_max = 1,
        .about = "Shows what was ordered back, from whom, and whether the signed receipt came.",
        .examples = "  chartmesh consent cases\n  chartmesh consent cases PATIENT --closed\n",
        .options = table,
        .option_count = COUNT(table),
        .connects = true,
    };
    Chartmesh__V1__CasesRequest request = CHARTMESH__V1__CASES_REQUEST__INIT;
    const Chartmesh__V1__CasesReply *reply;
    if (!cli_parse(cli, &usage, argc, argv, &args, err) || !cli_connect(cli, err) ||
        (args.count && !cli_subject(cli, args.items[0], &request.subject, err))) {
        return false;
    }
    json_t *result = json_object(), *list = json_array();
    json_set(result, "cases", list);
    request.closed = closed;
    request.page_size = 100;
    do {
        if (!chartmesh_consent_cases(cli->client, &request, NULL, &cli->arena, &reply, err) ||
            !add_cases(cli, reply, list, err)) {
            json_decref(result);
            return false;
        }
        request.page_token = reply->next_page_token;
    } while (request.page_token.len);
    cli_print(cli, result, cases_text);
    return true;
}
