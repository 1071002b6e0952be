/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/replica.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "api_daemon.h"
#include "libxapi/base/buf.h"
#include "libxapi/value/value.h"
#include "xapid/db/dump.h"
#include "xapid/task/task.h"

#define PIECE ((size_t)64 << 10)
#define HALVES 2

/*** heads ***/

void replica_head_write(const struct replica_head *head, char block[REPLICA_BLOCK])
{
    memset(block, 0, REPLICA_BLOCK);
    snprintf(block, REPLICA_BLOCK,
             "XAPID-DATABASE 1\npool %s\nnumber %" PRIu64 "\nsize %" PRId64 "\nsha256 %s\n",
             head->pool, head->number, head->size, head->sha256);
}

bool replica_head_read(const char block[REPLICA_BLOCK], struct replica_head *out)
{
    char text[REPLICA_BLOCK];
    uint8_t bytes[16];
    int n;

    memcpy(text, block, sizeof text);
    text[sizeof text - 1] = '\0';
    *out = (struct replica_head){0};
    n = sscanf(text,
               "XAPID-DATABASE 1\npool %36[0-9a-f-]\nnumber %18" SCNu64 "\nsize %18" SCNd64
               "\nsha256 %64[0-9a-f]",
               out->pool, &out->number, &out->size, out->sha256);
    if (n != 4 || !uuid_from_text(out->pool, bytes) || strlen(out->sha256) != 64 || out->size <= 0)
        return false;
    /* sscanf takes more than is ever written: signs, spaces, anything behind. */
    replica_head_write(out, text);
    return memcmp(text, block, sizeof text) == 0;
}

static int64_t half_size(const struct vdi_io *io)
{
    return vdi_io_size(io) / HALVES / REPLICA_BLOCK * REPLICA_BLOCK;
}

/* One whose number is 0 is not there. */
static struct error *read_heads(struct call *call, struct vdi_io *io,
                                struct replica_head heads[HALVES])
{
    char block[REPLICA_BLOCK];

    memset(heads, 0, HALVES * sizeof *heads);
    if (half_size(io) <= REPLICA_BLOCK)
        return OK;
    for (int i = 0; i < HALVES; i++) {
        TRY(vdi_io_read(call, io, i * half_size(io), block, sizeof block));
        if (!replica_head_read(block, &heads[i]) || heads[i].size > half_size(io) - REPLICA_BLOCK)
            heads[i].number = 0;
    }
    return OK;
}

/*** sums ***/

struct sum {
    EVP_MD_CTX *ctx;
};

static void sum_release(struct sum *sum)
{
    EVP_MD_CTX_free(sum->ctx);
}

static struct error *sum_begin(struct call *call, struct sum *sum)
{
    sum->ctx = EVP_MD_CTX_new();
    if (!sum->ctx || EVP_DigestInit_ex(sum->ctx, EVP_sha256(), NULL) != 1)
        return error_internal(call->arena, "OpenSSL has no SHA-256");
    return OK;
}

static struct error *sum_add(struct call *call, struct sum *sum, const void *data, size_t n)
{
    return EVP_DigestUpdate(sum->ctx, data, n) == 1
               ? OK
               : error_internal(call->arena, "OpenSSL does not compute a SHA-256 sum");
}

static struct error *sum_end(struct call *call, struct sum *sum, char text[65])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];

    if (EVP_DigestFinal_ex(sum->ctx, bytes, NULL) != 1)
        return error_internal(call->arena, "OpenSSL does not compute a SHA-256 sum");
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return OK;
}

/*** writing ***/

static struct error *write_dump(struct call *call, struct vdi_io *io, int64_t at,
                                const struct db_root *root, struct replica_head *head)
{
    int64_t room = half_size(io) - REPLICA_BLOCK;
    struct dump_writer writer;
    AUTO(buf) piece = {0};
    AUTO(sum) sum = {0};
    bool more = true;

    TRY(sum_begin(call, &sum));
    dump_begin(root, &writer);
    while (more) {
        piece.len = 0;
        more = dump_next(&writer, &piece, PIECE);
        if (head->size + (int64_t)piece.len > room)
            return error_internal(call->arena, "the database does not fit on the disk");
        TRY(sum_add(call, &sum, piece.data, piece.len));
        TRY(vdi_io_write(call, io, at + head->size, piece.data, piece.len));
        head->size += (int64_t)piece.len;
        TRY(task_check(call));
    }
    return sum_end(call, &sum, head->sha256);
}

struct error *replica_write(struct call *call, struct vdi_io *io, const struct db_root *root,
                            const char *pool)
{
    struct replica_head heads[HALVES], head = {0};
    char block[REPLICA_BLOCK];
    int64_t at;

    TRY(read_heads(call, io, heads));
    head.number = MAX(heads[0].number, heads[1].number) + 1;
    snprintf(head.pool, sizeof head.pool, "%s", pool);
    at = (heads[0].number > heads[1].number ? 1 : 0) * half_size(io);
    TRY(write_dump(call, io, at + REPLICA_BLOCK, root, &head));
    TRY(vdi_io_flush(call, io));
    replica_head_write(&head, block);
    TRY(vdi_io_write(call, io, at, block, sizeof block));
    return vdi_io_flush(call, io);
}

/*** reading ***/

static struct error *feed(struct call *call, struct vdi_io *io, int64_t at,
                          const struct replica_head *head, struct dump_reader *reader)
{
    char *piece = arena_alloc(call->arena, PIECE), sha256[65];
    AUTO(sum) sum = {0};

    TRY(sum_begin(call, &sum));
    for (int64_t done = 0; done < head->size; done += (int64_t)PIECE) {
        size_t n = (size_t)MIN((int64_t)PIECE, head->size - done);

        TRY(vdi_io_read(call, io, at + done, piece, n));
        TRY(sum_add(call, &sum, piece, n));
        dump_reader_feed(reader, piece, n);
        TRY(task_check(call));
    }
    TRY(sum_end(call, &sum, sha256));
    if (strcmp(sha256, head->sha256) != 0)
        return err_could_not_import_database(call, "The copy was not written to its end.");
    return OK;
}

static struct error *read_half(struct call *call, struct vdi_io *io, int half,
                               const struct replica_head *head, struct db_root **root)
{
    struct dump_reader *reader = dump_reader_new();
    struct error *e = feed(call, io, half * half_size(io) + REPLICA_BLOCK, head, reader);

    if (!e)
        e = dump_reader_end(call->arena, reader, root);
    dump_reader_free(reader);
    return e;
}

struct error *replica_read(struct call *call, struct vdi_io *io, struct db_root **root)
{
    struct replica_head heads[HALVES];
    struct error *e;
    int newest;

    TRY(read_heads(call, io, heads));
    newest = heads[1].number > heads[0].number;
    if (!heads[newest].number)
        return err_could_not_import_database(call, "There is no copy of a database on the disk.");
    e = read_half(call, io, newest, &heads[newest], root);
    if (e && heads[!newest].number)
        e = read_half(call, io, !newest, &heads[!newest], root);
    if (!e || error_is(e, "COULD_NOT_IMPORT_DATABASE") || error_is(e, "TASK_CANCELLED"))
        return e;
    return err_could_not_import_database(call, error_line(call->arena, e));
}

struct error *replica_pool(struct call *call, struct vdi_io *io, const char **pool)
{
    struct replica_head heads[HALVES];
    const struct replica_head *newest;

    TRY(read_heads(call, io, heads));
    newest = &heads[heads[1].number > heads[0].number];
    *pool = newest->number ? arena_strdup(call->arena, newest->pool) : "";
    return OK;
}
