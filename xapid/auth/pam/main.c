/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapid-pam -- asks PAM (service "xapid") whether a password is right: one question, then it ends,
 * so that a module that hangs, leaks or crashes does so outside the daemon.
 *
 * Standard input: user NUL password NUL.  Exit status: 0 the password is right and the account may
 * be used, 1 it is not, 2 nobody can say (what PAM said stands on standard error).
 */
#include <security/pam_appl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SERVICE "xapid"
#define INPUT_LIMIT 4096

enum answer { ANSWER_RIGHT = 0, ANSWER_WRONG = 1, ANSWER_UNKNOWN = 2 };

struct credentials {
    const char *user, *password;
};

/* Modules free what they are given with free(). */
static bool reply_to(const struct pam_message *message, const struct credentials *c,
                     struct pam_response *out)
{
    const char *text = message->msg_style == PAM_PROMPT_ECHO_OFF  ? c->password
                       : message->msg_style == PAM_PROMPT_ECHO_ON ? c->user
                                                                  : NULL;

    out->resp = text ? strdup(text) : NULL;
    return !text || out->resp;
}

static int converse(int n, const struct pam_message **messages, struct pam_response **out,
                    void *arg)
{
    struct pam_response *replies;

    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    replies = calloc((size_t)n, sizeof *replies);
    if (!replies)
        return PAM_BUF_ERR;
    for (int i = 0; i < n; i++) {
        if (reply_to(messages[i], arg, &replies[i]))
            continue;
        for (int j = 0; j < i; j++)
            free(replies[j].resp);
        free(replies);
        return PAM_BUF_ERR;
    }
    *out = replies;
    return PAM_SUCCESS;
}

/* The daemon delays the answer to a wrong password itself, with a timer: nobody sleeps here. */
static void no_delay(int status, unsigned usec, void *arg)
{
    (void)status;
    (void)usec;
    (void)arg;
}

static enum answer judge(int rc)
{
    switch (rc) {
    case PAM_SUCCESS:
        return ANSWER_RIGHT;
    case PAM_AUTH_ERR:
    case PAM_CRED_INSUFFICIENT:
    case PAM_USER_UNKNOWN:
    case PAM_MAXTRIES:
    case PAM_PERM_DENIED:
    case PAM_ACCT_EXPIRED:
    case PAM_NEW_AUTHTOK_REQD:
        return ANSWER_WRONG;
    default:
        return ANSWER_UNKNOWN;
    }
}

static enum answer check(struct credentials *c)
{
    struct pam_conv conv = {converse, c};
    void (*delay)(int, unsigned, void *) = no_delay;
    pam_handle_t *pam = NULL;
    enum answer answer;
    int rc = pam_start(SERVICE, c->user, &conv, &pam);

    if (rc != PAM_SUCCESS) {
        fprintf(stderr, "pam_start: %s\n", pam ? pam_strerror(pam, rc) : "failed");
        return ANSWER_UNKNOWN;
    }
    pam_set_item(pam, PAM_FAIL_DELAY, *(void **)&delay);
    rc = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    if (rc == PAM_SUCCESS)
        rc = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    answer = judge(rc);
    if (answer != ANSWER_RIGHT)
        fprintf(stderr, "%s\n", pam_strerror(pam, rc));
    pam_end(pam, rc);
    return answer;
}

/* Reads the two strings into 'buffer'; false unless there are exactly two. */
static bool read_credentials(char *buffer, struct credentials *out)
{
    size_t n = 0, user_size;
    ssize_t got;

    while (n < INPUT_LIMIT && (got = read(STDIN_FILENO, buffer + n, INPUT_LIMIT - n)) > 0)
        n += (size_t)got;
    user_size = strnlen(buffer, n);
    if (user_size == 0 || user_size + 1 >= n)
        return false;
    out->user = buffer;
    out->password = buffer + user_size + 1;
    return user_size + 1 + strnlen(out->password, n - user_size - 1) + 1 == n;
}

int main(void)
{
    static char buffer[INPUT_LIMIT + 1];
    struct rlimit none = {0, 0};
    struct credentials c;
    enum answer answer = ANSWER_UNKNOWN;

    /* No core file and no debugger sees the password. */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    if (read_credentials(buffer, &c))
        answer = check(&c);
    else
        fputs("expected: user NUL password NUL\n", stderr);
    explicit_bzero(buffer, sizeof buffer);
    return (int)answer;
}
