/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"
#include "xapid/db/level.h"

struct fixture {
    struct arena arena;
    struct db_root *root;
    struct write_set w;
    struct sr sr;
    struct vdi vdi;
    struct vm vm;
    struct vbd vbd;
};

static const struct field_desc *field(int id)
{
    return &api_fields[id];
}

static struct log_result apply(struct fixture *f)
{
    f->root->log_index++;
    return sample_apply(&f->arena, f->root, &f->w);
}

static void assert_applied(struct fixture *f)
{
    struct log_result r = apply(f);

    if (r.outcome != LOG_APPLIED)
        fail_msg("%d %s", r.outcome, r.error ? error_line(&f->arena, r.error) : "");
    assert_int_equal(r.revision, f->root->revision);
    assert_int_equal(sample_faults(f->root), 0);
}

/* Refused with this error, and nothing changed. */
static void assert_rejected(struct fixture *f, const char *line)
{
    uint64_t revision = f->root->revision;
    struct log_result r = apply(f);

    assert_int_equal(r.outcome, LOG_REJECTED);
    assert_string_equal(error_line(&f->arena, r.error), line);
    assert_int_equal(f->root->revision, revision);
    assert_int_equal(sample_faults(f->root), 0);
}

static void create(struct fixture *f, int class_id, const void *source)
{
    write_create(&f->w, &api_classes[class_id], ((const struct row *)source)->ref, source);
}

