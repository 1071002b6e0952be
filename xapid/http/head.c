/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * head.c -- scanning and parsing of request heads.
 *
 * http_parser does the parsing.  Debian builds it without its strict checks (a space before the
 * colon, a tab in the target and bare LF would pass), so every one of those is made here, on the
 * bytes before and on the names after.
 */
#include "xapid/http/head.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* The library calls its own list of methods what we call ours. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method

struct parse {
    struct arena *arena;
    char *target;
    size_t target_size;
    struct http_pair *headers;
    size_t n_headers, room;
    size_t name_size, value_size; /* of the newest header */
    bool complete, keep_alive, too_many;
};

ssize_t http_head_scan(struct http_scan *scan, const char *data, size_t size, size_t limit)
{
    for (; scan->pos < size; scan->pos++) {
        unsigned char c = (unsigned char)data[scan->pos];

        if (scan->pos >= limit)
            return -431;
        if (scan->cr) {
            if (c != '\n')
                return -400;
            scan->cr = false;
            if (scan->line == 0 && scan->lines > 0)
                return (ssize_t)++scan->pos;
            if (scan->line == 0 && scan->blank)
                return -400;
            scan->blank |= scan->line == 0;
            scan->lines += scan->line > 0;
            scan->line = 0;
        } else if (c == '\r') {
            scan->cr = true;
        } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return -400;
        } else if (scan->line == 0 && (c == ' ' || c == '\t')) {
            return -400;
        } else {
            scan->line++;
        }
    }
    return size >= limit ? -431 : 0;
}

/* tchar of RFC 9110. */
static bool is_token_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int on_target(http_parser *parser, const char *at, size_t size)
{
    struct parse *parse = parser->data;

    if (!parse->target)
        parse->target = (char *)at;
    parse->target_size += size;
    return 0;
}

static bool header_add(struct parse *parse)
{
    if (parse->n_headers == HTTP_HEAD_MAX_HEADERS) {
        parse->too_many = true;
        return false;
    }
    if (parse->n_headers == parse->room) {
        struct http_pair *more;

        parse->room = parse->room ? parse->room * 4 : 16;
        more = arena_array(parse->arena, struct http_pair, parse->room);
        if (parse->n_headers)
            memcpy(more, parse->headers, parse->n_headers * sizeof *more);
        parse->headers = more;
    }
    parse->headers[parse->n_headers++] = (struct http_pair){0};
    parse->name_size = parse->value_size = 0;
    return true;
}

/* Checks the newest header and ends its value, in place: a CR or a space follows it, and the parser
 * has left it. */
static bool header_end(struct parse *parse)
{
    struct http_pair *header;
    char *name, *value;

    if (!parse->n_headers)
        return true;
    header = &parse->headers[parse->n_headers - 1];
    name = (char *)header->name;
    value = (char *)header->value;
    if (!value || parse->name_size == 0)
        return false;
    for (size_t i = 0; i < parse->name_size; i++) {
        if (!is_token_char((unsigned char)name[i]))
            return false;
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] - 'A' + 'a');
    }
    if (name[parse->name_size] != ':')
        return false;
    while (parse->value_size &&
           (value[parse->value_size - 1] == ' ' || value[parse->value_size - 1] == '\t'))
        parse->value_size--;
    if (parse->value_size)
        value[parse->value_size] = '\0';
    return true;
}

static int on_name(http_parser *parser, const char *at, size_t size)
{
    struct parse *parse = parser->data;
    bool fresh = !parse->n_headers || parse->headers[parse->n_headers - 1].value;

    if (fresh) {
        if (!header_end(parse) || !header_add(parse))
            return 1;
        parse->headers[parse->n_headers - 1].name = at;
    }
    parse->name_size += size;
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    struct parse *parse = parser->data;

    if (!parse->n_headers)
        return 1;
    /* For an empty value the parser points at the next line, where nothing may be written. */
    if (!parse->headers[parse->n_headers - 1].value)
        parse->headers[parse->n_headers - 1].value = size ? at : "";
    parse->value_size += size;
    return 0;
}

static int on_complete(http_parser *parser)
{
    struct parse *parse = parser->data;

    if (!header_end(parse))
        return 1;
    parse->complete = true;
    parse->keep_alive = http_should_keep_alive(parser);
    return 1; /* the body is not the parser's matter */
}

static const http_parser_settings settings = {
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

/* Exactly "method SP target SP version", the target in visible ASCII. */
static bool request_line_is_plain(const char *line)
{
    int spaces = 0;

    for (const char *p = line; *p != '\r'; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == ' ' && (p[1] == ' ' || p[1] == '\r'))
            return false;
        spaces += c == ' ';
        if (c < 0x20 || c >= 0x7f)
            return false;
    }
    return spaces == 2;
}

static bool method_is_token(const char *line)
{
    const char *p = line;

    while (is_token_char((unsigned char)*p))
        p++;
    return p > line && *p == ' ';
}

static enum http_method method_of(unsigned int method)
{
    switch (method) {
    case HTTP_GET:
        return HTTP_M_GET;
    case HTTP_POST:
        return HTTP_M_POST;
    case HTTP_PUT:
        return HTTP_M_PUT;
    case HTTP_OPTIONS:
        return HTTP_M_OPTIONS;
    case HTTP_CONNECT:
        return HTTP_M_CONNECT;
    case HTTP_HEAD:
        return HTTP_M_HEAD;
    default:
        return HTTP_M_OTHER;
    }
}

static bool read_length(const char *text, int64_t *out)
{
    int64_t n = 0;

    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || n > (INT64_MAX - 9) / 10)
            return false;
        n = n * 10 + (*text - '0');
    }
    *out = n;
    return true;
}

