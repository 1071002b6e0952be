/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2.c -- qcow2: a table (L1) of tables (L2) of clusters; reference counts, which readers do not
 * need, in tables of their own.  All numbers are big-endian.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "libxapi/base/memory.h"
#include "xapid/db/db.h"
#include "xapid/transfer/image.h"

#define MAGIC 0x514649fbu
#define COPIED (1ull << 63)
#define COMPRESSED (1ull << 62)
#define ZERO 1ull
#define OFFSET_MASK 0x00fffffffffffe00ull
#define HEADER_2 72
#define HEADER_3 104
#define MIN_BITS 9
#define MAX_BITS 21
/* Limits on what is read: entries of L1, and runs of clusters that lie together. */
#define MAX_L1 (1u << 22)
#define MAX_RUNS ((size_t)1000000)
/* Clusters of an image of ours; beyond 8 TiB they become larger: then its map has no more than 16
 * MiB, however the data lies. */
#define MAX_CLUSTERS ((int64_t)1 << 27)

struct header {
    uint32_t magic, version;
    uint64_t backing_offset;
    uint32_t backing_size, cluster_bits;
    uint64_t size;
    uint32_t encrypted, l1_size;
    uint64_t l1_offset, refcount_offset;
    uint32_t refcount_clusters, n_snapshots;
    uint64_t snapshots_offset, incompatible, compatible, autoclear;
    uint32_t refcount_order, header_length;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == HEADER_3, "the header of version 3");

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/*** writing ***/

/* Where everything goes, in clusters: header, reference counts, L1, L2, data. */
struct layout {
    int bits;
    int64_t cluster, n_l1, per_l2;
    int64_t l1, l2, table, blocks; /* clusters of each */
    int64_t data;                  /* the first cluster of data */
    int64_t total;
    struct unit_map map;
};

static void layout_release(struct layout *l)
{
    unit_map_release(&l->map);
}

static bool l2_is_used(const struct layout *l, int64_t i)
{
    int64_t end = MIN((i + 1) * l->per_l2, l->map.n);

    return unit_map_next(&l->map, i * l->per_l2, end) < end;
}

static struct error *plan_layout(struct call *call, const struct image_disk *disk, struct layout *l)
{
    int64_t size = vdi_io_size(disk->io), before;

    l->bits = 16;
    while (l->bits < MAX_BITS && divide_up(size, (int64_t)1 << l->bits) > MAX_CLUSTERS)
        l->bits++;
    l->cluster = (int64_t)1 << l->bits;
    TRY(unit_map_make(call, disk, l->cluster, &l->map));
    l->per_l2 = l->cluster / 8;
    l->n_l1 = MAX(divide_up(l->map.n, l->per_l2), (int64_t)1);
    l->l1 = divide_up(l->n_l1 * 8, l->cluster);
    for (int64_t i = 0; i < l->n_l1; i++)
        l->l2 += l2_is_used(l, i);
    l->table = l->blocks = 1;
    do { /* the counts count themselves */
        before = l->table + l->blocks;
        l->data = 1 + l->table + l->blocks + l->l1 + l->l2;
        l->total = l->data + l->map.set;
        l->blocks = divide_up(l->total, l->cluster / 2);
        l->table = divide_up(l->blocks * 8, l->cluster);
    } while (l->table + l->blocks != before);
    return OK;
}

static struct error *send_header(struct call *call, const struct image_disk *disk,
                                 const struct layout *l, struct sink *to)
{
    const char *base = disk->base ? arena_printf(call->arena, "%s.qcow2", disk->base_uuid) : "";
    size_t n = strlen(base);
    const uint64_t no_extension = 0;
    struct header h = {.magic = htobe32(MAGIC),
                       .version = htobe32(3),
                       .backing_offset = htobe64(n ? HEADER_3 + sizeof no_extension : 0),
                       .backing_size = htobe32((uint32_t)n),
                       .cluster_bits = htobe32((uint32_t)l->bits),
                       .size = htobe64((uint64_t)vdi_io_size(disk->io)),
                       .l1_size = htobe32((uint32_t)l->n_l1),
                       .l1_offset = htobe64((uint64_t)((1 + l->table + l->blocks) * l->cluster)),
                       .refcount_offset = htobe64((uint64_t)l->cluster),
                       .refcount_clusters = htobe32((uint32_t)l->table),
                       .refcount_order = htobe32(4),
                       .header_length = htobe32(HEADER_3)};

    TRY(sink_write(call, to, &h, sizeof h));
    TRY(sink_write(call, to, &no_extension, sizeof no_extension));
    TRY(sink_write(call, to, base, n));
    return sink_zeroes(call, to, l->cluster - HEADER_3 - (int64_t)sizeof no_extension - (int64_t)n);
}