/* A VM with a disk. */
static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->root = root_new();
    SAMPLE_NEW(sr, &f->sr);
    SAMPLE_NEW(vdi, &f->vdi);
    SAMPLE_NEW(vm, &f->vm);
    SAMPLE_NEW(vbd, &f->vbd);
    f->vdi.sr = f->sr.ref;
    f->vbd.vm = f->vm.ref;
    f->vbd.vdi = f->vdi.ref;
    /* Rows of one write-set may refer to each other in any order. */
    create(f, CLASS_vbd, &f->vbd);
    create(f, CLASS_vm, &f->vm);
    create(f, CLASS_vdi, &f->vdi);
    create(f, CLASS_sr, &f->sr);
    assert_applied(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    root_unref(f->root);
    write_release(&f->w);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static const struct vm *vm_now(struct fixture *f)
{
    return root_get(f->root, CLASS_vm, f->vm.ref);
}

static const struct vbd *vbd_now(struct fixture *f)
{
    return root_get(f->root, CLASS_vbd, f->vbd.ref);
}

static uint64_t modified(struct fixture *f, int class_id, ref_t ref)
{
    return root_modified(f->root, class_id, ref);
}

static void a_field_is_set_and_others_stay(void **state)
{
    struct fixture *f = *state;
    const char *name = "web";

    write_set_field(&f->w, field(FIELD_vm_name_label), f->vm.ref, &name, 0);
    assert_applied(f);
    assert_string_equal(vm_now(f)->name_label, "web");
    assert_string_equal(vm_now(f)->uuid, f->vm.uuid);
    assert_int_equal(vm_now(f)->row_version, 2);
    assert_int_equal(vm_now(f)->row_created, 1);
    assert_int_equal(modified(f, CLASS_vm, f->vm.ref), 2);
}

static void setting_what_is_there_is_no_event(void **state)
{
    struct fixture *f = *state;

    write_set_field(&f->w, field(FIELD_vm_name_label), f->vm.ref, &f->vm.name_label, 0);
    assert_applied(f);
    assert_int_equal(f->root->revision, 2);
    assert_int_equal(modified(f, CLASS_vm, f->vm.ref), 1);
}

static void maps_and_sets_change_one_member_at_a_time(void **state)
{
    struct fixture *f = *state;
    const char *a = "a", *b = "b", *one = "1", *two = "2";
    const struct field_desc *map = field(FIELD_vm_other_config), *set = field(FIELD_vm_tags);

    write_member(&f->w, OP_MAP_ADD, map, f->vm.ref, &a, &one, 0);
    write_member(&f->w, OP_MAP_ADD, map, f->vm.ref, &b, &one, 0);
    write_member(&f->w, OP_SET_ADD, set, f->vm.ref, &a, NULL, 0);
    write_member(&f->w, OP_SET_ADD, set, f->vm.ref, &b, NULL, 0);
    write_member(&f->w, OP_SET_ADD, set, f->vm.ref, &a, NULL, 0);
    assert_applied(f);
    assert_int_equal(vm_now(f)->tags.n, 2);
    write_member(&f->w, OP_MAP_PUT, map, f->vm.ref, &a, &two, 0);
    write_member(&f->w, OP_MAP_REMOVE, map, f->vm.ref, &b, NULL, 0);
    write_member(&f->w, OP_SET_REMOVE, set, f->vm.ref, &a, NULL, 0);
    assert_applied(f);
    assert_int_equal(vm_now(f)->other_config.n, 1);
    assert_string_equal(strmap_get(&vm_now(f)->other_config, "a"), "2");
    assert_int_equal(vm_now(f)->tags.n, 1);
    assert_string_equal(vm_now(f)->tags.v[0], "b");
    write_member(&f->w, OP_MAP_REMOVE, map, f->vm.ref, &b, NULL, 0);
    write_member(&f->w, OP_SET_REMOVE, set, f->vm.ref, &a, NULL, 0);
    write_member(&f->w, OP_MAP_PUT, map, f->vm.ref, &a, &two, 0);
    assert_applied(f);
    assert_int_equal(vm_now(f)->row_version, 3);
}

static void a_key_that_is_there_is_not_added_again(void **state)
{
    struct fixture *f = *state;
    const char *a = "a", *one = "1", *name = "never seen";

    write_member(&f->w, OP_MAP_ADD, field(FIELD_vm_other_config), f->vm.ref, &a, &one, 0);
    assert_applied(f);
    write_set_field(&f->w, field(FIELD_vm_name_label), f->vm.ref, &name, 0);
    write_member(&f->w, OP_MAP_ADD, field(FIELD_vm_other_config), f->vm.ref, &a, &one, 0);
    assert_rejected(f, arena_printf(&f->arena, "MAP_DUPLICATE_KEY(VM, other_config, %s, a)",
                                    ref_text(&f->arena, f->vm.ref)));
    assert_string_equal(vm_now(f)->name_label, f->vm.name_label);
}

static void what_is_gone_cannot_be_changed_but_lazily(void **state)
{
    struct fixture *f = *state;
    ref_t gone = {1, 2};
    const char *name = "x";

    write_set_field(&f->w, field(FIELD_vm_name_label), gone, &name, OP_IF_EXISTS);
    write_touch(&f->w, &api_classes[CLASS_vm], gone);
    assert_applied(f);
    write_set_field(&f->w, field(FIELD_vm_name_label), gone, &name, 0);
    assert_rejected(f,
                    arena_printf(&f->arena, "HANDLE_INVALID(VM, %s)", ref_text(&f->arena, gone)));
    write_destroy(&f->w, &api_classes[CLASS_vm], f->vm.ref);
    write_set_field(&f->w, field(FIELD_vm_name_label), f->vm.ref, &name, 0);
    assert_rejected(
        f, arena_printf(&f->arena, "HANDLE_INVALID(VM, %s)", ref_text(&f->arena, f->vm.ref)));
}

static void references_must_exist(void **state)
{
    struct fixture *f = *state;
    ref_t gone = {1, 2};

    write_set_field(&f->w, field(FIELD_vbd_vdi), f->vbd.ref, &gone, 0);
    assert_rejected(f,
                    arena_printf(&f->arena, "HANDLE_INVALID(VDI, %s)", ref_text(&f->arena, gone)));
    write_member(&f->w, OP_SET_ADD, field(FIELD_vm_groups), f->vm.ref, &gone, NULL, 0);
    assert_rejected(
        f, arena_printf(&f->arena, "HANDLE_INVALID(VM_group, %s)", ref_text(&f->arena, gone)));
    SAMPLE_NEW(vbd, &f->vbd);
    f->vbd.vm = gone;
    create(f, CLASS_vbd, &f->vbd);
    assert_rejected(f,
                    arena_printf(&f->arena, "HANDLE_INVALID(VM, %s)", ref_text(&f->arena, gone)));
}

static void nobody_refers_to_what_was_destroyed(void **state)
{
    struct fixture *f = *state;
    struct network network;
    struct vif vif;
    const char *address = "10.0.0.1";

    SAMPLE_NEW(network, &network);
    SAMPLE_NEW(vif, &vif);
    vif.network = network.ref;
    vif.vm = f->vm.ref;
    create(f, CLASS_network, &network);
    create(f, CLASS_vif, &vif);
    write_member(&f->w, OP_MAP_ADD, field(FIELD_network_assigned_ips), network.ref, &vif.ref,
                 &address, 0);
    assert_applied(f);
    write_destroy(&f->w, &api_classes[CLASS_vdi], f->vdi.ref);
    write_destroy(&f->w, &api_classes[CLASS_vif], vif.ref);
    assert_applied(f);
    assert_true(ref_is_null(vbd_now(f)->vdi));
    assert_true(ref_equal(vbd_now(f)->vm, f->vm.ref));
    assert_int_equal(vbd_now(f)->row_version, 3);
    assert_int_equal(
        ((const struct network *)root_get(f->root, CLASS_network, network.ref))->assigned_ips.n, 0);
    assert_null(root_get(f->root, CLASS_vdi, f->vdi.ref));
    assert_int_equal(f->root->tombstones, 2);
}

static void a_reference_moved_away_from_what_is_destroyed_stays(void **state)
{
    struct fixture *f = *state;
    struct vdi other;

    SAMPLE_NEW(vdi, &other);
    other.sr = f->sr.ref;
    create(f, CLASS_vdi, &other);
    write_set_field(&f->w, field(FIELD_vbd_vdi), f->vbd.ref, &other.ref, 0);
    write_destroy(&f->w, &api_classes[CLASS_vdi], f->vdi.ref);
    assert_applied(f);
    assert_true(ref_equal(vbd_now(f)->vdi, other.ref));
    /* And a reference made to what the same write-set destroys is none. */
    write_set_field(&f->w, field(FIELD_vbd_vdi), f->vbd.ref, &other.ref, 0);
    write_destroy(&f->w, &api_classes[CLASS_vdi], other.ref);
    assert_applied(f);
    assert_true(ref_is_null(vbd_now(f)->vdi));
}

static void created_and_destroyed_at_once_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct vdi other;

    SAMPLE_NEW(vdi, &other);
    other.sr = f->sr.ref;
    create(f, CLASS_vdi, &other);
    write_destroy(&f->w, &api_classes[CLASS_vdi], other.ref);
    assert_applied(f);
    assert_null(root_get(f->root, CLASS_vdi, other.ref));
    assert_int_equal(f->root->tombstones, 0);
}

