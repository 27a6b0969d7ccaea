/* node/server/matrix.h - the configuration's roles and purposes, as the decision reads them. */
#pragma once

#include "node/config/config.h"
#include "proto/consent/consent.h"

/* matrix_of fills *out in `arena`; it borrows from `config`. */
NODISCARD bool matrix_of(const struct config *config, struct arena *arena, struct consent_config *out,
                         struct err *err);
