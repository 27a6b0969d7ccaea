/* client/setup/profile.h - a small file that says how to reach a node and who calls: lines of `key = value`.
 *
 * `node init` writes one for the facility itself (node.profile) and `node issue` one beside each certificate. What
 * each key means: docs/cli.md. Names of files are taken from the folder of the profile. */
#pragma once

#include "proto/base/arena.h"
#include "proto/base/builder.h"

/* NULL: not given. */
struct profile {
    const char *target;              /* host:port of the node's client port */
    const char *server_name;         /* the DNS name in the node's certificate */
    const char *ca, *certificate, *key;      /* files, PEM */
    const char *trust;               /* file: network, roster, memberships */
    const char *network, *facility;  /* hex: the network's id (16 bytes) and the facility's */
    const char *domain;
    const char *principal;           /* the SPIFFE id in the certificate */
    const char *user, *role, *purpose;       /* what calls say unless they are told otherwise */
    const char *audit_key;           /* file: an auditor's Ed25519 secret */
};

/* profile_load reads a profile. ERR_NOT_FOUND: no such file; ERR_INVALID: "FILE:LINE: what is wrong". */
NODISCARD bool profile_load(const char *path, struct arena *arena, struct profile *out, struct err *err);

/* profile_parse is profile_load from text; `name` stands for the file in errors and for its folder. */
NODISCARD bool profile_parse(struct bytes text, const char *name, struct arena *arena, struct profile *out,
                             struct err *err);

/* profile_text writes the keys that are given, files by the names they have here. ERR_INVALID: a value with a line
 * break. */
NODISCARD bool profile_text(const struct profile *profile, struct builder *out, struct err *err);
