/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A qcow2 image whose clusters are read without qemu: another host of a shared directory, or a
 * broken disk, may have written it.  Its parent, where it names one, is itself. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/common/clusters.h"

#define READ_SIZE 3000 /* ends amid clusters */
#define READS 64
/* Also where an image of that size has no table for it. */
#define JUMP ((int64_t)1 << 34)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/xapid-fuzz-XXXXXX", path[64];

static void remove_dir(void)
{
    unlink(path);
    rmdir(dir);
}

/* The name of a file with that content. */
static const char *file_of(const uint8_t *data, size_t size)
{
    int fd;

    if (!*path) {
        if (!mkdtemp(dir))
            abort();
        snprintf(path, sizeof path, "%s/image", dir);
        atexit(remove_dir);
    }
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct clusters *clusters = clusters_open(&call, file_of(data, size));
    char *buf = malloc(READ_SIZE);

    for (int64_t i = 0, at = 0; clusters && i < READS; i++) {
        size_t n = clusters_read(clusters, at, buf, READ_SIZE);

        if (n > READ_SIZE)
            abort();
        at += n ? (int64_t)n : READ_SIZE;
        if (i == READS / 2)
            at = JUMP;
    }
    clusters_close(clusters);
    free(buf);
    return 0;
}