static void the_other_side_of_a_relation_has_an_event(void **state)
{
    struct fixture *f = *state;
    ref_t null = REF_NULL;

    write_set_field(&f->w, field(FIELD_vbd_vdi), f->vbd.ref, &null, 0);
    assert_applied(f);
    assert_int_equal(modified(f, CLASS_vdi, f->vdi.ref), 2);
    assert_int_equal(modified(f, CLASS_vm, f->vm.ref), 1);
    write_set_field(&f->w, field(FIELD_vbd_vdi), f->vbd.ref, &f->vdi.ref, 0);
    assert_applied(f);
    assert_int_equal(modified(f, CLASS_vdi, f->vdi.ref), 3);
    write_destroy(&f->w, &api_classes[CLASS_vbd], f->vbd.ref);
    assert_applied(f);
    assert_int_equal(modified(f, CLASS_vdi, f->vdi.ref), 4);
    assert_int_equal(modified(f, CLASS_vm, f->vm.ref), 4);
    assert_int_equal(vm_now(f)->row_version, 1);
}

static void rows_whose_computed_fields_depend_on_a_change_have_an_event(void **state)
{
    struct fixture *f = *state;
    int running = VM_RUNNING;

    write_set_field(&f->w, field(FIELD_vm_power_state), f->vm.ref, &running, 0);
    assert_applied(f);
    assert_int_equal(modified(f, CLASS_vbd, f->vbd.ref), 2);
    assert_int_equal(vbd_now(f)->row_version, 1);
}

static void a_touch_is_an_event_without_a_change(void **state)
{
    struct fixture *f = *state;

    write_touch(&f->w, &api_classes[CLASS_vm], f->vm.ref);
    assert_applied(f);
    assert_int_equal(modified(f, CLASS_vm, f->vm.ref), 2);
    assert_int_equal(vm_now(f)->row_version, 1);
}

