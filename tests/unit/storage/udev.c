/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * udev.c -- block devices as disks, in a /dev, /sys and /proc that are played: files and links as
 * udev and the kernel would have them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/value/value.h"
#include "storage-repos/udev/udev.h"
#include "tests/unit/storage/lab.h"

#define SR_UUID "0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"
#define STICK "/dev/disk/by-id/usb-Stick_1-0:0"
#define DRIVE "/dev/disk/by-id/ata-Drive_2"
#define INNER "/dev/disk/by-id/ata-Inner_3"
#define USB                                                                                        \
    "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host3/target3:0:0/3:0:0:0/block/sdb"

struct play {
    struct arena arena;
    struct call call;
    char root[32];
    struct sr_site site;
    struct sr_handle sr;
};

static const char *in(struct play *p, const char *name)
{
    return arena_printf(&p->arena, "%s%s", p->root, name);
}

#define RUN(p, ...) lab_run(&(p)->arena, (const char *const[]){__VA_ARGS__, NULL})

/* A file, with the folders that it needs. */
static void put(struct play *p, const char *name, const char *text)
{
    char *folder = arena_strdup(&p->arena, in(p, name));
    FILE *f;

    *strrchr(folder, '/') = '\0';
    RUN(p, "mkdir", "-p", folder);
    f = fopen(in(p, name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void link_to(struct play *p, const char *target, const char *name)
{
    char *folder = arena_strdup(&p->arena, in(p, name));

    *strrchr(folder, '/') = '\0';
    RUN(p, "mkdir", "-p", folder);
    assert_int_equal(symlink(target, in(p, name)), 0);
}

/* What the kernel has of a disk, in one folder of sysfs. */
static void put_disk(struct play *p, const char *folder, const char *name, const char *dev,
                     const char *type)
{
    const char *at = strncmp(folder, "/sys", 4) == 0
                         ? folder
                         : arena_printf(&p->arena, "/sys/class/block/%s", name);

    put(p, arena_printf(&p->arena, "/dev/%s", name), "");
    put(p, arena_printf(&p->arena, "%s/size", at), "2048\n");
    put(p, arena_printf(&p->arena, "%s/dev", at), dev);
    put(p, arena_printf(&p->arena, "%s/ro", at), "0\n");
    put(p, arena_printf(&p->arena, "%s/removable", at), "0\n");
    put(p, arena_printf(&p->arena, "%s/device/type", at), type);
    put(p, arena_printf(&p->arena, "%s/device/vendor", at), "ACME    \n");
    put(p, arena_printf(&p->arena, "%s/device/model", at), "Disk\n");
}

/* A stick, a drive for CDs, a disk with a partition, and what is none of these. */
static void play_open(struct play *p, const char *location)
{
    *p = (struct play){.root = "/tmp/xapid-udev-XXXXXX"};
    p->call.arena = &p->arena;
    assert_non_null(mkdtemp(p->root));
    put_disk(p, USB, "sdb", "8:16\n", "0\n");
    link_to(p,
            "../../devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host3/target3:0:0/3:0:0:0/"
            "block/sdb",
            "/sys/class/block/sdb");
    put_disk(p, "", "sr0", "11:0\n", "5\n");
    put_disk(p, "", "sdc", "8:32\n", "0\n");
    put(p, "/sys/class/block/sdc/sdc1/partition", "1\n");
    put(p, "/sys/class/block/sdc/sdc1/dev", "8:33\n");
    put(p, "/sys/class/block/sdc1/size", "2000\n");
    put(p, "/sys/class/block/sdc1/partition", "1\n");
    put(p, "/dev/sdc1", "");
    put(p, "/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    put(p, "/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
    link_to(p, "../../sdb", STICK);
    link_to(p, "../../sdb", "/dev/disk/by-id/wwn-0x1");
    link_to(p, "../../sr0", DRIVE);
    link_to(p, "../../sdc", INNER);
    link_to(p, "../../sdc1", INNER "-part1");
    link_to(p, "../../gone", "/dev/disk/by-id/ata-Gone_4");
    link_to(p, "../../../etc/passwd", "/dev/disk/by-id/not-one");
    p->site = (struct sr_site){.system_root = p->root};
    p->sr = (struct sr_handle){
        .driver = &sr_udev,
        .site = &p->site,
        .uuid = SR_UUID,
        .device_config = strmap_with(&p->arena, (struct strmap){0}, "location", location)};
}

static void play_close(struct play *p)
{
    RUN(p, "rm", "-rf", p->root);
    arena_release(&p->arena);
}

/* The locations of a scan, with blanks between them. */
static const char *scanned(struct play *p)
{
    const char *text = "";
    struct vdi_info *v;
    size_t n;

    assert_null(sr_udev.attach(&p->call, &p->sr));
    assert_null(sr_udev.scan(&p->call, &p->sr, &n, &v));
    for (size_t i = 0; i < n; i++)
        text = arena_printf(&p->arena, "%s%s%s", text, i ? " " : "", v[i].location);
    return text;
}

static void a_folder_of_names_shows_each_whole_disk_once(void **state)
{
    struct play p;

    (void)state;
    play_open(&p, "/dev/disk/by-id");
    assert_string_equal(scanned(&p), DRIVE " " INNER " " STICK);
    play_close(&p);
    play_open(&p, "/dev/xapi/cd");
    assert_string_equal(scanned(&p), DRIVE);
    play_close(&p);
    play_open(&p, "/dev/xapi/block");
    assert_string_equal(scanned(&p), STICK);
    play_close(&p);
}

static void a_disk_is_described_by_the_kernel(void **state)
{
    struct vdi_info stick, drive;
    struct sr_stat_info stat;
    struct play p;

    (void)state;
    play_open(&p, "/dev/disk/by-id");
    assert_null(sr_udev.vdi_stat(&p.call, &p.sr, STICK, &stick));
    assert_null(sr_udev.vdi_stat(&p.call, &p.sr, DRIVE, &drive));
    assert_int_equal(stick.virtual_size, MIB);
    assert_string_equal(stick.name_label, "ACME Disk");
    assert_string_equal(strmap_get(&stick.sm_config, "usb_path"), "1-2");
    assert_false(stick.read_only);
    assert_true(drive.read_only);
    assert_int_equal(strlen(drive.uuid), 36);
    assert_string_not_equal(drive.uuid, stick.uuid);
    assert_null(sr_udev.stat(&p.call, &p.sr, &stat));
    assert_int_equal(stat.physical_size, 3 * MIB);
    play_close(&p);
}

static void what_the_host_uses_itself_is_not_shown(void **state)
{
    struct play p;

    (void)state;
    play_open(&p, "/dev/disk/by-id");
    put(&p, "/proc/self/mountinfo", "30 1 8:33 / /data rw - ext4 /dev/sdc1 rw\n");
    assert_string_equal(scanned(&p), DRIVE " " STICK);
    put(&p, "/proc/self/mountinfo", "");
    put(&p, "/proc/swaps", "Filename Type\n/dev/sdc1 partition\n");
    assert_string_equal(scanned(&p), DRIVE " " STICK);
    put(&p, "/proc/swaps", "");
    put(&p, "/sys/class/block/sdc/holders/dm-0", "");
    assert_string_equal(scanned(&p), DRIVE " " STICK);
    RUN(&p, "rm", in(&p, "/sys/class/block/sdc/holders/dm-0"));
    assert_string_equal(scanned(&p), DRIVE " " INNER " " STICK);
    play_close(&p);
}

static void what_comes_and_goes_is_seen(void **state)
{
    struct vdi_info info;
    struct vdi_path path;
    struct error *e;
    struct play p;

    (void)state;
    play_open(&p, "/dev/xapi/block");
    RUN(&p, "rm", in(&p, "/dev/sdb"));
    assert_string_equal(scanned(&p), "");
    e = sr_udev.vdi_attach(&p.call, &p.sr, STICK, true, &path);
    assert_true(error_is(e, "VDI_MISSING"));
    assert_string_equal(e->params[1], STICK);
    RUN(&p, "rm", "-r", in(&p, "/dev/disk"));
    assert_string_equal(scanned(&p), "");
    link_to(&p, "../../sdb", STICK);
    put(&p, "/dev/sdb", "");
    assert_null(sr_udev.vdi_stat(&p.call, &p.sr, STICK, &info));
    play_close(&p);
}

static void drives_are_only_read(void **state)
{
    struct vdi_path path;
    struct error *e;
    struct play p;

    (void)state;
    play_open(&p, "/dev/disk/by-id");
    assert_true(error_is(sr_udev.vdi_attach(&p.call, &p.sr, DRIVE, true, &path), "VDI_READONLY"));
    assert_null(sr_udev.vdi_attach(&p.call, &p.sr, DRIVE, false, &path));
    assert_string_equal(path.path, in(&p, DRIVE));
    assert_string_equal(path.format, "raw");
    assert_null(sr_udev.vdi_attach(&p.call, &p.sr, STICK, true, &path));
    put(&p, "/sys/class/block/sr0/size", "0\n");
    e = sr_udev.vdi_attach(&p.call, &p.sr, DRIVE, false, &path);
    assert_true(error_is(e, "SR_BACKEND_FAILURE_46"));
    assert_non_null(strstr(e->params[1], "no medium"));
    play_close(&p);
}

static void a_location_is_a_folder_of_dev(void **state)
{
    static const char *const bad[] = {"/etc", "/dev/../etc", "dev/disk", "/devices"};
    struct vdi_info info;
    struct play p;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        play_open(&p, bad[i]);
        assert_true(error_is(sr_udev.create(&p.call, &p.sr, 0), "SR_BACKEND_FAILURE_1"));
        play_close(&p);
    }
    play_open(&p, "");
    assert_true(error_is(sr_udev.create(&p.call, &p.sr, 0), "SR_BACKEND_FAILURE_94"));
    play_close(&p);
    play_open(&p, "/dev/disk/by-id");
    assert_true(error_is(sr_udev.vdi_stat(&p.call, &p.sr, "/dev/disk/by-id/../../sdb", &info),
                         "VDI_MISSING"));
    assert_true(error_is(sr_udev.vdi_stat(&p.call, &p.sr, "/dev/sdb", &info), "VDI_MISSING"));
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_of_names_shows_each_whole_disk_once),
        cmocka_unit_test(a_disk_is_described_by_the_kernel),
        cmocka_unit_test(what_the_host_uses_itself_is_not_shown),
        cmocka_unit_test(what_comes_and_goes_is_seen),
        cmocka_unit_test(drives_are_only_read),
        cmocka_unit_test(a_location_is_a_folder_of_dev),
    };

    return cmocka_run_group_tests_name("storage udev", tests, NULL, NULL);
}
