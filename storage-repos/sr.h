/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sr.h -- what a storage driver must be able to do.
 *
 * The caller holds the lock (an operation on SR or VDI), has checked allowed operations and the
 * driver's features.  A driver does storage work and nothing else: it never touches the database
 * and never logs errors it returns.  Every function must be safe to repeat after a crash: creating
 * what exists with the same location and deleting what is gone are no errors.
 *
 * Order: attach, (vdi_*)*, detach.  detach is called once for each successful attach.  create and
 * destroy work on a repository that is not attached.  Several threads may call at once for
 * different VDIs of one attached repository.
 *
 * Undoing instead of repeating: vdi_delete of the new location, and for vdi_fork of
 * 'spec->location' and then of 'base', removes whatever an interrupted vdi_create, vdi_copy or
 * vdi_fork left behind.
 *
 * Errors.  VDI_MISSING, VDI_IN_USE, VDI_READONLY, VDI_TOO_SMALL, VDI_TOO_LARGE carry the location
 * in the place of the VDI. SR_FULL where the space did not suffice; TASK_CANCELLED where 'progress'
 * said no; SR_BACKEND_FAILURE_<n> for the rest, its second parameter being a sentence with details.
 * Everything returned lives in the call's arena.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

struct call;
struct child;
struct datapath;

enum sr_feature {
    SR_F_CREATE = 1 << 0,
    SR_F_SCAN = 1 << 1,
    SR_F_PROBE = 1 << 2,
    SR_F_UPDATE = 1 << 3,
    SR_F_STATS = 1 << 4,
    SR_F_VDI_CREATE = 1 << 5,
    SR_F_VDI_DELETE = 1 << 6,
    SR_F_VDI_ATTACH = 1 << 7,
    SR_F_VDI_RESIZE = 1 << 8,
    SR_F_VDI_RESIZE_ONLINE = 1 << 9,
    SR_F_VDI_CLONE = 1 << 10,
    SR_F_VDI_SNAPSHOT = 1 << 11,
    SR_F_VDI_INTRODUCE = 1 << 12,
    SR_F_THIN = 1 << 13,
    SR_F_VDI_REVERT = 1 << 14, /* vdi_replace */
    SR_F_VDI_RESET = 1 << 15,
    SR_F_VDI_CBT = 1 << 16, /* vdi_strip, vdi_changed */
    SR_F_VDI_COALESCE = 1 << 17,
};

struct sr_driver;
struct sr_handle;
struct datapath_disk;

/*
 * Storage whose metadata hosts change one at a time (sr_driver.in_turns).  A turn's name is
 * "POOL.NUMBER.HOST": in one pool a later turn of another host has a greater NUMBER, as text.
 */
struct sr_turns {
    /* Waits for this host's turn.  NULL for one that needs none: nobody else knows the repository
     * yet.  Names live as long as the call. */
    struct error *(*take)(struct call *call, const struct sr_handle *sr, const char **name,
                          void **turn);
    /* 'ended': what was begun in it has.  Otherwise it stays this host's until that is known. */
    void (*give)(void *turn, bool ended);
};

/* What this host lends to drivers whose calls run in a process of their own (apart/apart.h). */
struct sr_site {
    const char *program;     /* xapid-storage */
    const char *mounts;      /* where network storage is mounted, a folder for each repository */
    const char *system_root; /* put before the paths of the host's programs; "" on a real host */
    usec_t timeout;          /* how long storage may take to answer */
    const struct sr_turns *turns; /* NULL: no other host has the storage */
};

/* An attached repository, owned by the caller. */
struct sr_handle {
    const struct sr_driver *driver;
    const char *uuid;            /* of the SR */
    struct strmap device_config; /* of this host's PBD */
    void *state;                 /* driver->state_size bytes */
    struct datapath *datapath;   /* how this host serves its disks; NULL: it does not */
    const struct sr_site *site;  /* NULL in tests of drivers that need none */
    bool crowded; /* other processes may be at work in it: attach clears nothing of theirs away */
    bool shared;  /* other hosts have it too */
    const char
        *turn; /* of a driver in turns: this call's; "": it has none yet; NULL: it needs none */
};

struct sr_stat_info {
    int64_t physical_size, physical_utilisation; /* bytes */
};

/* A virtual disk as the driver sees it.  No string is NULL. */
struct vdi_info {
    const char *location; /* unique in the SR; chosen by the caller at creation */
    const char *uuid;     /* "" where the storage does not keep one */
    int64_t virtual_size, physical_utilisation; /* bytes */
    bool read_only;
    const char *name_label, *name_description; /* as kept in the storage, "" if not */
    const char *parent;                        /* location of the image below, "" if none */
    bool hidden;                               /* an inner node of a chain: not a VDI for users */
    bool stripped; /* its data was destroyed (vdi_strip): nothing but vdi_changed knows it */
    bool unknown;  /* of a scan: it is there, and could not be read now; only 'location' is right */
    const char *damaged; /* unknown: what is wrong with its file; NULL or "": that may pass */
    struct strmap sm_config;
};

