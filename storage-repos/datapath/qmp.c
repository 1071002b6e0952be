/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/datapath/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"

#define LINE_MAX_SIZE ((size_t)4 * 1024 * 1024)
#define LINES_MAX 10000 /* events that are skipped while an answer is waited for */

/* ---- what a line says ---- */

enum qmp_kind qmp_judge(const char *line, size_t n, json_t **out)
{
    json_error_t where;
    json_t *root = json_loadb(line, n, 0, &where);
    enum qmp_kind kind = QMP_OTHER;

    *out = NULL;
    if (!json_is_object(root)) {
        kind = QMP_BROKEN;
    } else if (json_object_get(root, "return")) {
        kind = QMP_RETURN;
        *out = json_incref(json_object_get(root, "return"));
    } else if (json_is_object(json_object_get(root, "error"))) {
        kind = QMP_ERROR;
        *out = json_incref(json_object_get(root, "error"));
    } else if (json_object_get(root, "QMP")) {
        kind = QMP_GREETING;
    }
    json_decref(root);
    return kind;
}

/* ---- lines ---- */

static struct error *lost(struct call *call, const struct qmp *qmp, const char *why)
{
    return sr_failed(call, SR_FAIL_VDI, "%s: %s", qmp->who, why);
}

static struct error *wait_for(struct call *call, const struct qmp *qmp, short events,
                              usec_t deadline)
{
    for (;;) {
        struct pollfd p = {.fd = qmp->fd, .events = events};
        usec_t left = deadline - clock_mono();

        if (left <= 0)
            return lost(call, qmp, "no answer in time");
        if (poll(&p, 1, (int)MIN(left / USEC_PER_MSEC + 1, (usec_t)60000)) > 0)
            return OK;
    }
}

static struct error *fill(struct call *call, struct qmp *qmp, usec_t deadline)
{
    char chunk[4096];
    ssize_t n;

    TRY(wait_for(call, qmp, POLLIN, deadline));
    n = recv(qmp->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n == 0)
        return lost(call, qmp, "the connection was closed");
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? OK : lost(call, qmp, strerrordesc_np(errno));
    if (qmp->in.len + (size_t)n > LINE_MAX_SIZE)
        return lost(call, qmp, "the answer is too long");
    buf_add(&qmp->in, chunk, (size_t)n);
    return OK;
}

static void drop(struct buf *buf, size_t n)
{
    memmove(buf->data, buf->data + n, buf->len - n);
    buf->len -= n;
}

static struct error *next_line(struct call *call, struct qmp *qmp, usec_t deadline,
                               enum qmp_kind *kind, json_t **out)
{
    size_t seen = 0;

    for (;;) {
        char *end =
            qmp->in.len > seen ? memchr(qmp->in.data + seen, '\n', qmp->in.len - seen) : NULL;

        if (end) {
            size_t n = (size_t)(end - qmp->in.data);

            *kind = qmp_judge(qmp->in.data, n, out);
            drop(&qmp->in, n + 1);
            return *kind == QMP_BROKEN ? lost(call, qmp, "what it says is no QMP") : OK;
        }
        seen = qmp->in.len;
        TRY(fill(call, qmp, deadline));
    }
}

/* Skips events. */
static struct error *next_answer(struct call *call, struct qmp *qmp, usec_t deadline,
                                 enum qmp_kind *kind, json_t **out)
{
    for (int i = 0; i < LINES_MAX; i++) {
        TRY(next_line(call, qmp, deadline, kind, out));
        if (*kind != QMP_OTHER)
            return OK;
    }
    return lost(call, qmp, "it talks without answering");
}

static struct error *send_all(struct call *call, struct qmp *qmp, const char *text, size_t n,
                              usec_t deadline)
{
    while (n) {
        ssize_t put = send(qmp->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (put < 0 && errno != EAGAIN && errno != EINTR)
            return lost(call, qmp, strerrordesc_np(errno));
        if (put < 0)
            TRY(wait_for(call, qmp, POLLOUT, deadline));
        text += MAX(put, 0);
        n -= (size_t)MAX(put, 0);
    }
    return OK;
}

/* ---- commands ---- */

static struct error *refused(struct call *call, const struct qmp *qmp, const char *command,
                             const json_t *error)
{
    const char *desc = json_string_value(json_object_get(error, "desc"));

    return sr_failed(call, SR_FAIL_VDI, "%s: %s: %s", qmp->who, command, desc ? desc : "refused");
}

struct error *qmp_command(struct call *call, struct qmp *qmp, const char *command, json_t *args,
                          usec_t timeout, json_t **answer)
{
    usec_t deadline = clock_mono() + timeout;
    json_t *root = json_object(), *got = NULL;
    enum qmp_kind kind = QMP_OTHER;
    struct error *e;
    char *text;

    if (answer)
        *answer = NULL;
    json_object_set_new(root, "execute", json_string(command));
    if (args)
        json_object_set_new(root, "arguments", args);
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        return sr_failed(call, SR_FAIL_ARGUMENT, "%s: not UTF-8", command);
    e = send_all(call, qmp, text, strlen(text), deadline);
    free(text);
    if (!e)
        e = send_all(call, qmp, "\n", 1, deadline);
    if (!e)
        e = next_answer(call, qmp, deadline, &kind, &got);
    if (!e && kind == QMP_ERROR)
        e = refused(call, qmp, command, got);
    else if (!e && kind != QMP_RETURN)
        e = lost(call, qmp, "a greeting in the place of an answer");
    if (e || !answer)
        json_decref(got);
    else
        *answer = got;
    return e;
}

static struct error *greet(struct call *call, struct qmp *qmp, usec_t timeout)
{
    enum qmp_kind kind;
    json_t *got;

    TRY(next_answer(call, qmp, clock_mono() + timeout, &kind, &got));
    json_decref(got);
    if (kind != QMP_GREETING)
        return lost(call, qmp, "it does not greet");
    return qmp_command(call, qmp, "qmp_capabilities", NULL, timeout, NULL);
}

struct error *qmp_open(struct call *call, const char *path, usec_t timeout, struct qmp *out,
                       bool *refused_out)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct qmp qmp = {.who = arena_strdup(call->arena, path)};
    struct error *e = OK;
    int fd;

    if (refused_out)
        *refused_out = false;
    if (strlen(path) >= sizeof name.sun_path)
        return sr_failed(call, SR_FAIL_VDI, "%s: too long for the name of a socket", path);
    strcpy(name.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, path);
    qmp.fd = fd;
    if (connect(fd, (struct sockaddr *)&name, sizeof name) < 0) {
        if (refused_out)
            *refused_out = errno == ECONNREFUSED || errno == ENOENT;
        e = sr_failed_errno(call, SR_FAIL_VDI, errno, path);
    }
    if (!e)
        e = greet(call, &qmp, timeout);
    if (e)
        qmp_release(&qmp);
    else
        *out = qmp;
    return e;
}

void qmp_release(struct qmp *qmp)
{
    if (qmp->fd)
        close(qmp->fd);
    buf_release(&qmp->in);
    qmp->fd = 0;
}
