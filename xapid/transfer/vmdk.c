/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmdk.c -- VMDK in one file, read only: a header, a description in words, a directory of tables of
 * grains, the grains.
 *
 * Or, where they are compressed (streamOptimized), each grain behind a marker that says where it
 * belongs; then the tables may come last, and are not needed.  All numbers are little-endian, and
 * all places in the file are in sectors.
 */
#include <ctype.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "libxapi/base/memory.h"
#include "xapid/db/db.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/image.h"

#define SECTOR 512
#define MAGIC 0x564d444bu
#define TABLES_AT_END UINT64_MAX
#define ONE_FILE                                                                                   \
    "; a copy made with qemu-img convert -O vmdk -o subformat=streamOptimized is one file"
/* header.flags */
#define HAS_NEWLINES (1u << 0)
#define HAS_ZERO_GRAINS (1u << 2)
#define IS_COMPRESSED (1u << 16)
#define HAS_MARKERS (1u << 17)
#define DEFLATE 1
/* An entry of a table where HAS_ZERO_GRAINS. */
#define ZERO_GRAIN 1
/* Limits on what is read.  Runs take 12 bytes each: grains that follow each other in the file and
 * on the disk are one. */
#define MAX_SECTORS ((uint64_t)1 << 40)
#define MIN_GRAIN 8
#define MAX_GRAIN ((uint64_t)1 << 15)
#define MAX_PER_TABLE 512u
#define MAX_TABLES ((uint64_t)1 << 20)
#define MAX_RUNS ((size_t)1 << 21)
#define MAX_DESCRIPTION ((uint64_t)128)
#define MAX_METADATA ((uint64_t)1 << 21)

struct header {
    uint32_t magic, version, flags;
    uint64_t capacity, grain, description_at, description_size;
    uint32_t per_table;
    uint64_t copy_at, directory_at, grains_at;
    uint8_t unclean;
    char newlines[4];
    uint16_t compression;
    uint8_t reserved[433];
} __attribute__((packed));
_Static_assert(sizeof(struct header) == SECTOR, "a header is a sector");

/* Before a grain, whose data follows at once; or, of no size, in a sector of its own before other
 * things, of which 'value' is the number of sectors. */
struct marker {
    uint64_t value; /* of a grain: its first sector on the disk */
    uint32_t size;
} __attribute__((packed));
enum marker_type { MARK_END, MARK_TABLE, MARK_DIRECTORY, MARK_FOOTER };

struct table {
    uint32_t sector, n; /* the n-th table */
};

struct run {
    uint32_t sector, first, n; /* where it is in the file, its first grain on the disk; grains */
};

struct vmdk {
    struct image_reader reader;
    const struct image_disk *disk;
    struct header header; /* in the machine's byte order, as far as it is used */
    int64_t size, grain;  /* bytes */
    struct table *tables; /* allocated */
    uint32_t n_tables;
    struct run *runs; /* allocated */
    size_t n_runs, room;
    /* Of the grains that the tables have: how many, and a sum that those that come must have. */
    uint64_t n_grains, sum;
    z_stream z;
    bool has_z;
    char *buffer, *plain; /* IMAGE_PIECE each */
};

static void vmdk_release(struct vmdk *v)
{
    if (v->has_z)
        inflateEnd(&v->z);
    free(v->tables);
    free(v->runs);
    free(v->buffer);
    free(v->plain);
}

static struct error *bad(struct call *call, const char *why)
{
    return image_bad(call, "VMDK", why);
}

static struct error *go(struct call *call, struct vmdk *v, uint64_t sector)
{
    return image_go(call, &v->reader, "VMDK", (int64_t)sector * SECTOR);
}

/*** the header ***/

