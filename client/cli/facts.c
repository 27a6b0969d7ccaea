#include "client/cli/facts.h"

static bool set_labels(struct cli *cli, const struct facts_options *options, Chartmesh__V1__Facts *facts,
                       struct err *err)
{
    void *room;
    if (!options->confidentiality && !options->sensitivity.count) {
        return true;
    }
    if (!arena_alloc(&cli->arena, sizeof *facts->labels, &room, err)) {
        return false;
    }
    facts->labels = room;
    chartmesh__v1__labels__init(facts->labels);
    return cli_confidentiality(cli, options->confidentiality ? options->confidentiality : "N",
                               &facts->labels->confidentiality, err) &&
           cli_sensitivities(cli, &options->sensitivity, &facts->labels->sensitivity,
                             &facts->labels->n_sensitivity, err);
}

bool facts_make(struct cli *cli, const struct facts_options *options, Chartmesh__V1__Facts **out, struct err *err)
{
    void *room;
    if (!arena_alloc(&cli->arena, sizeof **out, &room, err)) {
        return false;
    }
    Chartmesh__V1__Facts *facts = room;
    chartmesh__v1__facts__init(facts);
    facts->title = (char *)(uintptr_t)(options->title ? options->title : "");
    facts->media_type =
        (char *)(uintptr_t)(options->media_type ? options->media_type : "application/octet-stream");
    *out = facts;
    return cli_coding(cli, "--class", options->class, &facts->class_, err) &&
           cli_codings(cli, "--category", &options->category, &facts->category, &facts->n_category, err) &&
           set_labels(cli, options, facts, err) &&
           (!options->authored || cli_time(cli, "--authored", options->authored, &facts->authored, err)) &&
           cli_period(cli, options->from, options->until, &facts->clinical, err);
}