static struct error *send_number(struct call *call, struct sink *to, uint64_t value)
{
    value = htobe64(value);
    return sink_write(call, to, &value, sizeof value);
}

static struct error *send_refcounts(struct call *call, const struct layout *l, struct sink *to)
{
    for (int64_t i = 0; i < l->blocks; i++)
        TRY(send_number(call, to, (uint64_t)((1 + l->table + i) * l->cluster)));
    TRY(sink_zeroes(call, to, l->table * l->cluster - l->blocks * 8));
    for (int64_t i = 0; i < l->total; i++) {
        const uint16_t one = htobe16(1);

        TRY(sink_write(call, to, &one, sizeof one));
    }
    return sink_zeroes(call, to, l->blocks * l->cluster - l->total * 2);
}

static struct error *send_tables(struct call *call, const struct layout *l, struct sink *to)
{
    int64_t next_l2 = l->data - l->l2, next = l->data;

    for (int64_t i = 0; i < l->n_l1; i++)
        TRY(send_number(call, to,
                        l2_is_used(l, i) ? (uint64_t)(next_l2++ * l->cluster) | COPIED : 0));
    TRY(sink_zeroes(call, to, l->l1 * l->cluster - l->n_l1 * 8));
    for (int64_t i = 0; i < l->n_l1; i++) {
        if (!l2_is_used(l, i))
            continue;
        for (int64_t k = i * l->per_l2; k < (i + 1) * l->per_l2; k++) {
            bool used = k < l->map.n && unit_map_has(&l->map, k);

            TRY(send_number(call, to, used ? (uint64_t)(next++ * l->cluster) | COPIED : 0));
        }
    }
    return OK;
}

static struct error *send_data(struct call *call, const struct image_disk *disk,
                               const struct layout *l, struct sink *to)
{
    AUTO(room) room = {xmalloc((size_t)l->cluster)};
    int64_t done = 0;

    for (int64_t i = unit_map_next(&l->map, 0, l->map.n); i < l->map.n;
         i = unit_map_next(&l->map, i + 1, l->map.n)) {
        TRY(image_read_unit(call, disk, &l->map, i, room.p));
        TRY(sink_write(call, to, room.p, (size_t)l->cluster));
        TRY(transfer_tick(call, (double)++done / (double)l->map.set));
    }
    return OK;
}

struct error *qcow2_send(struct call *call, const struct image_disk *disk, struct sink *to)
{
    AUTO(layout) l = {0};

    TRY(plan_layout(call, disk, &l));
    TRY(send_header(call, disk, &l, to));
    TRY(send_refcounts(call, &l, to));
    TRY(send_tables(call, &l, to));
    return send_data(call, disk, &l, to);
}

/*** reading ***/

enum run_kind { RUN_L1, RUN_L2, RUN_DATA, RUN_COMPRESSED };

/* Something that lies in the file from 'host' on. */
struct run {
    int64_t host, guest; /* of an L2 table: what it is about */
    int64_t n : 56;      /* bytes */
    int64_t kind : 8;
};

struct qcow2 {
    struct image_reader reader;
    const struct image_disk *disk;
    int64_t size, cluster;
    int bits;
    uint32_t version, n_l1;
    bool difference;
    /* What is still to come, a heap by 'host'; allocated. */
    size_t n, room;
    struct run *runs;
    char *buffer, *plain; /* a cluster each, at least IMAGE_PIECE */
};

static void qcow2_release(struct qcow2 *q)
{
    free(q->runs);
    free(q->buffer);
    free(q->plain);
}

