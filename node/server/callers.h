/* node/server/callers.h - which certificates are let in, beyond what TLS has verified: none that is on the deny
 * list, none that lives longer than the configuration lets it, none that has expired since its handshake.
 *
 * What a certificate says is read once (callers_leaf, on its first call) and remembered under its digest. The list
 * and the bound may change while calls run; whoever changes them has the ports asked again (rpc_server_recheck).
 *
 * Any thread; nothing here blocks. */
#pragma once

#include "node/config/deny.h"
#include "node/world/world.h"
#include "proto/base/err.h"

struct callers;

struct callers *callers_new(struct world *world);
void callers_free(struct callers *callers);      /* NULL is fine */

/* callers_rule sets the list (copied from nothing: `arena` has it, and is the callers' from here on) and the
 * bound. `deny` NULL: nobody is denied. */
void callers_rule(struct callers *callers, struct arena arena, const struct deny *deny, uint32_t hours_max);

/* callers_leaf reads a certificate and sets *out to its digest, by which it is known below. False: no certificate.
 */
bool callers_leaf(struct callers *callers, struct bytes pem, struct hash *out);

/* callers_welcome judges who calls on the client port. ERR_DENIED (CERTIFICATE_REFUSED) says which rule and what
 * to do; ERR_UNAUTHENTICATED: the digest is not known. */
NODISCARD bool callers_welcome(struct callers *callers, const char *spiffe, const struct hash *digest,
                               struct err *err);

/* callers_peer_welcome judges a peer by its pinned key. */
NODISCARD bool callers_peer_welcome(struct callers *callers, const struct hash *pin, struct err *err);

/* How many entries the list has. */
size_t callers_denied(struct callers *callers);
