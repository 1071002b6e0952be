/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/main/xapid.h"
#include "xapid/stats/table.h"

#define SIZE_MAX_FILE ((size_t)128 << 20)
#define SUM_SIZE sizeof(uint64_t)

/*** records ***/

static size_t payload_size(const struct journal_record *r)
{
    return r->n * (r->is_sample ? sizeof(double) : sizeof(struct journal_source));
}

static uint64_t sum_of(const struct journal_record *r, const void *payload)
{
    uint64_t head = XXH64((const char *)r + SUM_SIZE, sizeof *r - SUM_SIZE, 0);

    return XXH64(payload, payload_size(r), head);
}

static void put(struct buf *out, struct journal_record *r, const void *payload)
{
    r->sum = sum_of(r, payload);
    buf_add(out, r, sizeof *r);
    buf_add(out, payload, payload_size(r));
}

static bool sources_are_good(size_t n, const struct journal_source *v)
{
    for (size_t i = 0; i < n; i++)
        if (!memchr(v[i].name, '\0', sizeof v[i].name) || v[i].type < RRD_GAUGE ||
            v[i].type > RRD_DERIVE)
            return false;
    return true;
}

bool journal_next(const char **p, const char *end, struct journal_record *record,
                  const void **payload)
{
    uint8_t bytes[16];

    if ((size_t)(end - *p) < sizeof *record)
        return false;
    memcpy(record, *p, sizeof *record);
    *payload = *p + sizeof *record;
    if (record->n > RRD_SOURCES_MAX || record->owner > OWNER_SR || record->is_sample > 1 ||
        record->time < 0 || record->time > RRD_TIME_MAX ||
        payload_size(record) > (size_t)(end - *p) - sizeof *record ||
        record->sum != sum_of(record, *payload) || record->uuid[UUID_TEXT_SIZE - 1] ||
        !uuid_from_text(record->uuid, bytes))
        return false;
    *p = (const char *)*payload + payload_size(record);
    return record->is_sample || sources_are_good(record->n, *payload);
}

/*** writing ***/

static uint64_t layout_of(const struct rrd *rrd)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < rrd->n_sources; i++)
        hash = XXH64(rrd->sources[i].name, strlen(rrd->sources[i].name) + 1, hash);
    return hash;
}

static void put_sources(struct buf *out, struct journal_record *r, const struct rrd *rrd)
{
    struct journal_source *v = xcalloc(rrd->n_sources + 1, sizeof *v);

    for (size_t i = 0; i < rrd->n_sources; i++) {
        const struct rrd_source *s = &rrd->sources[i];

        v[i].type = s->type;
        v[i].min = s->min;
        v[i].max = s->max;
        memcpy(v[i].name, s->name, strlen(s->name));
    }
    put(out, r, v);
    free(v);
}

void journal_note(struct journal *j, struct object *o, usec_t time, const double *raw)
{
    uint64_t layout = layout_of(o->rrd);
    struct journal_record r;

    if (j->fd < 0)
        return;
    memset(&r, 0, sizeof r); /* the gaps, too: they are summed */
    r.time = time;
    r.n = (uint32_t)o->rrd->n_sources;
    r.owner = (uint8_t)o->owner;
    r.extremes = rrd_best(o->rrd, RRD_MAX, 0, 0) != NULL;
    memcpy(r.uuid, o->uuid, sizeof r.uuid);
    if (o->journal != j->number || o->layout != layout)
        put_sources(&j->waiting, &r, o->rrd);
    o->journal = j->number;
    o->layout = layout;
    r.is_sample = 1;
    put(&j->waiting, &r, raw);
}

static void begin(struct journal *j)
{
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->fd < 0)
        log_warning("statistics: %s: %s; kill -9 may cost ten minutes of them", j->path,
                    strerrordesc_np(errno));
    j->number++;
    j->begun = clock_mono();
    j->size = 0;
}

static void end(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
}

void journal_write(struct journal *j)
{
    if (j->fd < 0)
        return;
    if (write(j->fd, j->waiting.data, j->waiting.len) != (ssize_t)j->waiting.len) {
        /* What would follow half a record is not read: nothing more until the next start. */
        log_warning("statistics: %s: %s; kill -9 may cost ten minutes of them", j->path,
                    strerrordesc_np(errno));
        end(j);
        return;
    }
    j->size += j->waiting.len;
    j->waiting.len = 0;
    if (clock_mono() - j->begun < 2 * SAVE_PERIOD && j->size < SIZE_MAX_FILE)
        return;
    end(j);
    if (rename(j->path, j->old) < 0)
        log_warning("statistics: %s: %s", j->path, strerrordesc_np(errno));
    begin(j);
}

