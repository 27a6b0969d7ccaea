/* client/setup/facility.h - one facility's folder: keys, certificates, membership and configuration of its node.
 *
 *     DIR/chartmeshd.conf      the daemon's configuration
 *     DIR/trust                network, roster, memberships as known here
 *     DIR/membership           for the operators: `network add` lists it
 *     DIR/node.profile         what `node issue` needs to know
 *     DIR/keys/                root, statement, checkpoint, witness, sealing: 32-byte secrets; TLS keys and
 * certificates DIR/ca/                  the facility's own two CAs: client.crt and .key, peer.crt and .key. The
 * node needs only the certificates: keep the keys elsewhere if you can DIR/clients/             what `node issue`
 * made DIR/data/                the node's own
 *
 * Every folder has mode 700, every secret 600. */
#pragma once

#include "client/setup/profile.h"
#include "proto/base/arena.h"
#include "proto/base/bytes.h"

/* The DNS name in every node's certificates: who dials expects it, whatever the address. */
#define NODE_DNS_NAME "node.chartmesh.internal"

enum { CERTIFICATE_DAYS = 825, CA_DAYS = 3650, ISSUE_HOURS = 90 * 24, ISSUE_HOURS_MAX = 87600 };

struct facility_options {
    const char *trust;                   /* the network's trust file */
    const char *domain, *name;
    const char *client_listen, *peer_listen;     /* host:port */
    const char *const *endpoints;        /* where peers reach it, the best first; none: peer_listen */
    size_t endpoint_count;
};

/* facility_init makes the folder, whole or not at all; *id is the facility's. ERR_EXISTS: it has something in it;
 * ERR_INVALID: a domain, address or trust file that cannot be, or a domain that is a member already. */
NODISCARD bool facility_init(const char *folder, const struct facility_options *options, int64_t now_ms,
                             struct id *id, struct err *err);

/* facility_trust takes a newer trust file. ERR_INVALID: of another network, or one in which this facility is not
 * listed; ERR_STATE: an older roster than the one here. */
NODISCARD bool facility_trust(const char *folder, const char *trust, struct err *err);

enum client_kind { CLIENT_APP, CLIENT_AUDITOR, CLIENT_ADMIN, CLIENT_PATIENT, CLIENT_KINDS };

/* client_kind_name returns "app", as in SPIFFE ids; client_kind_of undoes it (false: none of that name). */
const char *client_kind_name(enum client_kind kind);
NODISCARD bool client_kind_of(const char *name, enum client_kind *out);

struct client_options {
    enum client_kind kind;
    const char *name; /* letters, digits, . _ - : up to 64 */
    const char *out; /* NULL: DIR/clients/KIND-NAME */
    const char *target; /* NULL: the node's own address */
    const char *user, *role, *purpose; /* what the profile says; NULL: what suits the kind */
    uint32_t hours; /* how long the certificate holds; 0: ISSUE_HOURS. The node's configuration bounds it */
};

/* facility_issue makes a client certificate, its key and a profile, and for an auditor the Ed25519 key that signs
 * queries (audit.key, and audit.pub for `authority grant`). *profile is the profile's path, in `arena`. */
NODISCARD bool facility_issue(const char *folder, const struct client_options *options, int64_t now_ms,
                              struct arena *arena, const char **profile, struct err *err);

/* The roles that the configuration of `node init` knows, as "system|code". */
#define ROLE_PHYSICIAN "urn:oid:2.16.840.1.113883.6.96|112247003"
#define ROLE_NURSE "urn:oid:2.16.840.1.113883.6.96|224535009"
#define ROLE_REGISTRAR "urn:chartmesh:role|registrar"
#define ROLE_AUDITOR "urn:chartmesh:role|auditor"
#define ROLE_ADMINISTRATOR "urn:chartmesh:role|administrator"
