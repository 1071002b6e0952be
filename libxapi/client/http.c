/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http.c -- reads answers.  Chunked ones are refused: no XenAPI server sends them, and what is not
 * there cannot be got wrong.
 */
#include "libxapi/client/http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A buffer grows by at most this much ahead of the bytes that have come: a length is only a claim.
 */
#define BODY_STEP ((size_t)1 << 20)

static bool refuse(struct link *link, const char *why)
{
    snprintf(link->why, sizeof(link->why), "%s", why);
    return false;
}

/* Has the whole head in link->in, from link->start on; sets its length, the blank line included. */
static bool fill_head(struct link *link, size_t *size)
{
    for (;;) {
        const char *from = link->in + link->start;
        const char *end = memmem(from, link->end - link->start, "\r\n\r\n", 4);
        ssize_t got;

        if (end) {
            *size = (size_t)(end - from) + 4;
            return true;
        }
        got = link_fill(link);
        if (got == 0)
            return refuse(link, link->start == link->end ? "the connection was closed"
                                                         : "the answer broke off in its head");
        if (got < 0)
            return false;
    }
}

/* Copies the head and ends its lines with NULs; empty lines end it. */
static bool split_lines(struct link *link, const char *p, size_t size, struct http_head *head)
{
    head->n = 0;
    for (size_t i = 0; i + 2 < size; i++) {
        if (p[i] == '\r' && p[i + 1] == '\n') {
            head->text[head->n++] = '\0';
            i++;
            if (i + 1 < size && (p[i + 1] == ' ' || p[i + 1] == '\t'))
                return refuse(link, "the answer's head has a folded line");
        } else if (p[i] == '\0' || p[i] == '\n' || p[i] == '\r') {
            return refuse(link, "the answer's head has a control character");
        } else {
            head->text[head->n++] = p[i];
        }
    }
    head->text[head->n] = '\0';
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool read_status(struct link *link, struct http_head *head, int *minor)
{
    const char *s = head->text;

    if (strncmp(s, "HTTP/1.", 7) != 0 || !is_digit(s[7]) || s[8] != ' ' || !is_digit(s[9]) ||
        !is_digit(s[10]) || !is_digit(s[11]) || (s[12] != ' ' && s[12] != '\0'))
        return refuse(link, "the answer is not HTTP");
    *minor = s[7] - '0';
    head->status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
    return true;
}

/* The text of 'line' after "name:", or NULL. */
static const char *value_of(const char *line, const char *name)
{
    size_t n = strlen(name);

    if (strncasecmp(line, name, n) != 0 || line[n] != ':')
        return NULL;
    line += n + 1;
    return line + strspn(line, " \t");
}

static bool read_length(const char *text, int64_t *out)
{
    int64_t n = 0;

    if (!is_digit(*text))
        return false;
    for (; is_digit(*text); text++) {
        if (n > (INT64_MAX - 9) / 10)
            return false;
        n = n * 10 + (*text - '0');
    }
    *out = n;
    return text[strspn(text, " \t")] == '\0';
}

static bool read_headers(struct link *link, struct http_head *head)
{
    for (const char *line = head->text; line <= head->text + head->n; line += strlen(line) + 1) {
        const char *length = value_of(line, "content-length");
        const char *connection = value_of(line, "connection");
        int64_t n;

        if (value_of(line, "transfer-encoding"))
            return refuse(link, "the answer comes in chunks");
        if (length && (!read_length(length, &n) || (head->length >= 0 && head->length != n)))
            return refuse(link, "the answer's length makes no sense");
        if (length)
            head->length = n;
        if (connection && strcasecmp(connection, "close") == 0)
            head->close = true;
        if (connection && strcasecmp(connection, "keep-alive") == 0)
            head->close = false;
    }
    return true;
}

bool http_read_head(struct link *link, struct http_head *head)
{
    size_t size = 0;
    int minor = 0;

    if (!fill_head(link, &size) || !split_lines(link, link->in + link->start, size, head))
        return false;
    link->start += size;
    if (!read_status(link, head, &minor))
        return false;
    head->close = minor == 0;
    head->length = -1;
    if (!read_headers(link, head))
        return false;
    if (head->status < 200 || head->status == 204 || head->status == 304)
        head->length = 0;
    head->close = head->close || head->length < 0;
    return true;
}

const char *http_head_find(const struct http_head *head, const char *name)
{
    for (const char *line = head->text; line <= head->text + head->n; line += strlen(line) + 1) {
        const char *value = value_of(line, name);

        if (value)
            return value;
    }
    return NULL;
}

bool http_read_body(struct link *link, const struct http_head *head, size_t limit, struct buf *out)
{
    size_t left = head->length < 0 ? limit + 1 : (size_t)head->length;

    if (head->length >= 0 && (uint64_t)head->length > limit)
        return refuse(link, "the answer is too long");
    while (left > 0) {
        size_t want = MIN(left, BODY_STEP);
        ssize_t got;

        buf_reserve(out, want + 1);
        got = link_read(link, out->data + out->len, want);
        if (got < 0)
            return false;
        if (got == 0)
            return head->length < 0 || refuse(link, "the answer broke off");
        out->len += (size_t)got;
        out->data[out->len] = '\0';
        left -= (size_t)got;
    }
    return head->length >= 0 || refuse(link, "the answer is too long");
}
