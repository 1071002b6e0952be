/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/alarm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define VARIABLE(name, level, period, inhibit)                                                     \
    "<config><variable><name value=\"" name "\"/><alarm_trigger_level value=\"" level "\"/>"       \
    "<alarm_trigger_period value=\"" period "\"/><alarm_auto_inhibit_period value=\"" inhibit      \
    "\"/></variable></config>"

static const struct figure_kind cpu = {.name = "cpu%s"}, memory = {.name = "memory_free_kib"},
                                size = {.name = "size"}, used = {.name = "physical_utilisation"},
                                vif = {.name = "vif_%s_rx"}, vbd = {.name = "vbd_%s_write"},
                                io = {.name = "io_throughput_total_%s"};

struct fixture {
    struct arena arena;
    struct alarms alarms;
    struct figure v[4];
};

static void measure(struct fixture *f, int i, const struct figure_kind *kind, const char *instance,
                    double value)
{
    f->v[i] = (struct figure){.kind = kind, .value = value};
    snprintf(f->v[i].instance, sizeof f->v[i].instance, "%s", instance);
}

/* Bodies raised at that second with n figures; NULL: none. */
static const char *check(struct fixture *f, enum stats_owner owner, size_t n, int64_t second)
{
    struct raised *list = NULL;

    alarms_check(
        &f->arena, &f->alarms,
        &(struct sampled){
            .owner = owner, .uuid = "uuid", .time = second * USEC_PER_SEC, .n = n, .v = f->v},
        &list);
    return list ? list->body : NULL;
}

static void fixture_release(struct fixture *f)
{
    alarms_release(&f->alarms);
    arena_release(&f->arena);
}

static void an_alarm_is_raised_after_its_period_and_then_holds_its_peace(void **state)
{
    AUTO(fixture) f = {0};
    const char *body;

    (void)state;
    assert_true(alarms_set(&f.alarms, OWNER_VM, VARIABLE("cpu_usage", "0.5", "60", "600")));
    measure(&f, 0, &cpu, "0", 0.9);
    measure(&f, 1, &cpu, "1", 0.5);
    assert_null(check(&f, OWNER_VM, 2, 1000));
    assert_null(check(&f, OWNER_VM, 2, 1055));
    body = check(&f, OWNER_VM, 2, 1060);
    assert_non_null(body);
    assert_string_equal(body,
                        "value: 0.700000\nconfig:\n<variable>\n\t<name value=\"cpu_usage\"/>\n"
                        "\t<alarm_trigger_level value=\"0.5\"/>\n"
                        "\t<alarm_trigger_period value=\"60\"/>\n"
                        "\t<alarm_auto_inhibit_period value=\"600\"/>\n</variable>\n");
    assert_null(check(&f, OWNER_VM, 2, 1100));
    assert_null(check(&f, OWNER_VM, 2, 1659));
    assert_non_null(check(&f, OWNER_VM, 2, 1660));
}

static void what_falls_below_in_between_begins_anew(void **state)
{
    AUTO(fixture) f = {0};

    (void)state;
    assert_true(alarms_set(&f.alarms, OWNER_VM, VARIABLE("cpu_usage", "0.5", "60", "600")));
    measure(&f, 0, &cpu, "0", 0.9);
    assert_null(check(&f, OWNER_VM, 1, 1000));
    measure(&f, 0, &cpu, "0", 0.1);
    assert_null(check(&f, OWNER_VM, 1, 1030));
    measure(&f, 0, &cpu, "0", 0.9);
    assert_null(check(&f, OWNER_VM, 1, 1060));
    measure(&f, 0, &cpu, "0", NAN);
    assert_null(check(&f, OWNER_VM, 1, 1115));
    measure(&f, 0, &cpu, "0", 0.9);
    assert_null(check(&f, OWNER_VM, 1, 1120));
    assert_non_null(check(&f, OWNER_VM, 1, 1180));
}

static void free_memory_is_watched_for_becoming_less(void **state)
{
    AUTO(fixture) f = {0};

    (void)state;
    assert_true(alarms_set(&f.alarms, OWNER_HOST, VARIABLE("memory_free_kib", "1000", "0", "60")));
    measure(&f, 0, &memory, "", 2000);
    assert_null(check(&f, OWNER_HOST, 1, 1000));
    measure(&f, 0, &memory, "", 900);
    assert_non_null(check(&f, OWNER_HOST, 1, 1005));
}

