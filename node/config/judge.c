#include "node/config/judge.h"

#include <stdlib.h>

static const char *const WANTS[JUDGE_COUNT] = {
    [JUDGE_FILE] = "a file name",
    [JUDGE_ID] = "32 hex digits, not all 0",
    [JUDGE_DOMAIN] = "a lower-case domain name",
    [JUDGE_LISTEN] = "host:port",
    [JUDGE_DIAL] = "host:port",
    [JUDGE_LEVEL] = "debug, info, warn or error",
    [JUDGE_ROLE] = "\"system|code\"",
    [JUDGE_ROLE_ANY] = "\"system|code\" or \"*\"",
    [JUDGE_PURPOSE] = "an ActReason code like TREAT",
    [JUDGE_PURPOSE_ANY] = "an ActReason code like TREAT, or \"*\"",
    [JUDGE_NEEDS] = "role or assigned",
    [JUDGE_RPC] = "a writing RPC like Records.Put",
    [JUDGE_PRINCIPAL] = "app/, auditor/, admin/ or patient/ and a name, \"*\" only at the end",
    [JUDGE_SWITCH] = "on or off",
};

/* design 8: the RPCs that change something on behalf of a user. */
static const char *const WRITING[] = {
    "Patients.Register",
    "Patients.Update",
    "Patients.Link",
    "Patients.Unlink",
    "Patients.Assign",
    "Patients.Handover",
    "Records.Put",
    "Records.PutStream",
    "Records.Upload",
    "Records.Prepare",
    "Records.PutSigned",
    "Records.Retract",
    "Records.Merge",
    "Records.Relabel",
    "Consents.SetPolicy",
    "Consents.BreakGlass",
    "Reminders.Create",
    "Reminders.Dismiss",
    "Consents.ReviewBreakGlass",
};

const char *judge_wants(enum judge_kind kind)
{
    return WANTS[kind];
}

static bool only(const char *value, const char *allowed)
{
    return value[0] && value[strspn(value, allowed)] == '\0';
}

static bool printable(const char *value, size_t max)
{
    size_t len = strlen(value);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            return false;
        }
    }
    return len > 0 && len <= max;
}

static bool one_of(const char *value, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(value, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

#define ONE_OF(value, ...)                                                                                        \
    one_of((value), (const char *const[]){__VA_ARGS__}, COUNT(((const char *const[]){__VA_ARGS__})))

static bool is_id(const char *value)
{
    struct id id;
    struct err ignored;
    return strlen(value) == 2 * ID_LEN && hex_decode(value, id.bytes, ID_LEN, &ignored) && !id_is_zero(&id);
}

/* RFC 1123 labels, lower case only (formats.md 2: "lower-case LDH"). */
static bool is_domain(const char *value)
{
    size_t len = strlen(value);
    if (len > 253 || !only(value, "abcdefghijklmnopqrstuvwxyz0123456789-.") || !strchr(value, '.') ||
        value[len - 1] == '.') {
        return false;
    }
    for (const char *label = value; label; label = strchr(label, '.') ? strchr(label, '.') + 1 : NULL) {
        size_t label_len = strcspn(label, ".");
        if (label_len == 0 || label_len > 63 || label[0] == '-' || label[label_len - 1] == '-') {
            return false;
        }
    }
    return true;
}

/* host:port or [IPv6]:port. */
static bool is_address(const char *value, long port_min)
{
    const char *colon = strrchr(value, ':');
    if (!colon || colon == value || !only(colon + 1, "0123456789") || strlen(colon + 1) > 5) {
        return false;
    }
    size_t host = (size_t)(colon - value);
    bool bracketed = value[0] == '[' && value[host - 1] == ']';
    bool plain = !memchr(value, ':', host) && !memchr(value, '/', host) && !memchr(value, ' ', host);
    long port = strtol(colon + 1, NULL, 10);
    return host <= 255 && (bracketed || plain) && port >= port_min && port <= 65535;
}

/* formats.md 1: Coding: both non-empty, <= 256 bytes, no '|' in code. */
static bool is_role(const char *value)
{
    const char *bar = strrchr(value, '|');
    return printable(value, 513) && bar && bar != value && bar[1] && bar - value <= 256 && strlen(bar + 1) <= 256;
}

static bool is_purpose(const char *value)
{
    return strlen(value) <= 32 && only(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
}

static bool is_principal(const char *value)
{
    const char *slash = strchr(value, '/'), *star = strchr(value, '*');
    if (!slash || !slash[1] || !printable(value, 255) || (star && star[1])) {
        return false;
    }
    static const char *const kinds[] = {"app/", "auditor/", "admin/", "patient/"};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strncmp(value, kinds[i], strlen(kinds[i])) == 0) {
            return true;
        }
    }
    return false;
}

bool judge(enum judge_kind kind, const char *value)
{
    switch (kind) {
    case JUDGE_FILE:
        return printable(value, 3000);
    case JUDGE_ID:
        return is_id(value);
    case JUDGE_DOMAIN:
        return is_domain(value);
    case JUDGE_LISTEN:
        return is_address(value, 0);
    case JUDGE_DIAL:
        return is_address(value, 1);
    case JUDGE_LEVEL:
        return ONE_OF(value, "debug", "info", "warn", "error");
    case JUDGE_ROLE:
        return is_role(value);
    case JUDGE_ROLE_ANY:
        return strcmp(value, "*") == 0 || is_role(value);
    case JUDGE_PURPOSE:
        return is_purpose(value);
    case JUDGE_PURPOSE_ANY:
        return strcmp(value, "*") == 0 || is_purpose(value);
    case JUDGE_NEEDS:
        return ONE_OF(value, "role", "assigned");
    case JUDGE_RPC:
        return one_of(value, WRITING, COUNT(WRITING));
    case JUDGE_PRINCIPAL:
        return is_principal(value);
    case JUDGE_SWITCH:
        return ONE_OF(value, "on", "off");
    case JUDGE_COUNT:
        break;
    }
    return false;
}