/* The word that follows a name in the description; "" where there is none that can be repeated. */
static const char *described(struct call *call, const char *text, const char *name)
{
    const char *word = strstr(text, name);
    size_t n = 0;

    if (!word)
        return "";
    word += strlen(name);
    word += strspn(word, " =\"");
    while (n < 32 && isalnum((unsigned char)word[n]))
        n++;
    return arena_strndup(call->arena, word, n);
}

/* A file that has only the description begins with a comment. */
static struct error *not_one(struct call *call, const char *head, size_t n)
{
    const char *text = arena_strndup(call->arena, head, n);
    const char *type = described(call, text, "createType");
    bool flat = strcmp(type, "monolithicFlat") == 0 || strcmp(type, "vmfs") == 0;

    if (n && *text == '#' && strstr(text, "DescriptorFile"))
        return bad(call, arena_printf(
                             call->arena,
                             "it only describes a disk%s%s, whose content lies in %s" ONE_FILE,
                             *type ? " of type " : "", type,
                             flat ? "another file, which can be imported as raw" : "other files"));
    return n < SECTOR ? err_import_error_premature_eof(call)
                      : bad(call, "it does not begin as one does");
}

static void from_file(struct header *h)
{
    h->magic = le32toh(h->magic);
    h->version = le32toh(h->version);
    h->flags = le32toh(h->flags);
    h->capacity = le64toh(h->capacity);
    h->grain = le64toh(h->grain);
    h->description_at = le64toh(h->description_at);
    h->description_size = le64toh(h->description_size);
    h->per_table = le32toh(h->per_table);
    h->directory_at = le64toh(h->directory_at);
    h->grains_at = le64toh(h->grains_at);
    h->compression = le16toh(h->compression);
}

static struct error *check_sizes(struct call *call, const struct header *h)
{
    if (!h->capacity || h->capacity > MAX_SECTORS)
        return bad(call, "its size is none");
    if (h->grain < MIN_GRAIN || h->grain > MAX_GRAIN || (h->grain & (h->grain - 1)) != 0)
        return bad(call, "its grain size is none");
    if (!h->per_table || h->per_table > MAX_PER_TABLE ||
        h->capacity > MAX_TABLES * h->grain * h->per_table)
        return bad(call, "its tables are too long or too many");
    if (h->grains_at > MAX_SECTORS ||
        (h->directory_at > MAX_SECTORS && h->directory_at != TABLES_AT_END))
        return bad(call, "its header points to nowhere");
    return OK;
}

static struct error *check_kind(struct call *call, const struct header *h)
{
    bool compressed = h->flags & IS_COMPRESSED;

    if (h->version < 1 || h->version > 3)
        return bad(call, "its version is not known");
    if ((h->flags & HAS_NEWLINES) && memcmp(h->newlines, "\n \r\n", sizeof h->newlines) != 0)
        return bad(call, "it was changed on its way, as text is");
    if (compressed != !!(h->flags & HAS_MARKERS) || (compressed && h->compression != DEFLATE))
        return bad(call, "its compression is not known");
    if (!compressed && h->directory_at == TABLES_AT_END)
        return bad(call, "its tables come last, and it has no markers");
    return OK;
}

static struct error *read_header(struct call *call, struct vmdk *v)
{
    struct header *h = &v->header;
    size_t got;

    TRY(source_read(call, v->reader.from, h, sizeof *h, &got));
    v->reader.at = (int64_t)got;
    if (got < sizeof *h || le32toh(h->magic) != MAGIC)
        return not_one(call, (const char *)h, got);
    from_file(h);
    TRY(check_kind(call, h));
    TRY(check_sizes(call, h));
    v->size = (int64_t)h->capacity * SECTOR;
    v->grain = (int64_t)h->grain * SECTOR;
    v->n_tables =
        (uint32_t)((h->capacity + h->grain * h->per_table - 1) / (h->grain * h->per_table));
    return OK;
}

/* One of several files has no description; one that has a parent is of differences. */
static struct error *read_description(struct call *call, struct vmdk *v)
{
    const struct header *h = &v->header;
    char *text, *parent;

