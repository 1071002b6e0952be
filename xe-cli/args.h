/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * args.h -- the command line: switches that are xe's own, the command, and its name=value
 * parameters.  Later sources give defaults only: the line itself, XE_EXTRA_ARGS, ~/.xe.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/base.h"

struct xe_pair {
    const char *key, *value;
};
struct xe_params {
    size_t n;
    const struct xe_pair *v;
};

struct xe_options {
    const char *server;        /* NULL: the local host */
    int port;                  /* 0: the default */
    const char *socket;        /* of the local daemon; NULL: the usual one */
    const char *forwarded_for; /* the client this program acts for; NULL: none */
    const char *user, *password, *password_file;
    bool plain; /* --nossl */
    bool debug, debug_on_fail;
    const char *traceparent;
    bool help, version;
};

struct xe_command_line {
    struct xe_options options;
    const char *command;
    struct xe_params params;
};

enum args_result {
    ARGS_OK,
    ARGS_USAGE,  /* show how to use xe; *why may hold a sentence to show before */
    ARGS_SYNTAX, /* "Syntax error" */
};

/*
 * Reads the line.  'extra' is XE_EXTRA_ARGS (comma separated, \ before a comma that is none), 'rc'
 * the text of ~/.xe; both may be NULL.
 */
enum args_result args_parse(struct arena *arena, int argc, const char *const *argv,
                            const char *extra, const char *rc, struct xe_command_line *out,
                            const char **why);

/* The same of a command that came from elsewhere: its words, of which user and password are the
 * only options.  These stay among the parameters. */
enum args_result args_parse_words(struct arena *arena, size_t n, const char *const *words,
                                  struct xe_command_line *out);

/* The first value of a parameter; NULL if it was not given. */
const char *args_get(const struct xe_params *params, const char *name);
/* Those that begin with "name:" (or the older "name-"), by what follows. */
struct xe_params args_map(struct arena *arena, const struct xe_params *params, const char *name);
/* True for parameters every command takes, which are no filters. */
bool args_standard(const char *name);
