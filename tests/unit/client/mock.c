/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mock.c -- the scripted server of mock.h. */
#include "tests/unit/client/mock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/memory.h"

/* ---- the certificate ---- */

static void add_name(X509 *x, const char *names)
{
    X509V3_CTX ctx;
    X509_EXTENSION *san;

    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    san = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, names);
    assert(san);
    X509_add_ext(x, san, -1);
    X509_EXTENSION_free(san);
}

static X509 *certificate_new(EVP_PKEY *key)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"mock", -1, -1, 0);
    X509_set_issuer_name(x, name);
    add_name(x, "IP:127.0.0.1");
    assert(X509_sign(x, key, EVP_sha256()));
    return x;
}

static void write_certificate(struct mock *m, X509 *x)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    FILE *f;
    int fd;

    assert(X509_digest(x, EVP_sha256(), hash, &n));
    for (unsigned i = 0; i < n; i++)
        snprintf(m->fingerprint + 2 * i, 3, "%02x", hash[i]);
    strcpy(m->ca_file, "/tmp/xapi-mock-XXXXXX");
    fd = mkstemp(m->ca_file);
    assert(fd >= 0);
    f = fdopen(fd, "w");
    assert(f && PEM_write_X509(f, x));
    fclose(f);
}

static void make_tls(struct mock *m)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = certificate_new(key);

    m->tls = SSL_CTX_new(TLS_server_method());
    assert(SSL_CTX_use_certificate(m->tls, x) == 1 && SSL_CTX_use_PrivateKey(m->tls, key) == 1);
    write_certificate(m, x);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* ---- one connection ---- */

struct peer {
    struct mock *m;
    int fd;
    SSL *ssl;
};

static ssize_t peer_read(struct peer *p, void *out, size_t n)
{
    return p->ssl ? SSL_read(p->ssl, out, (int)n) : recv(p->fd, out, n, 0);
}

static void peer_write(struct peer *p, const char *s)
{
    size_t n = strlen(s);

    /* A client that is gone is part of some scripts. */
    if (n == 0)
        return;
    if (p->ssl) {
        if (SSL_write(p->ssl, s, (int)n) <= 0)
            return;
    } else if (send(p->fd, s, n, MSG_NOSIGNAL) < 0) {
        return;
    }
}

static size_t body_length(const char *head)
{
    const char *at = strcasestr(head, "\r\nContent-Length:");

    return at ? (size_t)strtoul(at + 17, NULL, 10) : 0;
}

/* Reads up to the head's end.  False at the end of the connection. */
static bool read_head(struct peer *p, struct buf *in)
{
    char chunk[1024];

    while (!in->data || !strstr(in->data, "\r\n\r\n")) {
        ssize_t n = peer_read(p, chunk, sizeof(chunk));

        if (n <= 0)
            return false;
        buf_add(in, chunk, (size_t)n);
    }
    return true;
}

static void read_body(struct peer *p, struct buf *in)
{
    size_t head = (size_t)(strstr(in->data, "\r\n\r\n") - in->data) + 4;
    bool endless = strstr(in->data, " HTTP/1.0\r\n") && strncmp(in->data, "PUT", 3) == 0;
    size_t whole = head + body_length(in->data);
    char chunk[65536];

    while (endless || in->len < whole) {
        ssize_t n = peer_read(p, chunk, sizeof(chunk));

        if (n <= 0)
            return;
        buf_add(in, chunk, (size_t)n);
    }
}

static const struct mock_step *next_step(struct mock *m)
{
    MUTEX_GUARD(&m->lock);
    return m->next < m->n_steps ? &m->steps[m->next++] : NULL;
}

static void remember(struct mock *m, struct buf *in)
{
    MUTEX_GUARD(&m->lock);
    assert(m->n_requests < MOCK_REQUESTS);
    m->requests[m->n_requests++] = buf_steal(in);
    cond_broadcast(&m->changed);
}

static void answer(struct peer *p, const char *xml)
{
    AUTO(buf) out = {0};

    buf_printf(&out, "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %zu\r\n\r\n%s",
               strlen(xml), xml);
    peer_write(p, out.data);
}

static void wait_for_end(struct mock *m)
{
    MUTEX_GUARD(&m->lock);
    while (!m->ending)
        cond_wait(&m->changed, &m->lock);
}