    if (h->description_size > MAX_DESCRIPTION || h->description_at > MAX_SECTORS)
        return bad(call, "its description is too long");
    text = arena_alloc(call->arena, h->description_size * SECTOR + 1);
    if (h->description_at && h->description_size) {
        TRY(go(call, v, h->description_at));
        TRY(image_take(call, &v->reader, text, h->description_size * SECTOR));
    }
    text[h->description_size * SECTOR] = '\0';
    if (!h->description_at || !strstr(text, "createType"))
        return bad(call, "it is one of several files that are a disk together" ONE_FILE);
    parent = strstr(text, "parentCID=");
    if (parent && strncasecmp(parent, "parentCID=ffffffff", 18) != 0)
        return bad(call, "it has only what differs from another disk" ONE_FILE);
    return OK;
}

/*** the tables ***/

static int by_table_sector(const void *a, const void *b)
{
    const struct table *x = a, *y = b;

    return x->sector < y->sector ? -1 : x->sector > y->sector;
}

/* Afterwards 'n_tables' are those that there are, in the order of the file. */
static struct error *read_directory(struct call *call, struct vmdk *v)
{
    uint32_t used = 0, n = v->n_tables;

    TRY(go(call, v, v->header.directory_at));
    v->tables = xmalloc(n * sizeof *v->tables);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t sector;

        TRY(image_take(call, &v->reader, &sector, sizeof sector));
        sector = le32toh(sector);
        if (sector && sector <= v->header.directory_at)
            return bad(call, "its directory points to nowhere");
        if (sector)
            v->tables[used++] = (struct table){sector, i};
    }
    v->n_tables = used;
    qsort(v->tables, used, sizeof *v->tables, by_table_sector);
    for (uint32_t i = 1; i < used; i++)
        if (v->tables[i].sector == v->tables[i - 1].sector)
            return bad(call, "two of its tables lie in one place");
    return OK;
}

static uint64_t fingerprint(uint64_t sector, uint64_t grain)
{
    return sector * (2 * grain + 1);
}

static struct error *add_run(struct call *call, struct vmdk *v, uint32_t sector, uint32_t grain)
{
    struct run *last = v->n_runs ? &v->runs[v->n_runs - 1] : NULL;

    if (last && sector == last->sector + last->n * v->header.grain &&
        grain == last->first + last->n) {
        last->n++;
        return OK;
    }
    if (v->n_runs == MAX_RUNS)
        return bad(call, "its data lies in too many pieces; a copy made with qemu-img convert does "
                         "not");
    if (v->n_runs == v->room) {
        v->room = MAX(2 * v->room, (size_t)1024);
        v->runs = xrealloc(v->runs, v->room * sizeof *v->runs);
    }
    v->runs[v->n_runs++] = (struct run){sector, grain, 1};
    return OK;
}

static struct error *read_table(struct call *call, struct vmdk *v, const struct table *table)
{
    uint32_t entries[MAX_PER_TABLE];
    uint64_t grain = (uint64_t)table->n * v->header.per_table;

    TRY(go(call, v, table->sector));
    TRY(image_take(call, &v->reader, entries, v->header.per_table * sizeof *entries));
    for (uint32_t i = 0; i < v->header.per_table; i++, grain++) {
        uint32_t sector = le32toh(entries[i]);

        if (!sector || (sector == ZERO_GRAIN && (v->header.flags & HAS_ZERO_GRAINS)))
            continue;
        if (grain * v->header.grain >= v->header.capacity)
            return bad(call, "it has a grain beyond its end");
        if (sector <= v->header.directory_at)
            return bad(call, "a table in it points to nowhere");
        v->n_grains++;
        v->sum += fingerprint(sector, grain);
        if (!(v->header.flags & HAS_MARKERS))
            TRY(add_run(call, v, sector, (uint32_t)grain));
    }
    return OK;
}

