/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* files.c -- lists, reads and takes apart the library's files. */
#include "pool/log/files.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"

#define MAX_FILES 100000 /* a directory with more is not ours */

uint32_t files_get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

uint64_t files_get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* A number in decimal digits and nothing else before 'end_char'. */
static bool take_number(const char **s, char end_char, uint64_t *out)
{
    char *end;

    if (**s < '0' || **s > '9')
        return false;
    errno = 0;
    *out = strtoull(*s, &end, 10);
    if (errno || *end != end_char)
        return false;
    *s = end_char ? end + 1 : end;
    return true;
}

static bool parse_closed(const char *name, struct segment_file *out)
{
    const char *s = name;

    return take_number(&s, '-', &out->first) && take_number(&s, '\0', &out->last);
}

static bool parse_open(const char *name, struct segment_file *out)
{
    const char *s = name + 5;

    return strncmp(name, "open-", 5) == 0 && take_number(&s, '\0', &out->counter);
}

static bool parse_snapshot(const char *name, struct snapshot_file *out, bool *meta)
{
    const char *s = name + 9, *dot = strstr(name, ".meta");

    if (strncmp(name, "snapshot-", 9) != 0)
        return false;
    *meta = dot && dot[5] == '\0';
    return take_number(&s, '-', &out->term) && take_number(&s, '-', &out->index) &&
           take_number(&s, *meta ? '.' : '\0', &out->timestamp);
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_first(const void *a, const void *b)
{
    return compare_u64(((const struct segment_file *)a)->first,
                       ((const struct segment_file *)b)->first);
}

static int by_counter(const void *a, const void *b)
{
    return compare_u64(((const struct segment_file *)a)->counter,
                       ((const struct segment_file *)b)->counter);
}

/* As the library orders them: term, index, time. */
static int by_age(const void *pa, const void *pb)
{
    const struct snapshot_file *a = pa, *b = pb;

    if (a->term != b->term)
        return compare_u64(a->term, b->term);
    if (a->index != b->index)
        return compare_u64(a->index, b->index);
    return compare_u64(a->timestamp, b->timestamp);
}

static void add_snapshot(struct dir_files *out, const struct snapshot_file *seen, bool meta)
{
    struct snapshot_file *s = out->snapshots;

    while (s < out->snapshots + out->n_snapshots && by_age(s, seen) != 0)
        s++;
    if (s == out->snapshots + out->n_snapshots) {
        *s = *seen;
        snprintf(s->name, sizeof s->name, "snapshot-%" PRIu64 "-%" PRIu64 "-%" PRIu64, s->term,
                 s->index, s->timestamp);
        out->n_snapshots++;
    }
    if (meta)
        s->has_meta = true;
    else
        s->has_data = true;
}

static void add_name(struct arena *arena, struct dir_files *out, const char *name)
{
    struct segment_file segment = {0};
    struct snapshot_file snapshot = {0};
    bool meta;

    if (strlen(name) < sizeof segment.name)
        strcpy(segment.name, name);
    if (parse_closed(name, &segment))
        out->closed[out->n_closed++] = segment;
    else if (parse_open(name, &segment))
        out->open[out->n_open++] = segment;
    else if (parse_snapshot(name, &snapshot, &meta))
        add_snapshot(out, &snapshot, meta);
    else if (strcmp(name, "metadata1") == 0)
        out->metadata[0] = true;
    else if (strcmp(name, "metadata2") == 0)
        out->metadata[1] = true;
    else if (strncmp(name, "corrupt-", 8) == 0)
        out->corrupt = arena_strdup(arena, name);
}

/* A snapshot is its two files; half of one is what a crash left, and the library removes it. */
static void drop_half_snapshots(struct dir_files *out)
{
    size_t n = 0;

    for (size_t i = 0; i < out->n_snapshots; i++)
        if (out->snapshots[i].has_data && out->snapshots[i].has_meta)
            out->snapshots[n++] = out->snapshots[i];
    out->n_snapshots = n;
}

struct error *files_list(struct arena *arena, int dir, const char *dir_name, struct dir_files *out)
{
    struct dirent **names;
    int n = scandirat(dir, ".", &names, NULL, NULL);

    memset(out, 0, sizeof *out);
    if (n < 0)
        return error_internal(arena, "%s could not be listed: %s", dir_name, strerror(errno));
    if (n <= MAX_FILES) {
        out->closed = arena_array(arena, struct segment_file, (size_t)n);
        out->open = arena_array(arena, struct segment_file, (size_t)n);
        out->snapshots = arena_array(arena, struct snapshot_file, (size_t)n);
    }
    for (int i = 0; i < n; i++) {
        if (n <= MAX_FILES)
            add_name(arena, out, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    if (n > MAX_FILES)
        return error_internal(arena, "%s holds %d files: this is no log directory", dir_name, n);
    drop_half_snapshots(out);
    qsort(out->closed, out->n_closed, sizeof *out->closed, by_first);
    qsort(out->open, out->n_open, sizeof *out->open, by_counter);
    qsort(out->snapshots, out->n_snapshots, sizeof *out->snapshots, by_age);
    return OK;
}

static int read_fd(int fd, size_t limit, uint8_t **data, size_t *size)
{
    struct stat st;
    size_t got = 0;

    if (fstat(fd, &st) < 0)
        return errno;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > limit)
        return EFBIG;
    *size = (size_t)st.st_size;
    *data = xmalloc(*size + 1);
    while (got < *size) {
        ssize_t n = read(fd, *data + got, *size - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int rc = n < 0 ? errno : EIO;

            free(*data);
            *data = NULL;
            return rc;
        }
        got += (size_t)n;
    }
    return 0;
}

int files_read(int dir, const char *name, size_t limit, uint8_t **data, size_t *size)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc;

    *data = NULL;
    *size = 0;
    if (fd < 0)
        return errno;
    rc = read_fd(fd, limit, data, size);
    close(fd);
    return rc;
}

void crc_init(struct crc_table *table)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i << 24;

        for (int bit = 0; bit < 8; bit++)
            c = c & 0x80000000u ? c << 1 ^ 0x04c11db7u : c << 1;
        table->t[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 4; k++)
            table->t[k][i] = table->t[k - 1][i] << 8 ^ table->t[0][table->t[k - 1][i] >> 24];
}