/* One request.  False when the connection is over. */
static bool serve(struct peer *p)
{
    const struct mock_step *step;
    AUTO(buf) in = {0};

    if (!read_head(p, &in))
        return false;
    step = next_step(p->m);
    if (step && step->act == MOCK_RAW)
        peer_write(p, step->reply);
    read_body(p, &in);
    remember(p->m, &in);
    if (!step || step->act == MOCK_DROP)
        return false;
    if (step->act == MOCK_SILENT)
        wait_for_end(p->m);
    if (step->act == MOCK_RAW && step->after)
        peer_write(p, step->after);
    if (step->act == MOCK_ANSWER || step->act == MOCK_ANSWER_CLOSE)
        answer(p, step->reply);
    return step->act == MOCK_ANSWER;
}

struct job {
    struct mock *m;
    int fd;
};

static void *worker(void *arg)
{
    struct job *job = arg;
    struct peer p = {.m = job->m, .fd = job->fd};
    bool up = true;

    free(job);
    if (p.m->tls) {
        p.ssl = SSL_new(p.m->tls);
        SSL_set_fd(p.ssl, p.fd);
        up = SSL_accept(p.ssl) == 1;
    }
    while (up && serve(&p))
        continue;
    if (p.ssl && up)
        SSL_shutdown(p.ssl);
    SSL_free(p.ssl);
    shutdown(p.fd, SHUT_WR);
    MUTEX_GUARD(&p.m->lock);
    p.m->n_closed++;
    cond_broadcast(&p.m->changed);
    return NULL;
}

static void *acceptor(void *arg)
{
    struct mock *m = arg;

    for (;;) {
        struct job *job;
        int fd = accept(m->listener, NULL, NULL);

        if (fd < 0)
            return NULL;
        MUTEX_GUARD(&m->lock);
        assert(m->n_workers < MOCK_REQUESTS);
        job = xcalloc(1, sizeof(*job));
        *job = (struct job){m, fd};
        m->fds[m->n_workers] = fd;
        thread_start(&m->workers[m->n_workers++], "mock", worker, job);
    }
}

/* ---- the server ---- */

static void listen_tcp(struct mock *m)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(addr);

    m->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(bind(m->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    assert(getsockname(m->listener, (struct sockaddr *)&addr, &size) == 0);
    m->port = ntohs(addr.sin_port);
}

static void listen_unix(struct mock *m)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/xapi-mock-%d.sock", (int)getpid());
    unlink(addr.sun_path);
    m->unix_path = xstrdup(addr.sun_path);
    m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(bind(m->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
}

void mock_start(struct mock *m, enum mock_via via, const struct mock_step *steps, size_t n)
{
    memset(m, 0, sizeof(*m));
    m->steps = steps;
    m->n_steps = n;
    mutex_init(&m->lock);
    cond_init(&m->changed);
    if (via == MOCK_TLS)
        make_tls(m);
    if (via == MOCK_UNIX)
        listen_unix(m);
    else
        listen_tcp(m);
    assert(listen(m->listener, 16) == 0);
    thread_start(&m->acceptor, "mock-accept", acceptor, m);
}

void mock_stop(struct mock *m)
{
    shutdown(m->listener, SHUT_RDWR);
    thread_join(&m->acceptor);
    mutex_lock(&m->lock);
    m->ending = true;
    cond_broadcast(&m->changed);
    for (size_t i = 0; i < m->n_workers; i++)
        shutdown(m->fds[i], SHUT_RDWR);
    mutex_unlock(&m->lock);
    for (size_t i = 0; i < m->n_workers; i++) {
        thread_join(&m->workers[i]);
        close(m->fds[i]);
    }
    for (size_t i = 0; i < m->n_requests; i++)
        free(m->requests[i]);
    close(m->listener);
    if (m->unix_path)
        unlink(m->unix_path);
    if (*m->ca_file)
        unlink(m->ca_file);
    free((char *)m->unix_path);
    SSL_CTX_free(m->tls);
    cond_release(&m->changed);
    mutex_release(&m->lock);
}

void mock_wait_closed(struct mock *m, size_t n)
{
    MUTEX_GUARD(&m->lock);
    while (m->n_closed < n)
        cond_wait(&m->changed, &m->lock);
}

const char *mock_request(struct mock *m, size_t n)
{
    MUTEX_GUARD(&m->lock);
    while (m->n_requests <= n)
        cond_wait(&m->changed, &m->lock);
    return m->requests[n];
}

size_t mock_count(struct mock *m)
{
    MUTEX_GUARD(&m->lock);
    return m->n_requests;
}
