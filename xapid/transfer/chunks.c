/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/chunks.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "xapid/ops/storage/vdi_copy.h"
#include "xapid/transfer/disk.h"

/* Nothing was sent for that long: a piece without bytes is. */
#define QUIET_LIMIT (5 * USEC_PER_SEC)
/* The text of a checksum; SHA-1 has 40 digits. */
#define SUM_MAX 64
#define TABLE_NAME "checksum.xml"
#define TABLE_MAX ((int64_t)8 * 1024 * 1024)
#define MAX_SUMS ((size_t)100000)

static void hex(char *out, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static void sha1_text(char out[41], const void *p, size_t n)
{
    unsigned char digest[SHA_DIGEST_LENGTH];

    SHA1(p, n, digest);
    hex(out, digest, sizeof digest);
}

static void xxhash_text(char out[17], const void *p, size_t n)
{
    snprintf(out, 17, "%016llX", (unsigned long long)XXH64(p, n, 0));
}

/*** writing ***/

void chunk_writer_init(struct chunk_writer *w, struct sink *to, int64_t total)
{
    *w = (struct chunk_writer){.to = to,
                               .total = total,
                               .last = clock_mono(),
                               .silence = QUIET_LIMIT,
                               .room = xmalloc((size_t)CHUNK_SIZE)};
}

void chunk_writer_release(struct chunk_writer *w)
{
    free(w->room);
    w->room = NULL;
}

static struct error *send_piece(struct call *call, struct chunk_writer *w, const char *id,
                                int64_t number, int64_t n)
{
    char name[TAR_NAME_MAX], sum[17];

    snprintf(name, sizeof name, "%s/%08lld", id, (long long)number);
    TRY(tar_member(call, w->to, name, w->room, (size_t)n));
    xxhash_text(sum, w->room, (size_t)n);
    snprintf(name, sizeof name, "%s/%08lld.xxhash", id, (long long)number);
    TRY(tar_member(call, w->to, name, sum, strlen(sum)));
    w->last = clock_mono();
    return OK;
}

/* Reads the piece where it may be needed; *needed says whether it is. */
static struct error *read_piece(struct call *call, struct chunk_writer *w, struct vdi_io *io,
                                struct vdi_run *run, int64_t at, int64_t n, bool *needed)
{
    bool edge = at == 0 || at + n == vdi_io_size(io), hole = false;

    TRY(disk_is_hole(call, run, io, at, n, &hole));
    if (hole && !edge && !w->no_holes) {
        *needed = false;
        return OK;
    }
    if (hole)
        memset(w->room, 0, (size_t)n);
    else
        TRY(vdi_io_read(call, io, at, w->room, (size_t)n));
    *needed = edge || w->no_holes || !all_zero(w->room, (size_t)n);
    return OK;
}

/* How many pieces from 'at' on are left out: holes, up to the last piece, which is not.  None after
 * a long silence, which a piece without bytes has to end first. */
static struct error *count_holes(struct call *call, const struct chunk_writer *w, struct vdi_io *io,
                                 struct vdi_run *run, int64_t at, int64_t *n)
{
    int64_t last = (vdi_io_size(io) - 1) / CHUNK_SIZE * CHUNK_SIZE, next;

    *n = 0;
    if (w->no_holes || at == 0 || at >= last || clock_mono() - w->last >= w->silence)
        return OK;
    TRY(vdi_io_next(call, io, run, at, &next));
    *n = (MIN(next, last) - at) / CHUNK_SIZE;
    return OK;
}

struct error *chunks_send(struct call *call, struct chunk_writer *w, const char *id,
                          struct vdi_io *io)
{
    int64_t size = vdi_io_size(io), number = 0, holes;
    struct vdi_run run = {0};

    if (!w->begun && size > 0) {
        w->begun = true;
        w->no_holes = size < CHUNK_SIZE;
    }
    for (int64_t at = 0; at < size; number++) {
        int64_t n;
        bool needed;

        TRY(count_holes(call, w, io, &run, at, &holes));
        at += holes * CHUNK_SIZE;
        number += holes;
        w->sent += holes * CHUNK_SIZE;
        n = MIN(CHUNK_SIZE, size - at);
        TRY(read_piece(call, w, io, &run, at, n, &needed));
        if (needed) {
            TRY(send_piece(call, w, id, number, n));
        } else if (clock_mono() - w->last >= w->silence) {
            /* It takes this number; what is left out here takes the next. */
            TRY(send_piece(call, w, id, number++, 0));
        }
        at += n;
        w->sent += n;
        TRY(transfer_tick(call, w->total ? (double)w->sent / (double)w->total : 1.0));
    }
    return OK;
}

/*** reading ***/

void chunk_reader_init(struct chunk_reader *r, struct tar_reader *tar, int64_t total)
{
    *r = (struct chunk_reader){.tar = tar, .total = total, .room = xmalloc((size_t)CHUNK_MAX)};
}

void chunk_reader_release(struct chunk_reader *r)
{
    free(r->room);
    free(r->sums);
    arena_release(&r->sums_arena);
    r->room = NULL;
    r->sums = NULL;
}

/* A name out of an archive, as it may be shown. */
static const char *shown(struct call *call, const char *name)
{
    size_t n;

    return utf8_clean(call->arena, name, strlen(name), &n);
}

static struct error *unexpected(struct call *call, const char *wanted, const char *found)
{
    return err_import_error_unexpected_file(call, wanted, shown(call, found));
}

static struct error *bad_sum(struct call *call, const struct chunk_reader *r, const char *name)
{
    if (!r->ignore_checksums)
        return err_import_error_some_checksums_failed(call);
    log_warning("import: the checksum of %s does not fit; it is imported all the same",
                shown(call, name));
    return OK;
}

static struct error *remember_sum(struct call *call, struct chunk_reader *r, size_t n)
{
    if (r->n_sums == MAX_SUMS)
        return err_import_error(call, "The archive's table of checksums is too long.");
    if (r->n_sums == r->sums_room) {
        r->sums_room = MAX(2 * r->sums_room, (size_t)256);
        r->sums = xrealloc(r->sums, r->sums_room * sizeof *r->sums);
    }
    r->sums[r->n_sums].name = arena_strdup(&r->sums_arena, r->tar->name);
    sha1_text(r->sums[r->n_sums++].sha1, r->room, n);
    return OK;
}

/* The member after a piece, which is its checksum. */
static struct error *check_sum(struct call *call, struct chunk_reader *r, size_t n)
{
    char name[TAR_NAME_MAX + 1], said[SUM_MAX + 1] = "", sum[41];
    const char *ending;
    bool found;

    memcpy(name, r->tar->name, sizeof name);
    TRY(tar_next(call, r->tar, &found));
    if (!found)
        return err_import_error_premature_eof(call);
    ending = r->tar->name + strnlen(name, sizeof name);
    if (strncmp(r->tar->name, name, strlen(name)) != 0 ||
        (strcmp(ending, ".xxhash") != 0 && strcmp(ending, ".checksum") != 0) ||
        r->tar->size > SUM_MAX)
        return unexpected(call, arena_printf(call->arena, "%s.xxhash", shown(call, name)),
                          r->tar->name);
    if (strcmp(ending, ".xxhash") == 0)
        xxhash_text(sum, r->room, n);
    else
        sha1_text(sum, r->room, n);
    TRY(tar_read(call, r->tar, said, (size_t)r->tar->size));
    return strcasecmp(said, sum) == 0 ? OK : bad_sum(call, r, name);
}

/* Where the piece belongs. */
struct place {
    const char *id;
    int64_t at, size; /* of the disk */
    int64_t number;   /* of the piece before; -1 */
};

static bool has_prefix(const char *name, const char *id)
{
    size_t n = strlen(id);

    return strncmp(name, id, n) == 0 && name[n] == '/';
}

/* The number behind the folder's name; -1 for what is none. */
static int64_t piece_number(const char *name, const char *id)
{
    const char *p = name + strlen(id) + 1;
    int64_t number = 0;

    if (!*p || strlen(p) > 15)
        return -1;
    for (; *p; p++) {
        if (*p < '0' || *p > '9')
            return -1;
        number = number * 10 + (*p - '0');
    }
    return number;
}

static struct error *too_much(struct call *call, const struct place *p)
{
    return err_import_error(
        call,
        arena_printf(call->arena, "The archive has more data for disk %s than its %lld bytes.",
                     shown(call, p->id), (long long)p->size));
}

/* Moves over the gap before the present member. */
static struct error *pass_gap(struct call *call, struct chunk_reader *r, struct place *p,
                              struct vdi_io *io, bool fresh)
{
    int64_t number = has_prefix(r->tar->name, p->id) ? piece_number(r->tar->name, p->id) : -1, gap;

    if (number <= p->number)
        return unexpected(
            call,
            arena_printf(call->arena, "%s/%08lld", shown(call, p->id), (long long)p->number + 1),
            r->tar->name);
    gap = number - p->number - 1;
    if (gap && (r->first_length == 0 || gap > (p->size - p->at) / r->first_length))
        return too_much(call, p);
    TRY(disk_zero(call, io, fresh, p->at, gap * r->first_length));
    p->at += gap * r->first_length;
    p->number = number;
    r->received += gap * r->first_length;
    return OK;
}

static struct error *receive_piece(struct call *call, struct chunk_reader *r, struct place *p,
                                   struct vdi_io *io, bool fresh)
{
    int64_t n = r->tar->size;

    TRY(pass_gap(call, r, p, io, fresh));
    if (n > CHUNK_MAX)
        return err_import_error(call, arena_printf(call->arena,
                                                   "A piece of a disk in the archive has %lld "
                                                   "bytes; at most %lld are read.",
                                                   (long long)n, (long long)CHUNK_MAX));
    if (n > p->size - p->at)
        return too_much(call, p);
    r->first_length = r->first_length ? r->first_length : n;
    TRY(tar_read(call, r->tar, r->room, (size_t)n));
    TRY(r->table ? remember_sum(call, r, (size_t)n) : check_sum(call, r, (size_t)n));
    TRY(disk_write(call, io, fresh, p->at, r->room, (size_t)n));
    p->at += n;
    r->received += n;
    return transfer_tick(call, r->total ? (double)r->received / (double)r->total : 1.0);
}

struct error *chunks_receive(struct call *call, struct chunk_reader *r, const char *id,
                             int64_t size, struct vdi_io *io, bool fresh)
{
    struct place p = {.id = id, .size = size, .number = -1};
    bool found;

    TRY(receive_piece(call, r, &p, io, fresh));
    while (p.at < size) {
        TRY(tar_next(call, r->tar, &found));
        if (!found)
            return err_import_error_premature_eof(call);
        TRY(receive_piece(call, r, &p, io, fresh));
    }
    return vdi_io_flush(call, io);
}

/*** the table ***/

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct chunk_sum *)a)->name, ((const struct chunk_sum *)b)->name);
}