static struct error *bad(struct call *call, const char *why)
{
    return image_bad(call, "qcow2", why);
}

static void swap(struct run *a, struct run *b)
{
    struct run old = *a;

    *a = *b;
    *b = old;
}

static struct error *push(struct call *call, struct qcow2 *q, struct run run)
{
    if (run.host < q->cluster && run.kind != RUN_COMPRESSED)
        return bad(call, "a table in it points to nowhere");
    if (q->n == MAX_RUNS)
        return bad(call, "its data lies in too many pieces; a copy made with qemu-img convert does "
                         "not");
    if (q->n == q->room) {
        q->room = MAX(2 * q->room, (size_t)1024);
        q->runs = xrealloc(q->runs, q->room * sizeof *q->runs);
    }
    q->runs[q->n] = run;
    for (size_t i = q->n++; i && q->runs[(i - 1) / 2].host > q->runs[i].host; i = (i - 1) / 2)
        swap(&q->runs[i], &q->runs[(i - 1) / 2]);
    return OK;
}

static struct run pop(struct qcow2 *q)
{
    struct run first = q->runs[0];
    size_t i = 0;

    q->runs[0] = q->runs[--q->n];
    while (2 * i + 1 < q->n) {
        size_t least = 2 * i + 1;

        if (least + 1 < q->n && q->runs[least + 1].host < q->runs[least].host)
            least++;
        if (q->runs[i].host <= q->runs[least].host)
            break;
        swap(&q->runs[i], &q->runs[least]);
        i = least;
    }
    return first;
}

static struct error *check_header(struct call *call, struct qcow2 *q, const struct header *h)
{
    if (be32toh(h->magic) != MAGIC)
        return bad(call, "it does not begin as one does");
    if (q->version != 2 && q->version != 3)
        return bad(call, "its version is not known");
    if (be32toh(h->cluster_bits) < MIN_BITS || be32toh(h->cluster_bits) > MAX_BITS)
        return bad(call, "its cluster size is none");
    if (h->encrypted)
        return bad(call, "it is encrypted");
    if (q->version == 3 && be64toh(h->incompatible) > 1) /* 1: its counts may be wrong */
        return bad(call, "it has features that are not known here");
    return OK;
}

static struct error *read_header(struct call *call, struct qcow2 *q, int64_t *l1_at)
{
    struct header h = {0};
    int64_t covered;

    TRY(image_take(call, &q->reader, &h, HEADER_2));
    q->version = be32toh(h.version);
    if (q->version == 3)
        TRY(image_take(call, &q->reader, (char *)&h + HEADER_2, HEADER_3 - HEADER_2));
    TRY(check_header(call, q, &h));
    q->bits = (int)be32toh(h.cluster_bits);
    q->cluster = (int64_t)1 << q->bits;
    q->size = (int64_t)be64toh(h.size);
    q->n_l1 = be32toh(h.l1_size);
    q->difference = h.backing_offset != 0;
    *l1_at = (int64_t)(be64toh(h.l1_offset) & OFFSET_MASK);
    covered = q->cluster * (q->cluster / 8);
    if (q->size < 0 || q->n_l1 > MAX_L1 || q->size > covered * q->n_l1)
        return bad(call, "its size is none");
    q->buffer = xmalloc((size_t)MAX(q->cluster, IMAGE_PIECE));
    q->plain = xmalloc((size_t)MAX(q->cluster, IMAGE_PIECE));
    return OK;
}

static struct error *read_l1(struct call *call, struct qcow2 *q)
{
    int64_t covered = q->cluster * (q->cluster / 8);

    for (uint32_t i = 0; i < q->n_l1; i++) {
        uint64_t entry;
        int64_t host;

        TRY(image_take(call, &q->reader, &entry, sizeof entry));
        host = (int64_t)(be64toh(entry) & OFFSET_MASK);
        if (host && i * covered < q->size)
            TRY(push(call, q, (struct run){host, i * covered, q->cluster, RUN_L2}));
    }
    return OK;
}

/* Where a compressed cluster lies, and at most how long it is. */
static struct run compressed_run(const struct qcow2 *q, uint64_t entry, int64_t guest)
{
    int shift = 62 - (q->bits - 8);
    int64_t host = (int64_t)(entry & ((1ull << shift) - 1));
    int64_t sectors = (int64_t)((entry & (COMPRESSED - 1)) >> shift) + 1;

