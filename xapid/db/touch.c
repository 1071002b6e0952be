/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/touch.h"

/*
 * "When 'changed' changes, the row that 'link' refers to has an event" (link is a field of the
 * changed row), or, with 'back', "the rows whose 'link' refers to the changed row have one".  Keep
 * in step with ops/allowed.c.
 */
static const struct dependency {
    int changed, link;
    bool back;
} dependencies[] = {
    {FIELD_vm_power_state, FIELD_vbd_vm, true},
    {FIELD_vm_power_state, FIELD_vif_vm, true},
    {FIELD_vm_current_operations, FIELD_vbd_vm, true},
    {FIELD_vm_current_operations, FIELD_vif_vm, true},
    {FIELD_vm_guest_metrics, FIELD_vbd_vm, true},
    {FIELD_vbd_currently_attached, FIELD_vbd_vdi, false},
    {FIELD_vbd_currently_attached, FIELD_vbd_vm, false},
    {FIELD_vbd_current_operations, FIELD_vbd_vdi, false},
    {FIELD_vdi_on_boot, FIELD_vbd_vdi, true},
    {FIELD_vdi_current_operations, FIELD_vdi_sr, false},
    {FIELD_vm_guest_metrics_other, FIELD_vm_guest_metrics, true},
    {FIELD_pbd_currently_attached, FIELD_pbd_sr, false},
};

void touch_dependants(struct db_root *root, const struct class_desc *class, const void *old,
                      const void *new, uint64_t revision)
{
    for (size_t i = 0; i < ARRAY_SIZE(dependencies); i++) {
        const struct field_desc *changed = &api_fields[dependencies[i].changed];
        const struct field_desc *link = &api_fields[dependencies[i].link];
        struct index_walk walk;
        ref_t ref;

        if (changed->class_id != class->id || !old || !new ||
            value_equal(changed->type, field_in(old, changed), field_in(new, changed)))
            continue;
        if (!dependencies[i].back) {
            root_touch(root, link->type->class_id, *(const ref_t *)field_in(new, link), revision);
            continue;
        }
        index_walk(root, link, ((const struct row *)new)->ref, &walk);
        while (index_next(&walk, &ref))
            root_touch(root, link->class_id, ref, revision);
    }
}
