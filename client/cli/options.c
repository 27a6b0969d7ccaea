/* Options and help: from one declaration per command. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/cli/cli.h"

enum { OPTIONS_MAX = 40 };

/* What every command takes, and what those that connect take besides. */
struct common {
    const char *output, *profile, *target, *user, *role, *purpose, *timeout;
    bool help;
};

static bool declares(const struct cli_usage *usage, const char *name)
{
    for (size_t i = 0; i < usage->option_count; i++) {
        if (strcmp(usage->options[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A command's own option takes the place of a common one of that name. The first is --help. */
static size_t common_options(struct common *c, const struct cli_usage *usage, struct cli_option *out)
{
    const struct cli_option options[] = {
        {"help", NULL, "this", .flag = &c->help},
        {"output", "json|text", "how results are written (text)", .text = &c->output},
        {"profile", "FILE", "how to reach the node (CHARTMESH_PROFILE)", .text = &c->profile},
        {"target", "HOST:PORT", "another address than the profile's", .text = &c->target},
        {"user", "NAME", "who acts, for the record", .text = &c->user},
        {"role", "SYSTEM|CODE", "in which role", .text = &c->role},
        {"purpose", "CODE", "for which purpose of use, like TREAT", .text = &c->purpose},
        {"timeout", "SECONDS", "give up after so long", .text = &c->timeout},
    };
    size_t count = 0, offered = usage->connects ? COUNT(options) : 2;
    for (size_t i = 0; i < offered; i++) {
        if (!declares(usage, options[i].name)) {
            out[count++] = options[i];
        }
    }
    return count;
}

static void print_option(const struct cli_option *option)
{
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s%s", option->name, option->value ? " " : "",
             option->value ? option->value : "", option->list ? " …" : "");
    printf("  %-34s %s%s\n", left, option->help, option->needed ? " (needed)" : "");
}

static void print_help(const struct cli_usage *usage, const struct cli_option *common, size_t common_count)
{
    printf("chartmesh %s [options]%s%s\n\n%s\n", usage->name, usage->args ? " " : "",
           usage->args ? usage->args : "", usage->about);
    if (usage->option_count) {
        printf("\nOptions:\n");
    }
    for (size_t i = 0; i < usage->option_count; i++) {
        print_option(&usage->options[i]);
    }
    printf("\nAlways:\n");
    for (size_t i = 0; i < common_count; i++) {
        print_option(&common[i]);
    }
    if (usage->examples) {
        printf("\nExamples:\n%s", usage->examples);
    }
}

static bool list_add(struct cli *cli, struct cli_list *list, size_t max, const char *item, struct err *err)
{
    void *room;
    if (!list->items) {
        if (!arena_array(&cli->arena, max, sizeof *list->items, &room, err)) {
            return false;
        }
        list->items = room;
    }
    list->items[list->count++] = item;
    return true;
}

static bool take_option(struct cli *cli, const struct cli_option *option, int argc, const char *value,
                        struct err *err)
{
    if (option->flag) {
        *option->flag = true;
        return true;
    }
    if (option->list) {
        return list_add(cli, option->list, (size_t)argc, value, err);
    }
    if (*option->text) {
        return cli_usage_error(cli, err, "--%s is given twice", option->name);
    }
    *option->text = value;
    return true;
}

static bool wrong_option(struct cli *cli, const struct cli_usage *usage, int found, char **argv, struct err *err)
{
    return cli_usage_error(cli, err, "%s %s (chartmesh %s --help)", argv[optind - 1],
                           found == ':' ? "needs a value" : "is no option here", usage->name);
}

static bool read_options(struct cli *cli, const struct cli_usage *usage, const struct cli_option *all,
                         size_t count, int argc, char **argv, struct err *err)
{
    struct option table[OPTIONS_MAX + 1] = {0};
    for (size_t i = 0; i < count; i++) {
        table[i] =
            (struct option){all[i].name, all[i].flag ? no_argument : required_argument, NULL, (int)(256 + i)};
    }
    optind = 0;
    opterr = 0;
    for (int found; (found = getopt_long(argc, argv, ":h", table, NULL)) != -1;) {
        if (found != 'h' && found < 256) {
            return wrong_option(cli, usage, found, argv, err);
        }
        /* The first common option is --help; -h is the same. */
        size_t at = found == 'h' ? usage->option_count : (size_t)(found - 256);
        if (!take_option(cli, &all[at], argc, optarg, err)) {
            return false;
        }
    }
    return true;
}

static bool read_args(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, struct cli_list *args,
                      struct err *err)
{
    size_t count = (size_t)(argc - optind);
    if (count < usage->args_min || count > usage->args_max) {
        return cli_usage_error(cli, err, "%s (chartmesh %s --help)",
                               !usage->args              ? "nothing stands behind the options"
                               : count < usage->args_min ? "something is missing behind the options"
                                                         : "too much behind the options",
                               usage->name);
    }
    for (size_t i = 0; i < count; i++) {
        if (!list_add(cli, args, count, argv[optind + (int)i], err)) {
            return false;
        }
    }
    return true;
}

static bool take_output(struct cli *cli, const char *output, struct err *err)
{
    if (output && strcmp(output, "json") != 0 && strcmp(output, "text") != 0) {
        return cli_usage_error(cli, err, "--output is json or text");
    }
    cli->json = output && strcmp(output, "json") == 0;
    return true;
}

static void override(const char **value, const char *given)
{
    *value = given ? given : *value;
}

static bool take_profile(struct cli *cli, const struct common *c, struct err *err)
{
    uint64_t seconds = 0;
    const char *path = c->profile ? c->profile : getenv("CHARTMESH_PROFILE");
    if (!path || !path[0]) {
        return cli_usage_error(cli, err,
                               "which node? Give --profile FILE or set CHARTMESH_PROFILE; "
                               "`chartmesh node issue` writes profiles");
    }
    if (!profile_load(path, &cli->arena, &cli->profile, err) ||
        (c->timeout && !cli_number(cli, "timeout", c->timeout, 1, 86400, &seconds, err))) {
        return false;
    }
    cli->timeout_ms = (uint32_t)seconds * 1000;
    override(&cli->profile.target, c->target);
    override(&cli->profile.user, c->user);
    override(&cli->profile.role, c->role);
    override(&cli->profile.purpose, c->purpose);
    return true;
}

static bool needed_are_there(struct cli *cli, const struct cli_usage *usage, struct err *err)
{
    for (size_t i = 0; i < usage->option_count; i++) {
        const struct cli_option *option = &usage->options[i];
        bool there = (option->text && *option->text) || (option->list && option->list->count) || option->flag;
        if (option->needed && !there) {
            return cli_usage_error(cli, err, "--%s %s is needed (chartmesh %s --help)", option->name,
                                   option->value, usage->name);
        }
    }
    return true;
}

bool cli_parse(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, struct cli_list *args,
               struct err *err)
{
    struct common common = {0};
    struct cli_option all[OPTIONS_MAX];
    if (usage->option_count) {
        memcpy(all, usage->options, usage->option_count * sizeof *all);
    }
    struct cli_option *shared = all + usage->option_count;
    size_t shared_count = common_options(&common, usage, shared);
    if (!read_options(cli, usage, all, usage->option_count + shared_count, argc, argv, err)) {
        return false;
    }
    if (common.help) {
        print_help(usage, shared, shared_count);
        *err = (struct err){0};
        cli->exit = CLI_OK;
        return false;
    }
    return take_output(cli, common.output, err) && needed_are_there(cli, usage, err) &&
           read_args(cli, usage, argc, argv, args, err) && (!usage->connects || take_profile(cli, &common, err));
}

bool cli_number(struct cli *cli, const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                struct err *err)
{
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);
    bool digits = text[0] >= '0' && text[0] <= '9' && *end == '\0';
    if (!digits || value < min || value > max) {
        return cli_usage_error(cli, err, "--%s is a number from %llu to %llu", option, (unsigned long long)min,
                               (unsigned long long)max);
    }
    *out = value;
    return true;
}
