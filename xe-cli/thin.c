/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* thin.c -- the client's screen, keyboard and files. */
#include "xe-cli/thin.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/bytes.h"
#include "xe-cli/thin_text.h"
#include "xe-cli/transfer.h"

/* A line that somebody types. */
#define LINE_MAX_BYTES 65536

/* --- Bytes --- */

static void send_bytes(struct thin *t, const struct buf *bytes)
{
    size_t done = 0;

    while (!t->broken && done < bytes->len) {
        ssize_t n = send(t->fd, bytes->data + done, bytes->len - done, MSG_NOSIGNAL);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            t->broken = true;
    }
}

static bool receive(struct thin *t, void *out, size_t n)
{
    size_t done = 0;

    while (!t->broken && done < n) {
        ssize_t got = recv(t->fd, (char *)out + done, n - done, 0);

        if (got > 0)
            done += (size_t)got;
        else if (got == 0 || errno != EINTR)
            t->broken = true;
    }
    return !t->broken;
}

static void say(struct thin *t, enum thin_command command, const char *a, size_t a_size,
                const char *b)
{
    AUTO(buf) out = {0};

    thin_command(&out, command, a, a_size, b);
    send_bytes(t, &out);
}

/* The next answer that is not "still at it". */
static enum thin_answer hear(struct thin *t, size_t *size)
{
    enum thin_answer answer = THIN_WAIT;

    while (answer == THIN_WAIT) {
        uint8_t head[4], frame[THIN_ANSWER_MAX];
        uint32_t n;

        if (!receive(t, head, sizeof head))
            return THIN_BROKEN;
        n = be_get32(head);
        if (n > sizeof frame || !receive(t, frame, n))
            answer = THIN_BROKEN;
        else
            answer = thin_answer_read(frame, n, size);
    }
    if (answer == THIN_BROKEN)
        t->broken = true;
    return answer;
}

/* Reads n bytes away. */
static void drop(struct thin *t, size_t n)
{
    char nothing[16384];

    while (n && receive(t, nothing, MIN(n, sizeof nothing)))
        n -= MIN(n, sizeof nothing);
}

/*
 * Chunks to their end, or false.  The client hears nothing before it has sent them all: of what is
 * more than 'limit' one chunk is read away, so that it can be told.
 */
static bool hear_chunks(struct thin *t, size_t limit, struct buf *out)
{
    bool fits = true;
    size_t size = 0;
    enum thin_answer answer;

    while ((answer = hear(t, &size)) == THIN_CHUNK) {
        if (size > limit - out->len && fits) {
            drop(t, size);
            fits = false;
            continue;
        }
        if (!fits)
            break;
        buf_reserve(out, size);
        if (!receive(t, out->data + out->len, size))
            return false;
        out->len += size;
        out->data[out->len] = '\0';
    }
    if (answer != THIN_END)
        t->broken = true;
    return answer == THIN_END && fits;
}

/* --- Screen and keyboard --- */

/* The client ends what it prints with a newline of its own: whole lines are sent, without the last
 * one's. */
static ssize_t print(void *cookie, const char *text, size_t n)
{
    struct thin *t = cookie;
    const char *end;
    size_t whole;

    buf_add(&t->line, text, n);
    end = t->line.len ? memrchr(t->line.data, '\n', t->line.len) : NULL;
    if (end) {
        whole = (size_t)(end - t->line.data);
        say(t, THIN_PRINT, t->line.data, whole, NULL);
        t->line.len -= whole + 1;
        memmove(t->line.data, end + 1, t->line.len);
    }
    return t->broken ? 0 : (ssize_t)n;
}

static ssize_t print_error(void *cookie, const char *text, size_t n)
{
    struct thin *t = cookie;

    say(t, THIN_PRINT_STDERR, text, n, NULL);
    return t->broken ? 0 : (ssize_t)n;
}

