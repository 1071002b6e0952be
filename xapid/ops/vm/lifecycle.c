/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/lifecycle.h"

#include "xapid/ops/vm/domain.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/task/task.h"

#define BIT(op) (1ull << VM_OP_##op)
#define STATE(s) (1u << VM_##s)
#define ALL_OPS ((1ull << (VM_OP_SYSPREP + 1)) - 1)

/* Between two looks at a busy VM where nothing wakes the waiter. */
#define WAIT_SLICE (2 * USEC_PER_SEC)

struct check_ctx {
    struct xapid *xapid;
    const struct db_snap *snap;
    const struct vm *vm;
    bool strict;
};

/*** power state ***/

/* For each operation the states it needs; 0: never possible, all four: always. */
#define ANY (STATE(HALTED) | STATE(PAUSED) | STATE(RUNNING) | STATE(SUSPENDED))
static const unsigned char needed_states[] = {
    [VM_OP_SNAPSHOT] = ANY,
    [VM_OP_CLONE] = STATE(HALTED),
    [VM_OP_COPY] = STATE(HALTED),
    [VM_OP_CREATE_TEMPLATE] = STATE(HALTED) | STATE(SUSPENDED),
    [VM_OP_REVERT] = ANY,
    [VM_OP_CHECKPOINT] = STATE(PAUSED) | STATE(SUSPENDED) | STATE(RUNNING),
    [VM_OP_SNAPSHOT_WITH_QUIESCE] = STATE(RUNNING),
    [VM_OP_PROVISION] = STATE(HALTED),
    [VM_OP_START] = STATE(HALTED),
    [VM_OP_START_ON] = STATE(HALTED),
    [VM_OP_PAUSE] = STATE(RUNNING),
    [VM_OP_UNPAUSE] = STATE(PAUSED),
    [VM_OP_CLEAN_SHUTDOWN] = STATE(RUNNING),
    [VM_OP_CLEAN_REBOOT] = STATE(RUNNING),
    [VM_OP_HARD_SHUTDOWN] = STATE(PAUSED) | STATE(SUSPENDED) | STATE(RUNNING),
    [VM_OP_POWER_STATE_RESET] = ANY,
    [VM_OP_HARD_REBOOT] = STATE(PAUSED) | STATE(RUNNING),
    [VM_OP_SUSPEND] = STATE(RUNNING),
    [VM_OP_CSVM] = STATE(SUSPENDED),
    [VM_OP_RESUME] = STATE(SUSPENDED),
    [VM_OP_RESUME_ON] = STATE(SUSPENDED),
    [VM_OP_POOL_MIGRATE] = STATE(RUNNING),
    [VM_OP_MIGRATE_SEND] = STATE(HALTED) | STATE(SUSPENDED) | STATE(RUNNING),
    [VM_OP_GET_BOOT_RECORD] = STATE(PAUSED) | STATE(SUSPENDED) | STATE(RUNNING),
    [VM_OP_SEND_SYSRQ] = STATE(RUNNING),
    [VM_OP_SEND_TRIGGER] = STATE(RUNNING),
    [VM_OP_QUERY_SERVICES] = ANY,
    [VM_OP_SHUTDOWN] = STATE(PAUSED) | STATE(SUSPENDED) | STATE(RUNNING),
    [VM_OP_CALL_PLUGIN] = STATE(RUNNING),
    [VM_OP_CHANGING_MEMORY_LIVE] = STATE(RUNNING),
    [VM_OP_AWAITING_MEMORY_LIVE] = STATE(RUNNING),
    [VM_OP_CHANGING_DYNAMIC_RANGE] = STATE(HALTED) | STATE(RUNNING),
    [VM_OP_CHANGING_STATIC_RANGE] = STATE(HALTED),
    [VM_OP_CHANGING_MEMORY_LIMITS] = STATE(HALTED),
    [VM_OP_CHANGING_SHADOW_MEMORY] = STATE(HALTED),
    [VM_OP_CHANGING_SHADOW_MEMORY_LIVE] = STATE(RUNNING),
    [VM_OP_CHANGING_VCPUS] = STATE(HALTED),
    [VM_OP_CHANGING_VCPUS_LIVE] = STATE(RUNNING),
    [VM_OP_CHANGING_NVRAM] = STATE(HALTED),
    [VM_OP_ASSERT_OPERATION_VALID] = ANY,
    [VM_OP_DATA_SOURCE_OP] = STATE(RUNNING),
    [VM_OP_UPDATE_ALLOWED_OPERATIONS] = ANY,
    [VM_OP_MAKE_INTO_TEMPLATE] = STATE(HALTED),
    [VM_OP_IMPORT] = 0,
    [VM_OP_EXPORT] = STATE(HALTED) | STATE(SUSPENDED),
    [VM_OP_METADATA_EXPORT] = ANY,
    [VM_OP_REVERTING] = 0,
    [VM_OP_DESTROY] = STATE(HALTED) | STATE(SUSPENDED),
    [VM_OP_CREATE_VTPM] = STATE(HALTED),
    [VM_OP_SYSPREP] = STATE(RUNNING),
};
_Static_assert(ARRAY_SIZE(needed_states) == VM_OP_SYSPREP + 1, "every operation has its states");

