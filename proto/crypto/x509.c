#include "proto/crypto/x509.h"

#include <time.h>

#include "proto/crypto/hash.h"
#include "proto/crypto/library.h"
#include "proto/crypto/random.h"

enum { NAME_MAX_LEN = 64, SPIFFE_MAX_LEN = 2048, DNS_MAX_LEN = 253, SERIAL_LEN = 16, KEY_ID_LEN = 20 };

/* What cert_make holds while it works; all of it ends in one place. */
struct making {
    EVP_PKEY *key, *issuer_key;
    X509 *cert, *issuer;
};

static void making_done(struct making *m)
{
    EVP_PKEY_free(m->key);
    EVP_PKEY_free(m->issuer_key);
    X509_free(m->cert);
    X509_free(m->issuer);
}

/* -- reading */

/* Our keys have no passphrase; without this OpenSSL would ask at the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *user)
{
    (void)buffer, (void)size, (void)writing, (void)user;
    return -1;
}

static BIO *bio_of(struct bytes view)
{
    crypto_library();
    BIO *bio = BIO_new_mem_buf(view.len ? (const void *)view.data : "", (int)MIN(view.len, 1 << 20));
    crypto_must(bio != NULL, "memory for a certificate");
    return bio;
}

static bool read_certificate(struct bytes pem, X509 **out, struct err *err)
{
    BIO *bio = bio_of(pem);
    X509 *cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!cert) {
        return err_raise(err, ERR_INVALID, "certificate: not a certificate in PEM");
    }
    *out = cert;
    return true;
}

static bool read_key(struct bytes pem, EVP_PKEY **out, struct err *err)
{
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!key) {
        return err_raise(err, ERR_INVALID, "certificate: its key is not an open private key in PEM");
    }
    *out = key;
    return true;
}

static bool read_pair(const struct cert_pair *pair, X509 **cert, EVP_PKEY **key, struct err *err)
{
    if (!read_certificate(bytes_str(pair->certificate), cert, err) || !read_key(bytes_str(pair->key), key, err)) {
        return false;
    }
    return X509_check_private_key(*cert, *key) == 1 ||
           err_raise(err, ERR_INVALID, "certificate: the key is not its key");
}

/* -- the request */

static bool ldh_name(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= DNS_MAX_LEN &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == len;
}

static bool spiffe_name(const char *text)
{
    size_t len = strlen(text);
    bool ok = len > strlen("spiffe://") && len <= SPIFFE_MAX_LEN && strncmp(text, "spiffe://", 9) == 0;
    for (size_t i = 0; ok && i < len; i++) {
        ok = text[i] > ' ' && text[i] < 0x7f;
    }
    return ok;
}

static bool check_request(const struct cert_request *request, struct err *err)
{
    struct bytes name = bytes_str(request->common_name);
    if (name.len == 0 || name.len > NAME_MAX_LEN || !utf8_valid(name)) {
        return err_raise(err, ERR_INVALID, "certificate: the common name is not 1 to %d bytes", NAME_MAX_LEN);
    }
    if (request->spiffe_id && !spiffe_name(request->spiffe_id)) {
        return err_raise(err, ERR_INVALID, "certificate: not a SPIFFE id");
    }
    if (request->dns_name && !ldh_name(request->dns_name)) {
        return err_raise(err, ERR_INVALID, "certificate: not a DNS name");
    }
    return request->not_before_ms < request->not_after_ms ||
           err_raise(err, ERR_INVALID, "certificate: it would end before it begins");
}

static bool read_issuer(const struct cert_pair *issuer, struct making *m, struct err *err)
{
    if (!issuer) {
        return true;
    }
    if (!read_pair(issuer, &m->issuer, &m->issuer_key, err)) {
        return err_wrap(err, "issuer");
    }
    return X509_check_ca(m->issuer) == 1 || err_raise(err, ERR_INVALID, "issuer: not a CA's certificate");
}

/* -- extensions */

static bool add_extension(X509 *cert, int nid, void *value, bool critical)
{
    return value && X509_add1_ext_i2d(cert, nid, value, critical, X509V3_ADD_DEFAULT) == 1;
}

static bool add_constraints(X509 *cert, bool is_ca)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    bool ok = constraints && usage;
    if (ok) {
        constraints->ca = is_ca ? 0xff : 0;
        /* RFC 5280, 4.2.1.3: digitalSignature is bit 0, keyCertSign 5, cRLSign 6 */
        ok = is_ca ? ASN1_BIT_STRING_set_bit(usage, 5, 1) && ASN1_BIT_STRING_set_bit(usage, 6, 1)
                   : ASN1_BIT_STRING_set_bit(usage, 0, 1);
        ok = ok && add_extension(cert, NID_basic_constraints, constraints, true) &&
             add_extension(cert, NID_key_usage, usage, true);
    }
    BASIC_CONSTRAINTS_free(constraints);
    ASN1_BIT_STRING_free(usage);
    return ok;
}

