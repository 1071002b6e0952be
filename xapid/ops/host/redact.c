/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/redact.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "libxapi/base/base.h"

static const struct word {
    const char *text;
    const char *ends; /* of the secret */
    bool argument;    /* behind blanks, and neither "=" nor ":" */
} words[] = {
    {"-pw", " \t\r\n", true},
    {"password -v", " \t\r\n", true},
    {"password_in -v", " \t\r\n", true},
    /* A plug-in's argument is a call, whose first parameter is a session of root's. */
    {"<params><param><value>OpaqueRef", "<", false},
    {"<params><param><value><string>OpaqueRef", "<", false},
    {"password", " \t\r\n\"'&,;<", false},
    {"passwd", " \t\r\n\"'&,;<", false},
    {"secret", " \t\r\n\"'&,;<", false},
    {"session_id", " \t\r\n\"'&,;<", false},
    {"authorization", "\r\n", false},
    {"token", " \t\r\n\"'&,;<", false},
};

static size_t skip(const char *text, size_t at, size_t size, const char *these)
{
    while (at < size && text[at] && strchr(these, text[at]))
        at++;
    return at;
}

/* Where a secret begins that the word before 'at' announces; 0: it announces none. */
static size_t secret_behind(const char *text, size_t at, size_t size, bool argument)
{
    size_t i = skip(text, at, size, argument ? " \t" : " \t\"'");

    if (argument)
        return i > at ? i : 0;
    if (i >= size || (text[i] != '=' && text[i] != ':'))
        return 0;
    return skip(text, i + 1, size, " \t\"'");
}

static const struct word *word_at(const char *text, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (size >= strlen(words[i].text) &&
            strncasecmp(text, words[i].text, strlen(words[i].text)) == 0)
            return &words[i];
    return NULL;
}

/* The end of "user:password" behind a "://", where the '@' is; 0: there is none. */
static size_t credentials_end(const char *text, size_t at, size_t size)
{
    while (at < size && text[at] && !strchr(" \t\r\n/\"'<>@", text[at]))
        at++;
    return at < size && text[at] == '@' ? at : 0;
}

static void redact_addresses(char *text, size_t size)
{
    for (size_t i = 0; i + 3 < size; i++) {
        size_t end = memcmp(text + i, "://", 3) == 0 ? credentials_end(text, i + 3, size) : 0;

        if (end)
            memset(text + i + 3, '*', end - i - 3);
    }
}

void redact(char *text, size_t size)
{
    size_t i = 0;

    redact_addresses(text, size);
    while (i < size) {
        const struct word *w = word_at(text + i, size - i);
        size_t at = w ? secret_behind(text, i + strlen(w->text), size, w->argument) : 0;

        if (!at) {
            i++;
            continue;
        }
        for (i = at; i < size && !(text[i] && strchr(w->ends, text[i])); i++)
            text[i] = '*';
    }
}
