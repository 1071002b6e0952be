/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * thin_text.h -- the thin protocol's bytes: the request, commands to the client, its answers.
 *
 * A frame is its length and as many bytes; all numbers are 32 bits, big-endian; a text is its
 * length and its bytes.  After a frame that announces a chunk that many bytes follow outside of any
 * frame.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/base.h"
#include "libxapi/base/buf.h"

/* What the daemon takes too (its CLI_REQUEST_MAX). */
#define THIN_REQUEST_MAX ((size_t)200 << 10)
#define THIN_WORDS_MAX 4096
/* Answers are a few numbers. */
#define THIN_ANSWER_MAX 64

enum thin_command {
    THIN_PRINT = 0,
    THIN_LOAD = 1,
    THIN_PROMPT = 3,
    THIN_EXIT = 4,
    THIN_HTTP_GET = 12,
    THIN_HTTP_PUT = 13,
    THIN_PRINT_STDERR = 16,
    THIN_HTTP_CONNECT = 17,
};

struct thin_request {
    const char *session; /* NULL: to log in */
    size_t n;
    const char **words; /* the command and its parameters */
};
/*
 * Reads the request: words, a line each, before them perhaps "session_id=REF".  Where a line ends
 * with CR LF, an LF alone is part of a word.  False for too many words, and for a NUL.
 */
bool thin_request_read(struct arena *arena, const char *text, size_t size,
                       struct thin_request *out);

enum thin_answer {
    THIN_BROKEN, /* not of this protocol */
    THIN_OK,
    THIN_FAILED,
    THIN_WAIT,  /* still at it */
    THIN_CHUNK, /* *size bytes follow */
    THIN_END,   /* no more chunks */
};
/* Reads the contents of one frame from the client. */
enum thin_answer thin_answer_read(const uint8_t *frame, size_t n, size_t *size);

/* Adds a command: THIN_PROMPT has no text, HTTP_GET and HTTP_PUT have two. */
void thin_command(struct buf *out, enum thin_command command, const char *a, size_t a_size,
                  const char *b);
void thin_command_exit(struct buf *out, int code);
