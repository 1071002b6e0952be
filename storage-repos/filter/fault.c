/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/filter/fault.h"

#include <string.h>

#include "storage-repos/common/sr_error.h"

/* What is to happen to one call. */
enum verdict { PASS, FAIL, LOST, LIE };

static struct sr_fault *fault_of(const struct sr_handle *sr)
{
    return container_of(sr->driver, struct sr_fault, driver);
}

static enum verdict count(struct sr_fault *f, const char *slot, usec_t *delay)
{
    MUTEX_GUARD(&f->mutex);

    *delay = 0;
    if (f->slot && strcmp(f->slot, slot) != 0)
        return PASS;
    f->calls++;
    if (!f->nth || f->calls < f->nth || (f->calls > f->nth && !f->from_then_on))
        return PASS;
    switch (f->kind) {
    case SR_FAULT_FAIL:
        return FAIL;
    case SR_FAULT_LOST:
        return LOST;
    case SR_FAULT_LIE:
        return LIE;
    case SR_FAULT_SLOW:
        *delay = f->delay;
    }
    return PASS;
}

static enum verdict judge(struct sr_fault *f, const char *slot)
{
    usec_t delay;
    enum verdict v = count(f, slot, &delay);

    if (delay)
        clock_sleep(delay);
    return v;
}

static struct error *fault(struct call *call, const char *slot)
{
    return sr_failed(call, SR_FAIL_SR, "%s: a fault was asked for", slot);
}

/* Before the work of a slot: the error, if it is to fail without it.  A lie that cannot be told
 * becomes a failure. */
static struct error *before(struct call *call, struct sr_handle *sr, const char *slot, bool can_lie,
                            enum verdict *out)
{
    *out = judge(fault_of(sr), slot);
    return *out == FAIL || (*out == LIE && !can_lie) ? fault(call, slot) : OK;
}

/* After it. */
static struct error *after(struct call *call, enum verdict verdict, const char *slot)
{
    return verdict == LOST ? fault(call, slot) : OK;
}

/* A reply that is lost: the caller believes it is not attached and will not detach, so that is done
 * here. */
static struct error *f_attach(struct call *call, struct sr_handle *sr)
{
    const struct sr_driver *inner = fault_of(sr)->inner;
    enum verdict verdict;

    TRY(before(call, sr, "attach", false, &verdict));
    TRY(inner->attach(call, sr));
    if (verdict == LOST)
        inner->detach(call, sr);
    return after(call, verdict, "attach");
}

static void f_detach(struct call *call, struct sr_handle *sr)
{
    fault_of(sr)->inner->detach(call, sr);
}

static void f_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    fault_of(sr)->inner->vdi_detach(call, sr, location);
}

static struct error *f_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    enum verdict verdict;

    TRY(before(call, sr, "create", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->create(call, sr, physical_size));
    return after(call, verdict, "create");
}

static struct error *f_destroy(struct call *call, struct sr_handle *sr)
{
    enum verdict verdict;

    TRY(before(call, sr, "destroy", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->destroy(call, sr));
    return after(call, verdict, "destroy");
}

static struct error *f_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    enum verdict verdict;

    TRY(before(call, sr, "stat", false, &verdict));
    TRY(fault_of(sr)->inner->stat(call, sr, out));
    return after(call, verdict, "stat");
}

static struct error *f_scan(struct call *call, struct sr_handle *sr, size_t *n,
                            struct vdi_info **out)
{
    enum verdict verdict;

    TRY(before(call, sr, "scan", false, &verdict));
    TRY(fault_of(sr)->inner->scan(call, sr, n, out));
    return after(call, verdict, "scan");
}

static struct error *f_vdi_create(struct call *call, struct sr_handle *sr,
                                  const struct vdi_spec *spec, struct vdi_info *info)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_create", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_create(call, sr, spec, info));
    return after(call, verdict, "vdi_create");
}

static struct error *f_vdi_delete(struct call *call, struct sr_handle *sr, const char *location)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_delete", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->vdi_delete(call, sr, location));
    return after(call, verdict, "vdi_delete");
}

static struct error *f_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                struct vdi_info *info)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_stat", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_stat(call, sr, location, info));
    return after(call, verdict, "vdi_stat");
}

