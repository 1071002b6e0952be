/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reply.c -- status lines, headers, error pages; and the answer to a request. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "xapid/http/internal.h"

static const struct {
    int status;
    const char *reason;
    const char *explanation; /* of an error page */
} statuses[] = {
    {200, "OK", NULL},
    {204, "No Content", NULL},
    {206, "Partial Content", NULL},
    {301, "Moved Permanently", NULL},
    {302, "Found", NULL},
    {304, "Not Modified", NULL},
    {400, "Bad Request", "The request could not be understood."},
    {401, "Unauthorized", "Please log in to use this."},
    {403, "Forbidden", "You may not use this, or it does not exist."},
    {404, "Not Found", "There is nothing here by that name."},
    {405, "Method Not Allowed", "This cannot be done here."},
    {408, "Request Timeout", "The request did not arrive in time."},
    {411, "Length Required", "A request with a body must say how long it is."},
    {413, "Content Too Large", "The body of the request is too large."},
    {417, "Expectation Failed", "What the request expects is not supported."},
    {431, "Request Header Fields Too Large", "The head of the request is too large."},
    {500, "Internal Server Error", "Something went wrong in the server."},
    {501, "Not Implemented", "The server does not know how to do this."},
    {503, "Service Unavailable", "The server cannot do this now; please try again later."},
    {505, "HTTP Version Not Supported", "Please use HTTP/1.1."},
    {101, "Switching Protocols", NULL},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].reason;
    return "Status";
}

static void put_number(struct buf *out, int64_t n)
{
    char text[24], *p = text + sizeof text;

    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    buf_add(out, p, (size_t)(text + sizeof text - p));
}

static void put_two(char *p, int n)
{
    p[0] = (char)('0' + n / 10);
    p[1] = (char)('0' + n % 10);
}

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT", without strftime, which is slow and minds the locale. */
static void put_date(struct buf *out)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[] = "Date: Sun, 00 Jan 2000 00:00:00 GMT\r\n";
    time_t now = (time_t)(clock_wall() / USEC_PER_SEC);
    struct tm tm;

    gmtime_r(&now, &tm);
    memcpy(text + 6, days + (size_t)tm.tm_wday * 3, 3);
    put_two(text + 11, tm.tm_mday);
    memcpy(text + 14, months + (size_t)tm.tm_mon * 3, 3);
    put_two(text + 18, (tm.tm_year + 1900) / 100);
    put_two(text + 20, tm.tm_year % 100);
    put_two(text + 23, tm.tm_hour);
    put_two(text + 26, tm.tm_min);
    put_two(text + 29, tm.tm_sec);
    buf_add(out, text, sizeof text - 1);
}

/* A value may hold what a client sent: a line break in it would be a header of the client's making.
 */
static void put_clean(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++)
        buf_putc(out, (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p);
}

static void put_header(struct buf *out, const char *name, const char *value)
{
    put_clean(out, name);
    buf_puts(out, ": ");
    put_clean(out, value);
    buf_puts(out, "\r\n");
}

void http_head_write(struct buf *out, int status, const char *content_type, int64_t size,
                     bool close, size_t n_headers, const struct http_pair *headers)
{
    buf_puts(out, "HTTP/1.1 ");
    put_number(out, status);
    buf_putc(out, ' ');
    buf_puts(out, reason_of(status));
    buf_puts(out, "\r\n");
    put_date(out);
    if (content_type)
        put_header(out, "Content-Type", content_type);
    if (size >= 0 && status >= 200 && status != 204 && status != 304) {
        buf_puts(out, "Content-Length: ");
        put_number(out, size);
        buf_puts(out, "\r\n");
    }
    if (status >= 200)
        buf_puts(out, close ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
    for (size_t i = 0; i < n_headers; i++)
        put_header(out, headers[i].name, headers[i].value);
    buf_puts(out, "\r\n");
}

void http_page_write(struct buf *out, int status, const char *detail)
{
    const char *explanation = "";

    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
        if (statuses[i].status == status && statuses[i].explanation)
            explanation = statuses[i].explanation;
    buf_printf(out, "<html><head><title>%d %s</title></head><body><h1>%d %s</h1><p>%s</p>", status,
               reason_of(status), status, reason_of(status), explanation);
    if (detail && *detail) {
        buf_puts(out, "<p>");
        buf_xml(out, detail);
        buf_puts(out, "</p>");
    }
    buf_puts(out, "</body></html>\n");
}

static void answer_item(struct loop_item *item)
{
    http_conn_answered(container_of(item, struct http_conn, item));
}

static void answer_body(struct http_conn *conn, const struct http_response *response)
{
    bool bare =
        conn->request.method == HTTP_M_HEAD || response->status == 204 || response->status == 304;

    if (response->body && (bare || response->body->size <= 0)) {
        response->body->release(response->body);
    } else if (response->body) {
        conn->body = response->body;
        conn->body_left = response->body->size;
    } else if (!bare) {
        buf_add(&conn->out, response->data, response->size);
    }
}

void http_reply(struct http_request *request, const struct http_response *response)
{
    struct http_conn *conn = request->conn;
    bool twice = atomic_exchange(&conn->answered, true);

    assert(!twice);
    (void)twice;
    conn->close_after =
        response->close || !conn->keep_alive || conn->unread || conn->server->draining;
    conn->linger |= conn->unread;
    buf_reserve(&conn->out, 512 + (response->body ? 0 : response->size));
    http_head_write(&conn->out, response->status, response->content_type,
                    response->body ? MAX(response->body->size, 0) : (int64_t)response->size,
                    conn->close_after, response->n_headers, response->headers);
    answer_body(conn, response);
    conn->item.fn = answer_item;
    if (loop_is_current(conn->home->loop) || !loop_post_item(conn->home->loop, &conn->item))
        http_conn_answered(conn);
}

void http_error_with(struct http_request *request, int status, const char *detail, size_t n_headers,
                     const struct http_pair *headers)
{
    __attribute__((cleanup(buf_release))) struct buf page = {0};

    http_page_write(&page, status, detail);
    http_reply(request, &(struct http_response){
                            .status = status,
                            .content_type = "text/html",
                            .n_headers = n_headers,
                            .headers = headers,
                            .data = page.data,
                            .size = page.len,
                        });
}

void http_error(struct http_request *request, int status, const char *detail)
{
    http_error_with(request, status, detail, 0, NULL);
}
