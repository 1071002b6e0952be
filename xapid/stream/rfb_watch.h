/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rfb_watch.h -- does anybody sit at the other end of a console?  Follows what an RFB client sends
 * and tells keys, pointer and clipboard from what a viewer sends by itself.
 */
#pragma once

#include "libxapi/base/base.h"

/* Zeroed is at the beginning of a connection. */
struct rfb_watch {
    int stage;
    uint8_t head[12];
    size_t n_head;
    uint64_t skip; /* bytes of the present message that are of no interest */
    bool lost;     /* what comes is not understood: then everything counts */
};

/* True if somebody did something. */
bool rfb_watch(struct rfb_watch *w, const uint8_t *bytes, size_t n);