/* Headers that decide where a request ends, or whether it may be read at all.  0 or a status. */
static int check_headers(struct http_head *head)
{
    bool host = false;

    for (size_t i = 0; i < head->n_headers; i++) {
        const struct http_pair *header = &head->headers[i];

        if (strcmp(header->name, "transfer-encoding") == 0) {
            /* Nobody here reads such a body.  An upload's handler says so itself. */
            if (head->method != HTTP_M_PUT || head->chunked ||
                strcasecmp(header->value, "chunked") != 0)
                return 400;
            head->chunked = true;
        }
        if (strcmp(header->name, "content-length") == 0 &&
            (head->content_length >= 0 || !read_length(header->value, &head->content_length)))
            return 400;
        if (strcmp(header->name, "host") == 0) {
            if (host)
                return 400;
            host = true;
        }
        if (strcmp(header->name, "expect") == 0) {
            if (strcasecmp(header->value, "100-continue") != 0)
                return 417;
            /* An HTTP/1.0 client does not know what that reply is. */
            head->expect_continue = head->minor_version > 0;
        }
    }
    return head->chunked && head->content_length >= 0 ? 400 : 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

char *http_decode(struct arena *arena, const char *text, size_t size, bool plus)
{
    char *out = arena_alloc(arena, size + 1), *p = out;

    for (size_t i = 0; i < size; i++) {
        int high = -1, low = -1;

        if (text[i] == '%' && size - i > 2) {
            high = hex_value(text[i + 1]);
            low = hex_value(text[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            if (high == 0 && low == 0)
                return NULL;
            *p++ = (char)(high << 4 | low);
            i += 2;
        } else {
            *p++ = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    *p = '\0';
    return out;
}

static bool parse_query(struct arena *arena, const char *text, size_t size, struct http_head *head)
{
    struct http_pair *pairs;
    const char *end = text + size;
    size_t n = 1;

    for (const char *p = text; p < end; p++)
        n += *p == '&';
    pairs = arena_array(arena, struct http_pair, n);
    head->query = pairs;
    while (text < end) {
        const char *amp = memchr(text, '&', (size_t)(end - text));
        const char *stop = amp ? amp : end;
        const char *eq = memchr(text, '=', (size_t)(stop - text));
        struct http_pair *pair = &pairs[head->n_query];

        if (stop > text) {
            pair->name = http_decode(arena, text, (size_t)((eq ? eq : stop) - text), true);
            pair->value = eq ? http_decode(arena, eq + 1, (size_t)(stop - eq - 1), true) : "";
            if (!pair->name || !pair->value)
                return false;
            head->n_query++;
        }
        text = amp ? amp + 1 : end;
    }
    return true;
}

/* Splits the target into path and query; the form with scheme and authority is one that a proxy
 * would send. */
static bool parse_target(struct arena *arena, struct http_head *head)
{
    const char *text = head->target, *query, *end;

    if (strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0) {
        text = strstr(text, "//") + 2;
        text += strcspn(text, "/?#");
    }
    end = text + strcspn(text, "#");
    query = memchr(text, '?', (size_t)(end - text));
    head->path = query == text || text == end
                     ? "/"
                     : http_decode(arena, text, (size_t)((query ? query : end) - text), false);
    if (!head->path)
        return false;
    return !query || parse_query(arena, query + 1, (size_t)(end - query - 1), head);
}

static int parse_failed(const http_parser *parser, const struct parse *parse, const char *line)
{
    if (parse->too_many)
        return 431;
    if (HTTP_PARSER_ERRNO(parser) == HPE_INVALID_METHOD && method_is_token(line))
        return 501;
    return 400;
}

int http_head_parse(struct arena *arena, const char *data, size_t size, struct http_head *out)
{
    struct parse parse = {.arena = arena};
    char *copy, *line;
    http_parser parser;
    size_t used;

    *out = (struct http_head){.content_length = -1};
    copy = arena_strndup(arena, data, size);
    line = size > 1 && copy[0] == '\r' ? copy + 2 : copy;
    size -= (size_t)(line - copy);
    if (size < 4 || !strchr(line, '\r'))
        return 400;
    if (!request_line_is_plain(line))
        return 400;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &parse;
    used = http_parser_execute(&parser, &settings, line, size);
    if (HTTP_PARSER_ERRNO(&parser) != HPE_OK || !parse.complete || used != size || !parse.target)
        return parse_failed(&parser, &parse, line);
    if (parser.http_major != 1)
        return parser.http_major == 0 ? 400 : 505;
    for (size_t i = 0; i < parse.n_headers; i++)
        *strchr(parse.headers[i].name, ':') = '\0';
    parse.target[parse.target_size] = '\0';
    out->method = method_of(parser.method);
    out->minor_version = parser.http_minor > 0;
    out->keep_alive = parse.keep_alive;
    out->target = parse.target;
    out->headers = parse.headers;
    out->n_headers = parse.n_headers;
    if (!parse_target(arena, out))
        return 400;
    return check_headers(out);
}

const char *http_forwarded_for(struct arena *arena, const char *value)
{
    const char *at = value;
    char *address;
    uint8_t bytes[16];

    while (*at && strncasecmp(at, "for=", 4) != 0) {
        at += strcspn(at, ";, ");
        at += strspn(at, ";, ");
    }
    if (!*at)
        return "unknown";
    at += 4;
    at += *at == '"';
    if (*at == '[')
        address = arena_strndup(arena, at + 1, strcspn(at + 1, "]"));
    else
        address = arena_strndup(arena, at, strcspn(at, "\":;, "));
    if (inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1)
        return address;
    return "unknown";
}
