/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/cut_off.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/auth/file.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/task/task.h"

#define ACK_TIMEOUT (80 * USEC_PER_SEC)
#define WAIT_SLICE USEC_PER_SEC

bool vm_is_cut_off(const struct call *call, const struct vm *vm)
{
    return (call->xapid->replaced || db_is_cut_off(call->xapid->db)) &&
           ref_equal(vm->resident_on, call->xapid->host);
}

/*** what is to be recorded later ***/

static const char *note_path(struct call *call, const struct vm *vm)
{
    return arena_printf(call->arena, "%s/ended-%s", call->xapid->options.state_dir, vm->uuid);
}

/* Which of its runs: by its beginning. */
static const char *run_of(struct call *call, const struct vm *vm)
{
    const struct vm_metrics *metrics = db_find(call, CLASS_vm_metrics, vm->metrics);

    return arena_printf(call->arena, "%lld", metrics ? (long long)metrics->start_time : 0);
}

static struct error *note_end(struct call *call, const struct vm *vm)
{
    const char *path = note_path(call, vm), *run = run_of(call, vm);
    AUTO(file_lock) lock = {0};

    TRY(file_lock_take(call->arena, path, &lock));
    return secret_file_replace(call->arena, path, run, strlen(run));
}

bool vm_was_ended_cut_off(struct call *call, const struct vm *vm)
{
    size_t size;
    char *text;
    struct error *e = secret_file_read(call->arena, note_path(call, vm), 64, &text, &size);

    if (e)
        log_warning("VM %s: whether it was shut down by a user is not known: %s", vm->uuid,
                    error_line(call->arena, e));
    return !e && text && strcmp(text, run_of(call, vm)) == 0;
}

void vm_end_is_recorded(struct call *call, const struct vm *vm)
{
    if (unlink(note_path(call, vm)) < 0 && errno != ENOENT)
        log_warning("%s: %s", note_path(call, vm), strerror(errno));
}

/*** what is done ***/

static struct hv_request request_of(struct call *call)
{
    return (struct hv_request){.arena = call->arena, .epoch = xapid_epoch(call->xapid)};
}

static struct error *wait_end(struct call *call, const struct vm *vm)
{
    usec_t deadline = clock_mono() + call->xapid->options.end_wait;

    while (clock_mono() < deadline) {
        struct hv_request rq = request_of(call);
        enum hv_reason reason;
        struct error *e;

        rq.timeout = WAIT_SLICE;
        e = hv_wait_death(call->xapid->hv, &rq, vm->uuid, &reason);
        if (!e || hv_failure_of(e) == HV_NO_DOMAIN)
            return OK;
        if (hv_failure_of(e) != HV_UNKNOWN)
            return e;
        TRY(task_check(call));
    }
    return error_internal(call->arena, "the guest has not ended in time");
}

static struct error *shut_down(struct call *call, const struct vm *vm, bool clean)
{
    struct hv_request rq = request_of(call);

    TRY(note_end(call, vm)); /* first: its end may be seen, and recorded, at once */
    if (clean) {
        rq.timeout = ACK_TIMEOUT;
        TRY(hv_shutdown_request(call->xapid->hv, &rq, vm->uuid, HV_POWEROFF));
        TRY(wait_end(call, vm));
        rq = request_of(call);
    }
    return hv_destroy(call->xapid->hv, &rq, vm->uuid);
}

struct error *vm_do_cut_off(struct call *call, const struct vm *vm, enum vm_operations operation)
{
    struct hv_request rq = request_of(call);
    const struct hv_domain *domain;
    struct error *e;

    TRY(hv_get(call->xapid->hv, &rq, vm->uuid, &domain));
    if (!domain)
        return err_vm_bad_power_state(call, call_ref(call, vm->ref), "running", "halted");
    log_warning("VM %s: %s without a record, for the pool has no coordinator", vm->uuid,
                enum_name(&enum_vm_operations, (int)operation));
    switch (operation) {
    case VM_OP_PAUSE:
        e = hv_pause(call->xapid->hv, &rq, vm->uuid);
        break;
    case VM_OP_UNPAUSE:
        e = hv_unpause(call->xapid->hv, &rq, vm->uuid);
        break;
    default:
        e = shut_down(call, vm, operation == VM_OP_CLEAN_SHUTDOWN);
        if (e && hv_failure_of(e) != HV_UNKNOWN)
            vm_end_is_recorded(call, vm); /* there is none */
    }
    return vm_hv_error(call, vm, e);
}