static struct error *f_vdi_resize(struct call *call, struct sr_handle *sr, const char *location,
                                  int64_t size, struct vdi_info *info)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_resize", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_resize(call, sr, location, size, info));
    return after(call, verdict, "vdi_resize");
}

static struct error *f_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                                const char *base, const struct vdi_spec *spec,
                                struct vdi_info *info)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_fork", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_fork(call, sr, location, base, spec, info));
    return after(call, verdict, "vdi_fork");
}

static struct error *f_vdi_replace(struct call *call, struct sr_handle *sr, const char *location,
                                   const char *by, struct vdi_info *info)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_replace", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_replace(call, sr, location, by, info));
    return after(call, verdict, "vdi_replace");
}

static struct error *f_vdi_reset(struct call *call, struct sr_handle *sr, const char *location)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_reset", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->vdi_reset(call, sr, location));
    return after(call, verdict, "vdi_reset");
}

static struct error *f_vdi_strip(struct call *call, struct sr_handle *sr, const char *location)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_strip", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->vdi_strip(call, sr, location));
    return after(call, verdict, "vdi_strip");
}

static struct error *f_vdi_changed(struct call *call, struct sr_handle *sr, const char *from,
                                   const char *to, struct vdi_changes *out)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_changed", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_changed(call, sr, from, to, out));
    return after(call, verdict, "vdi_changed");
}

static struct error *f_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                                const struct vdi_spec *spec, struct vdi_info *info,
                                bool (*progress)(void *ctx, double done), void *ctx)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_copy", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_copy(call, sr, location, spec, info, progress, ctx));
    return after(call, verdict, "vdi_copy");
}

static struct error *f_vdi_coalesce(struct call *call, struct sr_handle *sr,
                                    const struct vdi_coalesce *what,
                                    bool (*progress)(void *ctx, double done), void *ctx)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_coalesce", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->vdi_coalesce(call, sr, what, progress, ctx));
    return after(call, verdict, "vdi_coalesce");
}

static struct error *f_vdi_describe(struct call *call, struct sr_handle *sr, const char *location,
                                    const char *name_label, const char *name_description)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_describe", true, &verdict));
    if (verdict == LIE)
        return OK;
    TRY(fault_of(sr)->inner->vdi_describe(call, sr, location, name_label, name_description));
    return after(call, verdict, "vdi_describe");
}

static struct error *f_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                                  bool writable, struct vdi_path *out)
{
    enum verdict verdict;

    TRY(before(call, sr, "vdi_attach", false, &verdict));
    TRY(fault_of(sr)->inner->vdi_attach(call, sr, location, writable, out));
    return after(call, verdict, "vdi_attach");
}

/* Wraps a slot that exists; one that does not stays away. */
#define WRAP(slot)                                                                                 \
    do {                                                                                           \
        if (inner->slot)                                                                           \
            f->driver.slot = f_##slot;                                                             \
    } while (0)

void sr_fault_init(struct sr_fault *f, const struct sr_driver *inner)
{
    *f = (struct sr_fault){.driver = *inner, .inner = inner};
    mutex_init(&f->mutex);
    WRAP(create);
    WRAP(destroy);
    WRAP(attach);
    WRAP(detach);
    WRAP(stat);
    WRAP(scan);
    WRAP(vdi_create);
    WRAP(vdi_delete);
    WRAP(vdi_stat);
    WRAP(vdi_resize);
    WRAP(vdi_fork);
    WRAP(vdi_replace);
    WRAP(vdi_reset);
    WRAP(vdi_strip);
    WRAP(vdi_changed);
    WRAP(vdi_copy);
    WRAP(vdi_coalesce);
    WRAP(vdi_describe);
    WRAP(vdi_attach);
    WRAP(vdi_detach);
}

void sr_fault_release(struct sr_fault *f)
{
    mutex_release(&f->mutex);
}

void sr_fault_plan(struct sr_fault *f, enum sr_fault_kind kind, const char *slot, unsigned nth,
                   bool from_then_on, usec_t delay)
{
    MUTEX_GUARD(&f->mutex);
    f->kind = kind;
    f->slot = slot;
    f->nth = nth;
    f->from_then_on = from_then_on;
    f->delay = delay;
    f->calls = 0;
}

unsigned sr_fault_calls(struct sr_fault *f)
{
    MUTEX_GUARD(&f->mutex);
    return f->calls;
}
