/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mark.c -- reads and writes the file of what was acknowledged. */
#include "pool/log/mark.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "libxapi/base/log.h"

#define SLOT_SIZE 512
#define SLOT_STRIDE 4096
#define N_SLOTS 4
#define MARK_VERSION 1

enum slot_kind { SLOT_POSITION = 0, SLOT_METAS = 2 }; /* the number of the first of its two slots */

struct slot {
    char magic[8];
    uint32_t version, kind;
    uint64_t sequence, id;
    uint64_t v[7];
    uint8_t zero[SLOT_SIZE - 96];
    uint64_t sum; /* of all before it */
};
_Static_assert(sizeof(struct slot) == SLOT_SIZE, "a slot is one sector");
_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "the file is little-endian");

static const char slot_magic[8] = "XAPIMARK";

static uint64_t slot_sum(const struct slot *slot)
{
    return XXH3_64bits(slot, offsetof(struct slot, sum));
}

static void slot_fill(struct slot *slot, enum slot_kind kind, uint64_t sequence, uint64_t id)
{
    memset(slot, 0, sizeof *slot);
    memcpy(slot->magic, slot_magic, sizeof slot->magic);
    slot->version = MARK_VERSION;
    slot->kind = kind;
    slot->sequence = sequence;
    slot->id = id;
}

static off_t slot_offset(enum slot_kind kind, uint64_t sequence)
{
    return (off_t)((unsigned)kind + (sequence & 1)) * SLOT_STRIDE;
}

static int slot_write(int fd, struct slot *slot)
{
    ssize_t n;

    slot->sum = slot_sum(slot);
    do
        n = pwrite(fd, slot, sizeof *slot, slot_offset(slot->kind, slot->sequence));
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof *slot)
        return 0;
    return n < 0 ? errno : EIO;
}

/* Reads the newer good one of the two slots of a kind.  False if there is none; *bad counts the
 * others. */
static bool slot_read(const char *file, enum slot_kind kind, struct slot *out, unsigned *bad)
{
    bool found = false;

    for (unsigned i = 0; i < 2; i++) {
        struct slot slot;

        memcpy(&slot, file + (size_t)(kind + i) * SLOT_STRIDE, sizeof slot);
        if (memcmp(slot.magic, slot_magic, sizeof slot.magic) != 0 || slot.sum != slot_sum(&slot) ||
            slot.version != MARK_VERSION || slot.kind != kind || (slot.sequence & 1) != i) {
            ++*bad;
            continue;
        }
        if (!found || slot.sequence > out->sequence)
            *out = slot;
        found = true;
    }
    return found;
}

static struct error *write_new(struct arena *arena, int fd, const char *dir_name, uint64_t id,
                               bool joined)
{
    static const enum slot_kind kinds[] = {SLOT_POSITION, SLOT_METAS};
    int rc = 0;

    if (ftruncate(fd, N_SLOTS * SLOT_STRIDE) < 0)
        rc = errno;
    for (unsigned i = 0; i < N_SLOTS && rc == 0; i++) {
        struct slot slot;

        slot_fill(&slot, kinds[i / 2], i % 2, id);
        slot.v[6] = kinds[i / 2] == SLOT_METAS;
        slot.v[2] = kinds[i / 2] == SLOT_POSITION && joined;
        rc = slot_write(fd, &slot);
    }
    if (rc == 0 && fsync(fd) < 0)
        rc = errno;
    if (rc)
        return error_internal(arena, "%s/%s could not be written: %s", dir_name, MARK_FILE,
                              strerror(rc));
    return OK;
}