static bool add_extended_usage(X509 *cert, const struct cert_request *request)
{
    if (!request->server && !request->client) {
        return true;
    }
    EXTENDED_KEY_USAGE *usage = sk_ASN1_OBJECT_new_null();
    bool ok = usage != NULL;
    ok = ok && (!request->server || sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_server_auth)) > 0);
    ok = ok && (!request->client || sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_client_auth)) > 0);
    ok = ok && add_extension(cert, NID_ext_key_usage, usage, false);
    sk_ASN1_OBJECT_pop_free(usage, ASN1_OBJECT_free);
    return ok;
}

static bool add_name(GENERAL_NAMES *names, int type, const char *text)
{
    if (!text) {
        return true;
    }
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    crypto_must(name && value && ASN1_STRING_set(value, text, -1) == 1, "memory for a name");
    GENERAL_NAME_set0_value(name, type, value);
    return sk_GENERAL_NAME_push(names, name) > 0;
}

static bool add_alternative_names(X509 *cert, const struct cert_request *request)
{
    if (!request->spiffe_id && !request->dns_name) {
        return true;
    }
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = names && add_name(names, GEN_URI, request->spiffe_id) &&
              add_name(names, GEN_DNS, request->dns_name) &&
              add_extension(cert, NID_subject_alt_name, names, false);
    GENERAL_NAMES_free(names);
    return ok;
}

static struct hash pin_of(X509 *cert)
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    crypto_must(len > 0, "encoding a public key");
    struct hash pin = hash_of(BYTES(der, (size_t)len));
    OPENSSL_free(der);
    return pin;
}

/* Key identifiers: the first 20 bytes of the pin (RFC 7093, 2, method 1's length over the whole key info). */
static bool add_key_ids(X509 *cert, X509 *issuer)
{
    struct hash own = pin_of(cert), above = pin_of(issuer);
    ASN1_OCTET_STRING *subject = ASN1_OCTET_STRING_new(), *upper = ASN1_OCTET_STRING_new();
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    bool ok = subject && upper && authority && ASN1_OCTET_STRING_set(subject, own.bytes, KEY_ID_LEN) == 1 &&
              ASN1_OCTET_STRING_set(upper, above.bytes, KEY_ID_LEN) == 1;
    if (ok) {
        authority->keyid = upper;
        upper = NULL;
        ok = add_extension(cert, NID_subject_key_identifier, subject, false) &&
             add_extension(cert, NID_authority_key_identifier, authority, false);
    }
    ASN1_OCTET_STRING_free(subject);
    ASN1_OCTET_STRING_free(upper);
    AUTHORITY_KEYID_free(authority);
    return ok;
}

/* -- making */

static bool set_serial(X509 *cert)
{
    uint8_t serial[SERIAL_LEN];
    random_fill(serial, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 0x40;       /* positive, and always 16 bytes long */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_facts(X509 *cert, X509 *issuer, EVP_PKEY *key, const struct cert_request *request)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)request->common_name, -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(cert, issuer == cert ? name : X509_get_subject_name(issuer)) == 1 &&
           ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(request->not_before_ms / 1000)) &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(request->not_after_ms / 1000)) &&
           X509_set_pubkey(cert, key) == 1;
}

/* Texts leave through OpenSSL's memory, the secure one where a key is in it. */
static bool text_of(BIO *bio, bool written, struct arena *arena, const char **out, struct err *err)
{
    char *data = NULL;
    long len = written ? BIO_get_mem_data(bio, &data) : 0;
    crypto_must(len > 0, "writing PEM");
    char *text;
    bool ok = arena_string(arena, BYTES(data, (size_t)len), &text, err);
    BIO_free(bio);
    if (ok) {
        *out = text;
    }
    return ok;
}

static bool write_certificate(X509 *cert, struct arena *arena, const char **out, struct err *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    return text_of(bio, bio && PEM_write_bio_X509(bio, cert) == 1, arena, out, err);
}

static bool write_key(EVP_PKEY *key, struct arena *arena, const char **out, struct err *err)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    bool written = bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    return text_of(bio, written, arena, out, err);
}

static void build(struct making *m, const struct cert_request *request)
{
    m->key = EVP_EC_gen("P-256");
    m->cert = X509_new();
    crypto_must(m->key && m->cert, "making a P-256 key");
    X509 *issuer = m->issuer ? m->issuer : m->cert;
    EVP_PKEY *signer = m->issuer ? m->issuer_key : m->key;
    bool ok = set_facts(m->cert, issuer, m->key, request) && add_constraints(m->cert, request->is_ca) &&
              add_extended_usage(m->cert, request) && add_alternative_names(m->cert, request) &&
              add_key_ids(m->cert, issuer) && X509_sign(m->cert, signer, EVP_sha256()) > 0;
    crypto_must(ok, "making a certificate");
}

