/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A log entry of any bytes, applied to a small database: it is refused, or what comes out keeps
 * every rule. */
#include <stdlib.h>

#include "xapid/db/apply.h"
#include "xapid/db/db.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* References that an input can guess: {class, 0} and {class, 1}. */
static void add(struct db_root *root, int class_id, uint64_t n)
{
    const struct class_desc *class = &api_classes[class_id];
    struct arena arena = {0};
    struct row *row = arena_zalloc(&arena, class->struct_size);

    row_defaults(class, row);
    row->ref = (ref_t){(uint64_t)class_id + 1, n};
    row->row_class = class->id;
    row->row_created = row->row_version = 1;
    if (class->uuid_field >= 0)
        *(const char **)((char *)row + api_fields[class->uuid_field].offset) = n ? "1" : "0";
    root_put(root, row_new(class, row), 1);
    arena_release(&arena);
}

static struct db_root *small_root(void)
{
    static const int classes[] = {CLASS_vm,  CLASS_vbd,     CLASS_vdi,       CLASS_sr,
                                  CLASS_vif, CLASS_network, CLASS_vm_metrics};
    struct db_root *root = root_new();

    root->revision = 1;
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        add(root, classes[i], 0);
        add(root, classes[i], 1);
    }
    return root;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct db_root *base; /* made once: a fuzzer's process is one test */
    AUTO(arena) arena = {0};
    struct log_result result;
    struct db_root *root;

    if (!base)
        base = small_root();
    root = root_copy(base);
    apply_write_set(root, &arena, data, size, &result);
    if (result.outcome == LOG_APPLIED
            ? root->revision != 2 || db_check((const struct db_snap *)root)
            : root->revision != 1)
        abort();
    if ((result.outcome == LOG_REJECTED || result.outcome == LOG_FAILED) && !result.error)
        abort();
    root_unref(root);
    return 0;
}
