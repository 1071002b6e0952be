/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block.c -- xapid-block, the hotplug script of disks: libxl runs "xapid-block add" and "...
 * remove" with the backend's place in xenstore in XENBUS_PATH.
 *
 * It tells the kernel's backend which device to serve.  Xen's own script, a shell program, does the
 * same by fifty processes under one lock for all disks, which on a busy host takes longer than
 * libxl waits; and it refuses a device to a second guest, also where both are to share it.  Who may
 * have a disk has been decided by xapid before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <xenstore.h>

#define PATH_BYTES 512

struct backend {
    struct xs_handle *xs;
    const char *path;
};

static bool put(const struct backend *b, const char *key, const char *value)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", b->path, key);
    return xs_write(b->xs, XBT_NULL, path, value, (unsigned)strlen(value));
}

/* Where libxl and `xenstore-ls` look for the reason. */
static int fail(const struct backend *b, const char *why)
{
    fprintf(stderr, "xapid-block: %s\n", why);
    put(b, "hotplug-error", why);
    put(b, "hotplug-status", "error");
    return EXIT_FAILURE;
}

static int add(const struct backend *b)
{
    char path[PATH_BYTES], number[32], why[2 * PATH_BYTES];
    struct stat st;
    unsigned n = 0;
    char *device;

    snprintf(path, sizeof path, "%s/params", b->path);
    device = xs_read(b->xs, XBT_NULL, path, &n);
    if (!device)
        return fail(b, "xenstore does not say which device it is");
    if (stat(device, &st) < 0 || !S_ISBLK(st.st_mode)) {
        snprintf(why, sizeof why, "%s is no block device", device);
        return fail(b, why);
    }
    snprintf(number, sizeof number, "%x:%x", major(st.st_rdev), minor(st.st_rdev));
    /* The kernel acts on physical-device. */
    if (!put(b, "physical-device-path", device) || !put(b, "physical-device", number) ||
        !put(b, "hotplug-status", "connected"))
        return fail(b, "xenstore refuses to be written to");
    free(device);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct backend b = {.path = getenv("XENBUS_PATH")};

    if (argc != 2 || !b.path) {
        fputs("usage: XENBUS_PATH=PATH xapid-block add|remove\n", stderr);
        return 2;
    }
    /* The backend lets go of the device by itself. */
    if (strcmp(argv[1], "add") != 0)
        return EXIT_SUCCESS;
    b.xs = xs_open(0);
    if (!b.xs) {
        fputs("xapid-block: xenstore does not answer\n", stderr);
        return EXIT_FAILURE;
    }
    return add(&b);
}