bool cert_make(const struct cert_request *request, const struct cert_pair *issuer, struct arena *arena,
               struct cert_pair *out, struct err *err)
{
    crypto_library();
    struct making m = {0};
    struct cert_pair pair = {0};
    bool ok = check_request(request, err) && read_issuer(issuer, &m, err);
    if (ok) {
        build(&m, request);
        ok = write_certificate(m.cert, arena, &pair.certificate, err) && write_key(m.key, arena, &pair.key, err);
    }
    making_done(&m);
    if (ok) {
        *out = pair;
    }
    return ok;
}

/* -- facts of a certificate */

bool cert_pin(struct bytes pem, struct hash *out, struct err *err)
{
    X509 *cert;
    if (!read_certificate(pem, &cert, err)) {
        return false;
    }
    *out = pin_of(cert);
    X509_free(cert);
    return true;
}

bool cert_der(struct bytes pem, struct arena *arena, struct bytes *out, struct err *err)
{
    X509 *cert;
    if (!read_certificate(pem, &cert, err)) {
        return false;
    }
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    X509_free(cert);
    crypto_must(len > 0, "encoding a certificate");
    bool ok = arena_copy(arena, BYTES(der, (size_t)len), out, err);
    OPENSSL_free(der);
    return ok;
}

bool cert_pem(struct bytes der, struct arena *arena, const char **out, struct err *err)
{
    crypto_library();
    const uint8_t *at = der.data;
    X509 *cert = der.len && der.len <= 1 << 20 ? d2i_X509(NULL, &at, (long)der.len) : NULL;
    bool whole = cert && at == der.data + der.len;
    bool ok = whole ? write_certificate(cert, arena, out, err)
                    : err_raise(err, ERR_INVALID, "certificate: not one certificate in DER");
    X509_free(cert);
    return ok;
}

static bool time_ms(const ASN1_TIME *time, int64_t *out)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1) {
        return false;
    }
    *out = (int64_t)timegm(&tm) * 1000;
    return true;
}

static bool read_times(const X509 *cert, int64_t *not_before_ms, int64_t *not_after_ms, struct err *err)
{
    int64_t from, until;
    if (!time_ms(X509_get0_notBefore(cert), &from) || !time_ms(X509_get0_notAfter(cert), &until)) {
        return err_raise(err, ERR_INVALID, "certificate: its times cannot be read");
    }
    *not_before_ms = from;
    *not_after_ms = until;
    return true;
}

bool cert_times(struct bytes pem, int64_t *not_before_ms, int64_t *not_after_ms, struct err *err)
{
    X509 *cert;
    if (!read_certificate(pem, &cert, err)) {
        return false;
    }
    bool ok = read_times(cert, not_before_ms, not_after_ms, err);
    X509_free(cert);
    return ok;
}

static bool read_serial(const X509 *cert, struct cert_facts *out, struct err *err)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    out->serial_len = (size_t)ASN1_STRING_length(serial);
    if (out->serial_len > sizeof out->serial) {
        return err_raise(err, ERR_INVALID, "certificate: a serial number over %zu bytes", sizeof out->serial);
    }
    memcpy(out->serial, ASN1_STRING_get0_data(serial), out->serial_len);
    return true;
}

static struct hash digest_of(X509 *cert)
{
    struct hash digest;
    unsigned len = 0;
    crypto_must(X509_digest(cert, EVP_sha256(), digest.bytes, &len) == 1 && len == HASH_LEN,
                "hashing a certificate");
    return digest;
}

bool cert_read(struct bytes pem, struct cert_facts *out, struct err *err)
{
    X509 *cert;
    if (!read_certificate(pem, &cert, err)) {
        return false;
    }
    bool ok = read_times(cert, &out->not_before_ms, &out->not_after_ms, err) && read_serial(cert, out, err);
    if (ok) {
        out->pin = pin_of(cert);
        out->digest = digest_of(cert);
    }
    X509_free(cert);
    return ok;
}

/* A key's file holds both halves, and a wrong byte in the secret one is seen by nobody who compares the other. */
static bool halves_fit(EVP_PKEY *key, struct err *err)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool ok = context && EVP_PKEY_pairwise_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    return ok || err_raise(err, ERR_INVALID, "certificate: the key's secret half is not that of its public one");
}

bool cert_pair_check(const struct cert_pair *pair, struct err *err)
{
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    bool ok = read_pair(pair, &cert, &key, err) && halves_fit(key, err);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok;
}