struct vdi_spec {
    const char *location; /* chosen in advance, so that a retry after a crash finds what it made */
    const char *name_label, *name_description; /* NULL is "" */
    int64_t virtual_size; /* bytes; the driver may round up.  Only vdi_create looks at it. */
    struct strmap sm_config;
};

/* In which blocks a disk may differ from another one: a bit for each, the highest of a byte first.
 */
#define VDI_BLOCK ((int64_t)64 * 1024)
struct vdi_changes {
    int64_t n_blocks;
    size_t n; /* bytes */
    uint8_t *bits;
};

/* How the hypervisor reaches a disk. */
struct vdi_path {
    /* "qcow2", "raw"; for vdi_io also "nbd": the path is a socket where the disk is read as "disk"
     */
    const char *path, *format;
    bool remote; /* what is behind it may stop to answer: the daemon itself does not open it */
    int fd;      /* "nbd": a connection to such a socket, in the place of the path; 0: none */
};

/* Two images that are to become one. */
struct vdi_coalesce {
    const char *location; /* the upper one, whose name and content it has */
    const char *base;     /* the hidden one that it lies on, alone */
    int64_t speed;        /* bytes a second; 0: as fast as it goes */
};

/* What a probe finds: a repository, or a place where one could be. */
struct sr_found {
    const char *uuid; /* "" where there is none yet */
    struct strmap device_config;
    bool complete; /* the settings suffice to use it */
};
struct sr_probe {
    const char *xml;      /* what SR.probe answers */
    struct error *answer; /* or the error it answers with, which carries what was found */
    size_t n;
    struct sr_found *v;
};

/* A slot behind a feature the driver lacks may be NULL. */
struct sr_driver {
    const char *type; /* SR.type: "ext", "file", "iso" */
    const char *name_label, *description;
    unsigned features; /* enum sr_feature */
    size_t state_size; /* bytes of driver state, zeroed before attach */
    const struct strpair
        *config_help; /* device_config keys with their help; ends with a NULL key */
    /* Why it cannot be shared, as a sentence's end; NULL: it can.  No function: it can. */
    const char *(*one_host)(const struct strmap *device_config);
    bool in_turns; /* hosts that share it change it one at a time (struct sr_turns) */

    /* Makes the repository ready for first use (directories, marks). */
    MUST_CHECK struct error *(*create)(struct call *call, struct sr_handle *sr,
                                       int64_t physical_size);
    /* Removes the repository's own structure; fails with SR_NOT_EMPTY where VDIs remain. */
    MUST_CHECK struct error *(*destroy)(struct call *call, struct sr_handle *sr);
    MUST_CHECK struct error *(*attach)(struct call *call, struct sr_handle *sr);
    void (*detach)(struct call *call, struct sr_handle *sr);
    /* After detach, where the host shall not keep what attach has left for disks in use (a mount);
     * nobody uses one any more.  May be NULL. */
    void (*leave)(struct call *call, struct sr_handle *sr);
    /* Whether that is still there, from an earlier daemon: then the repository counts as attached
     * without its storage being asked, for guests may be using it.  NULL: it is asked. */
    bool (*remains)(struct call *call, const struct sr_handle *sr);
    /* Looks for storage by settings that may be incomplete; nothing is attached. */
    MUST_CHECK struct error *(*probe)(struct call *call, struct sr_handle *sr,
                                      struct sr_probe *out);
    MUST_CHECK struct error *(*stat)(struct call *call, struct sr_handle *sr,
                                     struct sr_stat_info *out);
    /* All images, hidden ones too, ordered by location.  What is broken or could not be read is
     * logged and there as 'unknown', for one bad block says nothing of the other disks, and a disk
     * that cannot be read is not gone; foreign files are left out. */
    MUST_CHECK struct error *(*scan)(struct call *call, struct sr_handle *sr, size_t *n,
                                     struct vdi_info **out);

