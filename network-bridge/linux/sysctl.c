/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "network-bridge/linux/linux.h"

int sysctl_write(const char *family, const char *device, const char *name, int value)
{
    char path[160], text[16];
    int fd, err = 0, n = snprintf(text, sizeof text, "%d\n", value);

    snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", family, device, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (write(fd, text, (size_t)n) != n)
        err = errno;
    close(fd);
    return err;
}
