/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/disk.h"

#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_copy.h"

#define PIECE ((size_t)64 * 1024)

struct error *open_disk(struct call *call, ref_t vdi, bool writable, struct open_disk *out)
{
    struct vdi_path path;

    TRY(vdi_path_attach(call, vdi, writable, &path));
    *out = (struct open_disk){.call = call, .vdi = vdi};
    return vdi_io_open(call, &path, writable, &out->io);
}

void open_disk_release(struct open_disk *disk)
{
    vdi_io_close(disk->io);
    if (disk->call)
        vdi_path_detach(disk->call, disk->vdi);
    *disk = (struct open_disk){0};
}

struct error *disk_is_hole(struct call *call, struct vdi_run *run, struct vdi_io *io, int64_t at,
                           int64_t n, bool *hole)
{
    int64_t next;

    TRY(vdi_io_next(call, io, run, at, &next));
    *hole = next >= at + n;
    return OK;
}

struct error *disk_zero(struct call *call, struct vdi_io *io, bool fresh, int64_t at, int64_t n)
{
    return fresh || n == 0 ? OK : vdi_io_zero(call, io, at, n);
}

/* How many of the n bytes, a multiple of the piece or all, are zero, or are not. */
static size_t run_length(const char *p, size_t n, bool *zero)
{
    size_t run = MIN(PIECE, n);

    *zero = all_zero(p, run);
    while (run < n && all_zero(p + run, MIN(PIECE, n - run)) == *zero)
        run += MIN(PIECE, n - run);
    return run;
}

struct error *disk_write(struct call *call, struct vdi_io *io, bool fresh, int64_t at,
                         const char *p, size_t n)
{
    while (n) {
        bool zero;
        size_t run = run_length(p, n, &zero);

        if (zero)
            TRY(disk_zero(call, io, fresh, at, (int64_t)run));
        else
            TRY(vdi_io_write(call, io, at, p, run));
        p += run;
        at += (int64_t)run;
        n -= run;
    }
    return OK;
}

/*** other hosts ***/

static bool host_has(struct call *call, ref_t host, ref_t sr)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, sr);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (pbd && ref_equal(pbd->host, host) && pbd->currently_attached)
            return true;
    }
    return false;
}

static bool host_has_all(struct call *call, ref_t host, const struct refs *srs)
{
    for (size_t i = 0; i < srs->n; i++)
        if (!host_has(call, host, srs->v[i]))
            return false;
    return true;
}

const struct host *disks_elsewhere(struct call *call, const struct refs *srs)
{
    const struct host *host;
    struct db_walk walk;

    if (host_has_all(call, call->xapid->host, srs))
        return NULL;
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (*host->address && host_has_all(call, host->ref, srs))
            return host;
    return NULL;
}
