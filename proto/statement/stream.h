/* proto/statement/stream.h - digests and chains of the lanes between facilities (formats 5). Pure. */
#pragma once

#include "proto/base/bytes.h"

/* Item.kind. Bulk: VERSION, CONTRIBUTION; control: all others. */
enum item_kind {
    ITEM_VERSION = 1,
    ITEM_CONTRIBUTION,
    ITEM_DISCLOSURE,
    ITEM_PURGE_ORDER,
    ITEM_PURGE_RECEIPT,
    ITEM_NOTICE,
    ITEM_KEY_REVOCATION,
    ITEM_MEMBERSHIP,
    ITEM_ROSTER,
    ITEM_NETWORK,
    ITEM_EPOCH,
    ITEM_KINDS,
};

/* What an item's digest binds. incarnation and generation are the statement's own where it has them, a VERSION's
 * or CONTRIBUTION's those of its disclosure, else 0. `disclosure` is zeros where the item has none. */
struct item_facts {
    enum item_kind kind;
    struct hash statement;
    uint64_t incarnation, generation;
    struct hash disclosure;
};

struct hash item_digest(const struct item_facts *item);

/* stream_chain_start returns chain_0 of a lane (1 CONTROL, 2 BULK); stream_chain_next returns chain_n. */
struct hash stream_chain_start(const struct id *network, const struct id *sender, uint64_t incarnation,
                               const struct id *receiver, uint8_t lane);
struct hash stream_chain_next(const struct hash *chain, const struct hash *digest);
