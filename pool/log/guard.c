/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.c -- judges a log directory.  First everything is read and judged and nothing is changed;
 * only then are the harmless remains of a crash tidied away.
 */
#include "pool/log/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <raft.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "pool/log/batch.h"
#include "pool/log/files.h"
#include "pool/log/snapshot.h"

#define FORMAT 1 /* of the library's files */
#define MAX_SEGMENT ((size_t)64 << 20)
#define SNAPSHOT_META_HEADER 32
#define MAX_SNAPSHOT_META ((size_t)2 << 20)

struct guard {
    struct arena *arena;
    int dir;
    const char *dir_name;
    const struct mark *mark;
    uint64_t applied_index;
    struct dir_files files;
    struct mark_metas metas; /* what the library will find, once a torn file is gone */
    struct crc_table crc;
    const struct snapshot_file *snapshot; /* the one the library will take, or NULL */
    size_t first_closed; /* the first closed segment of the unbroken run at the end */
    uint64_t bytes;
    uint64_t next_index, last_term; /* while scanning */
    uint64_t mark_term;             /* term of the entry at the mark's index, 0 if not seen */
};

static uint64_t snapshot_index(const struct guard *g)
{
    return g->snapshot ? g->snapshot->index : 0;
}

/* The one form of refusal. */
static struct error *PRINTF_LIKE(2, 3) refuse(const struct guard *g, const char *fmt, ...)
{
    const char *what;
    va_list ap;

    va_start(ap, fmt);
    what = arena_vprintf(g->arena, fmt, ap);
    va_end(ap);
    return error_internal(g->arena,
                          "The write log in %s was not opened: %s. Nothing in it was changed. "
                          "Restore the directory together "
                          "with the database from a backup, or remove both and let this host join "
                          "its pool again as a new "
                          "member.",
                          g->dir_name, what);
}

static struct error *unreadable(const struct guard *g, const char *name, int rc)
{
    if (rc == EFBIG)
        return refuse(g, "its file \"%s\" is larger than any this program writes", name);
    return error_internal(g->arena, "%s/%s could not be read: %s", g->dir_name, name, strerror(rc));
}

/* Metadata. */

static bool meta_equal(const struct mark_meta *a, const struct mark_meta *b)
{
    return a->version == b->version && a->term == b->term && a->vote == b->vote;
}

/* The content of metadata file n (1 or 2); version 0 if there is none; false if it is no metadata
 * file. */
static bool read_meta(const struct guard *g, unsigned n, struct mark_meta *out)
{
    const char *name = n == 1 ? "metadata1" : "metadata2";
    uint8_t *data;
    size_t size;
    int rc = files_read(g->dir, name, 32, &data, &size);
    bool good;

    memset(out, 0, sizeof *out);
    if (rc == ENOENT)
        return true;
    if (rc)
        return false;
    good = size == 32 && files_get64(data) == FORMAT && files_get64(data + 8) != 0;
    if (good)
        *out = (struct mark_meta){files_get64(data + 8), files_get64(data + 16),
                                  files_get64(data + 24)};
    free(data);
    return good;
}

static struct error *meta_damaged(const struct guard *g, unsigned n)
{
    return refuse(g, "its file \"metadata%u\" (term and vote) is not what was last written to it",
                  n);
}

/* Odd versions are in the first file. */
static unsigned meta_file(uint64_t version)
{
    return version % 2 ? 1 : 2;
}

/* The write of 'now' was begun but perhaps not finished: what is there must be it or the content
 * before, and a torn file goes.  Where it is not there the library goes on from what was before,
 * and counts versions from that. */
static void settle_unfinished_meta(struct guard *g, bool good, unsigned n,
                                   const struct mark_meta *found, const char **remove)
{
    const struct mark_metas *m = &g->mark->metas;

    if (good && meta_equal(found, &m->now)) {
        g->metas.done = true;
        return;
    }
    g->metas = (struct mark_metas){.now = m->before, .done = true};
    if (good && (found->version == 0 || found->version < m->before.version))
        g->metas.before = *found;
    else
        *remove = n == 1 ? "metadata1" : "metadata2";
}

