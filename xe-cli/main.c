/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main.c -- xe, the command line of a XenAPI pool.
 *
 * Every command is its own client: it logs in, makes the calls it needs, and logs out.  Where there
 * is no -s it talks to the daemon of this host through its Unix socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xe-cli/complete.h"
#include "xe-cli/help.h"
#include "xe-cli/run.h"
#include "xe-cli/schema.h"
#include "xe-cli/server.h"
#include "xe-cli/thin.h"

#define RC_LIMIT 65536

/* ~/.xe; NULL if there is none. */
static const char *read_rc(struct arena *arena)
{
    const char *home = getenv("HOME");
    int fd = home ? open(arena_printf(arena, "%s/.xe", home), O_RDONLY | O_CLOEXEC) : -1;
    char *text;
    ssize_t n;

    if (fd < 0)
        return NULL;
    text = arena_zalloc(arena, RC_LIMIT + 1);
    n = read(fd, text, RC_LIMIT);
    close(fd);
    return n > 0 ? text : NULL;
}

/* A user name and a password, a line each. */
static bool read_password_file(struct xe *xe, struct xe_options *o)
{
    const char *path = o->password_file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[1024] = "", *end;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    if (n < 0) {
        out_error(&xe->out, "Error opening password file '%s'\n", path);
        return false;
    }
    end = strchr(text, '\n');
    if (!end) {
        out_error(&xe->out, "Error: password file format: expecting username on the first line, "
                            "password on the second line\n");
        return false;
    }
    *end++ = '\0';
    end[strcspn(end, "\n")] = '\0';
    o->user = arena_strdup(&xe->arena, text);
    o->password = arena_strdup(&xe->arena, end);
    return true;
}

static int run_line(struct xe *xe, int argc, const char *const *argv)
{
    struct xe_command_line line;
    const char *why = NULL;

    switch (args_parse(&xe->arena, argc, argv, getenv("XE_EXTRA_ARGS"), read_rc(&xe->arena), &line,
                       &why)) {
    case ARGS_USAGE:
        help_usage(xe, why);
        return why ? 1 : 0;
    case ARGS_SYNTAX:
        out_error(&xe->out, "Syntax error: \nFor usage run: 'xe help'\n");
        return 1;
    default:
        break;
    }
    if (line.options.version) {
        out_always(&xe->out, "xe of xapid");
        return 0;
    }
    if (line.options.password_file && !read_password_file(xe, &line.options))
        return 1;
    xe->options = &line.options;
    xe->command = line.command;
    xe->params = line.params;
    return xe_run(xe);
}

static struct error *no_server(struct xe *xe)
{
    return xe_server_open(xe, xe->options, NULL, &xe->server);
}

/* Never asks for a password: the shell is waiting. */
static int run_completion(struct xe *xe, int argc, const char *const *argv)
{
    static const char *const nothing[] = {"xe", "help"};
    struct xe_command_line line;
    const char *why = NULL;

    if (args_parse(&xe->arena, 2, nothing, getenv("XE_EXTRA_ARGS"), read_rc(&xe->arena), &line,
                   &why) != ARGS_OK)
        return 1;
    xe->options = &line.options;
    xe->connect = no_server;
    complete_run(xe, (size_t)argc, argv);
    return 0;
}

static int run(struct xe *xe, int argc, const char *const *argv)
{
    if (argc > 1 && !strcmp(argv[1], "--completion"))
        return run_completion(xe, argc - 2, argv + 2);
    if (argc > 2 && !strcmp(argv[1], "--thin"))
        return thin_main(argv[2], argc > 3 ? argv[3] : NULL);
    if (argc > 1 && !strcmp(argv[1], "--schema-commands")) {
        if (argc > 2 && !strcmp(argv[2], "all"))
            schema_all(xe);
        else
            schema_names(xe);
        return 0;
    }
    return run_line(xe, argc, argv);
}

int main(int argc, char **argv)
{
    struct xe xe = {.in = stdin, .io = &xe_here, .connect = xe_server_connect};
    int code;

    signal(SIGPIPE, SIG_IGN);
    xe.out = (struct xe_output){.out = stdout, .err = stderr, .arena = &xe.arena};
    code = run(&xe, argc, (const char *const *)argv);
    xe_server_close(xe.server);
    arena_release(&xe.arena);
    return fflush(stdout) ? 1 : code;
}
