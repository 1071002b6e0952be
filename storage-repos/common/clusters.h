/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clusters.h -- reading a chain of qcow2 images straight from their files.
 *
 * It is for those who read a whole disk, which through a server costs two more copies of every byte
 * and turns the processor over to that server and back.  Only what is plainly there is read: what
 * is compressed, looks damaged, or is not known here is left to qemu.
 *
 * Whoever uses it holds the images as a reader of qemu's does, by having one open on the same
 * chain: so nobody writes to them but who may (storage-repos/dir/coalesce.c), for whom what is said
 * there of readers holds here too, since these files stay open, and a map that has grown old still
 * names clusters that are as they were.
 */
#pragma once

#include "libxapi/base/base.h"

struct call;
struct clusters;

/* NULL where some image of the chain is not one that this can read. */
struct clusters *clusters_open(struct call *call, const char *path);
/* Reads some of the n bytes at 'offset', which lie within the disk: how many; 0 where somebody else
 * has to. */
size_t clusters_read(struct clusters *c, int64_t offset, void *buf, size_t n);
void clusters_close(struct clusters *c);
