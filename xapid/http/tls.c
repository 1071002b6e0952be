/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls.c -- OpenSSL's side of a connection: TLS 1.2 and 1.3, ALPN "http/1.1", session tickets.
 *
 * OpenSSL reads and writes the socket itself, through a BIO of ours that raises no SIGPIPE.  It
 * reads ahead, so that a small request costs one system call, and gives its buffers back between
 * requests, so that an idle connection is small.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "xapid/http/internal.h"

/* A whole record and a bit, so that one read takes all that small requests ever send. */
#define READ_BUFFER ((size_t)18 << 10)

static int bio_fd(BIO *bio)
{
    return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_read(BIO *bio, char *out, int n)
{
    ssize_t rc;

    BIO_clear_retry_flags(bio);
    do
        rc = recv(bio_fd(bio), out, (size_t)n, MSG_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(bio);
    if (rc == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)rc;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    ssize_t rc;

    BIO_clear_retry_flags(bio);
    do
        rc = send(bio_fd(bio), p, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_write(bio);
    return (int)rc;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)num;
    (void)ptr;
    if (cmd == BIO_CTRL_FLUSH)
        return 1;
    if (cmd == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return 0;
}

/* Without an index of its own: there are few, they are never given back, and nobody looks for this
 * BIO by type. */
BIO_METHOD *http_tls_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "xapid socket");

    if (!method)
        abort();
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

SSL *http_tls_new(struct http_server *server, int fd)
{
    SSL_CTX *ctx;
    BIO *bio;
    SSL *ssl;

    mutex_lock(&server->mutex);
    ctx = server->tls;
    if (ctx)
        SSL_CTX_up_ref(ctx);
    mutex_unlock(&server->mutex);
    ssl = ctx ? SSL_new(ctx) : NULL;
    SSL_CTX_free(ctx);
    bio = ssl ? BIO_new(server->bio) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return NULL;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    return ssl;
}

/* curl --http1.0 offers "http/1.0" and nothing else. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *in, unsigned int in_size, void *arg)
{
    static const unsigned char known[] = "\x08http/1.1\x08http/1.0";

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto((unsigned char **)out, out_size, known, sizeof known - 1, in,
                              in_size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static struct error *tls_failed(struct arena *arena, const char *path)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    struct error *error = error_internal(arena, "cannot use the certificate in %s: %s", path,
                                         reason ? reason : "unknown reason");

    ERR_clear_error();
    return error;
}

static void tls_settings(SSL_CTX *ctx)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"xapid", 5);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
}

/*** certificates of clients ***/

/* Of the authorities some have no revocation list, which is no fault of the certificate. */
static int without_list(int ok, X509_STORE_CTX *store)
{
    if (ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_UNABLE_TO_GET_CRL)
        return ok;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

/* Whoever is not believed may still log in otherwise: the handshake goes on, and the result tells
 * (SSL_get_verify_result). */
static int check_client(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    if (X509_verify_cert(store) <= 0 && X509_STORE_CTX_get_error(store) == X509_V_OK)
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
    ERR_clear_error();
    return 1;
}

bool http_tls_knows_client(const SSL *ssl)
{
    return SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK;
}

static bool add_authorities(SSL_CTX *ctx, X509_STORE *store, BIO *pem)
{
    X509 *cert;
    bool good = true;

    while (good && (cert = PEM_read_bio_X509(pem, NULL, NULL, NULL))) {
        good = X509_STORE_add_cert(store, cert) == 1 && SSL_CTX_add_client_CA(ctx, cert) == 1;
        X509_free(cert);
    }
    ERR_clear_error();
    return good;
}

static bool add_lists(X509_STORE *store, BIO *pem)
{
    bool good = true;
    X509_CRL *crl;

    while (good && (crl = PEM_read_bio_X509_CRL(pem, NULL, NULL, NULL))) {
        good = X509_STORE_add_crl(store, crl) == 1 &&
               X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1;
        X509_CRL_free(crl);
    }
    ERR_clear_error();
    return good;
}

static bool trust_set(SSL_CTX *ctx, const struct certificate_trust *trust)
{
    BIO *authorities = BIO_new_mem_buf(trust->authorities, -1);
    BIO *revoked = BIO_new_mem_buf(trust->revoked, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    bool good = authorities && revoked && add_authorities(ctx, store, authorities) &&
                add_lists(store, revoked) &&
                X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(ctx), trust->name, 0) == 1;

    BIO_free(authorities);
    BIO_free(revoked);
    X509_STORE_set_verify_cb(store, without_list);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, check_client, NULL);
    return good;
}

struct error *http_tls_load(struct arena *arena, const char *path,
                            const struct certificate_trust *trust, SSL_CTX **out)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    ERR_clear_error();
    if (!ctx)
        return tls_failed(arena, path);
    tls_settings(ctx);
    if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1 || (trust && !trust_set(ctx, trust))) {
        SSL_CTX_free(ctx);
        return tls_failed(arena, path);
    }
    *out = ctx;
    return OK;
}
