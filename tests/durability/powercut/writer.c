/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writer.c -- what runs beside xapid in the guest whose power is cut: says what is there, then
 * writes and says each acknowledged write.
 *
 *     powercut-writer SOCKET ROUND THREADS
 *
 * Prints "HAVE name description" for each VM of earlier rounds and "END"; with THREADS above 0 then
 * "ASK" before and "ACK" after each write, "ACK name description", until the power goes.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD_MAX 4096
#define BODY_MAX ((size_t)64 << 20)
#define WRITES_OF_ONE 8 /* descriptions a VM gets before the next is made */

struct caller {
    const char *path;
    int fd;
    int round, number;
    char session[64], template[64];
    char *answer; /* body of the last answer */
};

static pthread_mutex_t print_lock = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    pthread_mutex_lock(&print_lock);
    vprintf(fmt, ap);
    fflush(stdout);
    pthread_mutex_unlock(&print_lock);
    va_end(ap);
}

static void open_socket(struct caller *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s", c->path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die(c->path);
}

static void write_all(int fd, const char *data, size_t n)
{
    while (n) {
        ssize_t done = write(fd, data, n);

        if (done <= 0)
            die("write");
        data += done;
        n -= (size_t)done;
    }
}

/* Reads a whole answer with a Content-Length into c->answer. */
static void read_answer(struct caller *c)
{
    char head[HEAD_MAX];
    size_t n = 0, length, have;
    const char *field;
    char *end;

    do {
        ssize_t got = read(c->fd, head + n, sizeof head - 1 - n);

        if (got <= 0)
            die("read");
        n += (size_t)got;
        head[n] = '\0';
        end = strstr(head, "\r\n\r\n");
    } while (!end);
    field = strcasestr(head, "\ncontent-length:");
    length = field ? strtoul(field + 16, NULL, 10) : 0;
    if (length == 0 || length > BODY_MAX)
        die("the answer's length");
    free(c->answer);
    c->answer = malloc(length + 1);
    if (!c->answer)
        die("malloc");
    have = n - (size_t)(end + 4 - head);
    memcpy(c->answer, end + 4, have);
    while (have < length) {
        ssize_t got = read(c->fd, c->answer + have, length - have);

        if (got <= 0)
            die("read");
        have += (size_t)got;
    }
    c->answer[length] = '\0';
}

/* The parameters are strings; ends with NULL.  Any answer but success ends the program. */
static void call(struct caller *c, const char *method, ...)
{
    char body[2048], head[128];
    const char *param;
    size_t n;
    va_list ap;

    n = (size_t)snprintf(body, sizeof body,
                         "<?xml version=\"1.0\"?><methodCall><methodName>%s</methodName><params>",
                         method);
    va_start(ap, method);
    while ((param = va_arg(ap, const char *)))
        n += (size_t)snprintf(body + n, sizeof body - n,
                              "<param><value><string>%s</string></value></param>", param);
    va_end(ap);
    n += (size_t)snprintf(body + n, sizeof body - n, "</params></methodCall>");
    snprintf(head, sizeof head,
             "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", n);
    write_all(c->fd, head, strlen(head));
    write_all(c->fd, body, n);
    read_answer(c);
    if (!strstr(c->answer, "<value>Success</value>")) {
        say("FAILED %s %s\n", method, c->answer);
        exit(1);
    }
}

/* The first reference in the last answer. */
static void take_ref(const struct caller *c, char out[64])
{
    const char *at = strstr(c->answer, "OpaqueRef:");

    if (!at)
        die("no reference in the answer");
    snprintf(out, 64, "%.*s", (int)strcspn(at, "<"), at);
}

static void prepare(struct caller *c)
{
    open_socket(c);
    call(c, "session.login_with_password", "root", "", "2.23", "powercut", NULL);
    take_ref(c, c->session);
    call(c, "VM.get_by_name_label", c->session, "Other install media", NULL);
    take_ref(c, c->template);
}

/* Text of the next member 'name' after 'at', or NULL. */
static const char *member(const char *at, const char *name, char out[256])
{
    char tag[128];
    const char *value;

    snprintf(tag, sizeof tag, "<name>%s</name><value>", name);
    value = strstr(at, tag);
    if (!value)
        return NULL;
    value += strlen(tag);
    snprintf(out, 256, "%.*s", (int)strcspn(value, "<"), value);
    return value;
}

static void print_all(struct caller *c)
{
    char name[256], description[256];
    const char *at;

    call(c, "VM.get_all_records", c->session, NULL);
    for (at = c->answer; (at = member(at, "name_label", name));)
        if (name[0] == 'w' && member(at, "name_description", description))
            say("HAVE %s %s\n", name, *description ? description : "-");
    say("END\n");
}

static void *write_on(void *arg)
{
    struct caller *c = arg;
    char name[64], vm[64], text[32];

    prepare(c);
    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "w%d-%d-%d", c->round, c->number, i);
        say("ASK %s -\n", name);
        call(c, "VM.clone", c->session, c->template, name, NULL);
        take_ref(c, vm);
        call(c, "VM.set_name_description", c->session, vm, "0", NULL);
        say("ACK %s 0\n", name);
        for (int n = 1; n <= WRITES_OF_ONE; n++) {
            snprintf(text, sizeof text, "%d", n);
            call(c, "VM.set_name_description", c->session, vm, text, NULL);
            say("ACK %s %s\n", name, text);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct caller reader = {.path = argc > 1 ? argv[1] : ""};
    struct caller *writers;
    pthread_t thread;
    int n;

    if (argc != 4) {
        fprintf(stderr, "usage: powercut-writer SOCKET ROUND THREADS\n");
        return 2;
    }
    prepare(&reader);
    print_all(&reader);
    n = atoi(argv[3]);
    writers = calloc((size_t)n + 1, sizeof *writers);
    for (int i = 0; writers && i < n; i++) {
        writers[i] = (struct caller){.path = argv[1], .round = atoi(argv[2]), .number = i};
        if (pthread_create(&thread, NULL, write_on, &writers[i]))
            die("pthread_create");
    }
    while (n)
        pause();
    return 0;
}
