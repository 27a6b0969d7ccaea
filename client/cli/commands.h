/* client/cli/commands.h - every command; main.c has their table. Each is documented by its --help. */
#pragma once

#include "client/cli/cli.h"

cli_run cmd_network_init, cmd_network_add, cmd_network_remove, cmd_network_show;
cli_run cmd_node_init, cmd_node_trust, cmd_node_issue;