uint32_t crc_add(const struct crc_table *table, uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;

    for (; size >= 4; size -= 4, p += 4) {
        crc ^= (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        crc = table->t[3][crc >> 24] ^ table->t[2][crc >> 16 & 255] ^ table->t[1][crc >> 8 & 255] ^
              table->t[0][crc & 255];
    }
    for (; size; size--, p++)
        crc = crc << 8 ^ table->t[0][(crc >> 24 ^ *p) & 255];
    return crc;
}

const char *files_batch(const struct crc_table *table, const uint8_t *data, size_t size,
                        struct batch_view *out)
{
    uint64_t n, total = 0;
    size_t header;

    if (size < 16)
        return "no room for a batch";
    n = files_get64(data + 8);
    if (n == 0)
        return "an empty batch";
    if (n > (size - 16) / 16)
        return "a batch that does not fit into the file";
    header = 8 + 16 * (size_t)n;
    if (crc_add(table, 0, data + 8, header) != files_get32(data))
        return "the checksum of a batch header is wrong";
    out->header = data + 16;
    out->n = n;
    for (uint64_t i = 0; i < n; i++)
        total += files_get32(out->header + 16 * i + 12);
    if (total > size - 8 - header)
        return "a batch that does not fit into the file";
    out->data = data + 8 + header;
    out->size = 8 + header + (size_t)total;
    if (crc_add(table, 0, out->data, (size_t)total) != files_get32(data + 4))
        return "the checksum of a batch's data is wrong";
    return NULL;
}

void files_entry(const struct batch_view *batch, uint64_t i, size_t *at, struct entry_view *out)
{
    const uint8_t *h = batch->header + 16 * i;

    out->term = files_get64(h);
    out->type = h[8];
    out->size = files_get32(h + 12);
    out->data = batch->data + *at;
    *at += out->size;
}
