/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm.h -- repositories that are a volume group: each disk is a logical volume.
 *
 * The group is VG_XenStorage-<uuid of the SR>.  In it, for a VDI with uuid U:
 * - VDI-U: the disk: a qcow2 image, or its raw content; the same, hidden, for what disks lie upon
 * - new-U: work in progress: never read, overwritten by a repeat, removed with U
 * - leaf-U, old-U: one of them beside or instead of VDI-U: a change of U was interrupted (repair.c)
 * - pool: where the disks are thin, what they take their space from
 *
 * What is known of a disk is in the tags of its volume (tags.h), so LVM's metadata are all there is
 * to read: its changes are atomic and durable, and each step of ours is one of them.
 *
 * A thick disk takes all that its image can become, from the moment it can be written; what is only
 * read is cut down to what it holds.
 *
 * Where hosts share a group they change its metadata in turns (sr.h): the group has the system ID
 * "xapid.TURN" of the one who changed it last, and LVM itself refuses each command of whoever has
 * another one, so a host that was given up while it slept does no harm when it wakes.  What is only
 * read or made active needs no turn.
 *
 * The driver is for a process that makes one call of it (../apart): attach takes the repository's
 * lock on this host, which detach gives back.
 */
#pragma once

#include "storage-repos/sr.h"

/* What works in the storage process, under the type that is served.  device_config: device, the
 * physical volumes with commas between them; allocation: thick or thin. */
extern const struct sr_driver lvm_volumes;

/* Whether the SR type is one of volume groups. */
bool lvm_serves(const char *type);
/* Whether this host has it attached; nothing but a folder of its own is asked: "UUID.TYPE" in that
 * of mounts, with marks of its disks in use. */
bool lvm_is_attached(struct call *call, const char *mounts, const char *type, const char *uuid);
/* Whether a call has failed for want of a turn (sr.h), and nothing was changed. */
bool lvm_wants_turn(const struct error *e);
/* What attach has left for disks in use goes: no volume is active any more. */
MUST_CHECK struct error *lvm_leave(struct call *call, struct sr_handle *sr);
