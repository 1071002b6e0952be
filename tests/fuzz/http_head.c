/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http_head.c -- request heads: found at the same place however they arrive, and parsed within
 * bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xapid/http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void parse(const char *text, size_t size)
{
    struct arena arena = {0};
    struct http_head head;
    size_t total = 0;

    if (http_head_parse(&arena, text, size, &head) == 0) {
        check(head.path && head.target && head.content_length >= -1);
        check(!memchr(text, '\0', size));
        for (size_t i = 0; i < head.n_headers; i++) {
            check(strcmp(head.headers[i].name, "transfer-encoding") != 0);
            total += strlen(head.headers[i].name) + strlen(head.headers[i].value);
        }
        for (size_t i = 0; i < head.n_query; i++)
            total += strlen(head.query[i].name) + strlen(head.query[i].value);
        check(total <= size);
    }
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_scan whole = {0}, slow = {0};
    char *text = malloc(size + 1);
    ssize_t n, m = 0;

    memcpy(text, data, size);
    n = http_head_scan(&whole, text, size, 1024);
    for (size_t i = 1; i <= size && m == 0; i++)
        m = http_head_scan(&slow, text, i, 1024);
    check(n == m);
    if (n > 0)
        parse(text, (size_t)n);
    free(text);
    return 0;
}