static ssize_t prompt(void *cookie, char *out, size_t n)
{
    struct thin *t = cookie;

    if (t->taken == t->answer.len) {
        t->taken = t->answer.len = 0;
        say(t, THIN_PROMPT, NULL, 0, NULL);
        if (!hear_chunks(t, LINE_MAX_BYTES, &t->answer))
            return 0;
        buf_putc(&t->answer, '\n');
    }
    n = MIN(n, t->answer.len - t->taken);
    memcpy(out, t->answer.data + t->taken, n);
    t->taken += n;
    return (ssize_t)n;
}

FILE *thin_output(struct thin *thin)
{
    return fopencookie(thin, "w", (cookie_io_functions_t){.write = print});
}

FILE *thin_errors(struct thin *thin)
{
    return fopencookie(thin, "w", (cookie_io_functions_t){.write = print_error});
}

FILE *thin_input(struct thin *thin)
{
    return fopencookie(thin, "r", (cookie_io_functions_t){.read = prompt});
}

void thin_exit(struct thin *t, int code)
{
    AUTO(buf) out = {0};

    if (t->line.len)
        say(t, THIN_PRINT, t->line.data, t->line.len, NULL);
    thin_command_exit(&out, code);
    send_bytes(t, &out);
}

void thin_release(struct thin *t)
{
    buf_release(&t->line);
    buf_release(&t->answer);
}

/* --- Files --- */

static struct thin *thin_of(struct xe *xe)
{
    return xe->connect_ctx;
}

static struct error *there_load(struct xe *xe, const char *what, const char *path,
                                const char **text)
{
    struct thin *t = thin_of(xe);
    AUTO(buf) buf = {0};
    size_t size;

    say(t, THIN_LOAD, path, strlen(path), NULL);
    if (hear(t, &size) != THIN_OK) {
        out_error(&xe->out, "Failed to read %s\n", what);
        return xe_exit(xe);
    }
    if (!hear_chunks(t, XE_FILE_LIMIT, &buf))
        return xe_fail(xe, "%s is larger than %zu MiB", path, XE_FILE_LIMIT >> 20);
    *text = arena_strndup(&xe->arena, buf.data ? buf.data : "", buf.len);
    return OK;
}

/* The client is no friend of ours and has only the path to go by: the session is part of it. */
static const char *with_session(struct xe *xe, const char *path)
{
    return arena_printf(&xe->arena, "%s%csession_id=%s", path, strchr(path, '?') ? '&' : '?',
                        xe->server->session(xe->server));
}

static struct error *carry(struct xe *xe, enum thin_command command, const char *file,
                           const char *path)
{
    struct thin *t = thin_of(xe);
    size_t size;

    path = with_session(xe, path);
    if (command == THIN_HTTP_CONNECT)
        say(t, command, path, strlen(path), NULL);
    else
        say(t, command, file, strlen(file), path);
    if (hear(t, &size) == THIN_OK)
        return OK;
    return xe_fail(xe, "The client could not carry out the transfer");
}

static struct error *transfer(struct xe *xe, enum thin_command command, const char *label,
                              const char *path, const char *file, const char **result)
{
    const char *task = NULL;
    struct error *e;

    if (!xe->server)
        TRY(xe->connect(xe));
    xe->task_begins(xe);
    e = transfer_begin(xe, label, &path, &task);
    xe->task_known(xe, task);
    TRY(e);
    return transfer_finish(xe, task, carry(xe, command, file, path), result);
}

static struct error *there_get(struct xe *xe, const char *label, const char *path, const char *file)
{
    return transfer(xe, THIN_HTTP_GET, label, path, file, NULL);
}

static struct error *there_put(struct xe *xe, const char *label, const char *path, const char *file,
                               const char **result)
{
    return transfer(xe, THIN_HTTP_PUT, label, path, file, result);
}

static struct error *there_console(struct xe *xe, const char *path)
{
    return carry(xe, THIN_HTTP_CONNECT, NULL, path);
}

const struct xe_io xe_there = {there_load, there_get, there_put, there_console};
