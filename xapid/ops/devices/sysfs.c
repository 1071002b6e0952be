/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/devices/sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/value/value.h"

#define DEVICES_LIMIT 4096
#define LINE_LIMIT 255
#define PCI_ID_LENGTH 12

/*** files ***/

/* The first line, in printable ASCII: a device says of itself what it likes. */
static const char *read_line(struct arena *arena, const char *folder, const char *file)
{
    char *text = arena_alloc(arena, LINE_LIMIT + 1);
    int fd = open(arena_printf(arena, "%s/%s", folder, file), O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, LINE_LIMIT) : 0;

    if (fd >= 0)
        close(fd);
    text[MAX(n, (ssize_t)0)] = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (char *p = text; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    for (size_t end = strlen(text); end && text[end - 1] == ' '; end--)
        text[end - 1] = '\0';
    return text;
}

/* The last part of what a link points to; "" where there is none. */
static const char *link_name(struct arena *arena, const char *folder, const char *link)
{
    char target[PATH_MAX];
    ssize_t n = readlink(arena_printf(arena, "%s/%s", folder, link), target, sizeof target - 1);
    const char *slash;

    if (n <= 0)
        return "";
    target[n] = '\0';
    slash = strrchr(target, '/');
    return arena_strdup(arena, slash ? slash + 1 : target);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in a folder, in order; none where it cannot be read. */
static size_t list(struct arena *arena, const char *folder, const char ***out)
{
    const char **v = arena_array(arena, const char *, DEVICES_LIMIT);
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    size_t n = 0;

    while (dir && n < DEVICES_LIMIT && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            v[n++] = arena_strdup(arena, entry->d_name);
    if (dir)
        closedir(dir);
    qsort(v, n, sizeof *v, by_name);
    *out = v;
    return n;
}

static bool all_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)s[i]))
            return false;
    return true;
}

/* The first four digits of "0x..."; NULL where there are not so many. */
static const char *hex4(struct arena *arena, const char *text, size_t digits)
{
    if (strncmp(text, "0x", 2) != 0 || strlen(text) != digits + 2 || !all_hex(text + 2, digits))
        return NULL;
    return arena_strndup(arena, text + 2, 4);
}

/*** PCI ***/

bool pci_driver_is_backend(const char *driver)
{
    return strcmp(driver, "pciback") == 0 || strcmp(driver, "xen-pciback") == 0;
}

static bool pci_id_ok(const char *id)
{
    return strlen(id) == PCI_ID_LENGTH && all_hex(id, 4) && id[4] == ':' && all_hex(id + 5, 2) &&
           id[7] == ':' && all_hex(id + 8, 2) && id[10] == '.' && all_hex(id + 11, 1);
}

/* Bridges, and timers and the like: nothing that could be given away. */
static bool belongs_to_board(const char *class_id)
{
    return strncmp(class_id, "05", 2) == 0 || strncmp(class_id, "06", 2) == 0 ||
           strncmp(class_id, "08", 2) == 0;
}

static bool read_pci(struct arena *arena, const char *folder, const char *id, struct pci_facts *out)
{
    const char *subvendor, *subdevice;

    if (!pci_id_ok(id))
        return false;
    folder = arena_printf(arena, "%s/%s", folder, id);
    subvendor = hex4(arena, read_line(arena, folder, "subsystem_vendor"), 4);
    subdevice = hex4(arena, read_line(arena, folder, "subsystem_device"), 4);
    *out = (struct pci_facts){
        .id = id,
        .class_id = hex4(arena, read_line(arena, folder, "class"), 6),
        .vendor_id = hex4(arena, read_line(arena, folder, "vendor"), 4),
        .device_id = hex4(arena, read_line(arena, folder, "device"), 4),
        .subvendor_id = subvendor ? subvendor : "",
        .subdevice_id = subdevice ? subdevice : "",
        .driver = link_name(arena, folder, "driver"),
        .parent = link_name(arena, folder, "physfn"),
        .boot_display = strcmp(read_line(arena, folder, "boot_vga"), "1") == 0,
    };
    return out->class_id && out->vendor_id && out->device_id && !belongs_to_board(out->class_id);
}

size_t sysfs_pci(struct arena *arena, const char *root, struct pci_facts **out)
{
    const char *folder = arena_printf(arena, "%s/bus/pci/devices", root);
    const char **names;
    size_t all = list(arena, folder, &names), n = 0;
    struct pci_facts *v = arena_array(arena, struct pci_facts, all + 1);

    for (size_t i = 0; i < all; i++)
        if (read_pci(arena, folder, names[i], &v[n]))
            n++;
    *out = v;
    return n;
}

/*** USB ***/

/* "1-2.3"; neither a root hub ("usb1") nor an interface ("1-2:1.0"). */
static bool usb_path_ok(const char *name)
{
    size_t digits = strspn(name, "0123456789");

    return digits && name[digits] == '-' && name[digits + 1] &&
           name[digits + 1 + strspn(name + digits + 1, "0123456789.")] == '\0';
}

static bool is_class(struct arena *arena, const char *folder, const char *file, const char *value)
{
    return strcasecmp(read_line(arena, folder, file), value) == 0;
}

/* An interface of class HID that a firmware can use, too. */
static bool is_console_input(struct arena *arena, const char *folder, const char *path)
{
    const char **names;
    size_t n = list(arena, folder, &names), length = strlen(path);

    for (size_t i = 0; i < n; i++) {
        const char *interface = arena_printf(arena, "%s/%s", folder, names[i]);

        if (strncmp(names[i], path, length) == 0 && names[i][length] == ':' &&
            is_class(arena, interface, "bInterfaceClass", "03") &&
            is_class(arena, interface, "bInterfaceSubClass", "01"))
            return true;
    }
    return false;
}

static int number(struct arena *arena, const char *folder, const char *file)
{
    int64_t value;

    return int_from_text(read_line(arena, folder, file), &value) && value > 0 && value < 1000
               ? (int)value
               : 0;
}

static bool read_usb(struct arena *arena, const char *folder, const char *path,
                     struct usb_facts *out)
{
    if (!usb_path_ok(path))
        return false;
    folder = arena_printf(arena, "%s/%s", folder, path);
    *out = (struct usb_facts){
        .path = path,
        .vendor_id = read_line(arena, folder, "idVendor"),
        .product_id = read_line(arena, folder, "idProduct"),
        .vendor = read_line(arena, folder, "manufacturer"),
        .product = read_line(arena, folder, "product"),
        .serial = read_line(arena, folder, "serial"),
        .version = read_line(arena, folder, "version"),
        .bus = number(arena, folder, "busnum"),
        .address = number(arena, folder, "devnum"),
    };
    out->version += strspn(out->version, " ");
    if (!double_from_text(read_line(arena, folder, "speed"), &out->speed) || out->speed <= 0)
        out->speed = -1;
    return strlen(out->vendor_id) == 4 && all_hex(out->vendor_id, 4) &&
           strlen(out->product_id) == 4 && all_hex(out->product_id, 4) && out->bus &&
           out->address && !is_class(arena, folder, "bDeviceClass", "09") &&
           !is_console_input(arena, folder, path);
}

size_t sysfs_usb(struct arena *arena, const char *root, struct usb_facts **out)
{
    const char *folder = arena_printf(arena, "%s/bus/usb/devices", root);
    const char **names;
    size_t all = list(arena, folder, &names), n = 0;
    struct usb_facts *v = arena_array(arena, struct usb_facts, all + 1);

    for (size_t i = 0; i < all; i++)
        if (read_usb(arena, folder, names[i], &v[n]))
            n++;
    *out = v;
    return n;
}
