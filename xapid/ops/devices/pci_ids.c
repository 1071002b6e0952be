/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci_ids.c -- the names of PCI vendors, devices and classes, in the form of the pci.ids file:
 *
 *     vvvv  Vendor
 *     <tab>dddd  Device
 *     <tab><tab>ssss dddd  Board
 *     C cc  Class
 *     <tab>ss  Subclass
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "xapid/ops/devices/sysfs.h"

#define FILE_LIMIT ((size_t)8 << 20)
#define NAME_LIMIT 255

static const char *next_line(const char *p)
{
    p = strchr(p, '\n');
    return p ? p + 1 : NULL;
}

/* What follows "<key>  " on a line; NULL where the line does not begin so. */
static const char *rest_of(const char *line, const char *key)
{
    size_t n = strlen(key);

    return strncasecmp(line, key, n) == 0 && line[n] == ' ' ? line + n + strspn(line + n, " ")
                                                            : NULL;
}

/* Printable, to the end of the line. */
static const char *name_at(struct arena *arena, const char *p)
{
    size_t n = strcspn(p, "\r\n");
    char *name = arena_strndup(arena, p, n < NAME_LIMIT ? n : NAME_LIMIT);

    for (char *c = name; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return *name ? name : NULL;
}

/* The rest of the line that begins with the key, at the left edge. */
static const char *find_top(const char *text, const char *key)
{
    for (const char *p = text; p && *p; p = next_line(p)) {
        const char *rest = rest_of(p, key);

        if (rest)
            return rest;
    }
    return NULL;
}

/* The same one step in, beneath the line at which 'above' is. */
static const char *find_beneath(const char *above, const char *key)
{
    for (const char *p = next_line(above); p && (*p == '\t' || *p == '#'); p = next_line(p)) {
        const char *rest = *p == '\t' ? rest_of(p + 1, key) : NULL;

        if (rest)
            return rest;
    }
    return NULL;
}

const char *pci_ids_vendor(struct arena *arena, const char *text, const char *vendor)
{
    const char *found = find_top(text, vendor);

    return found ? name_at(arena, found) : NULL;
}

const char *pci_ids_device(struct arena *arena, const char *text, const char *vendor,
                           const char *device)
{
    const char *above = find_top(text, vendor);
    const char *found = above ? find_beneath(above, device) : NULL;

    return found ? name_at(arena, found) : NULL;
}

const char *pci_ids_class(struct arena *arena, const char *text, const char *class_id)
{
    const char *above, *found;

    if (strlen(class_id) != 4)
        return NULL;
    above = find_top(text, arena_printf(arena, "C %.2s", class_id));
    found = above ? find_beneath(above, class_id + 2) : NULL;
    return found ? name_at(arena, found) : above ? name_at(arena, above) : NULL;
}

static const char *read_file(struct arena *arena, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    char *text;
    ssize_t n;

    if (size <= 0 || (size_t)size > FILE_LIMIT) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    text = arena_alloc(arena, (size_t)size + 1);
    n = pread(fd, text, (size_t)size, 0);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

const char *pci_ids_text(struct arena *arena, const char *root)
{
    static const char *const places[] = {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"};
    const char *text = NULL;

    if (strcmp(root, "/sys") != 0)
        text = read_file(arena, arena_printf(arena, "%s/pci.ids", root));
    else
        for (size_t i = 0; i < ARRAY_SIZE(places) && !text; i++)
            text = read_file(arena, places[i]);
    return text ? text : "";
}