static void chains_of_snapshots_have_an_end(void **state)
{
    struct fixture *f = *state;
    struct vm other;

    SAMPLE_NEW(vm, &other);
    other.parent = f->vm.ref;
    create(f, CLASS_vm, &other);
    assert_applied(f);
    write_set_field(&f->w, field(FIELD_vm_parent), f->vm.ref, &other.ref, 0);
    assert_rejected(f, arena_printf(&f->arena, "INTERNAL_ERROR(VM.parent of %s would form a cycle)",
                                    ref_text(&f->arena, f->vm.ref)));
    write_set_field(&f->w, field(FIELD_vm_snapshot_of), f->vm.ref, &f->vm.ref, 0);
    assert_rejected(f, arena_printf(&f->arena,
                                    "INTERNAL_ERROR(VM.snapshot_of of %s would form a cycle)",
                                    ref_text(&f->arena, f->vm.ref)));
}

static void uuids_are_unique(void **state)
{
    struct fixture *f = *state;
    const char *first = "11111111-1111-1111-1111-111111111111";
    const char *line =
        arena_printf(&f->arena, "UNIQUENESS_CONSTRAINT_VIOLATION(VM, uuid, %s)", f->vm.uuid);
    struct vm other, another;

    SAMPLE_NEW(vm, &other);
    other.uuid = f->vm.uuid;
    create(f, CLASS_vm, &other);
    assert_rejected(f, line);
    other.uuid = another.uuid = first;
    SAMPLE_NEW(vm, &another);
    another.uuid = first;
    create(f, CLASS_vm, &other);
    create(f, CLASS_vm, &another);
    assert_rejected(
        f, arena_printf(&f->arena, "UNIQUENESS_CONSTRAINT_VIOLATION(VM, uuid, %s)", first));
    /* Two rows may exchange theirs, and one may take over that of a row that goes. */
    create(f, CLASS_vm, &other);
    assert_applied(f);
    write_set_field(&f->w, field(FIELD_vm_uuid), f->vm.ref, &first, 0);
    write_set_field(&f->w, field(FIELD_vm_uuid), other.ref, &f->vm.uuid, 0);
    assert_applied(f);
    write_destroy(&f->w, &api_classes[CLASS_vm], other.ref);
    write_set_field(&f->w, field(FIELD_vm_uuid), f->vm.ref, &f->vm.uuid, 0);
    assert_applied(f);
}

static void a_reference_is_used_once(void **state)
{
    struct fixture *f = *state;
    struct vm other;

    create(f, CLASS_vm, &f->vm);
    assert_rejected(f, arena_printf(&f->arena, "INTERNAL_ERROR(object %s exists already)",
                                    ref_text(&f->arena, f->vm.ref)));
    SAMPLE_NEW(vm, &other);
    other.ref = REF_NULL;
    create(f, CLASS_vm, &other);
    assert_rejected(f, "INTERNAL_ERROR(an object of class VM without a reference)");
}

static void what_was_relied_on_must_be_unchanged(void **state)
{
    struct fixture *f = *state;
    const char *name = "web";
    uint64_t digest = index_digest(f->root, field(FIELD_vbd_vm), f->vm.ref);

    write_set_field(&f->w, field(FIELD_vm_name_label), f->vm.ref, &name, 0);
    assert_applied(f);
    write_read_row(&f->w, &api_classes[CLASS_vm], f->vm.ref, 1);
    write_destroy(&f->w, &api_classes[CLASS_vm], f->vm.ref);
    assert_int_equal(apply(f).outcome, LOG_CONFLICT);
    assert_non_null(vm_now(f));
    write_read_row(&f->w, &api_classes[CLASS_vm], f->vm.ref, 2);
    write_read_row(&f->w, &api_classes[CLASS_vm], (ref_t){1, 2}, 0);
    write_read_index(&f->w, field(FIELD_vbd_vm), f->vm.ref, digest);
    write_touch(&f->w, &api_classes[CLASS_vm], f->vm.ref);
    assert_applied(f);
    /* A member of the set changes, then one goes. */
    write_set_field(&f->w, field(FIELD_vbd_userdevice), f->vbd.ref, &name, 0);
    assert_applied(f);
    write_read_index(&f->w, field(FIELD_vbd_vm), f->vm.ref, digest);
    write_touch(&f->w, &api_classes[CLASS_vm], f->vm.ref);
    assert_int_equal(apply(f).outcome, LOG_CONFLICT);
    digest = index_digest(f->root, field(FIELD_vbd_vm), f->vm.ref);
    write_destroy(&f->w, &api_classes[CLASS_vbd], f->vbd.ref);
    assert_applied(f);
    write_read_index(&f->w, field(FIELD_vbd_vm), f->vm.ref, digest);
    write_touch(&f->w, &api_classes[CLASS_vm], f->vm.ref);
    assert_int_equal(apply(f).outcome, LOG_CONFLICT);
}

