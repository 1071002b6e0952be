/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.c -- what libxl is told to build. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"

#define VM "11111111-2222-3333-4444-555555555555"

/* As libxl writes its configurations, with quotes that C need not escape. */
static const char golden_pv[] =
    "{'c_info': {'type': 'pv', 'name': '11111111-2222-3333-4444-555555555555', 'uuid': '111"
    "11111-2222-3333-4444-555555555555', 'xsdata': {'vm-data/a': '1'}}, 'b_info': {'max_vcp"
    "us': 3, 'avail_vcpus': [0, 1], 'tsc_mode': 'native', 'max_memkb': 262144, 'target_memk"
    "b': 131072, 'shadow_memkb': 0, 'sched_params': {}, 'kernel': '/dev/null', 'cmdline': '"
    "console=hvc0', 'type.pv': {}, 'arch_arm': {}, 'arch_x86': {}}, 'disks': [{'pdev_path':"
    " '/dev/null', 'vdev': 'xvda', 'backend': 'qdisk', 'format': 'qcow2', 'removable': 1, '"
    "readwrite': 1}], 'nics': [{'devid': 0, 'mtu': 1500, 'mac': '00:16:3e:01:02:03', 'bridg"
    "e': 'xenbr0'}], 'on_poweroff': 'preserve', 'on_reboot': 'preserve', 'on_watchdog': 'pr"
    "eserve', 'on_crash': 'preserve'}";

static const char golden_pvh[] =
    "{'c_info': {'type': 'pvh', 'name': '11111111-2222-3333-4444-555555555555', 'uuid': '11"
    "111111-2222-3333-4444-555555555555', 'xsdata': {'vm-data/a': '1'}}, 'b_info': {'max_vc"
    "pus': 3, 'avail_vcpus': [0, 1], 'tsc_mode': 'native', 'max_memkb': 262144, 'target_mem"
    "kb': 131072, 'shadow_memkb': 5120, 'sched_params': {}, 'kernel': '/dev/null', 'cmdline"
    "': 'console=hvc0', 'type.pvh': {}, 'arch_arm': {}, 'arch_x86': {}}, 'disks': [{'pdev_p"
    "ath': '/dev/null', 'vdev': 'xvda', 'backend': 'qdisk', 'format': 'qcow2', 'removable':"
    " 1, 'readwrite': 1}], 'nics': [{'devid': 0, 'mtu': 1500, 'mac': '00:16:3e:01:02:03', '"
    "bridge': 'xenbr0'}], 'on_poweroff': 'preserve', 'on_reboot': 'preserve', 'on_watchdog'"
    ": 'preserve', 'on_crash': 'preserve'}";

static const char golden_hvm[] =
    "{'c_info': {'type': 'hvm', 'name': '11111111-2222-3333-4444-555555555555', 'uuid': '11"
    "111111-2222-3333-4444-555555555555', 'xsdata': {'vm-data/a': '1'}}, 'b_info': {'max_vc"
    "pus': 3, 'avail_vcpus': [0, 1], 'tsc_mode': 'native', 'max_memkb': 262144, 'target_mem"
    "kb': 131072, 'shadow_memkb': 5120, 'device_model_version': 'qemu_xen', 'sched_params':"
    " {}, 'type.hvm': {'bios': 'ovmf', 'nx': 'True', 'vga': {'kind': 'std'}, 'vnc': {'enabl"
    "e': 'True', 'listen': 'unix:/d/11111111-2222-3333-4444-555555555555.vnc', 'findunused'"
    ": 'False'}, 'sdl': {}, 'spice': {}, 'serial': 'pty', 'boot': 'dc', 'usb': 'True', 'usb"
    "device': 'tablet', 'rdm': {}}, 'arch_arm': {}, 'arch_x86': {}}, 'disks': [{'pdev_path'"
    ": '/dev/null', 'vdev': 'hda', 'backend': 'qdisk', 'format': 'qcow2', 'removable': 1, '"
    "readwrite': 1}, {'vdev': 'hdd', 'format': 'empty', 'removable': 1, 'is_cdrom': 1}], 'n"
    "ics': [{'devid': 0, 'mtu': 1500, 'mac': '00:16:3e:01:02:03', 'bridge': 'xenbr0'}], 'on"
    "_poweroff': 'preserve', 'on_reboot': 'preserve', 'on_watchdog': 'preserve', 'on_crash'"
    ": 'preserve'}";

