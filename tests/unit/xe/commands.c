/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* commands.c -- the tables against the API, and commands from line to calls. */
#include <string.h>

#include "libxapi/value/value.h"
#include "tests/unit/xe/mock.h"
#include "xe-cli/fields.h"
#include "xe-cli/help.h"
#include "xe-cli/records.h"
#include "xe-cli/table.h"

/* --- tables --- */

/* The field a path ends in, or NULL. */
static const struct field_desc *path_end(const struct class_desc *class, const char *path)
{
    char name[64];
    size_t n = strcspn(path, ">");
    const struct field_desc *f;
    const struct type *t;

    snprintf(name, sizeof name, "%.*s", (int)n, path);
    f = api_field_by_name(class, name);
    if (!f || !path[n])
        return f;
    t = f->type->kind == TYPE_SET ? f->type->elem : f->type;
    return t->kind == TYPE_REF && t->class_id >= 0
               ? path_end(&api_classes[t->class_id], path + n + 1)
               : NULL;
}

static bool param_is_known(const struct xe_class *class, const struct xe_param *p)
{
    /* No longer, or not for everyone, in the API; the stock command still has them. */
    static const char *const gone[] = {"guest_metrics>memory", "guest_metrics>disks", "contents"};
    const struct class_desc *api = api_class_by_name(class->api);

    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        if (!strcmp(gone[i], p->path))
            return true;

    switch (p->path[0]) {
    case '!':
        return field_function_exists(p->path + 1);
    case '=':
        return api_message_by_name(p->path + 1) != NULL;
    case '@':
        return path_end(api_class_by_name("host"), strchr(p->path, '>') + 1) != NULL;
    default:
        return path_end(api, p->path) != NULL;
    }
}

static void every_parameter_leads_to_a_field(void **state)
{
    int bad = 0;

    (void)state;
    for (size_t i = 0; i < xe_n_classes; i++) {
        const struct xe_class *c = &xe_classes[i];

        assert_non_null(api_class_by_name(c->api));
        for (size_t k = 0; k < c->n_params; k++) {
            if (param_is_known(c, &c->params[k]))
                continue;
            print_error("%s %s: %s\n", c->name, c->params[k].name, c->params[k].path);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

static bool has_message(const char *api, const char *verb, const struct xe_param *p)
{
    char name[128];

    snprintf(name, sizeof name, "%s.%s%s", api, verb, p->stem ? p->stem : p->path);
    return api_message_by_name(name) != NULL;
}

static bool can_be_changed(const struct xe_class *c, const struct xe_param *p)
{
    if ((p->flags & XE_MAP) && (p->flags & XE_RW))
        return (has_message(c->api, "add_to_", p) && has_message(c->api, "remove_from_", p)) ||
               has_message(c->api, "set_", p);
    if ((p->flags & XE_SET) && (p->flags & XE_RW))
        return has_message(c->api, "add_", p) || has_message(c->api, "set_", p);
    if (p->flags & (XE_RW | XE_SETTABLE | XE_SET_MAP))
        return has_message(c->api, "set_", p);
    return true;
}

static void whatever_can_be_changed_has_a_message_for_it(void **state)
{
    int bad = 0;

    (void)state;
    for (size_t i = 0; i < xe_n_classes; i++) {
        for (size_t k = 0; k < xe_classes[i].n_params; k++) {
            if (can_be_changed(&xe_classes[i], &xe_classes[i].params[k]))
                continue;
            print_error("%s %s\n", xe_classes[i].name, xe_classes[i].params[k].name);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

/* Each "param=" or ".field=" of a row is known to its message. */
static int unknown_args(const struct xe_command *c, const struct message_desc *m)
{
    const char *p = c->args ? c->args : "";
    int bad = 0;

    for (; *p; p += strcspn(p, " "), p += *p == ' ') {
        char name[64];
        bool found = false;

        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, "="), p);
        if (name[0] == '.')
            found = m->n_params == 1 && m->params[0].type->kind == TYPE_RECORD &&
                    api_field_by_name(&api_classes[m->class_id], name + 1);
        for (size_t i = 0; i < m->n_params; i++)
            found = found || !strcmp(m->params[i].name, name);
        if (!found) {
            print_error("%s: %s has no %s\n", c->name, c->message, name);
            bad++;
        }
    }
    return bad;
}

static void every_row_fits_its_message(void **state)
{
    int bad = 0;

    (void)state;
    for (size_t t = 0; t < xe_n_command_tables; t++) {
        for (size_t i = 0; i < xe_command_tables[t]->n; i++) {
            const struct xe_command *c = &xe_command_tables[t]->v[i];
            const struct message_desc *m = c->message ? api_message_by_name(c->message) : NULL;

            assert_true(c->run || c->message);
            assert_true(c->run == NULL || c->help != NULL);
            if (c->message && !m) {
                print_error("%s: there is no %s\n", c->name, c->message);
                bad++;
            }
            if (m)
                bad += unknown_args(c, m);
        }
    }
    assert_int_equal(bad, 0);
}

static void commands_are_found_by_their_names_only_once(void **state)
{
    struct arena arena = {0};
    struct strings all = help_commands(&arena, true);

    (void)state;
    assert_int_equal(all.n, 675);
    for (size_t i = 1; i < all.n; i++)
        assert_string_not_equal(all.v[i - 1], all.v[i]);
    arena_release(&arena);
}

/* --- from line to calls --- */

static void an_error_is_a_sentence_and_its_parameters(void **state)
{
    const struct error_desc *desc = api_error_by_code("VM_BAD_POWER_STATE");
    struct mock m = {0};
    char expected[1024];

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-start", "uuid=" WEB), 1);
    snprintf(expected, sizeof expected,
             "%s\nvm: " WEB " (web)\nexpected: halted\nactual: running\n", desc->doc);
    assert_string_equal(m.err, expected);
    assert_string_equal(m.out, "");
    mock_release(&m);
}

static void several_vms_want_multiple(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-start"), 1);
    assert_string_equal(m.err, "Error: Multiple matches VMs found. --multiple required to complete "
                               "the operation\n");
    mock_release(&m);
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-start", "vm=none"), 1);
    assert_string_equal(m.err, "Error: No matching VMs found\n");
    mock_release(&m);
}

static void with_multiple_the_others_go_on(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-start", "--multiple"), 1);
    assert_int_equal(mock_count(&m, "Async.VM.start"), 2);
    assert_int_equal(strncmp(m.out, "operation failed on " WEB ": ", 58), 0);
    mock_release(&m);
}

static void a_clone_prints_its_uuid(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-clone", "vm=Debian", "new-name-label=x"), 0);
    assert_string_equal(m.out, "new-uuid\n");
    assert_non_null(strstr(m.calls.data,
                           "Async.VM.clone <param><value>OpaqueRef:tmpl</value></param>"
                           "<param><value>x</value></param>"));
    mock_release(&m);
}

static void records_are_made_of_rows(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vdi-create", "sr-uuid=s", "name-label=d",
                              "virtual-size=1MiB", "sm-config:a=b", "tags:t="),
                     0);
    assert_string_equal(m.out, "vdi-uuid\n");
    assert_non_null(strstr(m.calls.data, "<name>virtual_size</name><value>1048576</value>"));
    assert_non_null(strstr(m.calls.data, "<name>type</name><value>user</value>"));
    assert_non_null(strstr(m.calls.data, "<name>SR</name><value>OpaqueRef:sr</value>"));
    assert_non_null(strstr(m.calls.data, "<name>tags</name><value><array><data><value>t</value>"));
    mock_release(&m);
}

static void an_interface_gets_its_networks_mtu(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vif-create", "vm-uuid=" WEB, "network-uuid=n1",
                              "device=0", "mac=random"),
                     0);
    assert_non_null(strstr(m.calls.data, "<name>MTU</name><value>9000</value>"));
    assert_null(strstr(m.calls.data, "<value>random</value>"));
    mock_release(&m);
}