/* Control domains run while their sizes are changed; a snapshot may be cloned in any state. */
static unsigned states_for(const struct check_ctx *c, int op)
{
    unsigned states = needed_states[op];

    if (c->vm->is_control_domain &&
        (BIT(CHANGING_VCPUS) | BIT(CHANGING_STATIC_RANGE) | BIT(CHANGING_MEMORY_LIMITS)) >> op & 1)
        states |= STATE(RUNNING);
    if (c->vm->is_a_snapshot && (BIT(CLONE) | BIT(COPY)) >> op & 1)
        states |= STATE(SUSPENDED);
    return states;
}

static uint64_t power_mask(const struct check_ctx *c)
{
    uint64_t mask = 0;

    for (int op = 0; op <= VM_OP_SYSPREP; op++)
        if (states_for(c, op) >> c->vm->power_state & 1)
            mask |= 1ull << op;
    return mask;
}

const char *vm_power_state_text(enum vm_power_state state)
{
    static const char *const text[] = {[VM_HALTED] = "halted",
                                       [VM_PAUSED] = "paused",
                                       [VM_RUNNING] = "running",
                                       [VM_SUSPENDED] = "suspended"};

    return text[state];
}

static struct error *power_error(struct call *call, const struct check_ctx *c,
                                 enum vm_operations op)
{
    unsigned states = states_for(c, (int)op);
    const char *expected = "";

    for (int s = VM_HALTED; s <= VM_SUSPENDED; s++)
        if (states >> s & 1)
            expected = arena_printf(call->arena, "%s%s%s", expected, *expected ? ", " : "",
                                    vm_power_state_text((enum vm_power_state)s));
    return err_vm_bad_power_state(call, call_ref(call, c->vm->ref), expected,
                                  vm_power_state_text(c->vm->power_state));
}

/*** blocked by an administrator ***/

struct blocked {
    size_t n;
    const struct {
        int op;
        const char *why;
    } * v;
};

static uint64_t blocked_mask(const struct check_ctx *c)
{
    const struct blocked *b = (const struct blocked *)&c->vm->blocked_operations;
    uint64_t mask = ALL_OPS;

    for (size_t i = 0; i < b->n; i++)
        mask &= ~(1ull << b->v[i].op);
    return mask;
}

static struct error *blocked_error(struct call *call, const struct check_ctx *c,
                                   enum vm_operations op)
{
    const struct blocked *b = (const struct blocked *)&c->vm->blocked_operations;
    size_t i = 0;

