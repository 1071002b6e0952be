/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapid-passwd FILE USER -- sets a user's password in a password file of xapid.  The password is
 * read from standard input: one line, without echo on a terminal, and twice there.
 */
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "xapid/auth/password.h"

/* Reads a line without its end; false at the end of input or if it is too long. */
static bool read_line(char out[PASSWORD_MAX + 2])
{
    char *end;

    if (!fgets(out, PASSWORD_MAX + 2, stdin))
        return false;
    end = strchr(out, '\n');
    if (end)
        *end = '\0';
    return strlen(out) <= PASSWORD_MAX;
}

static bool ask(const char *prompt, char out[PASSWORD_MAX + 2])
{
    struct termios old, quiet;
    bool terminal = tcgetattr(STDIN_FILENO, &old) == 0, ok;

    if (terminal) {
        quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        fprintf(stderr, "%s: ", prompt);
    }
    ok = read_line(out);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    return ok;
}

static bool read_password(char out[PASSWORD_MAX + 2])
{
    char again[PASSWORD_MAX + 2];
    bool same;

    if (!ask("New password", out) || !*out) {
        fprintf(stderr, "xapid-passwd: a password has 1 to %d bytes\n", PASSWORD_MAX);
        return false;
    }
    if (!isatty(STDIN_FILENO))
        return true;
    same = ask("Once more", again) && strcmp(out, again) == 0;
    OPENSSL_cleanse(again, sizeof again);
    if (!same)
        fprintf(stderr, "xapid-passwd: the two passwords differ\n");
    return same;
}

int main(int argc, char **argv)
{
    char password[PASSWORD_MAX + 2];
    struct arena arena = {0};
    struct error *e;
    int status = 0;

    if (argc != 3 || !password_user_is_valid(argv[2])) {
        fprintf(stderr,
                "usage: xapid-passwd FILE USER  (the password comes from standard input)\n");
        return 2;
    }
    if (!read_password(password))
        return 1;
    e = password_file_set(&arena, argv[1], argv[2], password);
    OPENSSL_cleanse(password, sizeof password);
    if (e) {
        fprintf(stderr, "xapid-passwd: %s\n", e->n_params ? e->params[0] : e->code);
        status = 1;
    }
    arena_release(&arena);
    return status;
}
