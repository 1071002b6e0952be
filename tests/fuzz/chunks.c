/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chunks.c -- the pieces of a disk within an archive, and their checksums.
 *
 * Two bytes say how the disk is read and how large it is; then come members: a byte for what the
 * member is, one for its number, two for its length, its bytes.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "tests/fuzz/disk.h"
#include "xapid/transfer/chunks.h"

/* Of a disk and of its pieces: small, so that an input can fill them. */
#define UNIT 512
#define MEMBERS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct buf_sink {
    struct sink sink;
    struct buf *to;
};

static struct error *put(struct sink *s, struct call *call, const void *p, size_t n)
{
    (void)call;
    buf_add(((struct buf_sink *)s)->to, p, n);
    return OK;
}

static void name_of(uint8_t kind, uint8_t number, char *out, size_t room)
{
    static const char *const forms[] = {
        "Ref:1/%08d",   "Ref:1/%08d.xxhash", "Ref:1/%08d.checksum", "Ref:1/%d0000000",
        "checksum.xml", "Ref:2/%08d",        "Ref:1/-%07d.xxhash",  "Ref:1/%08d/"};

    snprintf(out, room, forms[kind % ARRAY_SIZE(forms)], number);
}

static void write_archive(struct call *call, const uint8_t *data, size_t size, struct buf *out)
{
    struct buf_sink sink = {{put}, out};
    char name[64];

    for (int i = 0; size >= 4 && i < MEMBERS_MAX; i++) {
        size_t n = MIN((size_t)(data[2] << 8 | data[3]), size - 4);

        name_of(data[0], data[1], name, sizeof name);
        error_ignore(tar_member(call, &sink.sink, name, data + 4, n));
        data += 4 + n;
        size -= 4 + n;
    }
}

static void receive(struct call *call, const uint8_t how[2], struct tar_reader *tar)
{
    int64_t disk_size = (how[1] + 1) * UNIT;
    AUTO(chunk_reader) reader = {0};
    AUTO(memory_disk) disk = {0};
    bool found;

    if (tar_next(call, tar, &found) || !found)
        return;
    memory_disk_init(call, disk_size, &disk);
    chunk_reader_init(&reader, tar, disk_size);
    reader.ignore_checksums = how[0] & 1;
    reader.table = how[0] & 2;
    if (!chunks_receive(call, &reader, "Ref:1", disk_size, disk.io, how[0] & 4) && reader.table)
        error_ignore(chunks_check_table(call, &reader));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct memory_source memory;
    struct buf archive = {0};
    struct tar_reader tar;

    if (size < 2)
        return 0;
    write_archive(&call, data + 2, size - 2, &archive);
    memory_source_init(&memory, archive.data ? archive.data : "", archive.len);
    tar_reader_init(&tar, &memory.source);
    receive(&call, data, &tar);
    buf_release(&archive);
    return 0;
}
