/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block.c -- xapid-block, the hotplug script of disks: libxl runs "xapid-block add" and "...
 * remove" with the backend's place in xenstore in XENBUS_PATH.
 *
 * It tells the kernel's backend which device to serve.  Xen's own script, a shell program, does the
 * same by fifty processes under one lock for all disks, which on a busy host takes longer than
 * libxl waits; and it refuses a device to a second guest, also where both are to share it.  Who may
 * have a disk has been decided by xapid before.  A file (a CD image, say, that is only read) gets a
 * loop device for as long as the guest has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xenstore.h>

#define PATH_BYTES 512
/* Others may take the same free loop device first. */
#define LOOP_TRIES 64

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

/* What xenstore has below the backend's place, to be freed, or NULL. */
static char *get(const struct backend *b, const char *key)
{
    char path[PATH_BYTES];
    unsigned n = 0;

    snprintf(path, sizeof path, "%s/%s", b->path, key);
    return xs_read(b->xs, XBT_NULL, path, &n);
}

/* False where somebody else was faster, or with errno otherwise. */
static bool loop_configure(const char *loop, const char *file)
{
    struct loop_config config = {.info.lo_flags = LO_FLAGS_READ_ONLY};
    int device = open(loop, O_RDONLY | O_CLOEXEC), image = open(file, O_RDONLY | O_CLOEXEC), rc;

    config.fd = (unsigned)image;
    rc = device < 0 || image < 0 ? -1 : ioctl(device, LOOP_CONFIGURE, &config);
    if (image >= 0)
        close(image);
    if (device >= 0)
        close(device);
    return rc == 0;
}

/* A loop device that reads the file: its path in 'out'.  False with errno. */
static bool loop_add(const char *file, char out[PATH_BYTES])
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    bool done = false;

    if (control < 0)
        return false;
    for (int i = 0; i < LOOP_TRIES && !done; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        if (number < 0)
            break;
        snprintf(out, PATH_BYTES, "/dev/loop%d", number);
        done = loop_configure(out, file);
        if (!done && errno != EBUSY)
            break;
    }
    close(control);
    return done;
}

/* The kernel keeps it until the backend has closed it. */
static void loop_remove(const char *loop)
{
    int device = open(loop, O_RDONLY | O_CLOEXEC);

    if (device < 0)
        return;
    ioctl(device, LOOP_CLR_FD, 0);
    close(device);
}

static int serve(const struct backend *b, const char *device)
{
    char number[32], why[2 * PATH_BYTES];
    struct stat st;

    if (stat(device, &st) < 0 || !S_ISBLK(st.st_mode)) {
        snprintf(why, sizeof why, "%s is no block device", device);
        return fail(b, why);
    }
    snprintf(number, sizeof number, "%x:%x", major(st.st_rdev), minor(st.st_rdev));
    /* The kernel acts on physical-device. */
    if (!put(b, "physical-device-path", device) || !put(b, "physical-device", number) ||
        !put(b, "hotplug-status", "connected"))
        return fail(b, "xenstore refuses to be written to");
    return EXIT_SUCCESS;
}

static int add(const struct backend *b)
{
    char loop[PATH_BYTES], why[2 * PATH_BYTES];
    char *path = get(b, "params");
    struct stat st;
    int status;

    if (!path)
        return fail(b, "xenstore does not say which device it is");
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
        status = serve(b, path);
    } else if (!loop_add(path, loop)) {
        snprintf(why, sizeof why, "%s gets no loop device: %s", path, strerror(errno));
        status = fail(b, why);
    } else {
        status = serve(b, loop);
        if (status != EXIT_SUCCESS)
            loop_remove(loop);
    }
    free(path);
    return status;
}

/* The backend lets go of a device by itself; a loop device is ours. */
static int take_away(const struct backend *b)
{
    char *path = get(b, "params"), *device = get(b, "physical-device-path");

    if (path && device && strcmp(path, device) != 0)
        loop_remove(device);
    free(path);
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
    b.xs = xs_open(0);
    if (!b.xs) {
        fputs("xapid-block: xenstore does not answer\n", stderr);
        return EXIT_FAILURE;
    }
    return strcmp(argv[1], "add") == 0 ? add(&b) : take_away(&b);
}
