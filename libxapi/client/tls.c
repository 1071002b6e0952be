/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls.c -- TLS 1.2 and later, by fingerprint, by authorities, or with any certificate.
 *
 * OpenSSL's own socket BIO writes with write(2) and would raise SIGPIPE; ours sends with
 * MSG_NOSIGNAL and otherwise does the same.
 */
#include "libxapi/client/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "libxapi/base/memory.h"

#define FINGERPRINT_DIGITS 64

/* ---- the socket below TLS ---- */

static int bio_send(BIO *bio, const char *p, int n)
{
    ssize_t put;

    BIO_clear_retry_flags(bio);
    put = send(*(int *)BIO_get_data(bio), p, (size_t)n, MSG_NOSIGNAL);
    if (put < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)put;
}

static int bio_receive(BIO *bio, char *out, int n)
{
    ssize_t got;

    BIO_clear_retry_flags(bio);
    got = recv(*(int *)BIO_get_data(bio), out, (size_t)n, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    else if (got <= 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)got;
}

static long bio_ctrl(BIO *bio, int command, long n, void *p)
{
    (void)n;
    (void)p;
    switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

static BIO_METHOD *bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "xapi socket");

    if (m) {
        BIO_meth_set_write(m, bio_send);
        BIO_meth_set_read(m, bio_receive);
        BIO_meth_set_ctrl(m, bio_ctrl);
    }
    return m;
}

/* ---- whom to trust ---- */

/* 64 hex digits in any case, with or without colons, to 64 lower-case ones; NULL for anything
 * else. */
static char *fingerprint_read(const char *text)
{
    char out[FINGERPRINT_DIGITS + 1];
    size_t n = 0;

    for (; *text; text++) {
        if (*text == ':' && n > 0 && n % 2 == 0)
            continue;
        if (n == FINGERPRINT_DIGITS || !strchr("0123456789abcdefABCDEF", *text))
            return NULL;
        out[n++] = *text >= 'A' && *text <= 'F' ? (char)(*text - 'A' + 'a') : *text;
    }
    out[n] = '\0';
    return n == FINGERPRINT_DIGITS ? xstrdup(out) : NULL;
}

static bool context_init(struct link_target *target, const char *ca_file, char *why, size_t size)
{
    target->bio = bio_method();
    target->tls = SSL_CTX_new(TLS_client_method());
    if (!target->bio || !target->tls ||
        !SSL_CTX_set_min_proto_version(target->tls, TLS1_2_VERSION)) {
        snprintf(why, size, "TLS cannot be set up");
        return false;
    }
    SSL_CTX_set_mode(target->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(target->tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(target->tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    if (!ca_file)
        return true;
    if (!SSL_CTX_load_verify_file(target->tls, ca_file)) {
        snprintf(why, size, "no authorities can be read from %s", ca_file);
        return false;
    }
    SSL_CTX_set_verify(target->tls, SSL_VERIFY_PEER, NULL);
    target->check_authority = true;
    return true;
}

bool link_target_init(struct link_target *target, const char *host, int port, const char *unix_path,
                      bool plain, const char *fingerprint, const char *ca_file, char *why,
                      size_t why_size)
{
    bool done = true;

    *target = (struct link_target){.host = xstrdup(host), .port = port};
    if (unix_path)
        target->unix_path = xstrdup(unix_path);
    if (plain || unix_path)
        return true;
    if (fingerprint) {
        target->fingerprint = fingerprint_read(fingerprint);
        if (!target->fingerprint) {
            snprintf(why, why_size, "the fingerprint is not 64 hexadecimal digits (SHA-256)");
            done = false;
        }
    }
    done = done && context_init(target, ca_file, why, why_size);
    tls_clear();
    return done;
}

void link_target_release(struct link_target *target)
{
    free(target->host);
    free(target->unix_path);
    free(target->fingerprint);
    SSL_SESSION_free(target->resume);
    SSL_CTX_free(target->tls);
    BIO_meth_free(target->bio);
    *target = (struct link_target){0};
}

/* ---- one connection ---- */

static bool is_address(const char *host)
{
    unsigned char out[16];

    return inet_pton(AF_INET, host, out) == 1 || inet_pton(AF_INET6, host, out) == 1;
}

/* The name for the server to choose a certificate by, and the name that certificate must have. */
static bool set_name(SSL *ssl, const struct link_target *target)
{
    if (is_address(target->host))
        return !target->check_authority ||
               X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), target->host);
    if (!SSL_set_tlsext_host_name(ssl, target->host))
        return false;
    return !target->check_authority || SSL_set1_host(ssl, target->host);
}

SSL *tls_new(struct link_target *target, int *fd)
{
    SSL *ssl = SSL_new(target->tls);
    BIO *bio = BIO_new(target->bio);

    if (!ssl || !bio || !set_name(ssl, target)) {
        SSL_free(ssl);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (target->resume)
        SSL_set_session(ssl, target->resume);
    return ssl;
}

bool tls_fingerprint(SSL *ssl, char text[TLS_FINGERPRINT_SIZE])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    bool known = certificate && X509_digest(certificate, EVP_sha256(), hash, &n);

    X509_free(certificate);
    *text = '\0';
    for (unsigned i = 0; known && i < FINGERPRINT_DIGITS / 2; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    return known;
}

bool tls_check_peer(SSL *ssl, const struct link_target *target, char *why, size_t size)
{
    char text[TLS_FINGERPRINT_SIZE];
    bool known;

    if (!target->fingerprint)
        return true;
    known = tls_fingerprint(ssl, text);
    if (known && strcmp(text, target->fingerprint) == 0)
        return true;
    snprintf(why, size, "the server's certificate has another fingerprint: %s",
             known ? text : "unknown");
    return false;
}

void tls_remember(SSL *ssl, struct link_target *target)
{
    SSL_SESSION *session;

    if (!SSL_is_init_finished(ssl))
        return;
    session = SSL_get1_session(ssl);
    if (!session || !SSL_SESSION_is_resumable(session)) {
        SSL_SESSION_free(session);
        return;
    }
    SSL_SESSION_free(target->resume);
    target->resume = session;
}

void tls_clear(void)
{
    ERR_clear_error();
}

void tls_why(SSL *ssl, char *why, size_t size)
{
    unsigned long e = ERR_peek_error();
    long verify = SSL_get_verify_result(ssl);
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    if (verify != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
        snprintf(why, size, "the server's certificate is not trusted: %s",
                 X509_verify_cert_error_string(verify));
    else if (reason)
        snprintf(why, size, "TLS: %s", reason);
    else
        snprintf(why, size, "the connection was cut");
}