static void set_name(struct fixture *f, uint64_t origin, uint64_t number, const char *name)
{
    f->w.origin = origin;
    f->w.number = number;
    write_set_field(&f->w, field(FIELD_vm_name_label), f->vm.ref, &name, 0);
}

static void a_repeated_request_is_applied_once(void **state)
{
    struct fixture *f = *state;
    struct log_result r;

    set_name(f, 7, 1, "first");
    assert_applied(f);
    set_name(f, 7, 2, "second");
    assert_applied(f);
    set_name(f, 7, 1, "first");
    r = apply(f);
    assert_int_equal(r.outcome, LOG_APPLIED);
    assert_int_equal(r.revision, 2);
    assert_int_equal(f->root->revision, 3);
    assert_string_equal(vm_now(f)->name_label, "second");
    /* Conflicts and refusals are repeated, too. */
    set_name(f, 7, 3, "third");
    write_read_row(&f->w, &api_classes[CLASS_vm], f->vm.ref, 1);
    assert_int_equal(apply(f).outcome, LOG_CONFLICT);
    set_name(f, 7, 3, "third");
    assert_int_equal(apply(f).outcome, LOG_CONFLICT);
    f->w.origin = 7;
    f->w.number = 4;
    write_destroy(&f->w, &api_classes[CLASS_vm], (ref_t){1, 2});
    assert_int_equal(apply(f).outcome, LOG_REJECTED);
    set_name(f, 7, 4, "fourth");
    assert_int_equal(apply(f).outcome, LOG_REJECTED);
    assert_string_equal(vm_now(f)->name_label, "second");
}

static void a_request_too_old_to_be_remembered_is_never_applied_again(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 1; i <= ROOT_MAX_REQUESTS + 1; i++) {
        set_name(f, 7, i, "new");
        apply(f);
    }
    assert_int_equal(f->root->requests.count, ROOT_MAX_REQUESTS);
    set_name(f, 7, 1, "old");
    assert_int_equal(apply(f).outcome, LOG_UNKNOWN);
    set_name(f, 7, 2, "old");
    assert_int_equal(apply(f).outcome, LOG_APPLIED);
    assert_string_equal(vm_now(f)->name_label, "new");
    set_name(f, 8, 1, "of another origin");
    assert_applied(f);
}

static void requests_of_origins_long_gone_are_forgotten(void **state)
{
    struct fixture *f = *state;
    uint64_t most = 0;

    for (uint64_t i = 0; i < ROOT_MAX_REQUESTS * ROOT_MAX_ORIGINS + 5; i++) {
        f->root->log_index++;
        tree_put(&f->root->requests,
                 &(struct tree_entry){{i / 1000 * 77 % 1000 + 10, i, 4, f->root->log_index}});
    }
    most = f->root->requests.count;
    set_name(f, 7, 1, "new");
    assert_applied(f);
    assert_true(f->root->requests.count < most / 2 + 10);
    assert_non_null(tree_get(&f->root->requests, (uint64_t[]){7, 1}));
}

static void deletions_are_forgotten_in_blocks_and_it_is_said(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i <= ROOT_MAX_TOMBSTONES; i++) {
        f->root->revision++;
        root_add_tombstone(f->root, CLASS_vm, (ref_t){i + 1, 5}, 1, f->root->revision);
    }
    assert_int_equal(f->root->tombstones, ROOT_MAX_TOMBSTONES + 1 - ROOT_MAX_TOMBSTONES / 16);
    assert_int_equal(f->root->forgotten, 1 + ROOT_MAX_TOMBSTONES / 16);
    assert_int_equal(sample_faults(f->root), 0);
}

static void roles_are_not_changed_by_write_sets(void **state)
{
    struct fixture *f = *state;
    struct tree_cursor cursor;
    const struct tree_entry *e;

    tree_seek(&f->root->tables[CLASS_role], NULL, &cursor);
    e = tree_next(&cursor);
    write_destroy(&f->w, &api_classes[CLASS_role], (ref_t){e->k[0], e->k[1]});
    assert_rejected(f, "INTERNAL_ERROR(objects of class role cannot be changed)");
}

