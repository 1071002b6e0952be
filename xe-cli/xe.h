/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xe.h -- what every file of the xe command shares: one run of it, and its way to the server.
 *
 * Everything lives in the run's arena and ends with it.  Errors that xe makes itself have the codes
 * below; all others come from the server or the transport and are shown as errors.c says.
 */
#pragma once

#include <stdio.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/base.h"
#include "libxapi/base/buf.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/type.h"
#include "xe-cli/args.h"
#include "xe-cli/output.h"

#define XE_FAILURE "xe: failure"   /* (sentence) */
#define XE_USAGE "xe: usage"       /* (what, detail): shown with a hint to "xe help" */
#define XE_EXIT "xe: exit"         /* (code): all was said already */
#define XE_MULTIPLE "xe: multiple" /* (uuid, text, uuid, text, ...) of an operation on several */
#define XE_NOT_IN_DATABASE "<not in database>"

/*
 * The way to the server, and the seam of the tests.  Results live as long as the server.  All
 * functions may block; none is called from two threads.
 */
struct xe_server {
    /* Calls 'method'; 'params' are XML-RPC <param> elements after the session. */
    struct error *(*call)(struct xe_server *server, const char *method, const char *params,
                          const struct wire **value);
    /* Waits for a task and destroys it; *result is its result text. */
    struct error *(*wait)(struct xe_server *server, const char *task,
                          void (*progress)(void *ctx, double done), void *ctx, const char **result);
    /* PUT from, GET to a descriptor; 'length' -1 where unknown.  'progress' may be NULL. */
    struct error *(*upload)(struct xe_server *server, const char *path, int fd, int64_t length,
                            void (*progress)(void *ctx, double done), void *ctx);
    struct error *(*download)(struct xe_server *server, const char *path, int fd);
    /*
     * Waits until something of 'class' (lower case) has changed since *token ("" at first), which
     * moves on.  Ends the life of all earlier results.
     */
    struct error *(*changed)(struct xe_server *server, const char *class, const char **token);
    /* Joins the terminal to a console until Ctrl-] or its end. */
    struct error *(*console)(struct xe_server *server, const char *path);
    /* The session's reference text. */
    const char *(*session)(struct xe_server *server);
};

struct xe_objects;
struct xe_table;
struct xe;

/*
 * The files and the screen of whoever gave the command: those of this program (here.c), or of a
 * client of the thin protocol (thin.c), which is asked for them.  What is typed and shown are the
 * streams xe->in and xe->out.
 */
struct xe_io {
    /* The whole of a file, at most XE_FILE_LIMIT; 'what' names it where it cannot be read. */
    struct error *(*load)(struct xe *xe, const char *what, const char *path, const char **text);
    /* What transfer_get and transfer_put do. */
    struct error *(*get)(struct xe *xe, const char *label, const char *path, const char *file);
    struct error *(*put)(struct xe *xe, const char *label, const char *path, const char *file,
                         const char **result);
    /* Joins the screen to a console. */
    struct error *(*console)(struct xe *xe, const char *path);
};
#define XE_FILE_LIMIT ((size_t)32 << 20)
extern const struct xe_io xe_here;

/* One run of the command. */
struct xe {
    struct arena arena;
    const struct xe_options *options;
    const char *command;
    struct xe_params params;
    struct xe_output out;
    FILE *in; /* answers to questions */
    const struct xe_io *io;
    struct xe_server *server;                /* NULL until the first call */
    struct error *(*connect)(struct xe *xe); /* sets 'server' */
    void *connect_ctx;
    struct xe_objects *objects; /* objects.c */
    /* For a client that may leave at any time: called before a task begins or ends, and then with
       the one that is waited for (NULL: none).  Both or none. */
    void (*task_begins)(struct xe *xe);
    void (*task_known)(struct xe *xe, const char *task);
};

/* An error with a sentence: "Error: <sentence>". */
MUST_CHECK struct error *xe_fail(struct xe *xe, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* True for errors that xe made itself. */
bool xe_error_own(const struct error *e);

/*
 * A call with its arguments described by letters: s string or enum, r reference text, i int64_t,
 * b int (boolean), f double, m const struct xe_params * (map of strings), S const struct strings *
 * (set of strings or references), x const struct buf * (<param> elements written already).
 * *value may be NULL where the result does not matter.
 */
MUST_CHECK struct error *xe_call(struct xe *xe, const struct wire **value, const char *method,
                                 const char *letters, ...);
/* A call whose result is text (a reference, a string, a number as sent). */
MUST_CHECK struct error *xe_call_text(struct xe *xe, const char **text, const char *method,
                                      const char *letters, ...);
/* The same, asynchronously: waits for the task, with a progress bar on a terminal. */
MUST_CHECK struct error *xe_call_task(struct xe *xe, const char **result, const char *method,
                                      const char *letters, ...);
/* Waits for a task and destroys it; with a progress bar where 'shown' and there is a terminal. */
MUST_CHECK struct error *xe_wait(struct xe *xe, const char *task, bool shown, const char **result);
/* Any call with parameters written already; 'task' as xe_call_task does. */
MUST_CHECK struct error *xe_call_params(struct xe *xe, const char *method, const struct buf *params,
                                        bool task, const struct wire **value);

/* Adds one <param> or bare value. */
void xe_param_text(struct buf *params, const char *text);
void xe_value_map(struct buf *params, const struct xe_params *map);
void xe_value_set(struct buf *params, const struct strings *set);

/* Asks for "yes" on the terminal. */
bool xe_says_yes(struct xe *xe);
/* "true", "t", "1", "false", "f", "0" in any case. */
MUST_CHECK struct error *xe_bool(struct xe *xe, const char *name, const char *text, bool *out);
/* The same of a parameter that may be missing. */
MUST_CHECK struct error *xe_flag(struct xe *xe, const char *name, bool otherwise, bool *out);
MUST_CHECK struct error *xe_int(struct xe *xe, const char *name, const char *text, int64_t *out);
MUST_CHECK struct error *xe_float(struct xe *xe, const char *name, const char *text, double *out);
/* A number of bytes, with KiB, MiB, GiB or TiB. */
MUST_CHECK struct error *xe_bytes(struct xe *xe, const char *name, const char *text, int64_t *out);
/* "a,b,c" split; "" is no elements. */
struct strings xe_split(struct xe *xe, const char *text, char sep);
/* The error of an end of which all was said already. */
MUST_CHECK struct error *xe_exit(struct xe *xe);
bool xe_word_in(const char *words, const char *word);

/* Members of structs, elements of maps as get_all_records gives them; NULL if absent. */
const struct wire *xe_member(const struct wire *record, const char *name);
/* The text of a member, "" if absent. */
const char *xe_member_text(const struct wire *record, const char *name);
bool xe_member_bool(const struct wire *record, const char *name);
/* Text of any scalar; "" for NULL. */
const char *xe_wire_text(struct arena *arena, const struct wire *w);
struct strings xe_wire_set(struct arena *arena, const struct wire *w);
struct xe_params xe_wire_map(struct arena *arena, const struct wire *w);
