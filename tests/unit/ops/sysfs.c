/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysfs.c -- what is read of devices, and the names of pci.ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "xapid/ops/devices/sysfs.h"

static const char ids[] = "# names\n"
                          "10de  NVIDIA Corporation\n"
                          "\t13f2  GM204GL\n"
                          "\t\t10de 113a  A board\n"
                          "\t13f3  Another\n"
                          "8086  Intel Corporation\n"
                          "\t13f2  Of Intel\n"
                          "C 03  Display controller\n"
                          "\t00  VGA compatible controller\n";

struct fixture {
    struct arena arena;
    char root[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->root, "/tmp/xapid-sysfs-XXXXXX");
    *state = f;
    return mkdtemp(f->root) ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int status = system(arena_printf(&f->arena, "rm -rf %s", f->root));

    arena_release(&f->arena);
    free(f);
    return status;
}

static void put(struct fixture *f, const char *folder, const char *file, const char *text)
{
    char *path = arena_printf(&f->arena, "%s/%s", f->root, folder);
    FILE *out;

    for (char *p = path + strlen(f->root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        mkdir(path, 0755);
    }
    mkdir(path, 0755);
    out = fopen(arena_printf(&f->arena, "%s/%s", path, file), "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void put_pci(struct fixture *f, const char *id, const char *class_id)
{
    char *folder = arena_printf(&f->arena, "bus/pci/devices/%s", id);

    put(f, folder, "class", class_id);
    put(f, folder, "vendor", "0x10de\n");
    put(f, folder, "device", "0x13f2\n");
}

static void functions_come_in_order_and_bridges_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct pci_facts *v;

    put_pci(f, "0000:05:00.0", "0x030000\n");
    put_pci(f, "0000:04:00.1", "0x040300\n");
    put_pci(f, "0000:00:1f.0", "0x060100\n");
    assert_int_equal(sysfs_pci(&f->arena, f->root, &v), 2);
    assert_string_equal(v[0].id, "0000:04:00.1");
    assert_string_equal(v[1].class_id, "0300");
    assert_string_equal(v[1].vendor_id, "10de");
    assert_string_equal(v[1].driver, "");
}

static void what_does_not_look_like_a_function_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct pci_facts *v;

    put_pci(f, "0000:05:00", "0x030000\n");
    put_pci(f, "virtio0", "0x030000\n");
    put_pci(f, "0000:05:00.1", "nonsense\n");
    put_pci(f, "0000:05:00.2", "0x03\n");
    assert_int_equal(sysfs_pci(&f->arena, f->root, &v), 0);
    assert_int_equal(sysfs_pci(&f->arena, "/nowhere", &v), 0);
}

static void put_usb(struct fixture *f, const char *path, const char *class_id, const char *product)
{
    char *folder = arena_printf(&f->arena, "bus/usb/devices/%s", path);

    put(f, folder, "idVendor", "046d\n");
    put(f, folder, "idProduct", "0825\n");
    put(f, folder, "busnum", "3\n");
    put(f, folder, "devnum", "7\n");
    put(f, folder, "speed", "1.5\n");
    put(f, folder, "bDeviceClass", class_id);
    put(f, folder, "product", product);
}

static void usb_devices_are_told_without_hubs_and_without_what_they_must_not_say(void **state)
{
    struct fixture *f = *state;
    struct usb_facts *v;

    put_usb(f, "1-2.3", "00\n", "A \033[31mcamera  \n");
    put_usb(f, "1-2", "09\n", "a hub\n");
    put_usb(f, "usb1", "00\n", "a root\n");
    put_usb(f, "1-2:1.0", "00\n", "an interface\n");
    assert_int_equal(sysfs_usb(&f->arena, f->root, &v), 1);
    assert_string_equal(v[0].path, "1-2.3");
    assert_string_equal(v[0].product, "A ?[31mcamera");
    assert_int_equal(v[0].bus, 3);
    assert_int_equal(v[0].address, 7);
    assert_true(v[0].speed > 1.4 && v[0].speed < 1.6);
}

static void keyboards_stay_with_the_host(void **state)
{
    struct fixture *f = *state;
    struct usb_facts *v;

    put_usb(f, "1-4", "00\n", "a keyboard\n");
    put(f, "bus/usb/devices/1-4/1-4:1.0", "bInterfaceClass", "03\n");
    put(f, "bus/usb/devices/1-4/1-4:1.0", "bInterfaceSubClass", "01\n");
    assert_int_equal(sysfs_usb(&f->arena, f->root, &v), 0);
    put(f, "bus/usb/devices/1-4/1-4:1.0", "bInterfaceSubClass", "00\n");
    assert_int_equal(sysfs_usb(&f->arena, f->root, &v), 1);
}

static void names_belong_to_their_vendor_and_class(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;

    assert_string_equal(pci_ids_vendor(a, ids, "10de"), "NVIDIA Corporation");
    assert_string_equal(pci_ids_device(a, ids, "10de", "13f3"), "Another");
    assert_string_equal(pci_ids_device(a, ids, "8086", "13f2"), "Of Intel");
    assert_null(pci_ids_device(a, ids, "8086", "13f3"));
    assert_null(pci_ids_vendor(a, ids, "ffff"));
    assert_string_equal(pci_ids_class(a, ids, "0300"), "VGA compatible controller");
    assert_string_equal(pci_ids_class(a, ids, "0380"), "Display controller");
    assert_null(pci_ids_class(a, ids, "0200"));
    assert_null(pci_ids_vendor(a, "", "10de"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(functions_come_in_order_and_bridges_not_at_all, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_does_not_look_like_a_function_is_left_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            usb_devices_are_told_without_hubs_and_without_what_they_must_not_say, setup, teardown),
        cmocka_unit_test_setup_teardown(keyboards_stay_with_the_host, setup, teardown),
        cmocka_unit_test_setup_teardown(names_belong_to_their_vendor_and_class, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