    while (b->v[i].op != (int)op)
        i++;
    return err_operation_blocked(call, call_ref(call, c->vm->ref), b->v[i].why);
}

/*** other operations under way ***/

#define COPIES (BIT(CLONE) | BIT(COPY) | BIT(EXPORT))
#define SNAPSHOTS (BIT(SNAPSHOT) | BIT(CHECKPOINT))
#define DURING_MIGRATION (BIT(METADATA_EXPORT) | BIT(CLEAN_SHUTDOWN) | BIT(CLEAN_REBOOT))
/* They cancel what they meet. */
#define HARD (BIT(HARD_SHUTDOWN) | BIT(HARD_REBOOT))
#define INNOCENT (BIT(ASSERT_OPERATION_VALID) | BIT(UPDATE_ALLOWED_OPERATIONS))

static uint64_t current_mask(const struct vm *vm)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < vm->current_operations.n; i++)
        mask |= 1ull << vm->current_operations.v[i].value;
    return mask;
}

static uint64_t concurrency_mask(const struct check_ctx *c)
{
    uint64_t running = current_mask(c->vm), mask = INNOCENT;

    if (!running)
        return ALL_OPS;
    if (!(running & ~COPIES))
        mask |= COPIES;
    if (!(running & ~SNAPSHOTS))
        mask |= SNAPSHOTS;
    if (running == BIT(GET_BOOT_RECORD))
        mask |= BIT(GET_BOOT_RECORD);
    if (running == BIT(MIGRATE_SEND) && c->vm->current_operations.n == 1)
        mask |= DURING_MIGRATION;
    if (!(running & BIT(HARD_SHUTDOWN)))
        mask |= BIT(HARD_SHUTDOWN);
    if (!(running & HARD))
        mask |= BIT(HARD_REBOOT);
    return mask;
}

static struct error *concurrency_error(struct call *call, const struct check_ctx *c,
                                       enum vm_operations op)
{
    const struct enumpair *first = &c->vm->current_operations.v[0];

    (void)op;
    return err_other_operation_in_progress(call, "VM", call_ref(call, c->vm->ref),
                                           enum_vm_operations.names[first->value], first->key);
}

/*** templates and snapshots ***/

#define CONFIG_CHANGES                                                                             \
    (BIT(CHANGING_DYNAMIC_RANGE) | BIT(CHANGING_STATIC_RANGE) | BIT(CHANGING_MEMORY_LIMITS) |      \
     BIT(CHANGING_SHADOW_MEMORY) | BIT(CHANGING_VCPUS) | BIT(CHANGING_NVRAM) | INNOCENT)

static uint64_t template_mask(const struct check_ctx *c)
{
    uint64_t mask = CONFIG_CHANGES | COPIES | BIT(METADATA_EXPORT) | BIT(PROVISION);

    if (!c->vm->is_a_template || c->vm->is_a_snapshot)
        return ALL_OPS;
    if (!c->vm->is_default_template)
        mask |= BIT(DESTROY) | BIT(MIGRATE_SEND);
    return mask;
}

static struct error *template_error(struct call *call, const struct check_ctx *c,
                                    enum vm_operations op)
{
    return error_new(call->arena, "VM_IS_TEMPLATE", 2, call_ref(call, c->vm->ref),
                     enum_vm_operations.names[op]);
}

static uint64_t snapshot_mask(const struct check_ctx *c)
{
    if (!c->vm->is_a_snapshot)
        return ALL_OPS;
    return COPIES | INNOCENT | BIT(REVERT) | BIT(DESTROY) | BIT(HARD_SHUTDOWN) |
           BIT(METADATA_EXPORT) | BIT(CREATE_TEMPLATE) | BIT(PROVISION);
}

static struct error *snapshot_error(struct call *call, const struct check_ctx *c,
                                    enum vm_operations op)
{
    return error_new(call->arena, "VM_IS_SNAPSHOT", 2, call_ref(call, c->vm->ref),
                     enum_vm_operations.names[op]);
}

