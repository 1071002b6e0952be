/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk.c -- what sysfs says of a block device, and whether the host itself uses it. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/common/words.h"
#include "storage-repos/udev/udev.h"

#define OPTICAL "5" /* a SCSI device type */

/* A file of the device's folder. */
static const char *attribute(struct call *call, const char *folder, const char *name)
{
    return sr_small_file(call, arena_printf(call->arena, "%s/%s", folder, name), 0);
}

static bool has(struct call *call, const char *folder, const char *name)
{
    return access(arena_printf(call->arena, "%s/%s", folder, name), F_OK) == 0;
}

/* ---- whether the host uses it ---- */

static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    bool empty = true;

    while (d && empty && (entry = readdir(d)) != NULL)
        empty = entry->d_name[0] == '.';
    if (d)
        closedir(d);
    return empty;
}

/* Whether a word of a line of the file, counted from 0, is this one. */
static bool is_listed(const char *path, int at, const char *word)
{
    FILE *f = fopen(path, "re");
    bool found = false;
    char *line = NULL;
    size_t room = 0;

    while (f && !found && getline(&line, &room, f) >= 0) {
        char *save = NULL, *w = strtok_r(line, " \t\n", &save);

        for (int i = 0; w && i < at; i++)
            w = strtok_r(NULL, " \t\n", &save);
        found = w && strcmp(w, word) == 0;
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

/* A device or a partition of it. */
static bool is_used(struct call *call, const char *system_root, const char *folder)
{
    const char *name = strrchr(folder, '/') + 1;

    return !is_empty(arena_printf(call->arena, "%s/holders", folder)) ||
           is_listed(arena_printf(call->arena, "%s/proc/self/mountinfo", system_root), 2,
                     attribute(call, folder, "dev")) ||
           is_listed(arena_printf(call->arena, "%s/proc/swaps", system_root), 0,
                     arena_printf(call->arena, "/dev/%s", name));
}

static bool is_of_the_host(struct call *call, const char *system_root, const char *folder)
{
    DIR *d = opendir(folder);
    bool used = is_used(call, system_root, folder);
    struct dirent *entry;

    while (d && !used && (entry = readdir(d)) != NULL) {
        const char *part = arena_printf(call->arena, "%s/%s", folder, entry->d_name);

        used = entry->d_name[0] != '.' && has(call, part, "partition") &&
               is_used(call, system_root, part);
    }
    if (d)
        closedir(d);
    return used;
}

/* ---- what it is ---- */

/* The port, "1-2", is before the first interface, "1-2:1.0", of what the folder's real path says.
 */
static const char *usb_path(struct call *call, const char *folder)
{
    char real[PATH_MAX] = "", *save = NULL;
    const char *last = "";

    if (!realpath(folder, real) || !strstr(real, "/usb"))
        return "";
    for (char *word = strtok_r(real, "/", &save); word; word = strtok_r(NULL, "/", &save)) {
        size_t n = strlen(last);

        if (n && strncmp(word, last, n) == 0 && word[n] == ':')
            return arena_strdup(call->arena, last);
        last = word;
    }
    return "";
}

bool udev_disk_read(struct call *call, const char *system_root, const char *kernel_name,
                    struct udev_disk *out)
{
    const char *folder =
        arena_printf(call->arena, "%s/sys/class/block/%s", system_root, kernel_name);
    const char *vendor, *model;

    if (!has(call, folder, "size") || has(call, folder, "partition") ||
        is_of_the_host(call, system_root, folder))
        return false;
    vendor = attribute(call, folder, "device/vendor");
    model = attribute(call, folder, "device/model");
    *out = (struct udev_disk){
        .kernel_name = kernel_name,
        .title = arena_printf(call->arena, "%s%s%s", vendor, *vendor && *model ? " " : "", model),
        .usb_path = usb_path(call, folder),
        .size = 512 * strtoll(attribute(call, folder, "size"), NULL, 10),
        .optical = strcmp(attribute(call, folder, "device/type"), OPTICAL) == 0,
        .removable = strcmp(attribute(call, folder, "removable"), "1") == 0,
        .read_only = strcmp(attribute(call, folder, "ro"), "1") == 0};
    out->removable |= out->usb_path[0] != '\0';
    out->read_only |= out->optical;
    return true;
}
