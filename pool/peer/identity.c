/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity.c -- makes and reads a daemon's key and certificate. */
#include "pool/peer/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "pool/peer/address.h"

#define PEM_FILE "peer.pem"
#define PEM_MAX 65536

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    X509 *before[IDENTITY_BEFORE]; /* NULL after the last */
};

static void identity_release(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
    for (size_t i = 0; i < IDENTITY_BEFORE; i++)
        X509_free(identity->before[i]);
}

/* What OpenSSL says went wrong. */
static const char *why(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text ? text : "unknown error";
}

/* The certificate is only a wrapper around the key: nobody looks at its names and dates. */
static bool fill(X509 *x, EVP_PKEY *key, EVP_PKEY *signer)
{
    X509_NAME *name = X509_get_subject_name(x);
    uint64_t serial = random_u64() >> 1;

    return X509_set_version(x, 2) && ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial) &&
           ASN1_TIME_set_string(X509_getm_notBefore(x), "20200101000000Z") &&
           ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z") &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"xapid", -1,
                                      -1, 0) &&
           X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) &&
           X509_sign(x, signer, EVP_sha256());
}

/* signer: NULL where it signs itself. */
static bool make(struct identity *out, EVP_PKEY *signer)
{
    out->key = EVP_EC_gen("P-256");
    out->certificate = X509_new();
    return out->key && out->certificate &&
           fill(out->certificate, out->key, signer ? signer : out->key);
}

/* In place of 'old', which vouches for it. */
static bool make_next(struct identity *out, const struct identity *old)
{
    if (!make(out, old->key) || !X509_up_ref(old->certificate))
        return false;
    out->before[0] = old->certificate;
    for (size_t i = 1; i < IDENTITY_BEFORE && old->before[i - 1]; i++) {
        if (!X509_up_ref(old->before[i - 1]))
            return false;
        out->before[i] = old->before[i - 1];
    }
    return true;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

/* Under another name first, so that a kill leaves none or a whole one. */
static bool store_bytes(int dir, const char *data, size_t size)
{
    int fd = openat(dir, PEM_FILE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good;

    if (fd < 0)
        return false;
    good = fchmod(fd, 0600) == 0 && write_all(fd, data, size) && fsync(fd) == 0;
    close(fd);
    return good && renameat(dir, PEM_FILE ".new", dir, PEM_FILE) == 0 && fsync(dir) == 0;
}

static bool write_certificates(BIO *bio, const struct identity *identity)
{
    bool good = PEM_write_bio_X509(bio, identity->certificate);

    for (size_t i = 0; good && i < IDENTITY_BEFORE && identity->before[i]; i++)
        good = PEM_write_bio_X509(bio, identity->before[i]);
    return good;
}

static struct error *store(struct arena *arena, int dir, const char *dir_name,
                           const struct identity *identity)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    struct error *e = OK;
    char *data;
    long size;

    if (!bio || !PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL) ||
        !write_certificates(bio, identity)) {
        e = error_internal(arena, "the key of this host could not be written: %s", why());
    } else {
        size = BIO_get_mem_data(bio, &data);
        if (!store_bytes(dir, data, (size_t)size))
            e = error_internal(arena, "%s/%s could not be made: %s", dir_name, PEM_FILE,
                               strerror(errno));
    }
    BIO_free(bio);
    return e;
}

static struct error *create(struct arena *arena, int dir, const char *dir_name,
                            struct identity *out)
{
    if (!make(out, NULL))
        return error_internal(arena, "a key for this host could not be made: %s", why());
    return store(arena, dir, dir_name, out);
}

static struct error *damaged(struct arena *arena, const char *dir_name)
{
    return error_internal(
        arena,
        "%s/%s holds no key with its certificate. Restore it from a backup; without it this host "
        "is a stranger to its pool. On a host that is in no pool it may be removed.",
        dir_name, PEM_FILE);
}

static struct error *parse(struct arena *arena, const char *dir_name, const char *data, size_t size,
                           struct identity *out)
{
    BIO *bio = BIO_new_mem_buf(data, (int)size);

