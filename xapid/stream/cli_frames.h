/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cli_frames.h -- the thin protocol as the daemon sees it: the greeting, and where in what the
 * program writes one command to the client ends and the next begins.
 *
 * A frame is its length (32 bits, big-endian) and as many bytes, which begin with a tag.
 */
#pragma once

#include "libxapi/base/buf.h"

/* What each side says first. */
#define CLI_GREETING_SIZE 35
extern const uint8_t cli_greeting[CLI_GREETING_SIZE];
/* True for a client that speaks this protocol: the same words and major version. */
bool cli_greeting_is_ours(const uint8_t theirs[CLI_GREETING_SIZE]);

/* Zeroed is at the beginning. */
struct cli_frames {
    uint8_t head[12]; /* of the present frame: its length and first two tags */
    size_t n_head;
    uint32_t left; /* bytes that are missing of the frame, once its length is known */
    bool ended;    /* the last whole frame was Exit */
};

/* Follows n more bytes. */
void cli_frames_see(struct cli_frames *f, const uint8_t *bytes, size_t n);
/* True where a frame may begin. */
bool cli_frames_whole(const struct cli_frames *f);

/* The commands Error(code, params) and Exit(code). */
void cli_frame_error(struct buf *out, const char *code, const char *param);
void cli_frame_exit(struct buf *out, int code);