static const char golden_pv_in_pvh[] =
    "{'c_info': {'type': 'pvh', 'name': '11111111-2222-3333-4444-555555555555', 'uuid': '11"
    "111111-2222-3333-4444-555555555555', 'xsdata': {'vm-data/a': '1'}}, 'b_info': {'max_vc"
    "pus': 3, 'avail_vcpus': [0, 1], 'tsc_mode': 'native', 'max_memkb': 262144, 'target_mem"
    "kb': 131072, 'shadow_memkb': 5120, 'sched_params': {}, 'kernel': '/dev/null', 'cmdline"
    "': 'console=hvc0', 'type.pvh': {'pvshim': 'True'}, 'arch_arm': {}, 'arch_x86': {}}, 'd"
    "isks': [{'pdev_path': '/dev/null', 'vdev': 'xvda', 'backend': 'qdisk', 'format': 'qcow"
    "2', 'removable': 1, 'readwrite': 1}], 'nics': [{'devid': 0, 'mtu': 1500, 'mac': '00:16"
    ":3e:01:02:03', 'bridge': 'xenbr0'}], 'on_poweroff': 'preserve', 'on_reboot': 'preserve"
    "', 'on_watchdog': 'preserve', 'on_crash': 'preserve'}";

static struct arena arena;
static struct strpair platform[] = {{"tsc_mode", "native"}, {"nx", "true"}};
static struct strpair data[] = {{"vm-data/a", "1"}, {"other", "2"}};
static struct hv_disk disks[] = {
    {.device = "xvda", .path = "/dev/null", .format = "qcow2", .mode = HV_DISK_RW},
    {.device = "xvdd", .path = "", .format = "raw", .cdrom = true, .mode = HV_DISK_RO}};
static struct hv_nic nics[] = {
    {.device = 0, .mac = "00:16:3e:01:02:03", .bridge = "xenbr0", .mtu = 1500}};

static struct hv_domain_config config_for(const char *type)
{
    bool hvm = strcmp(type, "hvm") == 0;

    return (struct hv_domain_config){
        .uuid = VM,
        .name = "web",
        .type = type,
        .memory_static_max = 256 << 20,
        .memory_target = 128 << 20,
        .vcpus_max = 3,
        .vcpus = 2,
        .kernel = hvm ? "" : "/dev/null",
        .ramdisk = "",
        .cmdline = hvm ? "" : "console=hvc0",
        .bootloader = "",
        .bootloader_args = "",
        .boot_order = "dc",
        .firmware = hvm ? "uefi" : "",
        .platform = {ARRAY_SIZE(platform), platform},
        .xenstore_data = {ARRAY_SIZE(data), data},
        .n_disks = ARRAY_SIZE(disks),
        .disks = disks,
        .n_nics = ARRAY_SIZE(nics),
        .nics = nics,
    };
}

/* libxl's own text of it; the caller frees it.  NULL and *why where it is refused. */
static char *translated(const struct hv_domain_config *c, bool restoring, const char **why)
{
    const struct config_options options = {"/d", restoring, NULL, NULL};
    libxl_domain_config out;
    struct error *e = config_translate(&arena, c, &options, &out);
    char *text = e ? NULL : libxl_domain_config_to_json(NULL, &out);

    *why = e ? e->params[0] : "";
    libxl_domain_config_dispose(&out);
    return text;
}

/* The second bit of the first word is the host's and not the guest's. */
static void a_guest_gets_no_more_of_the_processor_than_it_may(void **state)
{
    const struct config_options options = {"/d", false, NULL, "00000003-0000000f"};
    struct hv_domain_config c = config_for("pvh");
    libxl_domain_config out;
    char *text;

    (void)state;
    c.cpu_features = "00000001-000000ff";
    assert_null(config_translate(&arena, &c, &options, &out));
    text = libxl_domain_config_to_json(NULL, &out);
    assert_non_null(strstr(text, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0x"));
    assert_null(strstr(text, "\"ecx\""));
    free(text);
    libxl_domain_config_dispose(&out);
}

static void assert_golden(const char *type, const char *golden)
{
    struct hv_domain_config c = config_for(type);
    const char *why;
    char *text = translated(&c, false, &why), *wanted_text = xstrdup(golden);
    json_t *got, *wanted;

    for (char *p = wanted_text; *p; p++)
        if (*p == '\'')
            *p = '"';
    assert_non_null(text);
    got = json_loads(text, 0, NULL);
    wanted = json_loads(wanted_text, 0, NULL);
    assert_non_null(wanted);
    if (!json_equal(got, wanted))
        fail_msg("%s: %s", type, text);
    json_decref(got);
    json_decref(wanted);
    free(text);
    free(wanted_text);
}

static void each_type_is_built_as_libxl_writes_it(void **state)
{
    (void)state;
    assert_golden("pv", golden_pv);
    assert_golden("pvh", golden_pvh);
    assert_golden("hvm", golden_hvm);
    assert_golden("pv_in_pvh", golden_pv_in_pvh);
}

static void page_tables_have_the_memory_that_the_daemon_promised(void **state)
{
    struct hv_domain_config c = config_for("pvh");
    const char *why;
    char *text;

    (void)state;
    c.shadow_memory = 9 << 20;
    text = translated(&c, false, &why);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"shadow_memkb\": 9216"));
    free(text);
}

