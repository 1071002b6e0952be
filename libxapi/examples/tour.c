/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tour.c -- a virtual machine's life over libxapi: made from a template, started, suspended,
 * snapshotted, reverted, cloned and destroyed.  Prints "ok - ..." for each step and stops at the
 * first that fails, leaving what there is for inspection.
 *
 *   tour HOST PORT USER PASSWORD
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/arena.h"
#include "xapi/api.h"

#define TEMPLATE "Other install media"
#define DISK_SIZE ((int64_t)64 << 20)

struct tour {
    struct xapi_session *session;
    ref_t sr, vm, copy, snapshot;
    char name[64];
};

/* ---- small helps ---- */

static struct error *wrong(struct tour *t, const char *what)
{
    return error_internal(xapi_arena(t->session), "%s", what);
}

static struct error *expect_state(struct tour *t, enum vm_power_state wanted)
{
    enum vm_power_state is;

    TRY(xapi_vm_get_power_state(t->session, t->vm, &is));
    return is == wanted ? OK : wrong(t, enum_vm_power_state.names[is]);
}

static void show_progress(void *ctx, double done)
{
    printf("# %s: %.0f%%\n", (const char *)ctx, done * 100);
}

static const struct sr *sr_at(const struct map *srs, size_t i, ref_t *ref)
{
    const struct type *type = api_messages[MSG_sr_get_all_records].result;
    const char *entry = (const char *)srs->v + i * type->entry_size;

    *ref = *(const ref_t *)entry;
    return *(const struct sr *const *)(entry + type->value_offset);
}

/* The pool's default SR, or the first that is no library of images or of drives. */
static struct error *find_sr(struct tour *t)
{
    struct refs pools;
    struct map srs;

    TRY(xapi_pool_get_all(t->session, &pools));
    if (pools.n != 1)
        return wrong(t, "there is not exactly one pool");
    TRY(xapi_sr_get_all_records(t->session, &srs));
    TRY(xapi_pool_get_default_sr(t->session, pools.v[0], &t->sr));
    for (size_t i = 0; i < srs.n; i++) {
        ref_t ref;

        sr_at(&srs, i, &ref);
        if (ref_equal(ref, t->sr))
            return OK;
    }
    for (size_t i = 0; i < srs.n; i++) {
        const struct sr *sr = sr_at(&srs, i, &t->sr);

        if (strcmp(sr->type, "iso") != 0 && strcmp(sr->type, "udev") != 0)
            return OK;
    }
    return wrong(t, "there is no storage for disks");
}

/* ---- the steps ---- */

static struct error *make_from_template(struct tour *t)
{
    struct refs found;

    TRY(find_sr(t));
    TRY(xapi_vm_get_by_name_label(t->session, TEMPLATE, &found));
    if (found.n == 0)
        return wrong(t, "there is no template '" TEMPLATE "'");
    TRY(xapi_vm_clone(t->session, found.v[0], t->name, &t->vm));
    TRY(xapi_vm_provision(t->session, t->vm));
    return expect_state(t, VM_HALTED);
}

static struct error *add_disk(struct tour *t)
{
    struct vdi *vdi = xapi_record_new(t->session, CLASS_vdi);
    struct vbd *vbd = xapi_record_new(t->session, CLASS_vbd);
    struct strings free_devices;
    ref_t ref;

    vdi->name_label = "tour's disk";
    vdi->sr = t->sr;
    vdi->virtual_size = DISK_SIZE;
    vdi->type = VDI_TYPE_USER;
    TRY(xapi_vdi_create(t->session, vdi, &vbd->vdi));

    TRY(xapi_vm_get_allowed_vbd_devices(t->session, t->vm, &free_devices));
    if (free_devices.n == 0)
        return wrong(t, "no device number is free");
    vbd->vm = t->vm;
    vbd->userdevice = free_devices.v[0];
    vbd->mode = VBD_RW;
    vbd->type = VBD_TYPE_DISK;
    return xapi_vbd_create(t->session, vbd, &ref);
}

static struct error *start(struct tour *t)
{
    TRY(xapi_vm_start(t->session, t->vm, false, false));
    return expect_state(t, VM_RUNNING);
}

static struct error *list(struct tour *t)
{
    const struct type *type = api_messages[MSG_vm_get_all_records_where].result;
    struct map vms;

    TRY(xapi_vm_get_all_records_where(
        t->session,
        arena_printf(xapi_arena(t->session),
                     "field \"name__label\"=\"%s\" and field \"power_state\"=\"Running\"", t->name),
        &vms));
    if (vms.n != 1 || !ref_equal(*(const ref_t *)vms.v, t->vm))
        return wrong(t, "the machine is not found by its name and state");
    printf("# %s\n", (*(const struct vm *const *)((const char *)vms.v + type->value_offset))->uuid);
    return OK;
}

/* As a task this time, to see its progress and read the result out of it. */
static struct error *snapshot(struct tour *t)
{
    struct vm_snapshot_args args = {.vm = t->vm, .new_name = "before"};
    const char *result;
    ref_t task, of;

