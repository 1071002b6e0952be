/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * datapath.h -- how this host serves the disks that are attached on it.
 *
 * Each disk is served by a qemu-storage-daemon of its own, which opens the image, its parents with
 * it, and shows the content as a raw file (FUSE) or as a block device (the kernel's NBD client).
 * That is what the hypervisor gets, so that what lies below can change while a guest runs: a
 * snapshot is a command to the server, and the guest notices nothing.
 *
 * A server belongs to nobody: it lives on when the daemon ends, however that ends.  All that is
 * known of it is in <dir>/<name>/, so that nothing has to be remembered:
 *   lock   held (by fcntl) by the server itself from before its first line to its death
 *   disk   the raw file (FUSE)             pid    its process, written once it serves
 *   qmp    its control socket              nbd    its NBD socket
 *   serves JSON: which image, how, and the block device
 * Every function can be repeated after a crash at any line.  Different disks may be asked for at
 * once by different threads, one disk only by one (but datapath_follow may run beside
 * datapath_detach).
 *
 * A server that was killed takes with it what its guest wrote since its last flush, and the guest
 * may not go on without that: so nothing is ever put in the place of a dead server while somebody
 * uses the disk.  The guest sees I/O errors until it is started again.
 */
#pragma once

#include "storage-repos/sr.h"

enum datapath_kind {
    DATAPATH_NONE, /* images are given to the hypervisor as they are */
    DATAPATH_FUSE,
    DATAPATH_NBD,
    DATAPATH_SOCKET, /* the NBD server's socket, for tests: as NBD, without the kernel */
};

struct datapath;

/* 'dir' is made when the first disk is attached; copied.  Starts and opens nothing. */
struct datapath *datapath_new(const char *dir, enum datapath_kind kind);
/* Servers go on.  NULL is fine. */
void datapath_free(struct datapath *dp);
/* How long datapath_mirror_hold waits for users to leave it a moment; 20 seconds if it is not said.
 */
void datapath_set_patience(struct datapath *dp, usec_t patience);
/* "none", "fuse", "nbd", "socket"; false for anything else. */
bool datapath_kind_from_text(const char *text, enum datapath_kind *out);
/* Its folder and kind, for another process that works on the same disks. */
const char *datapath_dir(const struct datapath *dp);
const char *datapath_kind_text(const struct datapath *dp);

struct datapath_disk {
    const char *name;           /* of its folder: the disk's uuid */
    const char *image, *format; /* absolute; "qcow2", "raw", "vhd" */
    bool writable;
};

/*
 * Serves a disk and says where.  One that is served already, by this image and at least so
 * writable, stays as it is; nobody may use it if it has to be started again for more.  'out' is in
 * the call's arena.
 */
MUST_CHECK struct error *datapath_attach(struct call *call, struct datapath *dp,
                                         const struct datapath_disk *disk, struct vdi_path *out);
/*
 * The same for a disk that a domain already has: it is found, never started.  *alive is false where
 * its server has died: the path is one that gives errors.
 */
MUST_CHECK struct error *datapath_adopt(struct call *call, struct datapath *dp,
                                        const struct datapath_disk *disk, bool *alive,
                                        struct vdi_path *out);
/* A better way for vdi_io to read a disk that is served than the path its users have: where there
 * is one, it takes the place of that. */
void datapath_source(struct call *call, struct datapath *dp, const char *name,
                     struct vdi_path *path);
/* The users of a disk whose server has died get errors, where they would wait for it for ever (the
 * kernel's NBD client does).  Nothing where it lives. */
MUST_CHECK struct error *datapath_give_up(struct call *call, struct datapath *dp, const char *name);
/* The I/O of a disk that is served goes before or behind others', as ioprio_set(2) has it: each of
 * its server's threads gets this priority, and those it makes later inherit it. */
MUST_CHECK struct error *datapath_prefer(struct call *call, struct datapath *dp, const char *name,
                                         int priority);
/* Flushes, ends the server and removes its folder.  Not an error where there is none. */
MUST_CHECK struct error *datapath_detach(struct call *call, struct datapath *dp, const char *name);

/* What there is of one disk. */
struct datapath_state {
    const char *name, *image;
    bool alive; /* its server */
    bool writable;
    pid_t pid; /* 0 where it is not known */
};
/* All disks that have a folder, in no order. */
MUST_CHECK struct error *datapath_list(struct call *call, struct datapath *dp, size_t *n,
                                       struct datapath_state **out);

/* Whether an image (by path) is open for writing by a server of ours that lives. */
bool datapath_writes(struct call *call, struct datapath *dp, const char *image);
/*
 * The image's name has been given to another file, an empty image whose parent is the file that had
 * the name before: from the moment this does, writes go to the new file, and all that was
 * acknowledged before it is in the old one, durably.  Nothing where that was done already, or where
 * no server has the image.  On failure the server goes on with the old file, which is right as long
 * as nothing else is put upon that; it may also have been done.
 */
MUST_CHECK struct error *datapath_follow(struct call *call, struct datapath *dp, const char *image);
/* Grows a disk that is served, and what users see of it. */
MUST_CHECK struct error *datapath_resize(struct call *call, struct datapath *dp, const char *image,
                                         int64_t size);

/*
 * A disk that is served, for writing, moves to another image while its users write:
 *
 *   datapath_mirror          what it holds is copied, and what users write meanwhile
 *   datapath_mirror_look     until it is MIRROR_READY: the two images differ in next to nothing
 *   datapath_mirror_hold     users wait; both images are the same, the copy durably so
 *   datapath_mirror_end      users go on, with the copy or with the disk as it was
 *
 * Between the last two the caller decides, and records, which of the two is the disk.  A server
 * that dies before is started with the one, after that with the other; nothing that its users were
 * told is lost either way.  None of it with FUSE, whose exports cannot be held.
 */
enum mirror_phase {
    MIRROR_NONE,    /* none is under way */
    MIRROR_COPYING, /* 'done' of it, 0 to 1; it may begin anew */
    MIRROR_READY,
    MIRROR_HELD,
    MIRROR_BROKEN, /* 'why'; users go on with the disk as it was */
};
struct datapath_mirror {
    enum mirror_phase phase;
    double done;
    const char *why; /* the arena's */
};
/*
 * 'to' has the disk's name, and an image that was made for it; its format may be "nbd": 'image' is
 * then a socket where that is served as "disk".  'top': only what the disk's own image holds is
 * copied, for the copy has the rest already.  Nothing where one is under way.
 */
MUST_CHECK struct error *datapath_mirror(struct call *call, struct datapath *dp,
                                         const struct datapath_disk *to, bool top);
MUST_CHECK struct error *datapath_mirror_look(struct call *call, struct datapath *dp,
                                              const char *name, struct datapath_mirror *out);
/* One that was MIRROR_READY.  Not *held: its users leave it no moment in which the images are the
 * same; so it is copied once more, in a way by which they become it, until MIRROR_READY again. */
MUST_CHECK struct error *datapath_mirror_hold(struct call *call, struct datapath *dp,
                                              const char *name, bool *held);
/*
 * Goes on with 'to', or where that is NULL with the disk as it was; what is not needed any more is
 * closed.  Can be repeated, and is nothing where the server has died.
 */
MUST_CHECK struct error *datapath_mirror_end(struct call *call, struct datapath *dp,
                                             const char *name, const struct datapath_disk *to);
