/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* main.c -- xapi-witness: its commands. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "libxapi/base/log.h"
#include "libxapi/codec/codec.h"
#include "xapid/auth/file.h"
#include "xapid/ops/op.h"
#include "xapid/witness/witness.h"

#define PASSWORD_LIMIT 1024

static const char usage[] =
    "usage: xapi-witness join HOST[:PORT]     make this machine the witness of HOST's pool\n"
    "       xapi-witness run                  be it (xapi-witness.service does)\n"
    "       xapi-witness leave [HOST[:PORT]]  end it, here and in the pool\n"
    "       xapi-witness remove HOST[:PORT]   end the pool's witness, whose machine is lost\n"
    "\n"
    "  --dir DIR             its directory; /var/lib/xapi-witness\n"
    "  --user NAME           an administrator of the pool; root\n"
    "  --password-file FILE  with the password; else it is asked for\n"
    "  --fingerprint HEX     SHA-256, that the host's certificate must have; else any is taken\n"
    "  --address HOST[:PORT] join: where the hosts reach this machine; port 7400\n"
    "  --listen ADDRESS      run: the local address to listen at; all\n"
    "  --enable-faults       for tests: fail where <dir>/faults says so\n"
    "  --level N             for tests: understand no more of the database than an older version\n"
    "  --version, --help\n";

enum {
    OPT_DIR = 256,
    OPT_USER,
    OPT_PASSWORD,
    OPT_FINGERPRINT,
    OPT_ADDRESS,
    OPT_LISTEN,
    OPT_FAULTS,
    OPT_LEVEL,
    OPT_VERSION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"dir", required_argument, NULL, OPT_DIR},
    {"user", required_argument, NULL, OPT_USER},
    {"password-file", required_argument, NULL, OPT_PASSWORD},
    {"fingerprint", required_argument, NULL, OPT_FINGERPRINT},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"enable-faults", no_argument, NULL, OPT_FAULTS},
    {"level", required_argument, NULL, OPT_LEVEL},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct settings {
    struct witness_words words;
    const char *password_file;
    bool enable_faults;
};

static void set_option(struct settings *s, int c)
{
    switch (c) {
    case OPT_DIR:
        s->words.dir = optarg;
        break;
    case OPT_USER:
        s->words.user = optarg;
        break;
    case OPT_PASSWORD:
        s->password_file = optarg;
        break;
    case OPT_FINGERPRINT:
        s->words.fingerprint = optarg;
        break;
    case OPT_ADDRESS:
        s->words.address = optarg;
        break;
    case OPT_LISTEN:
        s->words.listen = optarg;
        break;
    case OPT_FAULTS:
        s->enable_faults = true;
        break;
    case OPT_LEVEL:
        s->words.level = (unsigned)atoi(optarg);
        break;
    case OPT_VERSION:
        puts("xapi-witness " XAPID_VERSION);
        exit(0);
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

/*** the password ***/

static char *read_line(struct arena *arena)
{
    char *line = arena_zalloc(arena, PASSWORD_LIMIT);

    return fgets(line, PASSWORD_LIMIT, stdin) ? line : NULL;
}

static char *ask_password(struct arena *arena, const struct witness_words *words)
{
    struct termios old, quiet;
    char *line;

    if (tcgetattr(STDIN_FILENO, &old) < 0)
        return read_line(arena);
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "Password of the pool's %s: ", words->user);
    line = read_line(arena);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
    fputc('\n', stderr);
    return line;
}

/* Its first line. */
static struct error *take_password(struct arena *arena, struct settings *s)
{
    char *text = NULL;
    size_t size;

    if (s->password_file)
        TRY(secret_file_read(arena, s->password_file, PASSWORD_LIMIT, &text, &size));
    else
        text = ask_password(arena, &s->words);
    if (!text)
        return error_internal(arena, "there is no password in %s",
                              s->password_file ? s->password_file : "the standard input");
    text[strcspn(text, "\n")] = '\0';
    s->words.password = text;
    return OK;
}

/*** commands ***/

struct command {
    const char *name;
    int least, most; /* words after it */
    struct error *(*run)(struct arena *arena, const struct witness_words *words);
};

static const struct command commands[] = {
    {"join", 1, 1, witness_join},
    {"leave", 0, 1, witness_leave},
    {"remove", 1, 1, witness_drop},
    {"run", 0, 0, NULL},
};

static const struct command *find_command(int n, char **words)
{
    for (size_t i = 0; n > 0 && i < ARRAY_SIZE(commands); i++)
        if (strcmp(words[0], commands[i].name) == 0 && n - 1 >= commands[i].least &&
            n - 1 <= commands[i].most)
            return &commands[i];
    return NULL;
}

static struct error *run_command(struct arena *arena, const struct command *c, struct settings *s)
{
    struct error *e;

    if (!c->run)
        return witness_run(arena, &s->words);
    TRY(take_password(arena, s));
    e = c->run(arena, &s->words);
    OPENSSL_cleanse((char *)s->words.password, strlen(s->words.password));
    return e;
}

int main(int argc, char **argv)
{
    struct settings s = {
        .words = {.dir = "/var/lib/xapi-witness", .user = "root", .level = api_level}};
    const struct command *command;
    AUTO(arena) arena = {0};
    struct error *e;
    sigset_t set;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(&s, c);
    command = find_command(argc - optind, argv + optind);
    if (!command) {
        fputs(usage, stderr);
        return 2;
    }
    s.words.pool = argc - optind > 1 ? argv[optind + 1] : NULL;
    if (s.enable_faults)
        s.words.faults = faults_new(s.words.dir);
    signal(SIGPIPE, SIG_IGN);
    if (!command->run) {
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    codec_init();
    e = run_command(&arena, command, &s);
    faults_free(s.words.faults);
    if (e)
        fprintf(stderr, "xapi-witness: %s\n", error_line(&arena, e));
    return e != OK;
}
