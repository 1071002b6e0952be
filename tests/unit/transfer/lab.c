/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libxapi/base/memory.h"

static struct error *take(struct sink *sink, struct call *call, const void *p, size_t n)
{
    (void)call;
    buf_add(&container_of(sink, struct lab, sink)->out, p, n);
    return OK;
}

int lab_setup(void **state)
{
    struct lab *lab = xcalloc(1, sizeof *lab);

    lab->call.arena = &lab->arena;
    lab->sink.write = take;
    *state = lab;
    return 0;
}

int lab_teardown(void **state)
{
    struct lab *lab = *state;

    buf_release(&lab->out);
    arena_release(&lab->arena);
    free(lab);
    return 0;
}

void lab_read_back(struct lab *lab, struct memory_source *source)
{
    memory_source_init(source, lab->out.data, lab->out.len);
}

struct vdi_io *lab_disk(struct lab *lab, int64_t size)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);
    struct vdi_path path = {.format = "raw"};
    struct vdi_io *io;

    assert_true(fd >= 0 && ftruncate(fd, size) == 0);
    path.path = arena_printf(&lab->arena, "/proc/self/fd/%d", fd);
    assert_null(vdi_io_open(&lab->call, &path, true, &io));
    close(fd);
    return io;
}

void lab_fill(void *p, size_t n, uint32_t seed)
{
    uint8_t *bytes = p;

    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}
