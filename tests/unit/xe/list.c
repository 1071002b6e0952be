/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* list.c -- lists, filters and the forms of output. */
#include <string.h>

#include "tests/unit/xe/mock.h"

static void a_list_has_the_stock_form(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-list"), 0);
    assert_string_equal(m.out, "uuid ( RO)           : " WEB "\n"
                               "     name-label ( RW): web\n"
                               "    power-state ( RO): running\n"
                               "\n\n"
                               "uuid ( RO)           : " DB "\n"
                               "     name-label ( RW): db\n"
                               "    power-state ( RO): halted\n"
                               "\n\n");
    assert_string_equal(m.err, "");
    mock_release(&m);
}

static void a_plain_list_takes_one_call(void **state)
{
    struct mock m = {0};

    (void)state;
    MOCK_RUN(&m, mock_pool, "vm-list");
    assert_string_equal(m.calls.data, "VM.get_all_records \n");
    mock_release(&m);
}

static void names_of_other_objects_take_one_call_a_class(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vbd-list"), 0);
    assert_string_equal(m.out, "uuid ( RO)             : b1\n"
                               "          vm-uuid ( RO): " WEB "\n"
                               "    vm-name-label ( RO): web\n"
                               "         vdi-uuid ( RO): d1\n"
                               "            empty ( RO): false\n"
                               "           device ( RO): xvda\n"
                               "\n\n");
    assert_int_equal(mock_count(&m, "VM.get_record"), 1);
    assert_int_equal(mock_count(&m, "VDI.get_record"), 1);
    mock_release(&m);
}

static void minimal_joins_the_first_values(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-list", "--minimal"), 0);
    assert_string_equal(m.out, WEB "," DB "\n");
    mock_release(&m);
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-list", "params=name-label", "--minimal"), 0);
    assert_string_equal(m.out, "web,db\n");
    mock_release(&m);
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-list", "name-label=none", "--minimal"), 0);
    assert_string_equal(m.out, "\n");
    mock_release(&m);
}

static void commas_and_backslashes_are_escaped(void **state)
{
    struct mock m = {0};

    (void)state;
    MOCK_RUN(&m, mock_pool, "vm-list", "name-label=web", "params=tags", "--minimal");
    assert_string_equal(m.out, "a\\,b\\, c\n");
    mock_release(&m);
}

static void filters_choose(void **state)
{
    static const char *const lines[][2] = {
        {"name-label=web", WEB},
        {"power-state=halted", DB},
        {"other-config:folder=/b", ""},
        {"other-config:color=red", WEB "," DB},
        {"other-config-color=red", WEB "," DB},
        {"tags:contains=c", WEB "," DB},
        {"tags:contains=d", ""},
        {"allowed-operations:contains=start", WEB "," DB},
        {"current-operations:contains=start", WEB "," DB},
        {"memory-static-max=1073741824", WEB "," DB},
    };
    struct mock m = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-list", lines[i][0], "--minimal"), 0);
        m.out[strlen(m.out) - 1] = '\0';
        assert_string_equal(m.out, lines[i][1]);
        mock_release(&m);
    }
}

static void unknown_fields_are_refused(void **state)
{
    static const char *const lines[][2] = {
        {"nothing=1", "Error: Unknown field 'nothing'\n"},
        {"nothing:x=1", "Error: Unknown field 'nothing:x'\n"},
        {"name-label:x=1", "Error: Field 'name-label' is not a set or map\n"},
        {"tags:has=1",
         "Error: Invalid syntax for set filtering (should be set-param:contains=key)\n"},
    };
    struct mock m = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-list", lines[i][0]), 1);
        assert_string_equal(m.err, lines[i][1]);
        assert_string_equal(m.out, "");
        mock_release(&m);
    }
}

static void templates_and_snapshots_have_lists_of_their_own(void **state)
{
    struct mock m = {0};

    (void)state;
    MOCK_RUN(&m, mock_pool, "template-list", "params=uuid", "--minimal");
    assert_string_equal(m.out, "t1\n");
    mock_release(&m);
    MOCK_RUN(&m, mock_pool, "snapshot-list", "params=name-label", "--minimal");
    assert_string_equal(m.out, "before\n");
    mock_release(&m);
}

static void sets_and_maps_are_joined(void **state)
{
    struct mock m = {0};

    (void)state;
    MOCK_RUN(&m, mock_pool, "vm-list", "name-label=web",
             "params=other-config,tags,allowed-operations,snapshot-of,start-time,possible-hosts");
    assert_string_equal(m.out, "snapshot-of ( RO)           : <not in database>\n"
                               "    allowed-operations (SRO): start; clone\n"
                               "        possible-hosts ( RO): <expensive field>\n"
                               "          other-config (MRW): folder: /a; color: red\n"
                               "            start-time ( RO): <unknown time>\n"
                               "                  tags (SRW): a,b, c\n"
                               "\n\n");
    mock_release(&m);
}

static void disks_of_a_vm_are_listed_with_their_vdis(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-disk-list", "vm=web"), 0);
    assert_string_equal(m.out, "Disk 0 VBD:\n"
                               "uuid ( RO)             : b1\n"
                               "    vm-name-label ( RO): web\n"
                               "       userdevice ( RW): 0\n"
                               "\n\n"
                               "Disk 0 VDI:\n"
                               "uuid ( RO)             : d1\n"
                               "       name-label ( RW): disk\n"
                               "    sr-name-label ( RO): <not in database>\n"
                               "     virtual-size ( RO): 1024\n"
                               "\n\n");
    mock_release(&m);
}

int xe_list_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_the_stock_form),
        cmocka_unit_test(a_plain_list_takes_one_call),
        cmocka_unit_test(names_of_other_objects_take_one_call_a_class),
        cmocka_unit_test(minimal_joins_the_first_values),
        cmocka_unit_test(commas_and_backslashes_are_escaped),
        cmocka_unit_test(filters_choose),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(templates_and_snapshots_have_lists_of_their_own),
        cmocka_unit_test(sets_and_maps_are_joined),
        cmocka_unit_test(disks_of_a_vm_are_listed_with_their_vdis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
