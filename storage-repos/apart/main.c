/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapid-storage: one call of a storage driver, for storage that may stop to answer.
 *
 *   xapid-storage < request > answer
 *
 * Started by xapid, and killed where it takes too long; of no use by itself.  Lines "+PART" before
 * the answer say how far a copy has come.
 */
#include <stdio.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "storage-repos/apart/apart.h"
#include "storage-repos/apart/message.h"

#define REQUEST_MAX ((size_t)1 << 20)

static bool read_all(struct buf *out)
{
    char piece[4096];
    ssize_t n;

    while ((n = read(STDIN_FILENO, piece, sizeof piece)) > 0 && out->len < REQUEST_MAX)
        buf_add(out, piece, (size_t)n);
    return n == 0;
}

/* Whoever wants the copy to end kills us. */
static bool say_progress(void *ctx, double done)
{
    (void)ctx;
    printf("+%.4f\n", done);
    fflush(stdout);
    return true;
}

int main(void)
{
    struct arena arena = {0};
    struct apart_request request;
    struct apart_reply reply;
    struct buf input = {0};

    if (!read_all(&input) || !apart_request_read(&arena, input.data, input.len, &request)) {
        fprintf(stderr, "xapid-storage: this is no request; it is a program of xapid's own\n");
        return 2;
    }
    apart_serve(&arena, &request, &reply, say_progress, NULL);
    fputs(apart_reply_write(&arena, &reply), stdout);
    buf_release(&input);
    arena_release(&arena);
    return fflush(stdout) == 0 ? 0 : 1;
}