static void there_is_one_zero_and_one_not_a_number(void **state)
{
    struct fixture *f = *state;
    const struct task *now;
    struct task task;
    uint64_t bits;

    SAMPLE_NEW(task, &task);
    task.progress = -0.0;
    create(f, CLASS_task, &task);
    assert_applied(f);
    now = root_get(f->root, CLASS_task, task.ref);
    memcpy(&bits, &now->progress, 8);
    assert_int_equal(bits, 0);
}

/* Every prefix, and random flips: refused as unreadable, or something applied by the rules; never a
 * crash. */
static void malformed_bytes_change_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 3, revision;
    size_t size;
    char *data;

    f->w.origin = 1;
    f->w.number = 1;
    create(f, CLASS_vm, &f->vm);
    data = write_finish(&f->w, &size);
    revision = f->root->revision;
    for (size_t n = 0; n < size; n++) {
        struct log_result r;
        char *cut = malloc(n + 1);

        memcpy(cut, data, n);
        apply_write_set(f->root, &f->arena, cut, n, &r);
        assert_true(r.outcome == LOG_FAILED || r.outcome == LOG_REJECTED);
        assert_int_equal(f->root->revision, revision);
        free(cut);
    }
    for (int i = 0; i < 5000; i++) {
        char *flipped = malloc(size);
        struct log_result r;

        memcpy(flipped, data, size);
        flipped[sample_below(&seed, size)] = (char)sample_number(&seed);
        flipped[8]++;
        apply_write_set(f->root, &f->arena, flipped, size, &r);
        free(flipped);
    }
    assert_int_equal(sample_faults(f->root), 0);
    free(data);
}

static void equal_bytes_make_equal_roots_and_old_roots_stay(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct db_root *a = root_new(), *b = root_new(), *old;
        uint64_t x = seed, y = seed;
        AUTO(buf) before = {0};
        AUTO(buf) after = {0};

        sample_change(a, &x, 200);
        image_write(&before, a);
        old = root_ref(a);
        a = root_copy(old);
        sample_change(a, &x, 200);
        sample_change(b, &y, 400);
        assert_true(sample_equal(a, b));
        image_write(&after, old);
        assert_int_equal(before.len, after.len);
        assert_memory_equal(before.data, after.data, after.len);
        root_unref(old);
        root_unref(old);
        root_unref(a);
        root_unref(b);
    }
}

static void what_the_pool_does_not_understand_yet_is_refused(void **state)
{
    struct fixture *f = *state;
    struct coordinator office;
    struct host_state known;

    SAMPLE_NEW(host_state, &known);
    known.identity = "of level 2";
    create(f, CLASS_host_state, &known);
    assert_rejected(f, "NOT_SUPPORTED_DURING_UPGRADE()");
    SAMPLE_NEW(coordinator, &office);
    office.ref = COORDINATOR;
    office.level = 2;
    create(f, CLASS_coordinator, &office);
    assert_applied(f);
    create(f, CLASS_host_state, &known);
    assert_applied(f);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_the_pool_does_not_understand_yet_is_refused),
        TEST(a_field_is_set_and_others_stay),
        TEST(setting_what_is_there_is_no_event),
        TEST(maps_and_sets_change_one_member_at_a_time),
        TEST(a_key_that_is_there_is_not_added_again),
        TEST(what_is_gone_cannot_be_changed_but_lazily),
        TEST(references_must_exist),
        TEST(nobody_refers_to_what_was_destroyed),
        TEST(a_reference_moved_away_from_what_is_destroyed_stays),
        TEST(created_and_destroyed_at_once_leaves_nothing),
        TEST(the_other_side_of_a_relation_has_an_event),
        TEST(rows_whose_computed_fields_depend_on_a_change_have_an_event),
        TEST(a_touch_is_an_event_without_a_change),
        TEST(chains_of_snapshots_have_an_end),
        TEST(uuids_are_unique),
        TEST(a_reference_is_used_once),
        TEST(what_was_relied_on_must_be_unchanged),
        TEST(a_repeated_request_is_applied_once),
        TEST(a_request_too_old_to_be_remembered_is_never_applied_again),
        TEST(requests_of_origins_long_gone_are_forgotten),
        TEST(deletions_are_forgotten_in_blocks_and_it_is_said),
        TEST(roles_are_not_changed_by_write_sets),
        TEST(there_is_one_zero_and_one_not_a_number),
        TEST(malformed_bytes_change_nothing),
        cmocka_unit_test(equal_bytes_make_equal_roots_and_old_roots_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
