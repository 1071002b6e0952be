/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.h -- which operations storage objects and virtual devices allow: one list of checks each,
 * used to refuse an operation with the right error and to compute allowed_operations.
 *
 * Each check is a mask of the operations it lets pass; the first that does not gives the error, in
 * the order of the XenAPI's reference implementation.  Bits are 1 << the class's enum.
 */
#pragma once

#include "xapid/db/db.h"

uint64_t vdi_allowed(const struct db_snap *snap, const struct vdi *vdi);
uint64_t sr_allowed(const struct db_snap *snap, const struct sr *sr);
uint64_t vbd_allowed(const struct db_snap *snap, const struct vbd *vbd);

/* OK, or why not. */
MUST_CHECK struct error *vdi_check(struct call *call, const struct db_snap *snap,
                                   const struct vdi *vdi, enum vdi_operations op);
MUST_CHECK struct error *sr_check(struct call *call, const struct db_snap *snap,
                                  const struct sr *sr, enum storage_operations op);
MUST_CHECK struct error *vbd_check(struct call *call, const struct db_snap *snap,
                                   const struct vbd *vbd, enum vbd_operations op);
/* The same inside a transaction, which then relies on the VBD, its VM and its disk. */
MUST_CHECK struct error *txn_vbd_check(struct txn *txn, ref_t vbd, enum vbd_operations op,
                                       const struct vbd **out);

/* Operations that only read a disk: they do not mind each other. */
#define VDI_READING (1ull << VDI_OP_COPY | 1ull << VDI_OP_LIST_CHANGED_BLOCKS)

/* The bits of what is under way. */
uint64_t current_bits(const struct enummap *current);
/* OTHER_OPERATION_IN_PROGRESS for the first of them. */
MUST_CHECK struct error *busy_error(struct call *call, int class_id, ref_t ref,
                                    const struct enum_desc *e, const struct enummap *current);
/*
 * VDI_IN_USE, whose second parameter says what was asked for and who has the disk: each VM that has
 * it attached and since when it runs, and each operation that holds it with its host, task and
 * epoch.
 */
MUST_CHECK struct error *vdi_used_error(struct call *call, const struct db_snap *snap, ref_t vdi,
                                        const char *operation);
/* A transaction that depends on who uses a disk: its VBDs and their VMs. */
void txn_rely_on_users(struct txn *txn, ref_t vdi);
/* True where the VM of a VBD is about to attach it, or to leave it. */
bool vbd_vm_is_changing(const struct db_snap *snap, const struct vbd *vbd);
/* Operations of a VM during which its devices are left alone. */
bool vm_is_changing(const struct vm *vm);

/* As its metrics say. */
bool host_lives(const struct db_snap *snap, ref_t host);
/* A host that lives and has the repository attached; null where there is none. */
ref_t sr_seen_by(const struct db_snap *snap, ref_t sr);
/* One that has both, this one if it has; null where there is none. */
ref_t srs_seen_by(struct call *call, ref_t a, ref_t b);
/* Whether it is plugged in on that host. */
bool sr_is_plugged(const struct db_snap *snap, ref_t sr, ref_t host);
/* OPERATION_NOT_ALLOWED, which says why, where a repository of that type with these settings is to
 * be shared and cannot be. */
MUST_CHECK struct error *sr_check_sharable(struct call *call, const char *type,
                                           const struct strmap *device_config);
/*
 * That this host can do what is done with a repository's storage: host_is_here of a host where it
 * is plugged in, of those that live; OK too where it is plugged in nowhere, which is another error.
 */
MUST_CHECK struct error *sr_is_here(struct call *call, const struct db_snap *snap, ref_t sr);
/* The same of a disk: a VM that runs with it says where. */
MUST_CHECK struct error *vdi_is_here(struct call *call, const struct db_snap *snap,
                                     const struct vdi *vdi);
