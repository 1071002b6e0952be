/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/rfb_watch.h"

#include <string.h>

enum { STAGE_VERSION, STAGE_SECURITY, STAGE_INIT, STAGE_MESSAGES };

static uint32_t u16_at(const struct rfb_watch *w, int at)
{
    return (uint32_t)w->head[at] << 8 | w->head[at + 1];
}

static uint32_t u32_at(const struct rfb_watch *w, int at)
{
    return u16_at(w, at) << 16 | u16_at(w, at + 2);
}

/* What is known of a message once its first bytes are here. */
struct shape {
    size_t head;   /* bytes that must be seen to know the rest; 0: unknown message */
    uint64_t rest; /* bytes after these, once all of them are here */
    bool activity;
};

static struct shape qemu_shape(const struct rfb_watch *w)
{
    if (w->n_head < 2)
        return (struct shape){2, 0, false};
    if (w->head[1] == 0) /* a key with its scan code */
        return (struct shape){2, 10, true};
    if (w->head[1] != 1)
        return (struct shape){0, 0, false};
    if (w->n_head < 4) /* sound: on, off, or a format */
        return (struct shape){4, 0, false};
    return (struct shape){4, u16_at(w, 2) == 2 ? 6 : 0, false};
}

static struct shape shape_of(const struct rfb_watch *w)
{
    bool whole;

    switch (w->head[0]) {
    case 0:
        return (struct shape){1, 19, false}; /* pixel format */
    case 2:                                  /* encodings */
        whole = w->n_head >= 4;
        return (struct shape){4, whole ? 4 * (uint64_t)u16_at(w, 2) : 0, false};
    case 3:
        return (struct shape){1, 9, false}; /* wants a picture */
    case 4:
        return (struct shape){1, 7, true}; /* key */
    case 5:
        return (struct shape){1, 5, true}; /* pointer */
    case 6:                                /* clipboard; a negative length is an extension */
        whole = w->n_head >= 8;
        return (struct shape){
            8,
            whole ? ((int32_t)u32_at(w, 4) < 0 ? -(uint64_t)(int32_t)u32_at(w, 4) : u32_at(w, 4))
                  : 0,
            true};
    case 150:
        return (struct shape){1, 9, false}; /* continuous updates */
    case 248:                               /* fence */
        whole = w->n_head >= 9;
        return (struct shape){9, whole ? w->head[8] : 0, false};
    case 251: /* desktop size */
        whole = w->n_head >= 8;
        return (struct shape){8, whole ? 16 * (uint64_t)w->head[6] : 0, false};
    case 255:
        return qemu_shape(w);
    default:
        return (struct shape){0, 0, false};
    }
}

static bool in_message(struct rfb_watch *w)
{
    struct shape shape = shape_of(w);

    if (!shape.head) {
        w->lost = true;
        return true;
    }
    if (w->n_head < shape.head)
        return false;
    w->skip = shape.rest;
    w->n_head = 0;
    return shape.activity;
}

static void in_handshake(struct rfb_watch *w)
{
    if (w->stage == STAGE_VERSION) {
        if (w->n_head < 12)
            return;
        /* In version 3.3 it is the server who chooses the security. */
        w->stage = memcmp(w->head, "RFB 003.003", 11) == 0 ? STAGE_INIT : STAGE_SECURITY;
    } else if (w->stage == STAGE_SECURITY) {
        w->lost = w->head[0] != 1; /* none is the only one we follow */
        w->stage = STAGE_INIT;
    } else {
        w->stage = STAGE_MESSAGES;
    }
    w->n_head = 0;
}

bool rfb_watch(struct rfb_watch *w, const uint8_t *bytes, size_t n)
{
    bool activity = false;
    size_t i = 0;

    while (i < n && !w->lost) {
        size_t skipped = MIN(w->skip, (uint64_t)(n - i));

        if (skipped) {
            w->skip -= skipped;
            i += skipped;
            continue;
        }
        w->head[w->n_head++] = bytes[i++];
        if (w->stage == STAGE_MESSAGES)
            activity |= in_message(w);
        else
            in_handshake(w);
    }
    return activity || (w->lost && n);
}
