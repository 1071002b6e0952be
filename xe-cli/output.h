/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * output.h -- the forms of xe's output: messages, lists, records, and what --minimal makes of them
 * (the first value of each record, all joined with commas).
 */
#pragma once

#include <stdio.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/base.h"
#include "libxapi/value/type.h"
#include "xe-cli/args.h"

/* Zeroed but for the streams is ready for use. */
struct xe_output {
    FILE *out, *err;
    bool minimal;
    bool terminal; /* progress is shown */
    struct arena *arena;
    const char *held; /* with --minimal: what was printed so far, joined */
    bool any;
};

/* A line; nothing with --minimal. */
void out_message(struct xe_output *o, const char *text);
/* Lines. */
void out_list(struct xe_output *o, const struct strings *lines);
void out_text(struct xe_output *o, const char *line);
/* Records: the first name is written to the left, the others to the right. */
void out_table(struct xe_output *o, const struct xe_params *records, size_t n);
/* A line whatever the form of output. */
void out_always(struct xe_output *o, const char *text);
void out_error(struct xe_output *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A progress bar; 'done' from 0 to 1. */
void out_progress(void *output, double done);
/* At the end of a command that did well. */
void out_flush(struct xe_output *o);
/* , and \ with \ before them. */
const char *out_escape(struct arena *arena, const char *text);
