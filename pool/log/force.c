/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/log/force.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <raft.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "pool/log/files.h"

#define FORMAT 1 /* of the library's files, and of its configurations */
#define TEMPORARY "tmp-forced"

static void put_u32(struct buf *out, uint32_t v)
{
    buf_add(out, &v, sizeof v);
}

static void put_u64(struct buf *out, uint64_t v)
{
    buf_add(out, &v, sizeof v);
}

/* As the library writes it: format, number of members, and for each id, address, role; zeros up to
 * a multiple of 8. */
static void put_configuration(struct buf *out, uint64_t id, const char *address)
{
    static const uint8_t format = FORMAT, voter = RAFT_VOTER, zero = 0;

    buf_add(out, &format, 1);
    put_u64(out, 1);
    put_u64(out, id);
    buf_add(out, address, strlen(address) + 1);
    buf_add(out, &voter, 1);
    while (out->len % 8)
        buf_add(out, &zero, 1);
}

/* A segment of one batch of one entry. */
static void put_segment(struct buf *out, uint64_t term, const struct buf *entry)
{
    static const uint8_t type[4] = {RAFT_CHANGE};
    AUTO(buf) header = {0};
    struct crc_table crc;

    crc_init(&crc);
    put_u64(&header, 1);
    put_u64(&header, term);
    buf_add(&header, type, sizeof type);
    put_u32(&header, (uint32_t)entry->len);
    put_u64(out, FORMAT);
    put_u32(out, crc_add(&crc, 0, header.data, header.len));
    put_u32(out, crc_add(&crc, 0, entry->data, entry->len));
    buf_add(out, header.data, header.len);
    buf_add(out, entry->data, entry->len);
}

static int write_all(int dir, const struct buf *data)
{
    int fd = openat(dir, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good;

    if (fd < 0)
        return -1;
    good = write(fd, data->data, data->len) == (ssize_t)data->len && fsync(fd) == 0;
    close(fd);
    return good ? 0 : -1;
}

struct error *force_alone(struct arena *arena, int dir, const char *dir_name, uint64_t id,
                          const char *address, struct guard_found *found)
{
    AUTO(buf) segment = {0};
    AUTO(buf) entry = {0};
    struct dir_files files;
    const char *name;

    if (!found->last_index)
        return error_internal(arena, "The write log in %s has nothing to go on with: it is empty.",
                              dir_name);
    TRY(files_list(arena, dir, dir_name, &files));
    /* Open segments follow each other by their numbers, and closed ones come before them. */
    name = arena_printf(arena, "open-%" PRIu64,
                        files.n_open ? files.open[files.n_open - 1].counter + 1 : 1);
    put_configuration(&entry, id, address);
    put_segment(&segment, found->last_term, &entry);
    if (write_all(dir, &segment) < 0 || renameat(dir, TEMPORARY, dir, name) < 0 || fsync(dir) < 0)
        return error_internal(arena, "%s/%s could not be written: %s", dir_name, name,
                              strerror(errno));
    log_warning("%s: from entry %" PRIu64 " on this member is the only one", dir_name,
                found->last_index + 1);
    found->last_index++;
    found->bytes += segment.len;
    return OK;
}
