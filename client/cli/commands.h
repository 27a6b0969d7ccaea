/* client/cli/commands.h - every command; main.c has their table. Each is documented by its --help. */
#pragma once

#include "client/cli/cli.h"

cli_run cmd_network_init, cmd_network_add, cmd_network_remove, cmd_network_show;
cli_run cmd_node_init, cmd_node_trust, cmd_node_issue;
cli_run cmd_status, cmd_reload, cmd_peer_resume, cmd_peer_list;
cli_run cmd_patient_register, cmd_patient_update, cmd_patient_get, cmd_patient_lookup, cmd_patient_incoming;
cli_run cmd_put, cmd_upload, cmd_abort, cmd_merge, cmd_retract, cmd_relabel;
cli_run cmd_get, cmd_list, cmd_history, cmd_download, cmd_watch;
cli_run cmd_consent_grant, cmd_consent_deny, cmd_consent_revoke, cmd_consent_show, cmd_consent_explain,
    cmd_consent_history, cmd_consent_cases;
cli_run cmd_authority_grant, cmd_authority_list;
cli_run cmd_key_enrol, cmd_key_revoke, cmd_key_list;
cli_run cmd_audit_query, cmd_audit_verify, cmd_audit_checkpoint;
cli_run cmd_import;
