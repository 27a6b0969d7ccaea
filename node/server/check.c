/* What a start would refuse, without starting: chartmeshd --check. */
#include "node/server/certificates.h"
#include "node/server/folder.h"
#include "node/server/server.h"

#include "node/config/deny.h"
#include "node/keys/keys.h"
#include "proto/crypto/random.h"
#include "proto/crypto/seal.h"
#include "proto/statement/trust.h"

enum { TRUST_FILE_MAX = 256 << 20 };

static void draw(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    random_fill(out, len);
}

static bool check_certificates(const struct config *config, struct world *world, bool client, struct err *err)
{
    struct certificates own;
    uint64_t now = world_now_ms(world);
    bool ok =
        client ? certificates_read_client(config, now, &own, err) : certificates_read_peer(config, now, &own, err);
    certificates_done(&own);
    return ok;
}

static bool check_client(const struct config *config, struct world *world, struct err *err)
{
    return check_certificates(config, world, true, err);
}

static bool check_peer(const struct config *config, struct world *world, struct err *err)
{
    return check_certificates(config, world, false, err);
}

static bool check_deny(const struct config *config, struct world *world, struct err *err)
{
    AUTO_ARENA(arena, 2 * DENY_BYTES_MAX + DENY_MAX * 64);
    struct deny *deny;
    (void)world;
    return !config->deny_file || deny_load(config->deny_file, &arena, &deny, err);
}

static bool check_keys(const struct config *config, struct world *world, struct err *err)
{
    struct keys_secrets secrets;
    (void)world;
    bool ok = keys_read_files(config->root_key_file, config->keys_folder, &secrets, err);
    secret_wipe(&secrets, sizeof secrets);
    return ok;
}

static bool check_trust(const struct config *config, struct world *world, struct err *err)
{
    AUTO_ARENA(arena, TRUST_FILE_MAX + 4096);
    struct bytes file;
    struct hash first;
    (void)world;
    return (folder_read(config->trust_file, TRUST_FILE_MAX, &arena, &file, err) &&
            trust_file_network(file, &first, err) &&
            (memcmp(first.bytes, config->network.bytes, ID_LEN) == 0 ||
             err_raise(err, ERR_STATE, "it is of another network than the configuration's"))) ||
           err_wrap(err, "trust file %s", config->trust_file);
}

size_t server_check(const struct config *config, config_problem_fn *tell, void *context)
{
    bool (*const checks[])(const struct config *config, struct world *world,
                           struct err *err) = {check_client, check_peer, check_deny, check_keys, check_trust};
    struct err err;
    struct world *world;
    size_t problems = config_check_all(config, tell, context);
    if (problems) {
        return problems;         /* what follows would only say so again */
    }
    if (!world_open(&(struct world_options){.random = draw}, &world, &err)) {
        tell(context, &err);
        return 1;
    }
    for (size_t i = 0; i < COUNT(checks); i++) {
        if (!checks[i](config, world, &err)) {
            problems++;
            tell(context, &err);
        }
    }
    world_close(world);
    return problems;
}