static uint64_t provision_mask(const struct check_ctx *c)
{
    return c->vm->is_a_template ? ALL_OPS : ALL_OPS & ~BIT(PROVISION);
}

static struct error *provision_error(struct call *call, const struct check_ctx *c,
                                     enum vm_operations op)
{
    (void)c, (void)op;
    return err_provision_only_allowed_on_template(call);
}

static uint64_t revert_mask(const struct check_ctx *c)
{
    return c->vm->is_a_snapshot ? ALL_OPS : ALL_OPS & ~BIT(REVERT);
}

static struct error *revert_error(struct call *call, const struct check_ctx *c,
                                  enum vm_operations op)
{
    (void)c, (void)op;
    return error_new(call->arena, "REVERT_ONLY_ALLOWED_ON_SNAPSHOT", 0);
}

/*** mobility and control domains ***/

static bool platform_true(const struct vm *vm, const char *key)
{
    const char *value = strmap_get(&vm->platform, key);

    return value && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

static uint64_t mobility_mask(const struct check_ctx *c)
{
    bool fixed = platform_true(c->vm, "nomigrate") || platform_true(c->vm, "nested-virt") ||
                 platform_true(c->vm, "exp-nested-hvm");

    if (!fixed || c->vm->power_state != VM_RUNNING)
        return ALL_OPS;
    return ALL_OPS & ~(BIT(SUSPEND) | BIT(CHECKPOINT) | BIT(POOL_MIGRATE) | BIT(MIGRATE_SEND));
}

static struct error *mobility_error(struct call *call, const struct check_ctx *c,
                                    enum vm_operations op)
{
    (void)op;
    return err_vm_is_immobile(call, call_ref(call, c->vm->ref));
}

static uint64_t control_domain_mask(const struct check_ctx *c)
{
    if (!c->vm->is_control_domain)
        return ALL_OPS;
    return CONFIG_CHANGES | BIT(CHANGING_MEMORY_LIVE) | BIT(AWAITING_MEMORY_LIVE) |
           BIT(DATA_SOURCE_OP) | BIT(METADATA_EXPORT);
}

static struct error *control_domain_error(struct call *call, const struct check_ctx *c,
                                          enum vm_operations op)
{
    (void)c;
    return err_operation_not_allowed(
        call, arena_printf(call->arena, "The operation %s is not possible on a control domain.",
                           enum_vm_operations.names[op]));
}

/*** what the guest can do ***/

bool vm_has_feature(const struct db_snap *snap, const struct vm *vm, const char *feature)
{
    const struct vm_guest_metrics *gm =
        root_get(snap_root(snap), CLASS_vm_guest_metrics, vm->guest_metrics);
    const char *value = gm ? strmap_get(&gm->other, feature) : NULL;

    return value && strcmp(value, "1") == 0;
}

#define SUSPENDING (BIT(SUSPEND) | BIT(CHECKPOINT) | BIT(POOL_MIGRATE) | BIT(MIGRATE_SEND))

/* Why the guest says that it cannot be suspended; NULL where it does not. */
static const char *cannot_suspend(const struct check_ctx *c)
{
    const struct vm_guest_metrics *gm =
        root_get(snap_root(c->snap), CLASS_vm_guest_metrics, c->vm->guest_metrics);

    return gm && c->vm->power_state == VM_RUNNING
               ? strmap_get(&gm->other, "data-cant-suspend-reason")
               : NULL;
}

/* A paravirtual kernel can do all of it without a word, and so can a guest that has the drivers. */
static bool features_are_implied(const struct check_ctx *c)
{
    const struct vm_guest_metrics *gm =
        root_get(snap_root(c->snap), CLASS_vm_guest_metrics, c->vm->guest_metrics);

    return vm_domain_type(c->vm) != DOMAIN_TYPE_HVM || (gm && gm->pv_drivers_detected);
}

static uint64_t feature_mask(const struct check_ctx *c)
{
    uint64_t mask = cannot_suspend(c) ? ALL_OPS & ~SUSPENDING : ALL_OPS;

    /* Only what users are shown depends on the features; an operation that was asked for is
     * tried. */
    if (!c->strict || c->vm->power_state != VM_RUNNING || features_are_implied(c))
        return mask;
    if (!vm_has_feature(c->snap, c->vm, "feature-shutdown"))
        mask &= ~(BIT(CLEAN_SHUTDOWN) | BIT(CLEAN_REBOOT));
    if (!vm_has_feature(c->snap, c->vm, "feature-suspend"))
        mask &= ~SUSPENDING;
    if (!vm_has_feature(c->snap, c->vm, "feature-vcpu-hotplug"))
        mask &= ~BIT(CHANGING_VCPUS_LIVE);
    return mask;
}

static struct error *feature_error(struct call *call, const struct check_ctx *c,
                                   enum vm_operations op)
{
    const char *reason = (1ull << op) & SUSPENDING ? cannot_suspend(c) : NULL;

    return reason ? err_vm_non_suspendable(call, call_ref(call, c->vm->ref), reason)
                  : err_vm_lacks_feature(call, call_ref(call, c->vm->ref));
}

static uint64_t quiesce_mask(const struct check_ctx *c)
{
    (void)c;
    return ALL_OPS & ~BIT(SNAPSHOT_WITH_QUIESCE);
}

static struct error *quiesce_error(struct call *call, const struct check_ctx *c,
                                   enum vm_operations op)
{
    (void)op;
    return err_vm_snapshot_with_quiesce_not_supported(
        call, call_ref(call, c->vm->ref), "Snapshots with quiescing are not supported.");
}

/*** devices ***/

/* True if some row whose 'field' refers to the VM satisfies 'is'. */
static bool any_row(const struct check_ctx *c, int field_id,
                    bool (*is)(const struct check_ctx *c, const void *row))
{
    const struct field_desc *f = &api_fields[field_id];
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(c->snap), f, c->vm->ref, &walk);
    while (index_next(&walk, &ref))
        if (is(c, root_get(snap_root(c->snap), f->class_id, ref)))
            return true;
    return false;
}