static void names_that_stand_for_several_figures_or_parts_are_put_together(void **state)
{
    AUTO(fixture) f = {0};

    (void)state;
    measure(&f, 0, &vif, "0", 600);
    measure(&f, 1, &vif, "1", 600);
    assert_true(alarms_set(&f.alarms, OWNER_VM, VARIABLE("network_usage", "1000", "0", "60")));
    assert_non_null(check(&f, OWNER_VM, 2, 1000));
    measure(&f, 0, &vbd, "xvda", 600);
    measure(&f, 1, &vbd, "xvdb", 600);
    assert_true(alarms_set(&f.alarms, OWNER_VM, VARIABLE("disk_usage", "1000", "0", "60")));
    assert_non_null(check(&f, OWNER_VM, 2, 1000));
    measure(&f, 0, &size, "", 1000);
    measure(&f, 1, &used, "", 850);
    assert_true(alarms_set(&f.alarms, OWNER_SR,
                           "<config><variable><name value=\"physical_utilisation\"/>"
                           "<alarm_trigger_period value=\"0\"/></variable></config>"));
    assert_non_null(check(&f, OWNER_SR, 2, 1000));
    measure(&f, 0, &io, "01234567", 30);
    assert_true(alarms_set(&f.alarms, OWNER_HOST,
                           VARIABLE("sr_io_throughput_total_01234567", "20", "0", "60")));
    assert_non_null(check(&f, OWNER_HOST, 1, 1000));
}

static void what_a_host_does_with_a_repository_is_an_alarm_of_the_host(void **state)
{
    struct sampled host = {.owner = OWNER_HOST, .uuid = "host-uuid", .time = 1, .n = 1};
    struct sampled sr = {
        .owner = OWNER_SR, .uuid = "01234567-89ab", .time = 1000 * USEC_PER_SEC, .host = &host};
    struct raised *list = NULL;
    AUTO(fixture) f = {0};

    (void)state;
    measure(&f, 0, &io, "01234567", 30);
    host.v = f.v;
    assert_true(alarms_set(&f.alarms, OWNER_SR,
                           VARIABLE("sr_io_throughput_total_per_host", "20", "0", "60")));
    alarms_check(&f.arena, &f.alarms, &sr, &list);
    assert_non_null(list);
    assert_int_equal(list->owner, OWNER_HOST);
    assert_string_equal(list->uuid, "host-uuid");
    assert_non_null(strstr(list->body, "<name value=\"sr_io_throughput_total_01234567\"/>"));
}

static void a_change_of_one_alarm_does_not_begin_the_others_anew(void **state)
{
#define TWO(level)                                                                                 \
    "<config><variable><name value=\"cpu_usage\"/><alarm_trigger_level value=\"0.5\"/>"            \
    "</variable><variable><name value=\"disk_usage\"/><alarm_trigger_level value=\"" level "\"/>"  \
    "</variable></config>"
    AUTO(fixture) f = {0};

    (void)state;
    measure(&f, 0, &cpu, "0", 0.9);
    assert_true(alarms_set(&f.alarms, OWNER_VM, TWO("1")));
    assert_null(check(&f, OWNER_VM, 1, 1000));
    assert_true(alarms_set(&f.alarms, OWNER_VM, TWO("2")));
    assert_non_null(check(&f, OWNER_VM, 1, 1060));
}

static void what_is_not_understood_is_left_out(void **state)
{
    static const char *const bad[] = {"text", "<config>", "<other/>",
                                      "<!DOCTYPE c [<!ENTITY a \"b\">]><config/>"};
    AUTO(fixture) f = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(alarms_set(&f.alarms, OWNER_VM, bad[i]));
        assert_int_equal(f.alarms.n, 0);
        assert_true(alarms_set(&f.alarms, OWNER_VM, bad[i])); /* said once */
    }
    assert_true(alarms_set(&f.alarms, OWNER_VM,
                           "<config><variable/><variable><name value=\"memory\"/></variable>"
                           "<variable><name value=\"cpu_usage\"/></variable></config>"));
    assert_int_equal(f.alarms.n, 1);
    assert_true(alarms_set(&f.alarms, OWNER_VM, NULL));
    assert_int_equal(f.alarms.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alarm_is_raised_after_its_period_and_then_holds_its_peace),
        cmocka_unit_test(what_falls_below_in_between_begins_anew),
        cmocka_unit_test(free_memory_is_watched_for_becoming_less),
        cmocka_unit_test(names_that_stand_for_several_figures_or_parts_are_put_together),
        cmocka_unit_test(what_a_host_does_with_a_repository_is_an_alarm_of_the_host),
        cmocka_unit_test(a_change_of_one_alarm_does_not_begin_the_others_anew),
        cmocka_unit_test(what_is_not_understood_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
