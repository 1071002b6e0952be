/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An expression from a client: refused, or judged the same way again and again, with and without an
 * index. */
#include <stdlib.h>
#include <string.h>

#include "xapid/db/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct db_root *small_root(void)
{
    struct db_root *root = root_new();
    struct vm vm;

    root->revision = 1;
    for (uint64_t i = 1; i < 4; i++) {
        row_defaults(&api_classes[CLASS_vm], &vm);
        vm.ref = (ref_t){i, i};
        vm.row_class = CLASS_vm;
        vm.uuid = i == 1 ? "1" : "2";
        vm.name_label = i == 1 ? "a" : "b";
        vm.is_a_template = i == 2;
        root_put(root, row_new(&api_classes[CLASS_vm], &vm), 1);
    }
    return root;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct db_root *root; /* made once: a fuzzer's process is one test */
    AUTO(arena) arena = {0};
    const char *text = arena_strndup(&arena, (const char *)data, size);
    struct codec_env env = {.arena = &arena};
    struct tree_cursor cursor;
    const struct tree_entry *e;
    struct filter *filter;
    struct rows rows;
    size_t n = 0;

    if (!root)
        root = small_root();
    if (filter_parse(&arena, &api_classes[CLASS_vm], text, &filter) ||
        filter_rows(&arena, filter, root, NULL, &rows))
        return 0;
    tree_seek(&root->tables[CLASS_vm], NULL, &cursor);
    while ((e = tree_next(&cursor))) {
        bool match = false;

        if (filter_match(filter, &env, (const void *)e->k[2], &match))
            abort();
        if (match && (n >= rows.n || rows.v[n++] != (const void *)e->k[2]))
            abort();
    }
    if (n != rows.n)
        abort();
    return 0;
}
