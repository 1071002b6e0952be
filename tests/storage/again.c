/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/storage/again.h"

#include <string.h>

#include "libxapi/base/call.h"

#define DELAY (3 * USEC_PER_MSEC)

/* The repository as the driver behind us knows it, of whose calls the next one goes wrong. */
static struct sr_handle behind(const struct sr_handle *sr)
{
    struct sr_again *a = container_of(sr->driver, struct sr_again, driver);
    struct sr_handle inner = *sr;

    inner.driver = &a->fault.driver;
    sr_fault_plan(&a->fault, a->kind, NULL, 1, false, DELAY);
    return inner;
}

/* Whether the first answer was the fault's: a lie is one that says nothing. */
static bool was_fault(const struct sr_handle *sr, const struct error *e)
{
    const struct sr_again *a = container_of(sr->driver, struct sr_again, driver);

    return e ? e->n_params > 1 && strstr(e->params[1], "a fault was asked for")
             : a->kind == SR_FAULT_LIE;
}

/* The body of a slot. */
#define TWICE(slot, ...)                                                                           \
    struct sr_handle inner = behind(sr);                                                           \
    struct error *e = inner.driver->slot(call, &inner __VA_OPT__(, ) __VA_ARGS__);                 \
                                                                                                   \
    return was_fault(sr, e) ? inner.driver->slot(call, &inner __VA_OPT__(, ) __VA_ARGS__) : e

static struct error *a_create(struct call *call, struct sr_handle *sr, int64_t size)
{
    TWICE(create, size);
}

static struct error *a_destroy(struct call *call, struct sr_handle *sr)
{
    TWICE(destroy);
}

static struct error *a_attach(struct call *call, struct sr_handle *sr)
{
    TWICE(attach);
}

static void a_detach(struct call *call, struct sr_handle *sr)
{
    struct sr_handle inner = behind(sr);

    inner.driver->detach(call, &inner);
}

static struct error *a_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    TWICE(stat, out);
}

static struct error *a_scan(struct call *call, struct sr_handle *sr, size_t *n,
                            struct vdi_info **out)
{
    TWICE(scan, n, out);
}

static struct error *a_vdi_create(struct call *call, struct sr_handle *sr,
                                  const struct vdi_spec *spec, struct vdi_info *info)
{
    TWICE(vdi_create, spec, info);
}

static struct error *a_vdi_delete(struct call *call, struct sr_handle *sr, const char *location)
{
    TWICE(vdi_delete, location);
}

static struct error *a_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                struct vdi_info *info)
{
    TWICE(vdi_stat, location, info);
}

static struct error *a_vdi_resize(struct call *call, struct sr_handle *sr, const char *location,
                                  int64_t size, struct vdi_info *info)
{
    TWICE(vdi_resize, location, size, info);
}

static struct error *a_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                                const char *base, const struct vdi_spec *spec,
                                struct vdi_info *info)
{
    TWICE(vdi_fork, location, base, spec, info);
}

static struct error *a_vdi_replace(struct call *call, struct sr_handle *sr, const char *location,
                                   const char *by, struct vdi_info *info)
{
    TWICE(vdi_replace, location, by, info);
}

static struct error *a_vdi_reset(struct call *call, struct sr_handle *sr, const char *location)
{
    TWICE(vdi_reset, location);
}

static struct error *a_vdi_strip(struct call *call, struct sr_handle *sr, const char *location)
{
    TWICE(vdi_strip, location);
}

static struct error *a_vdi_changed(struct call *call, struct sr_handle *sr, const char *from,
                                   const char *to, struct vdi_changes *out)
{
    TWICE(vdi_changed, from, to, out);
}

static struct error *a_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                                const struct vdi_spec *spec, struct vdi_info *info,
                                bool (*progress)(void *ctx, double done), void *ctx)
{
    TWICE(vdi_copy, location, spec, info, progress, ctx);
}

static struct error *a_vdi_coalesce(struct call *call, struct sr_handle *sr,
                                    const struct vdi_coalesce *what,
                                    bool (*progress)(void *ctx, double done), void *ctx)
{
    TWICE(vdi_coalesce, what, progress, ctx);
}

static struct error *a_vdi_describe(struct call *call, struct sr_handle *sr, const char *location,
                                    const char *name_label, const char *name_description)
{
    TWICE(vdi_describe, location, name_label, name_description);
}

static struct error *a_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                                  bool writable, struct vdi_path *out)
{
    TWICE(vdi_attach, location, writable, out);
}

static void a_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    struct sr_handle inner = behind(sr);

    inner.driver->vdi_detach(call, &inner, location);
}

void sr_again_init(struct sr_again *a, const struct sr_driver *inner, enum sr_fault_kind kind)
{
    *a = (struct sr_again){.driver = *inner, .kind = kind};
    sr_fault_init(&a->fault, inner);
    a->driver.create = a_create;
    a->driver.destroy = a_destroy;
    a->driver.attach = a_attach;
    a->driver.detach = a_detach;
    a->driver.stat = a_stat;
    a->driver.scan = a_scan;
    a->driver.vdi_create = a_vdi_create;
    a->driver.vdi_delete = a_vdi_delete;
    a->driver.vdi_stat = a_vdi_stat;
    a->driver.vdi_resize = a_vdi_resize;
    a->driver.vdi_fork = a_vdi_fork;
    a->driver.vdi_replace = a_vdi_replace;
    a->driver.vdi_reset = a_vdi_reset;
    a->driver.vdi_strip = a_vdi_strip;
    a->driver.vdi_changed = a_vdi_changed;
    a->driver.vdi_copy = a_vdi_copy;
    a->driver.vdi_coalesce = a_vdi_coalesce;
    a->driver.vdi_describe = a_vdi_describe;
    a->driver.vdi_attach = a_vdi_attach;
    a->driver.vdi_detach = a_vdi_detach;
}

void sr_again_release(struct sr_again *a)
{
    sr_fault_release(&a->fault);
}