    MUST_CHECK struct error *(*vdi_create)(struct call *call, struct sr_handle *sr,
                                           const struct vdi_spec *spec, struct vdi_info *info);
    /*
     * Removes it, and hidden images that nothing needs any more; but where very many images would
     * have to be looked at for that, those stay until one of them is deleted itself.  VDI_IN_USE
     * where other images lie on top of it or where a process has it open for writing.
     */
    MUST_CHECK struct error *(*vdi_delete)(struct call *call, struct sr_handle *sr,
                                           const char *location);
    MUST_CHECK struct error *(*vdi_stat)(struct call *call, struct sr_handle *sr,
                                         const char *location, struct vdi_info *info);
    /* Grows to 'size' bytes; never shrinks. */
    MUST_CHECK struct error *(*vdi_resize)(struct call *call, struct sr_handle *sr,
                                           const char *location, int64_t size,
                                           struct vdi_info *info);
    /*
     * Freezes the present content of 'location' as a shared parent 'base' (hidden) and makes
     * 'spec->location' a second child of it: both then hold the same data.  Serves snapshot and
     * clone.  Where 'location' holds nothing of its own the new disk may lie on the same parent,
     * and there is no 'base'.  Both new locations are chosen in advance.  A repeat after a crash at
     * any point completes it.
     *
     * Nobody but the data path may have 'location' open for writing: an open writer would go on
     * writing into what is now the base.  Drivers refuse with VDI_IN_USE where they can see one.
     * The data path is told to go on with the new image, so that a guest may write all the while.
     */
    MUST_CHECK struct error *(*vdi_fork)(struct call *call, struct sr_handle *sr,
                                         const char *location, const char *base,
                                         const struct vdi_spec *spec, struct vdi_info *info);
    /*
     * Gives 'location' the content and the size of 'by', which is gone then; the names stay those
     * of 'location'.  At every moment the disk has the one content or the other.  Where there is no
     * 'by', it was done before.  VDI_IN_USE as for vdi_delete.
     */
    MUST_CHECK struct error *(*vdi_replace)(struct call *call, struct sr_handle *sr,
                                            const char *location, const char *by,
                                            struct vdi_info *info);
    /* Throws away what was written to the disk since it was forked last; its size stays. VDI_IN_USE
     * as for vdi_delete. */
    MUST_CHECK struct error *(*vdi_reset)(struct call *call, struct sr_handle *sr,
                                          const char *location);
    /*
     * Destroys the data of a disk that nothing lies upon, but keeps what vdi_changed needs to know
     * of it, until vdi_delete.  VDI_IN_USE as for that.
     */
    MUST_CHECK struct error *(*vdi_strip)(struct call *call, struct sr_handle *sr,
                                          const char *location);
    /*
     * The blocks of 'to' that may hold something else than 'from' does there; all that do are among
     * them.  Those that 'from' is too small for count as changed.  Either may be stripped.  Nobody
     * may write to them.  An error where the two have nothing in common.
     */
    MUST_CHECK struct error *(*vdi_changed)(struct call *call, struct sr_handle *sr,
                                            const char *from, const char *to,
                                            struct vdi_changes *out);
    /*
     * A full copy without shared parents.  'progress' (may be NULL) gets the part done, 0 to 1, at
     * least about once a second, on the calling thread; false cancels, and nothing remains.  NULL:
     * the caller copies into what vdi_create makes.
     */
    MUST_CHECK struct error *(*vdi_copy)(struct call *call, struct sr_handle *sr,
                                         const char *location, const struct vdi_spec *spec,
                                         struct vdi_info *info,
                                         bool (*progress)(void *ctx, double done), void *ctx);
    /*
     * Makes one image of a hidden one and the only one that lies on it.  Whoever reads or writes
     * that, or what lies upon it, finds at every moment what he would have found; nobody else has
     * to wait, for locks are held for moments only.  VDI_IN_USE where that cannot be now: somebody
     * writes to it, or has done something else with it meanwhile.  Then nothing is lost, and it can
     * be tried again; also after a crash and after TASK_CANCELLED.  Where there is no 'base', it
     * was done before.
     *
     * Once it has begun vdi_reset of 'location' fails, for what that goes back to is no more: the
     * caller coalesces no disk that is to be reset.  Where stripped disks lie on 'base' it is
     * VDI_IN_USE.  'progress' as for vdi_copy.
     */
    MUST_CHECK struct error *(*vdi_coalesce)(struct call *call, struct sr_handle *sr,
                                             const struct vdi_coalesce *what,
                                             bool (*progress)(void *ctx, double done), void *ctx);
    /* Names and the like, kept in the storage so that a scan rebuilds records.  May be NULL. */
    MUST_CHECK struct error *(*vdi_describe)(struct call *call, struct sr_handle *sr,
                                             const char *location, const char *name_label,
                                             const char *name_description);
    /* The path a guest or an import uses.  Several attaches of one disk are the caller's matter. */
    MUST_CHECK struct error *(*vdi_attach)(struct call *call, struct sr_handle *sr,
                                           const char *location, bool writable,
                                           struct vdi_path *out);
    void (*vdi_detach)(struct call *call, struct sr_handle *sr, const char *location);
    /* datapath_attach, where that must not be done by the daemon.  NULL: the daemon does it. */
    MUST_CHECK struct error *(*vdi_serve)(struct call *call, struct sr_handle *sr,
                                          const struct datapath_disk *disk, struct vdi_path *out);
    /* The same of datapath_mirror, to an image of this repository. */
    MUST_CHECK struct error *(*vdi_mirror)(struct call *call, struct sr_handle *sr,
                                           const struct datapath_disk *to, bool top);
};