/* The library takes the file with the higher version.  *remove is a torn file, if there is one. */
static struct error *check_metadata(struct guard *g, const char **remove)
{
    const struct mark_metas *m = &g->mark->metas;
    unsigned n = m->now.version ? meta_file(m->now.version) : 1, other = 3 - n;
    struct mark_meta now, before;
    bool now_good = read_meta(g, n, &now), before_good = read_meta(g, other, &before);

    *remove = NULL;
    g->metas = *m;
    if (!before_good || !meta_equal(&before, &m->before))
        return meta_damaged(g, other);
    if (!m->done)
        settle_unfinished_meta(g, now_good, n, &now, remove);
    else if (!now_good || !meta_equal(&now, &m->now))
        return meta_damaged(g, n);
    return OK;
}

/* Snapshots. */

static const char *snapshot_meta_fault(const struct guard *g, const uint8_t *data, size_t size)
{
    uint64_t n;
    uint32_t crc;

    if (size < SNAPSHOT_META_HEADER || files_get64(data) != FORMAT)
        return "it does not begin as such a file";
    n = files_get64(data + 24);
    if (n == 0 || n > size - SNAPSHOT_META_HEADER)
        return "its size is wrong";
    crc = crc_add(&g->crc, 0, data + 16, 16);
    if (crc_add(&g->crc, crc, data + SNAPSHOT_META_HEADER, (size_t)n) != files_get64(data + 8))
        return "its checksum is wrong";
    return NULL;
}

static struct error *check_snapshot_meta(const struct guard *g)
{
    const char *name = arena_printf(g->arena, "%s.meta", g->snapshot->name), *fault;
    uint8_t *data;
    size_t size;
    int rc = files_read(g->dir, name, MAX_SNAPSHOT_META, &data, &size);

    if (rc)
        return unreadable(g, name, rc);
    fault = snapshot_meta_fault(g, data, size);
    free(data);
    return fault ? refuse(g, "its file \"%s\" is damaged: %s", name, fault) : OK;
}

static struct error *check_snapshot_data(const struct guard *g)
{
    const char *name = g->snapshot->name, *fault;
    const uint8_t *state;
    uint64_t index = 0;
    uint8_t *data;
    size_t size, state_size;
    int rc = files_read(g->dir, name, SNAPSHOT_MAX + SNAPSHOT_HEADER + 8, &data, &size);

    if (rc)
        return unreadable(g, name, rc);
    fault = snapshot_check(data, size, &index, &state, &state_size);
    if (!fault && index != g->snapshot->index)
        fault = "it is of another entry than its name says";
    free(data);
    return fault ? refuse(g, "its snapshot \"%s\" is damaged: %s", name, fault) : OK;
}

static struct error *check_snapshot(struct guard *g)
{
    if (g->files.n_snapshots == 0)
        return OK;
    g->snapshot = &g->files.snapshots[g->files.n_snapshots - 1];
    TRY(check_snapshot_meta(g));
    return check_snapshot_data(g);
}

/* Segments. */

/* An entry of ours says itself where it belongs: the library would not notice that one before it is
 * gone. */
static struct error *check_command(const struct guard *g, const struct segment_file *s, size_t at,
                                   const struct entry_view *e, uint64_t index)
{
    uint64_t meant;

    switch (batch_check(e->data, e->size, &meant)) {
    case BATCH_GOOD:
        break;
    case BATCH_NEWER:
        return refuse(g,
                      "entry %" PRIu64 " in \"%s\" was written by a newer version of this program",
                      index, s->name);
    case BATCH_DAMAGED:
        return refuse(g, "its file \"%s\" holds at byte %zu an entry that is not whole", s->name,
                      at);
    }
    if (meant != index)
        return refuse(g,
                      "its file \"%s\" holds at byte %zu entry %" PRIu64 " where %" PRIu64
                      " should be: others are lost",
                      s->name, at, meant, index);
    return OK;
}

