/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/templates.h"

#include <string.h>

#include <libxml/parser.h>

#include "libxapi/value/value.h"
#include "tests/unit/ops/lab.h"

/* Parses, and tells the root's name. */
static void assert_xml(const char *text, const char *root)
{
    xmlDocPtr doc = xmlReadMemory(text, (int)strlen(text), "x", NULL, XML_PARSE_NONET);

    assert_non_null(doc);
    assert_string_equal((const char *)xmlDocGetRootElement(doc)->name, root);
    xmlFreeDoc(doc);
}

static void every_template_is_complete(void **state)
{
    struct arena arena = {0};

    (void)state;
    for (const struct template_desc *t = default_templates; t->label; t++) {
        struct vm vm;
        const char *disks;

        template_row(&arena, t, &vm);
        assert_string_equal(vm.reference_label, t->label);
        assert_true(*vm.name_label && *vm.name_description);
        assert_true(vm.is_a_template && vm.is_default_template);
        assert_int_equal(vm.power_state, VM_HALTED);
        assert_true(0 < vm.memory_static_min && vm.memory_static_min <= vm.memory_dynamic_min);
        assert_true(vm.memory_dynamic_min <= vm.memory_dynamic_max);
        assert_true(vm.memory_dynamic_max <= vm.memory_static_max);
        assert_true(0 < vm.vcpus_at_startup && vm.vcpus_at_startup <= vm.vcpus_max);
        assert_xml(vm.recommendations, "restrictions");
        assert_non_null(strmap_get(&vm.platform, "secureboot"));
        assert_non_null(strmap_get(&vm.hvm_boot_params, "firmware"));
        assert_string_equal(strmap_get(&vm.other_config, "default_template"), "true");
        disks = strmap_get(&vm.other_config, "disks");
        assert_int_equal(disks != NULL, t->disk_gib > 0);
        if (disks)
            assert_xml(disks, "provision");
    }
    arena_release(&arena);
}

static void a_template_boots_with_a_firmware_that_it_supports(void **state)
{
    struct arena arena = {0};

    (void)state;
    for (const struct template_desc *t = default_templates; t->label; t++) {
        struct vm vm;
        const char *wanted;

        template_row(&arena, t, &vm);
        wanted = arena_printf(&arena, "field=\"supports-%s\" value=\"yes\"",
                              strmap_get(&vm.hvm_boot_params, "firmware"));
        assert_non_null(strstr(vm.recommendations, wanted));
    }
    arena_release(&arena);
}

static void uuids_are_unique_fixed_and_well_formed(void **state)
{
    struct arena arena = {0};
    uint8_t bytes[16];

    (void)state;
    assert_string_equal(template_uuid(&arena, &default_templates[0]),
                        "552bce37-51b2-445d-84f2-5f33fa112d7e");
    for (const struct template_desc *t = default_templates; t->label; t++) {
        assert_true(uuid_from_text(template_uuid(&arena, t), bytes));
        assert_string_equal(template_uuid(&arena, t), template_uuid(&arena, t));
        for (const struct template_desc *o = default_templates; o < t; o++) {
            assert_string_not_equal(template_uuid(&arena, t), template_uuid(&arena, o));
            assert_string_not_equal(t->label, o->label);
            assert_string_not_equal(t->name, o->name);
        }
    }
    arena_release(&arena);
}

static struct error *add(struct txn *txn, void *arg)
{
    (void)arg;
    return txn_templates_add(txn);
}

/* Also that they fit into one write-set. */
static void templates_that_are_there_are_not_added_again(void **state)
{
    struct lab *lab = *state;
    struct refs other;
    size_t n;

    lab_must(lab, db_update(&lab->call, add, NULL));
    n = lab_count(lab, CLASS_vm);
    assert_true(n > 30);
    lab_must(lab, db_update(&lab->call, add, NULL));
    assert_int_equal(lab_count(lab, CLASS_vm), n);
    other = db_referrers(&lab->call, FIELD_vm_name_label, index_key_string("Other install media"));
    assert_int_equal(other.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_template_is_complete),
        cmocka_unit_test(a_template_boots_with_a_firmware_that_it_supports),
        cmocka_unit_test(uuids_are_unique_fixed_and_well_formed),
        cmocka_unit_test_setup_teardown(templates_that_are_there_are_not_added_again, lab_setup,
                                        lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