static struct error *compare(struct call *call, struct chunk_reader *r, const struct wire *table)
{
    size_t fits = 0;

    qsort(r->sums, r->n_sums, sizeof *r->sums, by_name);
    for (size_t i = 0; i < table->n; i++) {
        struct chunk_sum key = {.name = table->v[i].name};
        const struct chunk_sum *sum =
            r->n_sums ? bsearch(&key, r->sums, r->n_sums, sizeof key, by_name) : NULL;

        if (!sum)
            continue;
        if (!table->v[i].text || strcasecmp(table->v[i].text, sum->sha1) != 0)
            TRY(bad_sum(call, r, sum->name));
        fits++;
    }
    return fits == r->n_sums ? OK : bad_sum(call, r, TABLE_NAME);
}

struct error *chunks_check_table(struct call *call, struct chunk_reader *r)
{
    const struct wire *table;
    AUTO(room) text = {0};
    bool found;

    TRY(tar_next(call, r->tar, &found));
    if (!found)
        return err_import_error_premature_eof(call);
    if (strcmp(r->tar->name, TABLE_NAME) != 0)
        return unexpected(call, TABLE_NAME, r->tar->name);
    if (r->tar->size > TABLE_MAX)
        return err_import_error(call, "The archive's table of checksums is too long.");
    text.p = xmalloc((size_t)r->tar->size + 1);
    TRY(tar_read(call, r->tar, text.p, (size_t)r->tar->size));
    if (!xmlrpc_read_value(call->arena, text.p, (size_t)r->tar->size, &table) ||
        table->kind != WIRE_STRUCT)
        return err_import_error(call, "The archive's table of checksums cannot be read.");
    return compare(call, r, table);
}
