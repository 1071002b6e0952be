/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http_answer.c -- what a server says to VM.import's request, and to clients of the library. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/client/http.h"

#define SAID_MAX (64 << 10)
#define BODY_MAX (16 << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void read_answers(struct link *link)
{
    struct http_head *head = calloc(1, sizeof *head);
    struct buf body = {0};

    while (http_read_head(link, head)) {
        const char *location = http_head_find(head, "location");

        check(head->status >= 0 && head->status <= 999 && head->length >= -1);
        check(!location || strlen(location) < sizeof head->text);
        if (!http_read_body(link, head, BODY_MAX, &body))
            break;
        check(body.len <= BODY_MAX && (head->length < 0 || (int64_t)body.len <= head->length));
        if (head->length < 0)
            break;
        body.len = 0;
    }
    buf_release(&body);
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct link *link = calloc(1, sizeof *link);
    int fds[2];

    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    link_init(link, NULL);
    link->fd = fds[0];
    if (size <= SAID_MAX &&
        send(fds[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size) {
        shutdown(fds[1], SHUT_WR);
        read_answers(link);
    }
    close(fds[0]);
    close(fds[1]);
    free(link);
    return 0;
}
