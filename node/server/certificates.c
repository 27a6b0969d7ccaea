#include "node/server/certificates.h"

#include "node/server/folder.h"
#include "proto/crypto/seal.h"
#include "proto/crypto/x509.h"

enum { PEM_MAX = 256 << 10 };

/* -- Reading */

static bool check_times(const char *path, const char *pem, uint64_t now_ms, int64_t *until, struct err *err)
{
    int64_t from, now = (int64_t)now_ms;
    return (cert_times(bytes_str(pem), &from, until, err) &&
            (now < *until || err_raise(err, ERR_STATE, "it has expired: issue a new one")) &&
            (now >= from || err_raise(err, ERR_STATE, "it is not valid yet: is this machine's clock right?"))) ||
           err_wrap(err, "certificate %s", path);
}

static bool read_pair(const char *certificate, const char *key, uint64_t now_ms, struct arena *arena,
                      struct rpc_tls *out, int64_t *until, struct err *err)
{
    if (!folder_text(certificate, PEM_MAX, arena, &out->chain_pem, err) ||
        !folder_text(key, PEM_MAX, arena, &out->key_pem, err)) {
        return false;
    }
    const struct cert_pair pair = {.certificate = out->chain_pem, .key = out->key_pem};
    return check_times(certificate, out->chain_pem, now_ms, until, err) &&
           (cert_pair_check(&pair, err) || err_wrap(err, "certificate %s and key %s", certificate, key));
}

static void begin(struct certificates *out)
{
    *out = (struct certificates){0};
    arena_init(&out->arena, 8 * PEM_MAX);
}

static bool read_client(const struct config *config, uint64_t now_ms, struct certificates *out, struct err *err)
{
    return folder_text(config->client_ca, PEM_MAX, &out->arena, &out->client.roots_pem, err) &&
           check_times(config->client_ca, out->client.roots_pem, now_ms, &out->ca_until_ms, err) &&
           read_pair(config->client_certificate, config->client_key, now_ms, &out->arena, &out->client,
                     &out->client_until_ms, err);
}

static bool read_peer(const struct config *config, uint64_t now_ms, struct certificates *out, struct err *err)
{
    return read_pair(config->peer_certificate, config->peer_key, now_ms, &out->arena, &out->peer,
                     &out->peer_until_ms, err);
}

bool certificates_read(const struct config *config, uint64_t now_ms, struct certificates *out, struct err *err)
{
    begin(out);
    return read_client(config, now_ms, out, err) && read_peer(config, now_ms, out, err);
}

bool certificates_read_client(const struct config *config, uint64_t now_ms, struct certificates *out,
                              struct err *err)
{
    begin(out);
    return read_client(config, now_ms, out, err);
}

bool certificates_read_peer(const struct config *config, uint64_t now_ms, struct certificates *out,
                            struct err *err)
{
    begin(out);
    return read_peer(config, now_ms, out, err);
}

static void wipe(const char *key)
{
    if (key) {
        secret_wipe((char *)(uintptr_t)key, strlen(key));
    }
}

void certificates_done(struct certificates *certificates)
{
    wipe(certificates->client.key_pem);
    wipe(certificates->peer.key_pem);
    arena_done(&certificates->arena);
}

/* -- Are we who the network thinks we are? */

static bool pinned(const struct member *member, const struct hash *pin)
{
    for (size_t i = 0; i < member->message->n_tls_pins; i++) {
        const ProtobufCBinaryData *listed = &member->message->tls_pins[i];
        if (bytes_equal(BYTES(listed->data, listed->len), BYTES_OF(*pin))) {
            return true;
        }
    }
    return false;
}

static bool check_member(const struct config *config, const struct keys *keys, const struct member *member,
                         const struct hash *pin, struct err *err)
{
    if (!member || !member->listed) {
        return err_raise(err, ERR_STATE,
                         "membership: this facility is not on the roster in %s: have the operators add "
                         "it (chartmesh network add) and take their trust file",
                         config->trust_file);
    }
    if (strcmp(member->domain, config->domain) != 0) {
        return err_raise(err, ERR_STATE, "membership: it is of the domain %s, the configuration's is %s",
                         member->domain, config->domain);
    }
    if (!hash_equal(&member->statement_key, signing_key_public(keys_statement(keys))) ||
        !hash_equal(&member->checkpoint_key, signing_key_public(keys_checkpoint(keys))) ||
        !hash_equal(&member->witness_key, signing_key_public(keys_witness(keys))) ||
        !hash_equal(&member->sealing_key, keys_sealing_public(keys))) {
        return err_raise(err, ERR_STATE, "membership: its keys are not those in %s", config->keys_folder);
    }
    return pinned(member, pin) ||
           err_raise(err, ERR_STATE, "membership: it does not pin the key of %s", config->peer_certificate);
}

bool certificates_check_member(const struct certificates *certificates, const struct config *config,
                               struct chart *chart, struct err *err)
{
    struct hash pin;
    if (!cert_pin(bytes_str(certificates->peer.chain_pem), &pin, err)) {
        return err_wrap(err, "%s", config->peer_certificate);
    }
    const struct trust *trust = chart_trust_take(chart);
    bool ok = check_member(config, chart_keys(chart), trust_member(trust, &config->facility), &pin, err);
    chart_trust_give(chart);
    return ok;
}
