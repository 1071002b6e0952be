/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/redact.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "libxapi/base/base.h"

static const struct word {
    const char *text;
    const char *ends; /* of the secret */
} words[] = {
    {"password", " \t\r\n\"'&,;<"},   {"passwd", " \t\r\n\"'&,;<"}, {"secret", " \t\r\n\"'&,;<"},
    {"session_id", " \t\r\n\"'&,;<"}, {"authorization", "\r\n"},    {"token", " \t\r\n\"'&,;<"},
};

static size_t skip(const char *text, size_t at, size_t size, const char *these)
{
    while (at < size && text[at] && strchr(these, text[at]))
        at++;
    return at;
}

/* Where a secret begins that the word at 'at' announces; 0: it announces none. */
static size_t secret_behind(const char *text, size_t at, size_t size)
{
    size_t i = skip(text, at, size, " \t\"'");

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

void redact(char *text, size_t size)
{
    size_t i = 0;

    while (i < size) {
        const struct word *w = word_at(text + i, size - i);
        size_t at = w ? secret_behind(text, i + strlen(w->text), size) : 0;

        if (!at) {
            i++;
            continue;
        }
        for (i = at; i < size && !(text[i] && strchr(w->ends, text[i])); i++)
            text[i] = '*';
    }
}
