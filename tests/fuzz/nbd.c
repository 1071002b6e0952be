/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbd.c -- an NBD client that says anything, from its first byte to requests. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xapid/nbd/transmit.h"

#define DISK_SIZE (256 << 10)
#define NAME "/disk"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the client says, and how much it was told. */
struct memory_wire {
    struct nbd_wire wire;
    const uint8_t *p;
    size_t n, told;
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool take(struct nbd_wire *wire, void *out, size_t n)
{
    struct memory_wire *m = (struct memory_wire *)wire;

    check(n <= (1 << 20));
    if (n > m->n)
        return false;
    memcpy(out, m->p, n);
    m->p += n;
    m->n -= n;
    return true;
}

static bool tell(struct nbd_wire *wire, const void *p, size_t n)
{
    struct memory_wire *m = (struct memory_wire *)wire;
    const volatile uint8_t *bytes = p;

    if (n) /* what is told was set */
        check(bytes[0] + bytes[n - 1] >= 0);
    m->told += n;
    return m->told < (64 << 20);
}

static bool secure(struct nbd_wire *wire)
{
    wire->secure = NULL;
    return true;
}

static enum nbd_error read_disk(struct nbd_disk *disk, int64_t at, void *out, size_t n)
{
    check(at >= 0 && n <= (size_t)disk->size && at <= disk->size - (int64_t)n);
    memset(out, 'd', n);
    return at == 4096 ? NBD_EIO : NBD_OK;
}

/* Data in the first half of each 64 KiB. */
static enum nbd_error find_data(struct nbd_disk *disk, int64_t at, int64_t limit, int64_t *start,
                                int64_t *end)
{
    check(at >= 0 && at < disk->size && limit > at);
    limit = MIN(limit, disk->size);
    *start = at % 65536 < 32768 ? at : MIN((at | 65535) + 1, limit);
    *end = *start < limit ? MIN((*start | 32767) + 1, limit) : limit;
    return NBD_OK;
}

static uint32_t find(void *ctx, const char *name, size_t n, struct nbd_facts *out, const char **why)
{
    (void)ctx;
    check(n <= NBD_OPTION_MAX && !memchr(name, 0, n));
    *why = "There is no such disk.";
    *out = (struct nbd_facts){DISK_SIZE, true};
    return n == strlen(NAME) && memcmp(name, NAME, n) == 0 ? NBD_REP_ACK : NBD_REP_ERR_UNKNOWN;
}

static uint32_t open_disk(void *ctx, const char *name, size_t n, struct nbd_disk **out,
                          const char **why)
{
    struct nbd_facts facts;

    *out = ctx;
    return find(ctx, name, n, &facts, why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nbd_disk disk = {.size = DISK_SIZE, .still = true, .read = read_disk, .data = find_data};
    struct memory_wire m = {.wire = {take, tell, secure}, .p = data + 1, .n = size ? size - 1 : 0};
    struct nbd_negotiation *n = calloc(1, sizeof *n);

    n->wire = &m.wire;
    n->need_tls = size && data[0] & 1;
    n->find = find;
    n->open = open_disk;
    n->ctx = &disk;
    if (nbd_negotiate(n)) {
        check(n->disk == &disk && (!n->block_status || n->structured));
        check(!(size && data[0] & 1) || !m.wire.secure);
        nbd_transmit(n);
    }
    free(n);
    return 0;
}
