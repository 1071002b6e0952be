/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attach.h -- which storage repositories and disks this host has attached.
 *
 * struct sr_table (struct xapid.srs) is the only owner of attached struct sr_handle.  Each use of a
 * repository is counted: one that is in use cannot be detached.  Disks are counted too, so that the
 * driver sees one attach and one detach of each however many users there are.  Everything here may
 * be called from any thread and blocks on the driver, never with the table's lock held.
 */
#pragma once

#include "libxapi/base/buf.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/sr.h"
#include "xapid/db/db.h"

struct sr_table;
struct sr_entry;

/* 'site' is copied, but not its strings. */
struct sr_table *sr_table_new(const struct sr_site *site);
/* From now on disks are given to the hypervisor through the data path, whose folder 'dir' is.
 * Before anything is attached. */
void sr_table_serve(struct sr_table *table, const char *dir, enum datapath_kind kind);
/* Detaches everything from the daemon, not from domains; nobody may use it any more. */
void sr_table_free(struct sr_table *table);

/*
 * At start, before operations are recovered: attaches every SR whose PBD on this host is recorded
 * as attached.  One that cannot be is recorded as detached, with the reason (shared.h); storage of
 * other machines does not hold up the rest.  The disks of domains that
 * exist are counted afterwards (vm/disks.h, vm_disks_adopt).
 */
MUST_CHECK struct error *srs_attach_all(struct call *call);
/* Asks the drivers of the attached SRs of this machine for their sizes, which are written lazily.
 */
void srs_refresh_sizes(struct call *call);

/* Attaches; secrets named by <key>_secret are looked up for the driver.  Nothing if it is attached.
 */
MUST_CHECK struct error *sr_attach(struct call *call, ref_t sr, const struct strmap *device_config);
/* The same for an SR that has no row yet.  SR_UNKNOWN_DRIVER. */
MUST_CHECK struct error *sr_attach_as(struct call *call, ref_t sr, const char *type,
                                      const char *uuid, bool shared,
                                      const struct strmap *device_config);
/* Detaches; VDI_IN_USE while something uses it, nothing if it is not attached. */
MUST_CHECK struct error *sr_detach(struct call *call, ref_t sr);
bool sr_is_attached(struct xapid *xapid, ref_t sr);
/* One call of this host at a time has a turn at the repository, or is in line for one (turn.h): a
 * second one waits.  Nothing where it is not attached, for then there is only one. */
MUST_CHECK struct error *sr_turn_enter(struct call *call, ref_t sr);
void sr_turn_exit(struct call *call, ref_t sr);

/* An attached repository in use by this scope: it stays attached until released. */
struct sr_use {
    struct sr_handle *handle;
    struct sr_entry *entry;
    struct sr_table *table;
};
/* SR_HAS_NO_PBDS or SR_NOT_ATTACHED where this host does not have it. */
MUST_CHECK struct error *sr_use(struct call *call, ref_t sr, struct sr_use *out);
void sr_use_release(struct sr_use *use);

/* A handle that is not in the table, for create and destroy; memory of the arena.
 * SR_UNKNOWN_DRIVER. */
MUST_CHECK struct error *sr_handle_new(struct call *call, const char *type, const char *uuid,
                                       const struct strmap *device_config, struct sr_handle *out);
/* Asks the driver for the sizes of an SR and writes them lazily. */
MUST_CHECK struct error *sr_refresh_sizes(struct call *call, ref_t sr);

/*
 * How a domain or an import reaches a disk; 'out' lives in the call's arena.  Counted: each success
 * needs one vdi_path_detach.  The caller has checked that the disk may be used so (vdi_ops.h,
 * txn_vdi_check_attach).  Errors name the VDI by its reference.
 */
MUST_CHECK struct error *vdi_path_attach(struct call *call, ref_t vdi, bool writable,
                                         struct vdi_path *out);
/* The same for what is only read, by vdi_io: where the data path could say which blocks hold
 * nothing, it does. */
MUST_CHECK struct error *vdi_path_read(struct call *call, ref_t vdi, struct vdi_path *out);
/* vdi_path_attach at start of the daemon, for a disk that a domain has: it is found as it is, and
 * logged where it no longer works. */
MUST_CHECK struct error *vdi_path_adopt(struct call *call, ref_t vdi, bool writable);
/* Whether somebody here uses the disk. */
bool vdi_is_attached(struct call *call, ref_t vdi);
/* Whether the disk is attached here through the data path: then it can be forked while a guest
 * writes to it. */
bool vdi_is_served(struct call *call, ref_t vdi);
/* What a disk that is served here has taken is durable when this returns: its server may be ended,
 * or die.  An error where it has died already, with what nobody had asked it to flush.  Nothing for
 * a disk that is not served. */
MUST_CHECK struct error *vdi_flush(struct call *call, ref_t vdi);
/* From now on I/O of a disk that is served goes before or behind others' (ioprio_set(2)); nothing
 * for 0.  A failure is logged: nobody has to wait for it. */
void vdi_prefer(struct call *call, ref_t vdi, int priority);
/* What is attached here and how often it is in use, for people: one line for each SR and disk. */
void srs_describe(struct call *call, struct buf *out);
/* At start of the daemon, once everything that is in use is attached again: ends the servers of
 * disks that nobody uses. */
void srs_end_servers(struct call *call);
/* Logs the servers that have died since this was asked last; every now and then. */
void srs_check_servers(struct call *call);
/* A disk that is in use here is in another repository now, and its users reach it as before;
 * nothing where it is not. */
void vdi_path_moved(struct call *call, ref_t vdi, ref_t sr, const char *location);
/* How this host serves disks; NULL: it does not. */
struct datapath *srs_datapath(struct xapid *xapid);
/* A disk that is not attached is no error. */
void vdi_path_detach(struct call *call, ref_t vdi);

/* A driver's error with the references of the SR and the VDI where the driver knows only uuid and
 * location.  OK stays OK. */
MUST_CHECK struct error *vdi_error(struct call *call, struct error *e, ref_t sr, ref_t vdi);