static struct error *read_tables(struct call *call, struct vmdk *v)
{
    if (v->header.directory_at == TABLES_AT_END)
        return OK;
    TRY(read_directory(call, v));
    for (uint32_t i = 0; i < v->n_tables; i++)
        TRY(read_table(call, v, &v->tables[i]));
    return OK;
}

/*** grains as they are ***/

static int by_run_sector(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static struct error *receive_runs(struct call *call, struct vmdk *v)
{
    uint64_t end = 0;

    if (v->n_runs)
        qsort(v->runs, v->n_runs, sizeof *v->runs, by_run_sector);
    for (size_t i = 0; i < v->n_runs; i++) {
        const struct run *run = &v->runs[i];
        int64_t at = run->first * v->grain;

        if (run->sector < end)
            return bad(call, "two of its grains lie in one place");
        end = run->sector + run->n * v->header.grain;
        TRY(go(call, v, run->sector));
        TRY(image_copy(call, &v->reader, v->disk, at, MIN(run->n * v->grain, v->size - at),
                       v->buffer));
        TRY(transfer_tick(call, (double)i / (double)v->n_runs));
    }
    return OK;
}

/*** grains behind markers ***/

/* Writes what was made of a grain so far; beyond the disk's end it is dropped. */
static struct error *put_plain(struct call *call, struct vmdk *v, int64_t at, int64_t *done)
{
    int64_t n = IMAGE_PIECE - v->z.avail_out, fits = MIN(n, v->size - at - *done);

    if (n > v->grain - *done)
        return bad(call, "a grain in it is longer than grains are");
    if (fits > 0)
        TRY(disk_write(call, v->disk->io, true, at + *done, v->plain, (size_t)fits));
    *done += n;
    v->z.next_out = (Bytef *)v->plain;
    v->z.avail_out = IMAGE_PIECE;
    return OK;
}

/* What has been read of a grain's data; *ended once its stream has. */
static struct error *inflate_piece(struct call *call, struct vmdk *v, int64_t at, int64_t *done,
                                   bool *ended)
{
    int r = Z_OK;

    while (r == Z_OK && !*ended) {
        r = inflate(&v->z, Z_NO_FLUSH);
        *ended = r == Z_STREAM_END;
        if (v->z.avail_out == 0 || *ended)
            TRY(put_plain(call, v, at, done));
    }
    return r == Z_OK || r == Z_STREAM_END || (r == Z_BUF_ERROR && !v->z.avail_in)
               ? OK
               : bad(call, "a grain in it is damaged");
}

static struct error *inflate_grain(struct call *call, struct vmdk *v, int64_t at, int64_t n)
{
    int64_t done = 0;
    bool ended = false;

    inflateReset(&v->z);
    v->z.next_out = (Bytef *)v->plain;
    v->z.avail_out = IMAGE_PIECE;
    for (int64_t part; n; n -= part) {
        part = MIN(n, IMAGE_PIECE);
        TRY(image_take(call, &v->reader, v->buffer, (size_t)part));
        v->z.next_in = (Bytef *)v->buffer;
        v->z.avail_in = (uInt)part;
        TRY(inflate_piece(call, v, at, &done, &ended));
    }
    if (!ended || done < MIN(v->grain, v->size - at))
        return bad(call, "a grain in it is too short");
    return OK;
}

static struct error *take_grain(struct call *call, struct vmdk *v, const struct marker *m)
{
    uint32_t n = le32toh(m->size);
    uint64_t sector = le64toh(m->value);

    if (sector >= v->header.capacity)
        return bad(call, "it has a grain beyond its end");
    if (sector % v->header.grain)
        return bad(call, "a grain in it belongs to no place where grains are");
    if (n > 2 * v->grain)
        return bad(call, "a grain in it is longer than grains are");
    TRY(inflate_grain(call, v, (int64_t)sector * SECTOR, n));
    return transfer_tick(call, (double)sector / (double)v->header.capacity);
}

/* Goes on to the next marker. */
static struct error *take_marker(struct call *call, struct vmdk *v, struct marker *m)
{
    TRY(go(call, v, (uint64_t)(v->reader.at + SECTOR - 1) / SECTOR));
    return image_take(call, &v->reader, m, sizeof *m);
}

/* The tables have said which grains there are: they follow each other, and then nothing more is
 * needed. */
static struct error *receive_listed(struct call *call, struct vmdk *v)
{
    uint64_t sum = 0;

    TRY(go(call, v, v->header.grains_at));
    for (uint64_t i = 0; i < v->n_grains; i++) {
        struct marker m;

        TRY(take_marker(call, v, &m));
        if (!m.size)
            return bad(call, "it ends before its last grain");
        sum += fingerprint((uint64_t)v->reader.at / SECTOR, le64toh(m.value) / v->header.grain);
        TRY(take_grain(call, v, &m));
    }
    return sum == v->sum ? OK : bad(call, "its grains are not those that its tables have");
}

static struct error *check_end(struct call *call, struct vmdk *v)
{
    struct header end;

    TRY(image_take(call, &v->reader, &end, sizeof end));
    from_file(&end);
    if (end.magic != MAGIC || end.capacity != v->header.capacity || end.grain != v->header.grain)
        return bad(call, "its end does not fit its beginning");
    return OK;
}

/* What follows a marker that is none of a grain. */
static struct error *take_other(struct call *call, struct vmdk *v, const struct marker *m,
                                uint32_t *type)
{
    uint64_t n = le64toh(m->value);

    TRY(image_take(call, &v->reader, type, sizeof *type));
    *type = le32toh(*type);
    if (*type > MARK_FOOTER || n > MAX_METADATA)
        return bad(call, "it has a marker that is not known");
    TRY(go(call, v, (uint64_t)v->reader.at / SECTOR + 1));
    if (*type == MARK_FOOTER)
        return check_end(call, v);
    return go(call, v, (uint64_t)v->reader.at / SECTOR + n);
}

/* The grains and, behind them, their tables, which are not needed; an end and its marker. */
static struct error *receive_marked(struct call *call, struct vmdk *v)
{
    uint32_t type = MARK_TABLE;
    bool footer = false;

    TRY(go(call, v, v->header.grains_at));
    while (type != MARK_END) {
        struct marker m;

        TRY(take_marker(call, v, &m));
        type = MARK_TABLE;
        if (m.size)
            TRY(take_grain(call, v, &m));
        else
            TRY(take_other(call, v, &m, &type));
        footer |= type == MARK_FOOTER;
    }
    return footer ? OK : bad(call, "it ends without the copy of its header");
}

static struct error *receive_compressed(struct call *call, struct vmdk *v)
{
    if (inflateInit(&v->z) != Z_OK)
        return error_internal(call->arena, "no memory to decompress with");
    v->has_z = true;
    return v->header.directory_at == TABLES_AT_END ? receive_marked(call, v)
                                                   : receive_listed(call, v);
}

struct error *vmdk_receive(struct call *call, struct source *from, const struct image_disk *disk)
{
    AUTO(vmdk) v = {.reader = {from, 0}, .disk = disk};

    TRY(read_header(call, &v));
    TRY(image_check_room(call, disk, v.size));
    TRY(read_description(call, &v));
    TRY(read_tables(call, &v));
    v.buffer = xmalloc((size_t)IMAGE_PIECE);
    v.plain = xmalloc((size_t)IMAGE_PIECE);
    TRY(vdi_io_zero(call, disk->io, 0, vdi_io_size(disk->io)));
    if (v.header.flags & IS_COMPRESSED)
        TRY(receive_compressed(call, &v));
    else
        TRY(receive_runs(call, &v));
    return vdi_io_flush(call, disk->io);
}