static void assert_refused(struct hv_domain_config c, const char *part)
{
    const char *why;

    assert_null(translated(&c, false, &why));
    if (!strstr(why, part))
        fail_msg("'%s' is not in '%s'", part, why);
}

static void what_cannot_be_built_is_said(void **state)
{
    struct hv_domain_config c = config_for("pv");
    struct hv_disk bad = disks[0];

    (void)state;
    c.kernel = "";
    assert_refused(c, "needs a kernel");
    c.kernel = "/nowhere/vmlinux";
    assert_refused(c, "/nowhere/vmlinux: No such file");
    c = config_for("pv");
    c.vcpus = 4;
    assert_refused(c, "vCPUs: 4 of at most 3");
    c = config_for("pv");
    c.memory_target = c.memory_static_max + 1;
    assert_refused(c, "memory: target");
    c = config_for("vax");
    assert_refused(c, "unknown type 'vax'");
    c = config_for("pv");
    c.uuid = "11111111";
    assert_refused(c, "is no uuid");
    c = config_for("pv");
    c.disks = &bad;
    c.n_disks = 1;
    bad.path = "/nowhere/disk";
    assert_refused(c, "disk xvda: /nowhere/disk: No such file");
    bad.path = "/dev/null";
    bad.format = "vmdk";
    assert_refused(c, "unknown format 'vmdk'");
    bad.format = "raw";
    bad.device = "xvda/../sda";
    assert_refused(c, "is no name for a disk");
    bad.device = "xvda";
    bad.cdrom = true;
    assert_refused(c, "a CD cannot be written");
    c = config_for("pv");
    nics[0].mac = "00:16:3e:01:02";
    assert_refused(c, "is no MAC address");
    nics[0].mac = "00:16:3e:01:02:03";
}

static void a_restored_guest_needs_no_kernel(void **state)
{
    struct hv_domain_config c = config_for("pv");
    const char *why;
    char *text;

    (void)state;
    c.kernel = "";
    text = translated(&c, true, &why);
    assert_non_null(text);
    free(text);
}

static void a_boot_loader_is_told_its_words_and_looks_into_a_disk(void **state)
{
    struct hv_domain_config c = config_for("pv");
    const char *why;
    char *text;

    (void)state;
    c.kernel = "";
    c.bootloader = "pygrub";
    c.bootloader_args = " -q  --entry=2";
    text = translated(&c, false, &why);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"bootloader\": \"pygrub\""));
    assert_null(strstr(text, "\"kernel\""));
    free(text);
    c.n_disks = 0;
    assert_refused(c, VM);
}

static void a_nic_that_is_limited_gets_its_bytes_in_shares(void **state)
{
    struct hv_domain_config c = config_for("pv");
    const char *why;
    char *text;

    (void)state;
    nics[0].rate = 100 * 1024;
    nics[0].rate_interval = 50000;
    text = translated(&c, false, &why);
    nics[0].rate = 0;
    nics[0].rate_interval = 0;
    assert_non_null(text);
    assert_non_null(strstr(text, "\"rate_bytes_per_interval\": 5120"));
    assert_non_null(strstr(text, "\"rate_interval_usecs\": 50000"));
    free(text);
}

static void a_message_of_libxl_loses_its_file_and_line(void **state)
{
    (void)state;
    assert_string_equal(xen_words("libxl_dom.c:39:libxl__domain_type: Domain 5: gone"),
                        "Domain 5: gone");
    assert_string_equal(
        xen_words("panic: xg_dom_core.c:689: xc_dom_find_loader: no loader found: Invalid kernel"),
        "no loader found: Invalid kernel");
    assert_string_equal(xen_words("xg_dom.c:9: no function"), "xg_dom.c:9: no function");
    assert_string_equal(xen_words("cannot open x.c: no"), "cannot open x.c: no");
    assert_string_equal(xen_words("libxl_dom.c:39"), "libxl_dom.c:39");
    assert_string_equal(xen_words(""), "");
}

static int release(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_gets_no_more_of_the_processor_than_it_may),
        cmocka_unit_test(each_type_is_built_as_libxl_writes_it),
        cmocka_unit_test(page_tables_have_the_memory_that_the_daemon_promised),
        cmocka_unit_test(what_cannot_be_built_is_said),
        cmocka_unit_test(a_restored_guest_needs_no_kernel),
        cmocka_unit_test(a_boot_loader_is_told_its_words_and_looks_into_a_disk),
        cmocka_unit_test(a_nic_that_is_limited_gets_its_bytes_in_shares),
        cmocka_unit_test(a_message_of_libxl_loses_its_file_and_line),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
