/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load.c -- asks a server over and over, as cheaply as a client can.
 *
 *     bench-load tls:PORT|plain:PORT CONNECTIONS SECONDS COUNT REQUEST-FILE...
 *
 * On 127.0.0.1.  Each connection is kept open and has a thread that sends the bytes of its file
 * (the n-th of the files by turns), a whole HTTP request, and reads the answer by its
 * Content-Length.  Ends after SECONDS, or after COUNT answers where that is not 0.  Prints "key
 * value" lines; times in microseconds.  An answer that is not 200, or that tells of a failure in
 * its first bytes, counts as failed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (256 << 10)
#define HEAD_MAX 8192
#define MAX_SAMPLES 200000

struct request {
    char *data;
    size_t size;
};

struct load {
    SSL_CTX *tls; /* NULL: plain */
    int port;
    double end;
    long count;
    atomic_long taken; /* of 'count' */
};

struct connection {
    struct load *load;
    const struct request *request;
    pthread_t thread;
    int fd;
    SSL *ssl;
    char *buffer;
    long answers, failures;
    long long bytes; /* of bodies */
    float *samples;
    size_t n_samples;
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "bench-load: %s\n", what);
    exit(1);
}

static void read_file(const char *path, struct request *out)
{
    FILE *f = fopen(path, "rb");

    if (!f)
        die(path);
    out->data = malloc(1 << 20);
    if (!out->data)
        die("memory");
    out->size = fread(out->data, 1, 1 << 20, f);
    fclose(f);
}

static void open_connection(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)c->load->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!c->load->tls)
        return;
    c->ssl = SSL_new(c->load->tls);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) != 1)
        die("the TLS handshake failed");
}

static void send_request(struct connection *c)
{
    int n = c->ssl ? SSL_write(c->ssl, c->request->data, (int)c->request->size)
                   : (int)write(c->fd, c->request->data, c->request->size);

    if (n != (int)c->request->size)
        die("the server closed the connection while it was asked");
}

static size_t receive(struct connection *c, char *to, size_t size)
{
    int n = c->ssl ? SSL_read(c->ssl, to, (int)size) : (int)read(c->fd, to, size);

    if (n <= 0)
        die("the server closed the connection while it answered");
    return (size_t)n;
}

/* Reads one answer; true if it is a good one. */
static bool take_answer(struct connection *c)
{
    char *end = NULL, *field;
    size_t n = 0, body, have;
    bool good;

    while (!end) {
        if (n >= HEAD_MAX)
            die("the answer's head is too long");
        n += receive(c, c->buffer + n, READ_SIZE - n);
        c->buffer[n] = '\0';
        end = strstr(c->buffer, "\r\n\r\n");
    }
    field = strcasestr(c->buffer, "\ncontent-length:");
    if (!field || field > end)
        die("an answer without Content-Length");
    body = strtoul(field + 16, NULL, 10);
    have = n - (size_t)(end + 4 - c->buffer);
    good = strncmp(c->buffer + 8, " 200", 4) == 0 && !strstr(end, "<value>Failure</value>");
    while (have < body) {
        size_t want = body - have;

        have += receive(c, c->buffer, want < READ_SIZE ? want : READ_SIZE);
    }
    c->bytes += (long long)body;
    return good;
}

static bool go_on(struct load *load, double t)
{
    if (load->count)
        return atomic_fetch_add(&load->taken, 1) < load->count;
    return t < load->end;
}

static void *run(void *arg)
{
    struct connection *c = arg;
    double begin = now();

    while (go_on(c->load, begin)) {
        double end;

        send_request(c);
        if (!take_answer(c))
            c->failures++;
        end = now();
        c->answers++;
        if (c->n_samples < MAX_SAMPLES)
            c->samples[c->n_samples++] = (float)((end - begin) * 1e6);
        begin = end;
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

static void report(struct connection *c, int n, double seconds)
{
    float *all = malloc((size_t)n * MAX_SAMPLES * sizeof *all);
    struct rusage use;
    long long bytes = 0;
    long answers = 0, failures = 0;
    size_t m = 0;

    for (int i = 0; all && i < n; i++) {
        answers += c[i].answers;
        failures += c[i].failures;
        bytes += c[i].bytes;
        memcpy(all + m, c[i].samples, c[i].n_samples * sizeof *all);
        m += c[i].n_samples;
    }
    if (!all || !m)
        die("nothing was answered");
    qsort(all, m, sizeof *all, by_size);
    getrusage(RUSAGE_SELF, &use);
    printf("answers %ld\nfailures %ld\nseconds %.3f\nper_second %.1f\nbytes %lld\np50 %.0f\np99 "
           "%.0f\n",
           answers, failures, seconds, (double)answers / seconds, bytes / (answers ? answers : 1),
           (double)all[m / 2], (double)all[m * 99 / 100]);
    printf("client_cpu %.3f\n", (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                                    (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
}

int main(int argc, char **argv)
{
    struct load load = {0};
    struct request *requests;
    struct connection *c;
    double begin;
    int n, n_requests = argc - 5;

    if (argc < 6 || !strchr(argv[1], ':')) {
        fprintf(
            stderr,
            "usage: bench-load tls:PORT|plain:PORT CONNECTIONS SECONDS COUNT REQUEST-FILE...\n");
        return 2;
    }
    if (strncmp(argv[1], "tls:", 4) == 0)
        load.tls = SSL_CTX_new(TLS_client_method());
    load.port = atoi(strchr(argv[1], ':') + 1);
    load.count = atol(argv[4]);
    n = atoi(argv[2]);
    requests = calloc((size_t)n_requests, sizeof *requests);
    c = calloc((size_t)n, sizeof *c);
    if (!requests || !c)
        die("memory");
    for (int i = 0; i < n_requests; i++)
        read_file(argv[5 + i], &requests[i]);
    for (int i = 0; i < n; i++) {
        c[i] = (struct connection){.load = &load, .request = &requests[i % n_requests]};
        c[i].buffer = malloc(READ_SIZE + 1);
        c[i].samples = malloc(MAX_SAMPLES * sizeof *c[i].samples);
        if (!c[i].buffer || !c[i].samples)
            die("memory");
        open_connection(&c[i]);
    }
    begin = now();
    load.end = begin + atof(argv[3]);
    for (int i = 0; i < n; i++)
        if (pthread_create(&c[i].thread, NULL, run, &c[i]))
            die("no thread");
    for (int i = 0; i < n; i++)
        pthread_join(c[i].thread, NULL);
    report(c, n, now() - begin);
    return 0;
}