    return (struct run){host, guest, sectors * 512 - host % 512, RUN_COMPRESSED};
}

/* Clusters that follow each other in the file and on the disk become one run. */
static struct error *read_l2(struct call *call, struct qcow2 *q, int64_t guest)
{
    struct run run = {0};

    TRY(image_take(call, &q->reader, q->buffer, (size_t)q->cluster));
    for (int64_t i = 0; i < q->cluster / 8 && guest < q->size; i++, guest += q->cluster) {
        uint64_t entry;
        int64_t host;

        memcpy(&entry, q->buffer + 8 * i, sizeof entry);
        entry = be64toh(entry);
        host = (int64_t)(entry & OFFSET_MASK);
        if (entry & COMPRESSED) {
            TRY(push(call, q, compressed_run(q, entry, guest)));
        } else if (q->version >= 3 && (entry & ZERO)) {
            if (q->difference)
                TRY(vdi_io_zero(call, q->disk->io, guest, MIN(q->cluster, q->size - guest)));
        } else if (host && run.n && host == run.host + run.n && guest == run.guest + run.n) {
            run.n += q->cluster;
        } else if (host) {
            if (run.n)
                TRY(push(call, q, run));
            run = (struct run){host, guest, q->cluster, RUN_DATA};
        }
    }
    return run.n ? push(call, q, run) : OK;
}

/* The length in the table is rounded up: the next one may begin in the same sector. */
static struct error *inflate_cluster(struct call *call, struct qcow2 *q, struct run run)
{
    int64_t n = q->n ? MIN((int64_t)run.n, q->runs[0].host - run.host) : (int64_t)run.n;
    z_stream z = {.next_out = (Bytef *)q->plain, .avail_out = (uInt)q->cluster};
    size_t got;
    int r;

    n = MIN(n, q->cluster);
    if (n <= 0)
        return bad(call, "two compressed clusters lie in one place");
    TRY(source_read(call, q->reader.from, q->buffer, (size_t)n, &got));
    q->reader.at += n;
    z.next_in = (Bytef *)q->buffer;
    z.avail_in = (uInt)got;
    if (inflateInit2(&z, -12) != Z_OK)
        return error_internal(call->arena, "no memory to decompress with");
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    if ((r != Z_STREAM_END && r != Z_OK && r != Z_BUF_ERROR) || z.avail_out)
        return bad(call, "a compressed cluster is damaged");
    return vdi_io_write(call, q->disk->io, run.guest, q->plain,
                        (size_t)MIN(q->cluster, q->size - run.guest));
}

static struct error *take_run(struct call *call, struct qcow2 *q, struct run run)
{
    TRY(image_go(call, &q->reader, "qcow2", run.host));
    switch ((enum run_kind)run.kind) {
    case RUN_L1:
        return read_l1(call, q);
    case RUN_L2:
        return read_l2(call, q, run.guest);
    case RUN_COMPRESSED:
        return inflate_cluster(call, q, run);
    case RUN_DATA:
        break;
    }
    return image_copy(call, &q->reader, q->disk, run.guest,
                      MIN((int64_t)run.n, q->size - run.guest), q->plain);
}

struct error *qcow2_receive(struct call *call, struct source *from, const struct image_disk *disk)
{
    AUTO(qcow2) q = {.reader = {from, 0}, .disk = disk};
    int64_t l1_at;

    TRY(read_header(call, &q, &l1_at));
    TRY(image_check_room(call, disk, q.size));
    if (!q.difference)
        TRY(vdi_io_zero(call, disk->io, 0, vdi_io_size(disk->io)));
    if (q.n_l1)
        TRY(push(call, &q, (struct run){l1_at, 0, (int64_t)q.n_l1 * 8, RUN_L1}));
    while (q.n) {
        struct run run = pop(&q);

        TRY(take_run(call, &q, run));
        TRY(transfer_tick(call, q.size ? (double)run.guest / (double)q.size : 1.0));
    }
    return vdi_io_flush(call, disk->io);
}