/* An entry whose checksum is right; what is asked here is whether it belongs where it is. */
static struct error *check_entry(struct guard *g, const struct segment_file *s, size_t at,
                                 const struct entry_view *e)
{
    uint64_t index = g->next_index++;

    if (e->type < RAFT_COMMAND || e->type > RAFT_CHANGE || e->size % 8)
        return refuse(g, "its file \"%s\" holds an entry of an unknown kind at byte %zu", s->name,
                      at);
    if (e->term < g->last_term || e->term == 0)
        return refuse(g, "the terms in its file \"%s\" go backwards at byte %zu", s->name, at);
    g->last_term = e->term;
    if (e->type == RAFT_COMMAND)
        TRY(check_command(g, s, at, e, index));
    if (index == g->mark->position.index)
        g->mark_term = e->term;
    if (g->snapshot && index == g->snapshot->index && e->term != g->snapshot->term)
        return refuse(g,
                      "entry %" PRIu64 " in \"%s\" and the snapshot \"%s\" are of different terms",
                      index, s->name, g->snapshot->name);
    return OK;
}

static struct error *check_batch(struct guard *g, const struct segment_file *s, size_t offset,
                                 const struct batch_view *batch)
{
    size_t at = 0;

    for (uint64_t i = 0; i < batch->n; i++) {
        struct entry_view e;

        files_entry(batch, i, &at, &e);
        TRY(check_entry(g, s, offset, &e));
    }
    return OK;
}

static bool all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* Reads the batches of a segment up to the first that is not good.  *fault says why it stopped,
 * NULL at the end. */
static struct error *scan_batches(struct guard *g, struct segment_file *s, const uint8_t *data,
                                  const char **fault)
{
    uint64_t first = g->next_index;

    *fault = NULL;
    s->first_seen = first;
    if (s->size < 8 || files_get64(data) != FORMAT) {
        *fault = "it does not begin as a segment";
        s->tail_is_zero = all_zero(data, s->size);
        return OK;
    }
    for (s->valid = 8; s->valid < s->size;) {
        struct batch_view batch;

        *fault = files_batch(&g->crc, data + s->valid, s->size - s->valid, &batch);
        if (*fault)
            break;
        TRY(check_batch(g, s, s->valid, &batch));
        s->valid += batch.size;
    }
    s->n_entries = g->next_index - first;
    g->bytes += s->valid;
    s->tail_is_zero = all_zero(data + s->valid, s->size - s->valid);
    return OK;
}

static struct error *scan_segment(struct guard *g, struct segment_file *s, const char **fault)
{
    struct error *e;
    uint8_t *data;
    int rc = files_read(g->dir, s->name, MAX_SEGMENT, &data, &s->size);

    if (rc)
        return unreadable(g, s->name, rc);
    e = scan_batches(g, s, data, fault);
    free(data);
    return e;
}

static struct error *scan_closed(struct guard *g, struct segment_file *s)
{
    const char *fault;

    TRY(scan_segment(g, s, &fault));
    if (fault)
        return refuse(g,
                      "its file \"%s\" is damaged at byte %zu: %s; entries %" PRIu64 " to %" PRIu64
                      " are lost",
                      s->name, s->valid, fault, g->next_index, s->last);
    if (s->n_entries != s->last - s->first + 1)
        return refuse(g, "its file \"%s\" holds %" PRIu64 " entries instead of %" PRIu64, s->name,
                      s->n_entries, s->last - s->first + 1);
    return OK;
}

/* Finds the unbroken run of closed segments at the end; older ones are remains of a cut and are not
 * read. */
static struct error *find_run(struct guard *g)
{
    const struct segment_file *closed = g->files.closed;
    size_t n = g->files.n_closed, i;

    for (i = 0; i < n; i++)
        if (closed[i].last < closed[i].first || (i && closed[i].first <= closed[i - 1].last))
            return refuse(g, "the name of its file \"%s\" cannot be right", closed[i].name);
    for (i = n; i > 1 && closed[i - 2].last + 1 == closed[i - 1].first; i--)
        ;
    g->first_closed = n ? i - 1 : 0;
    g->next_index = n ? closed[g->first_closed].first : snapshot_index(g) + 1;
    if (g->next_index > snapshot_index(g) + 1)
        return refuse(g, "entries %" PRIu64 " to %" PRIu64 " are missing before its file \"%s\"",
                      snapshot_index(g) + 1, g->next_index - 1, closed[g->first_closed].name);
    return OK;
}

