/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load.c -- a client that does nothing but send the same request over and over: N keep-alive TLS connections, a thread each.
 *
 * usage: load HOST PORT CONNECTIONS REQUESTS FILE [SECONDS]
 *
 * FILE is the whole request, head and body, as it goes out; the reply's Content-Length says where it ends.  Each connection sends its share of REQUESTS, or
 * stops after SECONDS.  Prints "key value" lines: requests, seconds, per_second, p50_us, p99_us, max_us, bytes of a reply.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 16384

struct run {
    const char *host, *port, *request;
    size_t request_size;
    long share;
    double seconds;
    SSL_CTX *tls;
};

struct connection {
    const struct run *run;
    pthread_t thread;
    uint32_t *usec; /* of each request */
    long done;
    size_t reply_size;
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static SSL *open_connection(const struct run *run)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int fd, one = 1;
    SSL *ssl;

    if (getaddrinfo(run->host, run->port, &hints, &found) != 0)
        die("unknown host");
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        die("cannot connect");
    freeaddrinfo(found);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ssl = SSL_new(run->tls);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1)
        die("TLS handshake failed");
    return ssl;
}

static long content_length(const char *head)
{
    const char *p = strcasestr(head, "\r\ncontent-length:");

    return p ? atol(p + strlen("\r\ncontent-length:")) : -1;
}

/* Reads one reply; returns its size. */
static size_t read_reply(SSL *ssl, char *buffer, size_t size)
{
    size_t have = 0, head;
    long length;
    char *end = NULL;

    while (!end) {
        int n = SSL_read(ssl, buffer + have, (int)(HEAD_MAX - have - 1));

        if (n <= 0)
            die("the server closed the connection");
        have += (size_t)n;
        buffer[have] = '\0';
        end = strstr(buffer, "\r\n\r\n");
    }
    if (strncmp(buffer + 9, "200", 3) != 0)
        die(buffer);
    head = (size_t)(end + 4 - buffer);
    length = content_length(buffer);
    if (length < 0)
        die("a reply without Content-Length");
    while (have < head + (size_t)length) {
        size_t want = head + (size_t)length - have;
        int n = SSL_read(ssl, buffer, (int)(want < size ? want : size));

        if (n <= 0)
            die("the server closed the connection within a reply");
        have += (size_t)n;
    }
    return have;
}

static void *run_connection(void *arg)
{
    struct connection *c = arg;
    const struct run *run = c->run;
    SSL *ssl = open_connection(run);
    size_t size = 256 << 10;
    char *buffer = malloc(size);
    double start = now();

    while (c->done < run->share && (run->seconds <= 0 || now() - start < run->seconds)) {
        double before = now();

        if (SSL_write(ssl, run->request, (int)run->request_size) != (int)run->request_size)
            die("cannot send");
        c->reply_size = read_reply(ssl, buffer, size);
        c->usec[c->done++] = (uint32_t)((now() - before) * 1e6);
    }
    SSL_free(ssl);
    free(buffer);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void report(const struct connection *c, int n, double seconds)
{
    uint32_t *all;
    long total = 0, k = 0;

    for (int i = 0; i < n; i++)
        total += c[i].done;
    all = malloc((size_t)(total + 1) * sizeof *all);
    for (int i = 0; i < n; i++)
        for (long j = 0; j < c[i].done; j++)
            all[k++] = c[i].usec[j];
    qsort(all, (size_t)total, sizeof *all, by_value);
    printf("requests %ld\nseconds %.6f\nper_second %.1f\np50_us %u\np99_us %u\nmax_us %u\nbytes %zu\n", total, seconds,
           (double)total / seconds, all[total / 2], all[total * 99 / 100], all[total - 1], c[0].reply_size);
    free(all);
}

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "r");
    char *data = malloc(1 << 20);

    if (!f)
        die("cannot open the request");
    *size = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

int main(int argc, char **argv)
{
    struct run run;
    struct connection *c;
    double start;
    int n;

    if (argc < 6) {
        fprintf(stderr, "usage: load HOST PORT CONNECTIONS REQUESTS FILE [SECONDS]\n");
        return 2;
    }
    n = atoi(argv[3]);
    run = (struct run){.host = argv[1], .port = argv[2], .share = atol(argv[4]) / n, .seconds = argc > 6 ? atof(argv[6]) : 0};
    run.request = read_file(argv[5], &run.request_size);
    run.tls = SSL_CTX_new(TLS_client_method());
    c = calloc((size_t)n, sizeof *c);
    start = now();
    for (int i = 0; i < n; i++) {
        c[i].run = &run;
        c[i].usec = calloc((size_t)run.share + 1, sizeof *c[i].usec);
        pthread_create(&c[i].thread, NULL, run_connection, &c[i]);
    }
    for (int i = 0; i < n; i++)
        pthread_join(c[i].thread, NULL);
    report(c, n, now() - start);
    return 0;
}