/* All drivers, in storage-repos/common/drivers.c; NULL at the end. */
extern const struct sr_driver *const sr_drivers[];
/* By SR.type, or NULL. */
const struct sr_driver *sr_driver_by_type(const char *type);
/* The one that serves these settings, where they decide about it: ISO images lie on this host or on
 * another one. */
const struct sr_driver *sr_driver_for(const char *type, const struct strmap *device_config);

/*
 * Raw content of a disk, for import and export: blocking, on worker threads, one thread at a time.
 * Opened on a vdi_path, whose path may also be one of qemu's "json:" descriptions. Errors are
 * VDI_IO_ERROR(text), and SR_FULL where the storage has no room; a call that gets no answer for
 * minutes fails, and the vdi_io with it.  Whatever is behind it dies with the daemon.
 */
struct vdi_io;
MUST_CHECK struct error *vdi_io_open(struct call *call, const struct vdi_path *path, bool writable,
                                     struct vdi_io **out);
/* Bytes. */
int64_t vdi_io_size(const struct vdi_io *io);
/* Reads exactly n bytes; beyond the end is an error. */
MUST_CHECK struct error *vdi_io_read(struct call *call, struct vdi_io *io, int64_t offset,
                                     void *buf, size_t n);
/*
 * The first run of bytes from 'offset' to 'limit' that may be other than zero; 'limit' to 'limit'
 * where there is none.  It may be cut short: what follows it is to be asked for again.
 */
MUST_CHECK struct error *vdi_io_data(struct call *call, struct vdi_io *io, int64_t offset,
                                     int64_t limit, int64_t *start, int64_t *end);
/* The run of data that was found last; zeroed before the first question. */
struct vdi_run {
    int64_t start, end;
};
/* The first byte from 'offset' on that may be other than zero; INT64_MAX: none is, or the disk ends
 * before.  The offsets asked for rise. */
MUST_CHECK struct error *vdi_io_next(struct call *call, struct vdi_io *io, struct vdi_run *run,
                                     int64_t offset, int64_t *next);
/*
 * Opens a qcow2 image only to ask which image holds what: vdi_io_map calls 'see' for each run of
 * bytes from 'offset' on, as vdi_image_depths does for the whole.
 */
MUST_CHECK struct error *vdi_io_open_map(struct call *call, const struct vdi_path *path,
                                         struct vdi_io **out);
MUST_CHECK struct error *vdi_io_map(struct call *call, struct vdi_io *io, int64_t offset, int64_t n,
                                    void (*see)(void *ctx, int64_t offset, int64_t n,
                                                uint32_t depth),
                                    void *ctx);
/*
 * Of a qcow2 image: calls 'see' for each run of bytes with the number of images, from this one
 * downwards, that have to be looked into until one of them holds it; 0: none does.
 */
MUST_CHECK struct error *vdi_image_depths(struct call *call, const char *image,
                                          void (*see)(void *ctx, int64_t offset, int64_t n,
                                                      uint32_t depth),
                                          void *ctx);
/*
 * Some of it may still be on its way when the call returns: that it could not be written a later
 * call says, vdi_io_flush at the latest, and all after that one fail.  What is read is what was
 * written.
 */
MUST_CHECK struct error *vdi_io_write(struct call *call, struct vdi_io *io, int64_t offset,
                                      const void *buf, size_t n);
/* Makes it zero where it may not be, deallocating where possible. */
MUST_CHECK struct error *vdi_io_zero(struct call *call, struct vdi_io *io, int64_t offset,
                                     int64_t n);
/* Makes what was written durable; without it what was written last may be lost when it is closed.
 */
MUST_CHECK struct error *vdi_io_flush(struct call *call, struct vdi_io *io);
/* Ends it; what was not flushed may be lost.  When it returns nobody holds the image any more. NULL
 * is fine. */
void vdi_io_close(struct vdi_io *io);

/* A connection on which somebody else may talk NBD about a disk, which is "disk" there. */
struct vdi_server {
    int fd; /* 0: none */
    struct child *child;
};
/* Serves that one connection alone; 'writable' of what is no "nbd" already. */
MUST_CHECK struct error *vdi_serve(struct call *call, const struct vdi_path *path, bool writable,
                                   struct vdi_server *out);
/* Guard: when it returns nobody holds the image any more. */
void vdi_server_release(struct vdi_server *server);
