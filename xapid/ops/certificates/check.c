/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/certificates/check.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "api_daemon.h"
#include "libxapi/value/value.h"

#define NAME_LIMIT 128
#define CHAIN_LIMIT 16
#define SHORTEST_RSA 2048
#define LONGEST_RSA 4096

#define GUARD(type, fn)                                                                            \
    static inline void guard_##type(type **p)                                                      \
    {                                                                                              \
        fn(*p);                                                                                    \
    }
#define HOLD(type) __attribute__((cleanup(guard_##type))) type

GUARD(EVP_PKEY, EVP_PKEY_free)
GUARD(X509, X509_free)
GUARD(X509_CRL, X509_CRL_free)
GUARD(BIO, BIO_free)
GUARD(BIGNUM, BN_clear_free)

/* No password is ever asked for on a terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing, (void)arg;
    return -1;
}

/* NULL where the text is too long. */
static BIO *reader(const char *pem)
{
    return strlen(pem) <= PEM_LIMIT ? BIO_new_mem_buf(pem, -1) : NULL;
}

static X509 *read_certificate(const char *pem)
{
    HOLD(BIO) *bio = reader(pem);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;

    ERR_clear_error();
    return cert;
}

static EVP_PKEY *read_key(const char *pem)
{
    HOLD(BIO) *bio = reader(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

    ERR_clear_error();
    return key;
}

const char *certificate_date(struct arena *arena, usec_t date)
{
    char text[DATE_TEXT_SIZE];

    date_to_text(date, text);
    return arena_printf(arena, "%.4s-%.2s-%s", text, text + 4, text + 6);
}

bool certificate_name_is_good(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t n = strlen(name);

    return n && n <= NAME_LIMIT && strchr(plain, name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/*** dates ***/

/* -1: before its time; 1: past it. */
static int age(const struct certificate_info *info, usec_t now)
{
    return now < info->not_before ? -1 : now > info->not_after ? 1 : 0;
}

/*** the server's own ***/

static const char *oid_of(struct arena *arena, const EVP_PKEY *key)
{
    char text[128] = "";

    OBJ_obj2txt(text, sizeof text, OBJ_nid2obj(EVP_PKEY_get_base_id(key)), 1);
    return arena_strdup(arena, text);
}

static bool has_third_prime(const EVP_PKEY *key)
{
    HOLD(BIGNUM) *third = NULL;
    bool found = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1;

    ERR_clear_error();
    return found;
}

static struct error *check_key(const struct call *call, const EVP_PKEY *key)
{
    int bits;

    if (!key)
        return err_server_certificate_key_invalid(call);
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
        return err_server_certificate_key_algorithm_not_supported(call, oid_of(call->arena, key));
    if (has_third_prime(key))
        return err_server_certificate_key_rsa_multi_not_supported(call);
    bits = EVP_PKEY_get_bits(key);
    if (bits < SHORTEST_RSA || bits > LONGEST_RSA)
        return err_server_certificate_key_rsa_length_not_supported(
            call, arena_printf(call->arena, "%d", bits));
    return OK;
}

/* SHA-1 and older prove nothing any more, and clients refuse them. */
static bool signature_is_good(X509 *cert)
{
    int digest = NID_undef;

    return X509_get_signature_info(cert, &digest, NULL, NULL, NULL) == 1 &&
           (digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512);
}

static struct error *check_server(const struct call *call, X509 *cert, const EVP_PKEY *key,
                                  const char *pem, usec_t now)
{
    struct certificate_info info;
    struct arena *arena = call->arena;

    if (!cert || certificate_of_text(arena, pem, &info) != OK)
        return err_server_certificate_invalid(call);
    if (X509_check_private_key(cert, key) != 1) {
        ERR_clear_error();
        return err_server_certificate_key_mismatch(call);
    }
    if (age(&info, now) < 0)
        return err_server_certificate_not_valid_yet(call, certificate_date(arena, now),
                                                    certificate_date(arena, info.not_before));
    if (age(&info, now) > 0)
        return err_server_certificate_expired(call, certificate_date(arena, now),
                                              certificate_date(arena, info.not_after));
    return signature_is_good(cert) ? OK : err_server_certificate_signature_not_supported(call);
}

/* Copies certificates, at least one, to the end of the text. */
static bool copy_chain(const char *chain, BIO *out)
{
    HOLD(BIO) *in = reader(chain);
    bool good = true;
    X509 *cert;
    int n = 0;

    while (in && good && (cert = PEM_read_bio_X509(in, NULL, no_password, NULL))) {
        good = ++n <= CHAIN_LIMIT && PEM_write_bio_X509(out, cert) == 1;
        X509_free(cert);
    }
    /* It ended because nothing more begins, not because something did and is damaged. */
    good = good && n && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    return good;
}

struct error *check_server_pem(const struct call *call, const struct server_pem *in, usec_t now,
                               const char **file)
{
    HOLD(EVP_PKEY) *key = read_key(in->key);
    HOLD(X509) *cert = read_certificate(in->certificate);
    HOLD(BIO) *out = BIO_new(BIO_s_secmem()); /* wiped when freed */
    char *text = NULL;
    long size;

    TRY(check_key(call, key));
    TRY(check_server(call, cert, key, in->certificate, now));
    if (!out || PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(out, cert) != 1)
        return error_internal(call->arena, "the certificate cannot be written as PEM");
    if (*in->chain && !copy_chain(in->chain, out))
        return err_server_certificate_chain_invalid(call);
    size = BIO_get_mem_data(out, &text);
    *file = arena_strndup(call->arena, text, (size_t)MAX(size, 0));
    return OK;
}

/*** those that are trusted ***/

struct error *check_trusted_pem(const struct call *call, bool named, const char *pem, usec_t now,
                                struct certificate_info *out)
{
    struct arena *arena = call->arena;

    if (strlen(pem) > PEM_LIMIT || certificate_of_text(arena, pem, out) != OK)
        return named ? err_ca_certificate_invalid(call) : err_trusted_certificate_invalid(call);
    if (age(out, now) < 0)
        return named ? err_ca_certificate_not_valid_yet(call)
                     : err_trusted_certificate_not_valid_yet(
                           call, certificate_date(arena, now),
                           certificate_date(arena, out->not_before));
    if (age(out, now) > 0)
        return named ? err_ca_certificate_expired(call)
                     : err_trusted_certificate_expired(call, certificate_date(arena, now),
                                                       certificate_date(arena, out->not_after));
    return OK;
}

struct error *check_revocation_list(const struct call *call, const char *name, const char *pem,
                                    const char **clean)
{
    HOLD(BIO) *in = reader(pem);
    HOLD(X509_CRL) *list = in ? PEM_read_bio_X509_CRL(in, NULL, no_password, NULL) : NULL;
    HOLD(BIO) *out = BIO_new(BIO_s_mem());
    char *text = NULL;
    long size;

    ERR_clear_error();
    if (!list || !out || PEM_write_bio_X509_CRL(out, list) != 1)
        return err_crl_corrupt(call, name);
    size = BIO_get_mem_data(out, &text);
    *clean = arena_strndup(call->arena, text, (size_t)MAX(size, 0));
    return OK;
}