void journal_close(struct journal *j)
{
    end(j);
    unlink(j->old);
    unlink(j->path);
    buf_release(&j->waiting);
    free(j->path);
    free(j->old);
}

/*** reading ***/

/* An object whose file is brought up to date. */
struct behind {
    enum stats_owner owner;
    char uuid[UUID_TEXT_SIZE];
    struct rrd *rrd;
    bool changed;
    size_t n;
    struct journal_source *sources;
};

struct catching_up {
    const struct stats *stats;
    size_t n, last; /* objects come in the same order again and again */
    struct behind *v;
};

static struct behind *behind_of(struct catching_up *c, const struct journal_record *r)
{
    struct behind *b;

    for (size_t i = 0; i < c->n; i++) {
        size_t at = (c->last + 1 + i) % c->n;

        if (c->v[at].owner == r->owner && strcmp(c->v[at].uuid, r->uuid) == 0) {
            c->last = at;
            return &c->v[at];
        }
    }
    c->v = xrealloc(c->v, (c->n + 1) * sizeof *c->v);
    c->last = c->n;
    b = &c->v[c->n++];
    *b = (struct behind){.owner = r->owner, .rrd = store_load(c->stats, r->owner, r->uuid)};
    memcpy(b->uuid, r->uuid, sizeof b->uuid);
    if (!b->rrd)
        b->rrd = rrd_new(r->extremes);
    return b;
}

static void take_sources(struct behind *b, const struct journal_record *r, const void *payload)
{
    free(b->sources);
    b->n = r->n;
    b->sources = xcalloc(r->n + 1, sizeof *b->sources);
    memcpy(b->sources, payload, r->n * sizeof *b->sources);
    for (size_t i = 0; i < b->n; i++) {
        const struct journal_source *s = &b->sources[i];

        /* Beyond the limit it is not recorded, as when it was sampled. */
        if (rrd_find(b->rrd, s->name, i) < 0 && !rrd_is_stopped(b->rrd, s->name) &&
            rrd_add_source(b->rrd, s->name, (enum rrd_type)s->type, s->min, s->max) < 0)
            return;
    }
}

static void take_sample(struct behind *b, const struct journal_record *r, const char *payload)
{
    double *raw;

    if (r->time <= b->rrd->last_update || r->n != b->n)
        return;
    raw = xcalloc(b->rrd->n_sources + 1, sizeof *raw);
    for (size_t i = 0; i < b->rrd->n_sources; i++)
        raw[i] = NAN;
    for (size_t i = 0; i < b->n; i++) {
        int at = rrd_find(b->rrd, b->sources[i].name, i);

        if (at >= 0)
            memcpy(&raw[at], payload + i * sizeof *raw, sizeof *raw);
    }
    rrd_update(b->rrd, r->time, raw);
    b->changed = true;
    free(raw);
}

static void catch_up(struct catching_up *c, const char *path)
{
    struct journal_record record;
    const void *payload;
    char *data;
    ssize_t size = store_read(path, 2 * SIZE_MAX_FILE, &data);
    const char *p = data;

    if (size < 0 && errno != ENOENT)
        log_warning("statistics: %s: %s", path, strerrordesc_np(errno));
    while (size > 0 && journal_next(&p, data + size, &record, &payload)) {
        struct behind *b = behind_of(c, &record);

        if (record.is_sample)
            take_sample(b, &record, payload);
        else
            take_sources(b, &record, payload);
    }
    free(data);
}

void journal_open(struct stats *stats)
{
    struct journal *j = &stats->journal;
    struct catching_up c = {.stats = stats};

    j->path = xasprintf("%s-journal", stats->dir);
    j->old = xasprintf("%s-journal.old", stats->dir);
    catch_up(&c, j->old);
    catch_up(&c, j->path);
    for (size_t i = 0; i < c.n; i++) {
        if (c.v[i].changed)
            store_save(stats, c.v[i].owner, c.v[i].uuid, c.v[i].rrd);
        rrd_free(c.v[i].rrd);
        free(c.v[i].sources);
    }
    free(c.v);
    unlink(j->old);
    begin(j);
}