    if (bio) {
        out->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        out->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        for (size_t i = 0; out->certificate && i < IDENTITY_BEFORE && (!i || out->before[i - 1]);
             i++)
            out->before[i] = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    }
    BIO_free(bio);
    if (!out->key || !out->certificate || !X509_check_private_key(out->certificate, out->key))
        return damaged(arena, dir_name);
    return OK;
}

/* *found is false, without an error, if there is none. */
static struct error *load(struct arena *arena, int dir, const char *dir_name, struct identity *out,
                          bool *found)
{
    int fd = openat(dir, PEM_FILE, O_RDONLY | O_CLOEXEC);
    char *data;
    ssize_t n;

    *found = fd >= 0;
    if (fd < 0 && errno == ENOENT)
        return OK;
    data = arena_alloc(arena, PEM_MAX);
    n = fd < 0 ? -1 : read(fd, data, PEM_MAX);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_internal(arena, "%s/%s could not be read: %s", dir_name, PEM_FILE,
                              strerror(errno));
    if (n == PEM_MAX)
        return damaged(arena, dir_name);
    return parse(arena, dir_name, data, (size_t)n, out);
}

static struct error *load_or_create(struct arena *arena, const char *dir_name, struct identity *out)
{
    int dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct error *e;
    bool found;

    if (dir < 0)
        return error_internal(arena, "%s could not be opened: %s", dir_name, strerror(errno));
    e = load(arena, dir, dir_name, out, &found);
    if (!e && !found)
        e = create(arena, dir, dir_name, out);
    close(dir);
    return e;
}

bool identity_fingerprint(const X509 *certificate, char out[PEER_FINGERPRINT_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n;

    if (!X509_digest(certificate, EVP_sha256(), digest, &n) || n != 32)
        return false;
    fingerprint_to_text(digest, out);
    return true;
}

/* Without tickets: each link shows its certificate anew. */
static bool set_up(SSL_CTX *ctx, const struct identity *identity)
{
    bool good;

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    good = SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(ctx, 0) &&
           SSL_CTX_use_certificate(ctx, identity->certificate) &&
           SSL_CTX_use_PrivateKey(ctx, identity->key);
    for (size_t i = 0; good && i < IDENTITY_BEFORE && identity->before[i]; i++)
        good = SSL_CTX_add1_chain_cert(ctx, identity->before[i]);
    return good;
}

static struct error *show(struct arena *arena, const struct identity *identity, SSL_CTX **ctx,
                          char fingerprint[PEER_FINGERPRINT_SIZE])
{
    *ctx = SSL_CTX_new(TLS_method());
    if (*ctx && set_up(*ctx, identity) && identity_fingerprint(identity->certificate, fingerprint))
        return OK;
    SSL_CTX_free(*ctx);
    *ctx = NULL;
    return error_internal(arena, "TLS could not be set up: %s", why());
}

struct error *identity_open(struct arena *arena, const char *dir, SSL_CTX **ctx,
                            char fingerprint[PEER_FINGERPRINT_SIZE])
{
    AUTO(identity) identity = {0};

    TRY(load_or_create(arena, dir, &identity));
    return show(arena, &identity, ctx, fingerprint);
}

static struct error *replace(struct arena *arena, int dir, const char *dir_name,
                             struct identity *fresh)
{
    AUTO(identity) old = {0};
    bool found;

    TRY(load(arena, dir, dir_name, &old, &found));
    if (!found)
        return error_internal(arena, "%s/%s is gone", dir_name, PEM_FILE);
    if (!make_next(fresh, &old))
        return error_internal(arena, "a key could not be made: %s", why());
    return store(arena, dir, dir_name, fresh);
}

struct error *identity_renew(struct arena *arena, const char *dir_name, SSL_CTX **ctx,
                             char fingerprint[PEER_FINGERPRINT_SIZE])
{
    int dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(identity) fresh = {0};
    struct error *e;

    if (dir < 0)
        return error_internal(arena, "%s could not be opened: %s", dir_name, strerror(errno));
    e = replace(arena, dir, dir_name, &fresh);
    close(dir);
    TRY(e);
    return show(arena, &fresh, ctx, fingerprint);
}