static bool resets_on_boot(const struct check_ctx *c, const void *row)
{
    const struct vbd *vbd = row;
    const struct vdi *vdi = root_get(snap_root(c->snap), CLASS_vdi, vbd->vdi);

    return vbd->type == VBD_TYPE_DISK && vdi && vdi->on_boot == ON_BOOT_RESET;
}

static uint64_t on_boot_mask(const struct check_ctx *c)
{
    if (!any_row(c, FIELD_vbd_vm, resets_on_boot))
        return ALL_OPS;
    return ALL_OPS & ~(BIT(SNAPSHOT) | BIT(CHECKPOINT) | BIT(SUSPEND) | BIT(SNAPSHOT_WITH_QUIESCE));
}

static struct error *on_boot_error(struct call *call, const struct check_ctx *c,
                                   enum vm_operations op)
{
    (void)c, (void)op;
    return err_vdi_on_boot_mode_incompatible_with_operation(call);
}

/* Memory that devices of the host write to cannot be moved or saved. */
#define NEEDS_NO_DEVICES (BIT(SUSPEND) | BIT(CHECKPOINT) | BIT(POOL_MIGRATE) | BIT(MIGRATE_SEND))

static bool always(const struct check_ctx *c, const void *row)
{
    (void)c, (void)row;
    return true;
}

static bool vgpu_attached(const struct check_ctx *c, const void *row)
{
    (void)c;
    return ((const struct vgpu *)row)->currently_attached;
}

static bool vusb_attached(const struct check_ctx *c, const void *row)
{
    (void)c;
    return ((const struct vusb *)row)->currently_attached;
}