static void a_new_vm_can_be_given_memory(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-create", "name-label=web",
                              "memory-static-max=64MiB", "other-config:a=b"),
                     0);
    assert_string_equal(m.out, "new-uuid\n");
    assert_non_null(strstr(m.calls.data, "<name>memory_static_max</name><value>67108864</value>"));
    assert_non_null(strstr(m.calls.data, "<name>memory_dynamic_min</name><value>67108864</value>"));
    assert_non_null(strstr(m.calls.data, "<name>a</name><value>b</value>"));
    mock_release(&m);
}

static void uninstall_asks_first(void **state)
{
    struct mock m = {.input = "no"};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-uninstall", "vm=web"), 0);
    assert_string_equal(m.out, "The following items are about to be destroyed\n"
                               "VM : " WEB " (web)\n"
                               "VDI: d1 (disk) \n"
                               "Type 'yes' to continue\n"
                               "Aborted (you typed: 'no')\n");
    assert_int_equal(mock_count(&m, "VM.destroy"), 0);
    mock_release(&m);
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-uninstall", "vm=web", "force=true"), 0);
    assert_int_equal(mock_count(&m, "Async.VM.hard_shutdown"), 1);
    assert_int_equal(mock_count(&m, "VM.destroy"), 1);
    assert_int_equal(mock_count(&m, "Async.VDI.destroy"), 1);
    assert_non_null(strstr(m.out, "All objects destroyed\n"));
    mock_release(&m);
}

static void dangerous_commands_want_force(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-reset-powerstate", "vm=web"), 1);
    assert_string_equal(m.err, "Error: This operation is dangerous and may cause data loss. This "
                               "operation must be forced (use --force).\n");
    mock_release(&m);
}

static void unknown_commands_are_unknown(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-fly"), 1);
    assert_string_equal(m.err, "Unknown command: vm-fly\nFor usage run: 'xe help'\n");
    assert_null(m.calls.data);
    mock_release(&m);
}

static void help_tells_what_a_command_takes(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "help", "pbd-create"), 0);
    assert_non_null(strstr(m.out, "command name            : pbd-create\n"
                                  "        reqd params     : host-uuid, sr-uuid\n"
                                  "        optional params : device-config:\n"));
    mock_release(&m);
    assert_int_equal(MOCK_RUN(&m, mock_pool, "help", "vm-fly"), 0);
    assert_string_equal(m.out, "Unknown command 'vm-fly'\n");
    mock_release(&m);
}

int xe_commands_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_parameter_leads_to_a_field),
        cmocka_unit_test(whatever_can_be_changed_has_a_message_for_it),
        cmocka_unit_test(every_row_fits_its_message),
        cmocka_unit_test(commands_are_found_by_their_names_only_once),
        cmocka_unit_test(an_error_is_a_sentence_and_its_parameters),
        cmocka_unit_test(several_vms_want_multiple),
        cmocka_unit_test(with_multiple_the_others_go_on),
        cmocka_unit_test(a_clone_prints_its_uuid),
        cmocka_unit_test(records_are_made_of_rows),
        cmocka_unit_test(an_interface_gets_its_networks_mtu),
        cmocka_unit_test(a_new_vm_can_be_given_memory),
        cmocka_unit_test(uninstall_asks_first),
        cmocka_unit_test(dangerous_commands_want_force),
        cmocka_unit_test(unknown_commands_are_unknown),
        cmocka_unit_test(help_tells_what_a_command_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
