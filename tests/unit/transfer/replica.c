/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <string.h>

#include "xapid/db/row.h"
#include "xapid/transfer/replica.h"

#define POOL "0f7a3c0e-52a9-4c9e-8d0b-3a1f0b6f2a11"
#define DISK ((int64_t)1 << 20)

/* A database with one appliance of that name. */
static struct db_root *database(const char *name)
{
    struct db_root *root = root_new();
    struct vm_appliance row;

    row_defaults(&api_classes[CLASS_vm_appliance], &row);
    row.ref = ref_new();
    row.uuid = POOL;
    row.name_label = name;
    row.row_created = row.row_version = root->revision = 1;
    root_put(root, row_new(&api_classes[CLASS_vm_appliance], &row), 1);
    return root;
}

static void write_copy(struct lab *lab, struct vdi_io *io, const char *name)
{
    struct db_root *root = database(name);

    assert_null(replica_write(&lab->call, io, root, POOL));
    root_unref(root);
}

static void expect_copy(struct lab *lab, struct vdi_io *io, const char *name)
{
    const struct vm_appliance *row;
    struct tree_cursor cursor;
    struct db_root *root;

    assert_null(replica_read(&lab->call, io, &root));
    tree_seek(&root->tables[CLASS_vm_appliance], NULL, &cursor);
    row = (const struct vm_appliance *)tree_next(&cursor)->k[2];
    assert_string_equal(row->name_label, name);
    root_unref(root);
}

static void damage(struct lab *lab, struct vdi_io *io, int64_t at)
{
    assert_null(vdi_io_write(&lab->call, io, at, "damage", 6));
}

static void the_newest_copy_is_read(void **state)
{
    static const char *const names[] = {"one", "two", "three", "four"};
    struct lab *lab = *state;
    struct vdi_io *io = lab_disk(lab, DISK);
    const char *pool;

    assert_null(replica_pool(&lab->call, io, &pool));
    assert_string_equal(pool, "");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        write_copy(lab, io, names[i]);
        expect_copy(lab, io, names[i]);
    }
    assert_null(replica_pool(&lab->call, io, &pool));
    assert_string_equal(pool, POOL);
    vdi_io_close(io);
}

static void where_the_newest_is_damaged_the_one_before_is_read(void **state)
{
    struct lab *lab = *state;
    struct vdi_io *io = lab_disk(lab, DISK);
    struct db_root *root;

    write_copy(lab, io, "first");
    write_copy(lab, io, "second");
    damage(lab, io, DISK / 2 + REPLICA_BLOCK + 100);
    expect_copy(lab, io, "first");
    write_copy(lab, io, "third");
    expect_copy(lab, io, "third");
    damage(lab, io, REPLICA_BLOCK + 100);
    assert_true(error_is(replica_read(&lab->call, io, &root), "COULD_NOT_IMPORT_DATABASE"));
    damage(lab, io, 0);
    damage(lab, io, DISK / 2);
    assert_true(error_is(replica_read(&lab->call, io, &root), "COULD_NOT_IMPORT_DATABASE"));
    vdi_io_close(io);
}

static void a_disk_that_is_too_small_is_refused(void **state)
{
    struct lab *lab = *state;
    struct vdi_io *io = lab_disk(lab, 2 * REPLICA_BLOCK);
    struct db_root *root = database("large");

    assert_non_null(replica_write(&lab->call, io, root, POOL));
    root_unref(root);
    vdi_io_close(io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_copy_is_read, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(where_the_newest_is_damaged_the_one_before_is_read,
                                        lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_is_too_small_is_refused, lab_setup,
                                        lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