static uint64_t without_devices(const struct check_ctx *c, bool has)
{
    return has && c->vm->power_state == VM_RUNNING ? ALL_OPS & ~NEEDS_NO_DEVICES : ALL_OPS;
}

static uint64_t pci_mask(const struct check_ctx *c)
{
    return without_devices(c, any_row(c, FIELD_pci_attached_vms, always));
}

static struct error *pci_error(struct call *call, const struct check_ctx *c, enum vm_operations op)
{
    (void)op;
    return err_vm_has_pci_attached(call, call_ref(call, c->vm->ref));
}

static uint64_t vgpu_mask(const struct check_ctx *c)
{
    return without_devices(c, any_row(c, FIELD_vgpu_vm, vgpu_attached));
}

static struct error *vgpu_error(struct call *call, const struct check_ctx *c, enum vm_operations op)
{
    (void)op;
    return err_vm_has_vgpu(call, call_ref(call, c->vm->ref));
}

static uint64_t vusb_mask(const struct check_ctx *c)
{
    return without_devices(c, any_row(c, FIELD_vusb_vm, vusb_attached));
}

static struct error *vusb_error(struct call *call, const struct check_ctx *c, enum vm_operations op)
{
    (void)op;
    return err_vm_has_vusbs(call, call_ref(call, c->vm->ref));
}

/*** membership ***/

static uint64_t membership_mask(const struct check_ctx *c)
{
    bool member = !ref_is_null(c->vm->appliance) || !ref_is_null(c->vm->snapshot_schedule);

    return member ? ALL_OPS & ~BIT(MAKE_INTO_TEMPLATE) : ALL_OPS;
}

static struct error *membership_error(struct call *call, const struct check_ctx *c,
                                      enum vm_operations op)
{
    (void)op;
    if (!ref_is_null(c->vm->appliance))
        return err_vm_is_part_of_an_appliance(call, call_ref(call, c->vm->ref),
                                              call_ref(call, c->vm->appliance));
    return err_vm_assigned_to_snapshot_schedule(call, call_ref(call, c->vm->ref),
                                                call_ref(call, c->vm->snapshot_schedule));
}

static uint64_t vtpm_mask(const struct check_ctx *c)
{
    return any_row(c, FIELD_vtpm_vm, always) ? ALL_OPS & ~BIT(CREATE_VTPM) : ALL_OPS;
}

static struct error *vtpm_error(struct call *call, const struct check_ctx *c, enum vm_operations op)
{
    (void)c, (void)op;
    return err_vtpm_max_amount_reached(call, "1");
}

/*** the list ***/

static const struct check {
    uint64_t (*mask)(const struct check_ctx *c);
    struct error *(*error)(struct call *call, const struct check_ctx *c, enum vm_operations op);
} checks[] = {
    {blocked_mask, blocked_error},
    {power_mask, power_error},
    {concurrency_mask, concurrency_error},
    {template_mask, template_error},
    {snapshot_mask, snapshot_error},
    {provision_mask, provision_error},
    {revert_mask, revert_error},
    {mobility_mask, mobility_error},
    {control_domain_mask, control_domain_error},
    {feature_mask, feature_error},
    {quiesce_mask, quiesce_error},
    {on_boot_mask, on_boot_error},
    {pci_mask, pci_error},
    {vgpu_mask, vgpu_error},
    {vusb_mask, vusb_error},
    {membership_mask, membership_error},
    {vtpm_mask, vtpm_error},
};

