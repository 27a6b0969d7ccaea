/* client/cli/facts.h - the options that say what a version is besides its content. */
#pragma once

#include "client/cli/node.h"

struct facts_options {
    const char *class, *title, *media_type, *confidentiality, *authored, *from, *until;
    struct cli_list category, sensitivity;
};

/* clang-format off */
#define FACTS_OPTIONS(f)                                                                                          \
    {"class", "SYSTEM|CODE", "what kind of document", .text = &(f).class, .needed = true},                        \
    {"title", "TEXT", "its title", .text = &(f).title},                                                           \
    {"media-type", "TYPE", "of the content (application/octet-stream)", .text = &(f).media_type},                 \
    {"category", "SYSTEM|CODE", "it also belongs to", .list = &(f).category},                                     \
    {"confidentiality", "U|L|M|N|R|V", "its label (N, or the parents')", .text = &(f).confidentiality},           \
    {"sensitivity", "CODE", "of v3-ActCode, like HIV", .list = &(f).sensitivity},                                 \
    {"authored", "TIME", "when it was written", .text = &(f).authored},                                           \
    {"from", "TIME", "what it is about begins", .text = &(f).from},                                               \
    {"until", "TIME", "and ends", .text = &(f).until}
/* clang-format on */

/* facts_make makes the message, in the command's arena. */
NODISCARD bool facts_make(struct cli *cli, const struct facts_options *options, Chartmesh__V1__Facts **out,
                          struct err *err);
