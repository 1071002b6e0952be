/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli.c -- the thin protocol: a client's request and answers, and the frames that are followed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xapid/stream/cli_frames.h"
#include "xe-cli/args.h"
#include "xe-cli/thin_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void request(const char *text, size_t size)
{
    struct arena arena = {0};
    struct thin_request r;
    struct xe_command_line line;
    size_t total = 0;

    if (thin_request_read(&arena, text, size, &r)) {
        for (size_t i = 0; i < r.n; i++)
            total += strlen(r.words[i]);
        check(r.n <= THIN_WORDS_MAX && total + (r.session ? strlen(r.session) : 0) <= size);
        if (args_parse_words(&arena, r.n, r.words, &line) == ARGS_OK)
            check(line.command == r.words[0] && line.params.n == r.n - 1);
    }
    arena_release(&arena);
}

static void follow(const uint8_t *data, size_t size)
{
    struct cli_frames whole = {0}, slow = {0};

    cli_frames_see(&whole, data, size);
    for (size_t i = 0; i < size; i++)
        cli_frames_see(&slow, data + i, 1);
    check(whole.ended == slow.ended && cli_frames_whole(&whole) == cli_frames_whole(&slow));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    size_t n;

    memcpy(text, data, size);
    request(text, size);
    free(text);
    follow(data, size);
    if (thin_answer_read(data, size, &n) != THIN_CHUNK)
        check(n == 0);
    return 0;
}
