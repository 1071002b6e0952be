/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "network-bridge/linux/linux.h"

#define FILE_LIMIT (64 * 1024)
#define WORDS 32
#define BLANKS " \t\r"

/* What is in the file; "" where there is none. */
static struct error *file_read(const char *path, struct arena *arena, const char **out)
{
    char *text = arena_alloc(arena, FILE_LIMIT + 1);
    size_t n;
    FILE *f = fopen(path, "re");

    *out = "";
    if (!f)
        return errno == ENOENT ? OK
                               : error_internal(arena, "%s could not be read: %s", path,
                                                strerrordesc_np(errno));
    n = fread(text, 1, FILE_LIMIT + 1, f);
    fclose(f);
    if (n > FILE_LIMIT)
        return error_internal(arena, "%s is larger than %d bytes", path, FILE_LIMIT);
    text[n] = '\0';
    *out = text;
    return OK;
}

static bool begins_with(const char *line, const char *word)
{
    size_t n = strlen(word);

    return strncmp(line, word, n) == 0 && strchr(BLANKS, line[n]) && line[n];
}

static void add_words(char *line, size_t *n, const char **words)
{
    char *rest = NULL;

    strtok_r(line, BLANKS, &rest);
    for (char *w = strtok_r(NULL, BLANKS, &rest); w && *n < WORDS;
         w = strtok_r(NULL, BLANKS, &rest))
        words[(*n)++] = w;
}

struct error *dns_read(const char *path, struct arena *arena, struct net_dns *out)
{
    const char **servers = arena_array(arena, const char *, WORDS);
    const char **domains = arena_array(arena, const char *, WORDS);
    const char *text;
    char *copy, *rest = NULL;

    *out = (struct net_dns){.servers = servers, .domains = domains};
    TRY(file_read(path, arena, &text));
    copy = arena_strdup(arena, text);
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (begins_with(line, "nameserver")) {
            add_words(line, &out->n_servers, servers);
        } else if (begins_with(line, "search") || begins_with(line, "domain")) {
            out->n_domains = 0; /* the last of these lines counts */
            add_words(line, &out->n_domains, domains);
        }
    }
    return OK;
}

/* Beside the file and then in its place; where it is a symbolic link, what that leads to. */
static struct error *file_write(const char *path, struct arena *arena, const struct buf *text)
{
    char real[PATH_MAX];
    const char *to = realpath(path, real) ? real : path;
    const char *part = arena_printf(arena, "%s.xapid", to);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good = fd >= 0 && write(fd, text->data, text->len) == (ssize_t)text->len;

    if (fd >= 0 && close(fd) < 0)
        good = false;
    if (good && rename(part, to) == 0)
        return OK;
    return error_internal(arena, "%s could not be written: %s", to, strerrordesc_np(errno));
}

struct error *dns_write(const char *path, struct arena *arena, const struct net_dns *dns)
{
    AUTO(buf) out = {0};
    const char *text;

    TRY(file_read(path, arena, &text));
    for (size_t i = 0; i < dns->n_domains; i++)
        buf_printf(&out, "%s%s", i ? " " : "search ", dns->domains[i]);
    buf_puts(&out, dns->n_domains ? "\n" : "");
    for (size_t i = 0; i < dns->n_servers; i++)
        buf_printf(&out, "nameserver %s\n", dns->servers[i]);
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = strchrnul(text, '\n');
        if (!begins_with(text, "nameserver") && !begins_with(text, "search") &&
            !begins_with(text, "domain"))
            buf_printf(&out, "%.*s\n", (int)(end - text), text);
    }
    return file_write(path, arena, &out);
}
