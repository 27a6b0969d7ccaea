#include "node/server/outcome.h"

#include "proto/chartmesh/v1/common.pb-c.h"

static enum config_level level_of(const struct err *err)
{
    switch (err->code) {
    case ERR_NONE:
        return CONFIG_LOG_DEBUG;
    case ERR_DENIED:
    case ERR_UNAUTHENTICATED:
        return CONFIG_LOG_WARN;
    case ERR_INTERNAL:
    case ERR_CORRUPT:
        return CONFIG_LOG_ERROR;
    case ERR_UNAVAILABLE:
        return err->reason == CHARTMESH__V1__ERROR_REASON__ERROR_REASON_DRAINING ? CONFIG_LOG_INFO
                                                                                 : CONFIG_LOG_ERROR;
    default:
        return CONFIG_LOG_INFO;
    }
}

void outcome_write(struct journal *journal, struct outcome_tally *tally, const struct rpc_outcome *outcome)
{
    bool ok = outcome->err->code == ERR_NONE;
    if (!ok) {
        tally->reasons[MIN(outcome->err->reason, (uint32_t)OUTCOME_REASONS - 1)]++;
    }
    journal_write(journal, level_of(outcome->err),
                  &(struct journal_line){
                      .event = "call",
                      .request_id = outcome->request_id,
                      .method = outcome->path,
                      .principal = outcome->peer->spiffe,
                      .code = ok ? "OK" : NULL,
                      .err = ok ? NULL : outcome->err,
                      .us = outcome->us,
                      .bytes_in = outcome->bytes_in,
                      .bytes_out = outcome->bytes_out,
                  });
}