    TRY(xapi_call_async(t->session, MSG_vm_snapshot, &args, &task));
    TRY(xapi_task_wait(t->session, task, show_progress, (void *)"snapshot", &result));
    TRY(xapi_task_result(t->session, MSG_vm_snapshot, result, &t->snapshot));
    TRY(xapi_vm_get_snapshot_of(t->session, t->snapshot, &of));
    return ref_equal(of, t->vm) ? OK : wrong(t, "the snapshot is not one of the machine");
}

static struct error *suspend(struct tour *t)
{
    TRY(xapi_vm_suspend(t->session, t->vm));
    return expect_state(t, VM_SUSPENDED);
}

static struct error *resume(struct tour *t)
{
    TRY(xapi_vm_resume(t->session, t->vm, false, false));
    return expect_state(t, VM_RUNNING);
}

static struct error *clean_shutdown(struct tour *t)
{
    TRY(xapi_vm_clean_shutdown(t->session, t->vm));
    return expect_state(t, VM_HALTED);
}

static struct error *revert(struct tour *t)
{
    const char *name;

    TRY(xapi_vm_set_name_description(t->session, t->vm, "changed"));
    TRY(xapi_vm_revert(t->session, t->snapshot));
    TRY(xapi_vm_get_name_description(t->session, t->vm, &name));
    if (strcmp(name, "changed") == 0)
        return wrong(t, "the description was not reverted");
    return expect_state(t, VM_HALTED);
}

static struct error *clone_machine(struct tour *t)
{
    struct refs disks;

    TRY(xapi_vm_clone(t->session, t->vm, "tour's clone", &t->copy));
    TRY(xapi_vm_get_vbds(t->session, t->copy, &disks));
    return disks.n == 1 ? OK : wrong(t, "the clone has not got one disk");
}

/* A machine, then its disks, which it does not take with it.  CDs lie in libraries and stay. */
static struct error *destroy_one(struct tour *t, ref_t vm)
{
    struct refs vbds;
    ref_t *vdis;

    TRY(xapi_vm_get_vbds(t->session, vm, &vbds));
    vdis = arena_array(xapi_arena(t->session), ref_t, vbds.n + 1);
    for (size_t i = 0; i < vbds.n; i++) {
        enum vbd_type type;

        TRY(xapi_vbd_get_type(t->session, vbds.v[i], &type));
        if (type == VBD_TYPE_DISK)
            TRY(xapi_vbd_get_vdi(t->session, vbds.v[i], &vdis[i]));
    }
    TRY(xapi_vm_destroy(t->session, vm));
    for (size_t i = 0; i < vbds.n; i++) {
        if (!ref_is_null(vdis[i]))
            TRY(xapi_vdi_destroy(t->session, vdis[i]));
    }
    return OK;
}

static struct error *destroy(struct tour *t)
{
    struct refs left;

    TRY(destroy_one(t, t->copy));
    TRY(destroy_one(t, t->snapshot));
    TRY(destroy_one(t, t->vm));
    TRY(xapi_vm_get_by_name_label(t->session, t->name, &left));
    return left.n == 0 ? OK : wrong(t, "the machine is still there");
}

static const struct step {
    const char *name;
    struct error *(*run)(struct tour *t);
} steps[] = {
    {"a machine is made from the template '" TEMPLATE "'", make_from_template},
    {"it gets a disk", add_disk},
    {"it starts", start},
    {"it is listed", list},
    {"a snapshot is taken of it", snapshot},
    {"it is suspended", suspend},
    {"it is resumed", resume},
    {"it shuts down by itself", clean_shutdown},
    {"it is reverted to the snapshot", revert},
    {"it is cloned", clone_machine},
    {"all of it is destroyed", destroy},
};

static struct error *run_steps(struct tour *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct error *e = steps[i].run(t);

        if (e) {
            printf("not ok - %s\n", steps[i].name);
            return e;
        }
        printf("ok - %s\n", steps[i].name);
        fflush(stdout);
        /* References are values: what the next steps need is in 't'. */
        xapi_results_free(t->session);
    }
    return OK;
}

int main(int argc, char **argv)
{
    struct xapi_options options = {.originator = "tour", .timeout = 300 * USEC_PER_SEC};
    struct tour t = {0};
    char uuid[UUID_TEXT_SIZE];
    struct error *e;

    if (argc != 5) {
        fprintf(stderr, "usage: tour HOST PORT USER PASSWORD\n");
        return 2;
    }
    options.host = argv[1];
    options.port = atoi(argv[2]);
    options.user = argv[3];
    options.password = argv[4];
    snprintf(t.name, sizeof(t.name), "tour-%s", uuid_new(uuid));

    e = xapi_connect(&options, &t.session);
    if (!e) {
        printf("ok - logged in\n");
        e = run_steps(&t);
    }
    if (e)
        fprintf(stderr, "tour: %s\n", xapi_error_text(t.session, e));
    xapi_disconnect(t.session);
    return e ? 1 : 0;
}
