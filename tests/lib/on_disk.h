/* tests/lib/on_disk.h - a node opened in this process over a data folder on a real disk, as the daemon opens it,
 * but without a wire; and every refusal comes back as an error. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "node/service/service.h"

struct on_disk {
    struct arena arena;
    char store[256], keyring[256], anchor[256];
    struct config *config;
    struct service service;
};

/* on_disk_open opens the facility whose configuration is `facility`/chartmeshd.conf over the data folder `data`,
 * made if need be. What a failing disk ends is this process, with exit code 70 and the reason on standard error.
 */
NODISCARD bool on_disk_open(struct on_disk *node, const char *facility, const char *data, struct err *err);
void on_disk_close(struct on_disk *node);

/* on_disk_call calls a method as a physician who treats, or as the registrar. */
NODISCARD bool on_disk_call(struct on_disk *node, const char *path, bool registrar, const ProtobufCMessage *in,
                            struct arena *arena, const ProtobufCMessage **out, struct err *err);
