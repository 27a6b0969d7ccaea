/* A decision in words and as a code: docs/protocol/04-consent.md, 11. */
#include "proto/base/builder.h"
#include "proto/consent/consent.h"

static const struct {
    const char *code, *words;
} whys[] = {
    [CONSENT_WHY_NONE] = {"none", "nothing was decided"},
    [CONSENT_WHY_ERASED] = {"erased", "the document was erased"},
    [CONSENT_WHY_FENCED] = {"fenced", "the version lies below a fence"},
    [CONSENT_WHY_NOT_MEMBER] = {"not-member", "the facility has no active membership"},
    [CONSENT_WHY_RECOVERY] = {"recovery", "the node is in recovery or isolated"},
    [CONSENT_WHY_LAW] = {"law", "a legal order decides"},
    [CONSENT_WHY_TERMS] = {"terms", "the terms of the disclosure decide"},
    [CONSENT_WHY_NO_COPY] = {"no-disclosure", "no disclosure of the version is held"},
    [CONSENT_WHY_TERMS_PERIOD] = {"terms-period", "the time lies outside the terms' period"},
    [CONSENT_WHY_TERMS_TABLES] = {"terms-tables", "the terms use code tables that are not here"},
    [CONSENT_WHY_TERMS_SILENT] = {"terms-silent", "no tree of the terms permits it"},
    [CONSENT_WHY_POLICY] = {"policy", "the subject's policy decides"},
    [CONSENT_WHY_LEASE] = {"lease", "the origin's lease is missing, too old or from the future"},
    [CONSENT_WHY_MATRIX] = {"matrix", "the facility's default permits it"},
    [CONSENT_WHY_UNLISTED] = {"unlisted", "no policy speaks of it and the facility's default does not permit it"},
    [CONSENT_WHY_NOT_NAMED] = {"not-named", "no permitting path names the recipient"},
    [CONSENT_WHY_UNREADABLE] = {"unreadable", "under the terms nobody could read it"},
    [CONSENT_WHY_ROLE] = {"role", "the role has no such purpose in the facility's table"},
    [CONSENT_WHY_ASSIGNED] = {"assigned", "the role needs a care relationship, and there is none"},
    [CONSENT_WHY_BREAK_GLASS] = {"break-glass", "an open break-glass case covers it"},
};

const char *consent_why_code(enum consent_why why)
{
    return whys[why].code;
}

/* "policy 3f2a… rule 1/4", "policy 3f2a… base". */
static void basis_words(struct builder *b, const struct consent_basis *basis)
{
    char hex[2 * HASH_LEN + 1];
    build_text(b, "; policy %.16s", bytes_hex(BYTES_OF(basis->policy), hex));
    for (size_t i = 0; i < basis->rules_len; i++) {
        build_text(b, i == 0 ? " rule %u" : "/%u", basis->rules[i]);
    }
    if (basis->rules_len == 0) {
        build_text(b, " base");
    }
}

bool consent_reason(const struct consent_decision *decision, struct arena *arena, char **out, struct err *err)
{
    AUTO_BUILDER(b, 64 << 10);
    struct bytes text;
    build_text(&b, "%s at step %u: %s", decision->effect == CONSENT_PERMIT ? "PERMIT" : "DENY", decision->step,
               whys[decision->why].words);
    for (size_t i = 0; i < decision->basis_len; i++) {
        basis_words(&b, &decision->basis[i]);
    }
    if (!builder_copy(&b, arena, &text, err)) {
        return false;
    }
    return arena_string(arena, text, out, err);
}