/* A torn tail is ordinary in the last open segment that was written to, nowhere else. */
static struct error *scan_open(struct guard *g)
{
    const struct segment_file *torn = NULL;

    for (size_t i = 0; i < g->files.n_open; i++) {
        struct segment_file *s = &g->files.open[i];
        const char *fault;

        TRY(scan_segment(g, s, &fault));
        if (torn && s->n_entries)
            return refuse(
                g, "its file \"%s\" is damaged at byte %zu, and later entries follow in \"%s\"",
                torn->name, torn->valid, s->name);
        if (!s->tail_is_zero)
            torn = s;
    }
    return OK;
}

static bool open_entries(const struct guard *g)
{
    for (size_t i = 0; i < g->files.n_open; i++)
        if (g->files.open[i].n_entries)
            return true;
    return false;
}

/* Where the log ends in the files: for the text of a refusal. */
static const char *where_it_ends(const struct guard *g)
{
    const struct segment_file *s = NULL;

    if (g->files.n_closed)
        s = &g->files.closed[g->files.n_closed - 1];
    for (size_t i = 0; i < g->files.n_open; i++)
        if (g->files.open[i].n_entries || !g->files.open[i].tail_is_zero)
            s = &g->files.open[i];
    if (!s)
        return "it has no segment files";
    return arena_printf(g->arena, "its file \"%s\" ends or is damaged at byte %zu", s->name,
                        s->valid);
}

/* What was acknowledged must be there. */
static struct error *check_mark(const struct guard *g, uint64_t last)
{
    const struct mark_position *p = &g->mark->position;

    if (last < p->index)
        return refuse(g,
                      "%s, after entry %" PRIu64 ", but entries up to %" PRIu64
                      " were acknowledged: %" PRIu64 " of them are lost",
                      where_it_ends(g), last, p->index, p->index - last);
    if (g->mark_term && g->mark_term != p->term)
        return refuse(g,
                      "entry %" PRIu64 " is of term %" PRIu64
                      ", but the one that was acknowledged was of term %" PRIu64
                      ": other entries were lost",
                      p->index, g->mark_term, p->term);
    if (last < g->applied_index)
        return refuse(
            g, "%s, after entry %" PRIu64 ", but the database already contains entry %" PRIu64,
            where_it_ends(g), last, g->applied_index);
    if (g->last_term > g->metas.now.term)
        return refuse(g, "its entries reach term %" PRIu64 ", its metadata only term %" PRIu64,
                      g->last_term, g->metas.now.term);
    return OK;
}

/* Judges all segments; *last is the last entry that is there. */
static struct error *check_segments(struct guard *g, uint64_t *last)
{
    TRY(find_run(g));
    for (size_t i = g->first_closed; i < g->files.n_closed; i++)
        TRY(scan_closed(g, &g->files.closed[i]));
    TRY(scan_open(g));
    *last = g->next_index - 1;
    /* Closed segments that all lie behind the snapshot are dropped by the library; open ones behind
     * it cannot be. */
    if (*last < snapshot_index(g)) {
        if (open_entries(g))
            return refuse(g, "%s, after entry %" PRIu64 ", before its snapshot \"%s\"",
                          where_it_ends(g), *last, g->snapshot->name);
        *last = snapshot_index(g);
        g->last_term = g->snapshot->term;
    }
    return check_mark(g, *last);
}

/* Tidying: only what was judged harmless. */

static struct error *cannot_tidy(const struct guard *g, const char *name)
{
    return error_internal(g->arena, "%s/%s could not be tidied after a crash: %s", g->dir_name,
                          name, strerror(errno));
}

