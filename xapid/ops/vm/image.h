/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.h -- the memory image of a suspended VM, on its way between the hypervisor and a disk.
 *
 * The hypervisor reads and writes images as plain files, and most SRs keep disks in a format of
 * their own: then the image passes through a file in <state_dir>/images, named after the operation.
 * Where the disk is a plain file or device the hypervisor uses it directly.
 */
#pragma once

#include "xapid/ops/op.h"
#include "xapid/ops/storage/vdi_ops.h"

struct vm_image {
    struct op *op; /* NULL: nothing held */
    ref_t vdi;     /* attached; a row of the database.  Null: the file is all there is */
    struct vdi_path disk;
    const char *path; /* where the hypervisor writes or reads */
    bool direct;      /* that is the disk itself */
    bool aside;       /* the domain it was saved from is gone (aside.h) */
};

/* Key of the disk's other_config with the number of bytes that are the image; without it all are.
 */
#define VM_IMAGE_SIZE_KEY "xapid:image-size"

/* Bytes a disk needs to hold the image of the VM. */
int64_t vm_image_room(const struct vm *vm);

/* suspend_SR of the VM, else the pool's, else the host's: VM_NO_SUSPEND_SR. */
MUST_CHECK struct error *vm_image_choose_sr(struct call *call, const struct vm *vm, ref_t *sr);
/* The disk of an image; for vdi_plan_check. */
struct vdi_plan vm_image_plan(ref_t vdi, ref_t sr, int64_t size);
/* Makes and records it; then, or at any time after a crash, removes it. */
MUST_CHECK struct error *vm_image_make_disk(struct op *op, ref_t vdi, ref_t sr, int64_t size);
MUST_CHECK struct error *vm_image_drop_disk(struct call *call, ref_t vdi, ref_t sr);
/* The end of an operation after which that image is no VM's any more: removes it and commits.  What
 * storage refuses now is tried again later, without a hold on the VM.  'image' null: there is none.
 */
MUST_CHECK struct error *vm_image_end(struct op *op, ref_t image);
/* The same where the operation failed and is undone; a disk that was never recorded may be left. */
void vm_image_undo(struct op *op, ref_t image, ref_t sr);
/* Records how much of the disk is the image. */
void txn_vm_image_size(struct txn *txn, ref_t vdi, int64_t size);

/* A path for hv_save; 'vdi' null: for an image that needs no disk.  An earlier daemon may have left
 * the file, with the image in it. */
MUST_CHECK struct error *vm_image_for_writing(struct op *op, ref_t vdi, struct vm_image *out);
/* True if there is something to store: after a crash. */
bool vm_image_exists(const struct vm_image *image);
/* After hv_save: makes it durable on the disk.  *size: bytes of the image. */
MUST_CHECK struct error *vm_image_store(struct vm_image *image, int64_t *size);

/* A path for hv_restore, with the image of that disk. */
MUST_CHECK struct error *vm_image_for_reading(struct op *op, ref_t vdi, struct vm_image *out);
/* Guard: removes the file and detaches the disk; where the op's outcome is unknown both stay. */
void vm_image_release(struct vm_image *image);
/* At start, after recovery: files of operations that are no more go, for a crash may have come
 * between an image and its guard. */
void vm_images_sweep(struct call *call);
