/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* failures.c -- counts failed logins by who tried, in a table whose size nobody can make grow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/memory.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "xapid/auth/internal.h"

#define ENTRIES 256
#define TEXT_SIZE 64
#define SHOWN 3

struct entry {
    char client[TEXT_SIZE], originator[TEXT_SIZE], user[TEXT_SIZE];
    uint64_t number;
    usec_t last;
};

struct failures {
    struct mutex lock;
    uint64_t total, unknown;
    size_t n;
    struct entry v[ENTRIES];
};

struct failures *failures_new(void)
{
    struct failures *f = xcalloc(1, sizeof *f);

    mutex_init(&f->lock);
    return f;
}

void failures_free(struct failures *f)
{
    if (!f)
        return;
    mutex_release(&f->lock);
    free(f);
}

static void cut(char out[TEXT_SIZE], const char *text)
{
    snprintf(out, TEXT_SIZE, "%s", text ? text : "");
}

static struct entry *find(struct failures *f, const struct entry *like)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->v[i].client, like->client) == 0 &&
            strcmp(f->v[i].originator, like->originator) == 0 &&
            strcmp(f->v[i].user, like->user) == 0)
            return &f->v[i];
    if (f->n == ENTRIES)
        return NULL;
    f->v[f->n] = *like;
    return &f->v[f->n++];
}

void failures_count(struct failures *f, const struct auth_attempt *attempt)
{
    struct entry like = {.number = 0}, *e = NULL;

    cut(like.client, attempt->client);
    cut(like.originator, attempt->originator);
    cut(like.user, attempt->user);
    MUTEX_GUARD(&f->lock);
    f->total++;
    if (*like.client || *like.originator)
        e = find(f, &like);
    if (!e) {
        f->unknown++;
        return;
    }
    e->number++;
    e->last = clock_wall();
}

static int most_first(const void *a, const void *b)
{
    const struct auth_failure *x = a, *y = b;

    return x->number > y->number ? -1 : x->number < y->number;
}

/* What was cut may end within a character. */
static const char *clean(struct arena *arena, const char *text)
{
    size_t n;

    return utf8_clean(arena, text, strlen(text), &n);
}

void failures_take(struct failures *f, struct arena *arena, struct auth_failures *out)
{
    struct auth_failure *v;

    MUTEX_GUARD(&f->lock);
    v = arena_array(arena, struct auth_failure, f->n + 1);
    for (size_t i = 0; i < f->n; i++)
        v[i] = (struct auth_failure){clean(arena, f->v[i].client), clean(arena, f->v[i].originator),
                                     clean(arena, f->v[i].user), f->v[i].number, f->v[i].last};
    qsort(v, f->n, sizeof *v, most_first);
    *out = (struct auth_failures){f->total, f->unknown, f->n, v};
    f->total = f->unknown = 0;
    f->n = 0;
}

static void put_element(struct buf *out, const char *name, const char *text)
{
    if (!*text)
        return;
    buf_printf(out, "<%s>", name);
    buf_xml(out, text);
    buf_printf(out, "</%s>", name);
}

static void put_number(struct buf *out, const char *name, uint64_t number)
{
    buf_printf(out, "<%s>%llu</%s>", name, (unsigned long long)number, name);
}

const char *auth_failures_body(struct arena *arena, const struct auth_failures *failures)
{
    uint64_t others = failures->unknown;
    char date[DATE_TEXT_SIZE];
    struct buf out = {0};
    const char *copy;

    buf_puts(&out, "<body>");
    put_number(&out, "total", failures->total);
    for (size_t i = 0; i < failures->n; i++) {
        const struct auth_failure *f = &failures->v[i];

        if (i >= SHOWN) {
            others += f->number;
            continue;
        }
        buf_puts(&out, "<known>");
        put_element(&out, "ip", f->client);
        put_element(&out, "originator", f->originator);
        put_element(&out, "username", f->user);
        put_number(&out, "number", f->number);
        put_element(&out, "date", date_to_text(f->last, date));
        buf_puts(&out, "</known>");
    }
    if (others)
        put_number(&out, "unknown", others);
    buf_puts(&out, "</body>");
    copy = arena_strdup(arena, out.data);
    buf_release(&out);
    return copy;
}