static int cut_file(const struct guard *g, const struct segment_file *s)
{
    int fd = openat(g->dir, s->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int rc;

    if (fd < 0)
        return -1;
    rc = ftruncate(fd, (off_t)s->valid) < 0 || fsync(fd) < 0 ? -1 : 0;
    close(fd);
    return rc;
}

/* Cuts an open segment to its good batches, or removes it if there are none. */
static struct error *tidy_open(const struct guard *g, const struct segment_file *s)
{
    if (!s->tail_is_zero)
        log_info("%s/%s: dropped an unfinished write after entry %" PRIu64 " (never acknowledged)",
                 g->dir_name, s->name, s->first_seen + s->n_entries - 1);
    if (s->n_entries == 0)
        return unlinkat(g->dir, s->name, 0) < 0 ? cannot_tidy(g, s->name) : OK;
    if (s->valid == s->size)
        return OK;
    return cut_file(g, s) < 0 ? cannot_tidy(g, s->name) : OK;
}

static struct error *tidy(const struct guard *g, const char *torn_meta)
{
    for (size_t i = 0; i < g->files.n_open; i++)
        TRY(tidy_open(g, &g->files.open[i]));
    if (torn_meta) {
        log_info("%s/%s: dropped an unfinished write", g->dir_name, torn_meta);
        if (unlinkat(g->dir, torn_meta, 0) < 0)
            return cannot_tidy(g, torn_meta);
    }
    if (fsync(g->dir) < 0)
        return cannot_tidy(g, ".");
    return OK;
}

/* The first start never came to its end: nothing was acknowledged, begin anew. */
static struct error *start_over(const struct guard *g)
{
    static const char *const names[] = {"metadata1", "metadata2"};

    for (size_t i = 0; i < 2; i++)
        if (unlinkat(g->dir, names[i], 0) < 0 && errno != ENOENT)
            return cannot_tidy(g, names[i]);
    for (size_t i = 0; i < g->files.n_closed; i++)
        if (unlinkat(g->dir, g->files.closed[i].name, 0) < 0)
            return cannot_tidy(g, g->files.closed[i].name);
    for (size_t i = 0; i < g->files.n_open; i++)
        if (unlinkat(g->dir, g->files.open[i].name, 0) < 0)
            return cannot_tidy(g, g->files.open[i].name);
    return fsync(g->dir) < 0 ? cannot_tidy(g, ".") : OK;
}

static struct error *check_fresh(const struct guard *g, struct guard_found *found)
{
    if (g->applied_index)
        return refuse(g, "it is empty, but the database already contains entry %" PRIu64,
                      g->applied_index);
    if (g->files.n_snapshots || g->files.n_closed > 1 || g->mark->bad)
        return refuse(
            g, "its file \"%s\" says that no entry was ever acknowledged, which cannot be right",
            MARK_FILE);
    found->fresh = true;
    return start_over(g);
}

struct error *guard_check(struct arena *arena, int dir, const char *dir_name,
                          const struct mark *mark, uint64_t applied_index,
                          struct guard_found *found)
{
    struct guard g = {.arena = arena,
                      .dir = dir,
                      .dir_name = dir_name,
                      .mark = mark,
                      .applied_index = applied_index};
    const char *torn_meta;
    uint64_t last;

    memset(found, 0, sizeof *found);
    crc_init(&g.crc);
    TRY(files_list(arena, dir, dir_name, &g.files));
    if (g.files.corrupt)
        return refuse(&g, "its file \"%s\" was set aside as damaged", g.files.corrupt);
    if (mark->position.index == 0 && !mark->joined)
        return check_fresh(&g, found);
    TRY(check_metadata(&g, &torn_meta));
    TRY(check_snapshot(&g));
    TRY(check_segments(&g, &last));
    TRY(tidy(&g, torn_meta));
    found->last_index = last;
    found->last_term = g.last_term;
    found->bytes = g.bytes;
    found->snapshot_index = snapshot_index(&g);
    found->metas = g.metas;
    return OK;
}

struct error *guard_in_use(struct arena *arena, int dir, const char *dir_name, bool *in_use)
{
    struct dir_files f;

    TRY(files_list(arena, dir, dir_name, &f));
    *in_use =
        f.n_closed || f.n_open || f.n_snapshots || f.metadata[0] || f.metadata[1] || f.corrupt;
    return OK;
}
