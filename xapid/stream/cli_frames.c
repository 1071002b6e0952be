/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli_frames.c -- the little the daemon knows of the thin protocol. */
#include "xapid/stream/cli_frames.h"

#include <string.h>

#include "libxapi/base/bytes.h"

#define MAGIC_SIZE 27

enum { TAG_EXIT = 4, TAG_COMMAND = 9, TAG_ERROR = 14 };

/* Version 0.2. */
const uint8_t cli_greeting[CLI_GREETING_SIZE] = "XenSource thin CLI protocol\0\0\0\0\0\0\0\2";

bool cli_greeting_is_ours(const uint8_t theirs[CLI_GREETING_SIZE])
{
    return !memcmp(theirs, cli_greeting, MAGIC_SIZE + 4);
}

void cli_frames_see(struct cli_frames *f, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t skip;

        if (f->n_head < 4) {
            f->head[f->n_head++] = bytes[i++];
            if (f->n_head < 4)
                continue;
            f->left = be_get32(f->head);
        } else {
            skip = MIN(n - i, (size_t)f->left);
            for (size_t k = 0; k < skip && f->n_head < sizeof f->head; k++)
                f->head[f->n_head++] = bytes[i + k];
            i += skip;
            f->left -= (uint32_t)skip;
        }
        if (f->left)
            continue;
        f->ended = f->n_head == sizeof f->head && be_get32(f->head + 4) == TAG_COMMAND &&
                   be_get32(f->head + 8) == TAG_EXIT;
        f->n_head = 0;
    }
}

bool cli_frames_whole(const struct cli_frames *f)
{
    return f->n_head == 0;
}

static void put_number(struct buf *out, uint32_t v)
{
    uint8_t bytes[4];

    be_put32(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static void put_text(struct buf *out, const char *text)
{
    put_number(out, (uint32_t)strlen(text));
    buf_puts(out, text);
}

void cli_frame_error(struct buf *out, const char *code, const char *param)
{
    put_number(out, (uint32_t)(4 * 5 + strlen(code) + strlen(param)));
    put_number(out, TAG_COMMAND);
    put_number(out, TAG_ERROR);
    put_text(out, code);
    put_number(out, 1);
    put_text(out, param);
}

void cli_frame_exit(struct buf *out, int code)
{
    put_number(out, 12);
    put_number(out, TAG_COMMAND);
    put_number(out, TAG_EXIT);
    put_number(out, (uint32_t)code);
}