struct error *mark_create(struct arena *arena, int dir, const char *dir_name, uint64_t id,
                          bool joined)
{
    int fd = openat(dir, MARK_FILE ".new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct error *e;

    if (fd < 0)
        return error_internal(arena, "%s/%s could not be made: %s", dir_name, MARK_FILE,
                              strerror(errno));
    e = write_new(arena, fd, dir_name, id, joined);
    close(fd);
    if (e)
        return e;
    if (renameat(dir, MARK_FILE ".new", dir, MARK_FILE) < 0 || fsync(dir) < 0)
        return error_internal(arena, "%s/%s could not be made: %s", dir_name, MARK_FILE,
                              strerror(errno));
    return OK;
}

static void take_metas(struct mark *mark, const struct slot *slot)
{
    mark->metas_sequence = slot->sequence;
    mark->metas.before = (struct mark_meta){slot->v[0], slot->v[1], slot->v[2]};
    mark->metas.now = (struct mark_meta){slot->v[3], slot->v[4], slot->v[5]};
    mark->metas.done = slot->v[6] != 0;
}

struct error *mark_open(struct arena *arena, int dir, const char *dir_name, struct mark *mark,
                        bool *found)
{
    char *file = arena_zalloc(arena, N_SLOTS * SLOT_STRIDE);
    struct slot position, metas;
    unsigned bad = 0;
    ssize_t n;

    memset(mark, 0, sizeof *mark);
    *found = false;
    mark->fd = openat(dir, MARK_FILE, O_RDWR | O_CLOEXEC);
    if (mark->fd < 0 && errno == ENOENT)
        return OK;
    if (mark->fd < 0)
        return error_internal(arena, "%s/%s could not be opened: %s", dir_name, MARK_FILE,
                              strerror(errno));
    n = pread(mark->fd, file, N_SLOTS * SLOT_STRIDE, 0);
    if (n != N_SLOTS * SLOT_STRIDE || !slot_read(file, SLOT_POSITION, &position, &bad) ||
        !slot_read(file, SLOT_METAS, &metas, &bad) || position.id != metas.id || metas.id == 0) {
        mark_close(mark);
        return error_internal(
            arena,
            "The write log in %s was not opened: its file \"%s\" is damaged, so nobody can say "
            "whether "
            "all that was acknowledged is still there. Restore the directory together with the "
            "database "
            "from a backup, or remove both and let this host join its pool again as a new member.",
            dir_name, MARK_FILE);
    }
    if (bad)
        log_warning("%s/%s: %u of %u slots are damaged, the others are used", dir_name, MARK_FILE,
                    bad, N_SLOTS);
    mark->bad = bad;
    mark->id = position.id;
    mark->position_sequence = position.sequence;
    mark->position = (struct mark_position){position.v[0], position.v[1]};
    mark->joined = position.v[2] != 0;
    take_metas(mark, &metas);
    *found = true;
    return OK;
}

int mark_position(struct mark *mark, uint64_t index, uint64_t term)
{
    struct slot slot;

    slot_fill(&slot, SLOT_POSITION, ++mark->position_sequence, mark->id);
    slot.v[0] = index;
    slot.v[1] = term;
    slot.v[2] = mark->joined;
    mark->position = (struct mark_position){index, term};
    return slot_write(mark->fd, &slot);
}

int mark_metas(struct mark *mark, const struct mark_metas *metas)
{
    struct slot slot;
    int rc;

    slot_fill(&slot, SLOT_METAS, ++mark->metas_sequence, mark->id);
    slot.v[0] = metas->before.version;
    slot.v[1] = metas->before.term;
    slot.v[2] = metas->before.vote;
    slot.v[3] = metas->now.version;
    slot.v[4] = metas->now.term;
    slot.v[5] = metas->now.vote;
    slot.v[6] = metas->done;
    mark->metas = *metas;
    rc = slot_write(mark->fd, &slot);
    return rc ? rc : mark_sync(mark);
}

int mark_sync(const struct mark *mark)
{
    return fdatasync(mark->fd) < 0 ? errno : 0;
}

void mark_close(struct mark *mark)
{
    if (mark->fd >= 0)
        close(mark->fd);
    mark->fd = -1;
}