/* What is only declared so far is not offered; who asks for it is told so by its message. */
static uint64_t implemented_mask(void)
{
    static const struct {
        enum vm_operations op;
        int message;
    } messages[] = {
        {VM_OP_POOL_MIGRATE, MSG_vm_pool_migrate},
        {VM_OP_MIGRATE_SEND, MSG_vm_migrate_send},
        {VM_OP_SEND_SYSRQ, MSG_vm_send_sysrq},
        {VM_OP_SEND_TRIGGER, MSG_vm_send_trigger},
        {VM_OP_QUERY_SERVICES, MSG_vm_query_services},
        {VM_OP_CALL_PLUGIN, MSG_vm_call_plugin},
        {VM_OP_CHANGING_SHADOW_MEMORY_LIVE, MSG_vm_set_shadow_multiplier_live},
        {VM_OP_SYSPREP, MSG_vm_sysprep},
        {VM_OP_DATA_SOURCE_OP, MSG_vm_record_data_source},
        {VM_OP_CREATE_VTPM, MSG_vtpm_create},
    };
    uint64_t mask = ALL_OPS;

    for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
        if (api_messages[messages[i].message].flags & MESSAGE_PENDING)
            mask &= ~(1ull << messages[i].op);
    return mask;
}

uint64_t vm_allowed(struct xapid *xapid, const struct db_snap *snap, const struct vm *vm,
                    bool strict)
{
    struct check_ctx c = {xapid, snap, vm, strict};
    uint64_t mask = strict ? implemented_mask() : ALL_OPS;

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        mask &= checks[i].mask(&c);
    return mask;
}

struct error *vm_check(struct call *call, const struct db_snap *snap, const struct vm *vm,
                       enum vm_operations op)
{
    struct check_ctx c = {call->xapid, snap, vm, false};

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!(checks[i].mask(&c) >> op & 1))
            return checks[i].error(call, &c, op);
    return OK;
}

struct error *vm_check_unless_busy(struct call *call, const struct vm *vm, enum vm_operations op)
{
    struct error *e = vm_check(call, call->snap, vm, op);
    struct vm idle = *vm;

    if (!error_is(e, "OTHER_OPERATION_IN_PROGRESS"))
        return e;
    idle.current_operations = (struct enummap){0};
    return vm_check(call, call->snap, &idle, op);
}

struct error *vm_update(struct call *call, db_txn_fn *fn, void *arg)
{
    usec_t deadline = clock_mono() + call->xapid->options.op_wait;
    struct error *e;

    if (call->task && call->task->deadline)
        deadline = MIN(deadline, call->task->deadline);
    for (;;) {
        call_refresh(call);
        e = db_update(call, fn, arg);
        if (!error_is(e, "OTHER_OPERATION_IN_PROGRESS") || clock_mono() >= deadline)
            return e;
        TRY(task_check(call));
        db_wait(call->xapid->db, snap_root(call->snap)->revision,
                MIN(deadline, clock_mono() + WAIT_SLICE));
    }
}

/* Those that do something to the domain of a VM that has one. */
#define AT_THE_DOMAIN                                                                              \
    (BIT(CLEAN_SHUTDOWN) | BIT(CLEAN_REBOOT) | BIT(HARD_SHUTDOWN) | BIT(HARD_REBOOT) |             \
     BIT(SUSPEND) | BIT(PAUSE) | BIT(UNPAUSE) | BIT(POOL_MIGRATE) | BIT(CHECKPOINT) |              \
     BIT(SNAPSHOT) | BIT(CHANGING_VCPUS_LIVE) | BIT(CHANGING_SHADOW_MEMORY_LIVE))

struct error *txn_vm_check(struct txn *txn, ref_t vm, enum vm_operations op, const struct vm **out)
{
    bool has_domain;

    TRY(TXN_GET(txn, vm, vm, out));
    TRY(vm_check(txn_call(txn), txn_snap(txn), *out, op));
    has_domain = (*out)->power_state == VM_RUNNING || (*out)->power_state == VM_PAUSED;
    /* While the operation waited in line the VM may have moved to another host. */
    return has_domain && AT_THE_DOMAIN & 1ull << op
               ? host_is_here(txn_call(txn), (*out)->resident_on)
               : OK;
}
