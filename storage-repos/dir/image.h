/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image.h -- within storage-repos/dir: files, sidecars, and the relations between images. */
#pragma once

#include <sys/stat.h>

#include "storage-repos/common/qcow2.h"
#include "storage-repos/dir/dir.h"

#define DIR_NAME_SIZE 64 /* fits every name made of a uuid */

/* What each slot of an attached repository begins with: an error unless it is still there. */
MUST_CHECK struct error *dir_check_there(struct call *call, const struct sr_handle *sr);

/* True for a uuid in lower case: the only locations there are, so that none can lead out of the
 * directory. */
bool dir_location_ok(const char *location);
/* The file names that belong to a location, which must be a good one. */
void dir_image_name(const char *location, char out[DIR_NAME_SIZE]);
void dir_meta_name(const char *location, char out[DIR_NAME_SIZE]);
void dir_trace_name(const char *location, char out[DIR_NAME_SIZE]);
/* 'what': "new", "leaf", "json" or "cbt". */
void dir_temp_name(const char *location, const char *what, char out[DIR_NAME_SIZE]);
/* The same with the directory before it, in the arena: for qemu. */
const char *dir_path(struct call *call, const struct dir_state *st, const char *name);
/* VDI_MISSING unless the location is a good one. */
MUST_CHECK struct error *dir_check_location(struct call *call, const struct sr_handle *sr,
                                            const char *location);

void dir_step(const struct dir_state *st, const char *name);
/* Makes the directory's entries durable. */
MUST_CHECK struct error *dir_sync(struct call *call, const struct dir_state *st);
/* Makes a file's content durable. */
MUST_CHECK struct error *dir_sync_file(struct call *call, const struct dir_state *st,
                                       const char *name);
/* Syncs the file, then gives it its name, replacing what had it, then syncs the directory. */
MUST_CHECK struct error *dir_publish(struct call *call, const struct dir_state *st,
                                     const char *temp, const char *name);
/* Removes a name; one that is gone is fine. */
MUST_CHECK struct error *dir_unlink(struct call *call, const struct dir_state *st,
                                    const char *name);
/* Makes an empty image of that name.  What the qemu-img of a daemon that was killed may still be
 * writing under it, and has locked, is a file without a name from now on. */
MUST_CHECK struct error *dir_make_temp(struct call *call, const struct dir_state *st,
                                       const char *temp, int64_t size, const char *backing);
/* Removes what interrupted work on a location left.  Failures are logged: a file left over does no
 * harm. */
void dir_remove_temps(const struct dir_state *st, const char *location);

/* The lock on relations; zeroed holds nothing. */
struct dir_lock {
    int fd;
};
MUST_CHECK struct error *dir_lock(struct call *call, const struct dir_state *st,
                                  struct dir_lock *out);
void dir_lock_release(struct dir_lock *lock);

/* What a sidecar keeps. */
struct dir_meta {
    bool found; /* there is one, and it is whole */
    const char *name_label, *name_description;
    struct strmap sm_config;
    bool hidden;
    bool changing; /* hidden, and not what it was any more: see coalesce.c */
};
/* Empty where there is none; a damaged one is logged and empty.  One that cannot be read now is an
 * error: whether the image is hidden, or what it is called, is not known then. */
MUST_CHECK struct error *dir_meta_read(struct call *call, const struct dir_state *st,
                                       const char *location, struct dir_meta *out);
/* Durable when it returns. */
MUST_CHECK struct error *dir_meta_write(struct call *call, const struct dir_state *st,
                                        const char *location, const struct dir_meta *meta);

/* What stays of a disk whose data was destroyed. */
struct dir_trace {
    const char *parent; /* location of the image that it lay on, "" for none */
    int64_t virtual_size;
    bool all; /* its own image held something: every block may differ */
};
/* '*good' is false where it is not what was written; one that cannot be read now is an error. */
MUST_CHECK struct error *dir_trace_read(struct call *call, const struct dir_state *st,
                                        const char *location, struct dir_trace *out, bool *good);
/* Durable when it returns. */
MUST_CHECK struct error *dir_trace_write(struct call *call, const struct dir_state *st,
                                         const char *location, const struct dir_trace *trace);

/* One *.qcow2 file, or a *.cbt file without one. */
struct dir_image {
    const char *location; /* the file name without its ending */
    bool good;            /* of ours and readable: else only these, 'why' and 'parent' are set */
    bool stripped;        /* not good, for there is no image; then also size and parent are set */
    bool all;             /* stripped: as in its trace */
    bool unread;          /* not good, and its parent is not known */
    bool failed;          /* unread, for a call failed: it may be a good one */
    const char *why;      /* what is wrong with it */
    ino_t inode;
    nlink_t links;
    int64_t virtual_size, physical; /* bytes */
    const char *parent;             /* location, "" if none */
    size_t children;                /* files that have it as parent */
};

/* All of them, ordered by location. */
struct dir_list {
    struct dir_image *v;
    size_t n;
    bool unsure; /* some file could not be read, so its parent is unknown: nothing may be called
                    unneeded */
};
/* 'loud': says in the log what is wrong with files that are not good. */
MUST_CHECK struct error *dir_list(struct call *call, const struct dir_state *st, bool loud,
                                  struct dir_list *out);
/* Those of the n locations that are there, and all that they lie upon; each counts as children only
 * what is among these.  Takes no longer where there are many others. */
MUST_CHECK struct error *dir_list_some(struct call *call, const struct dir_state *st, size_t n,
                                       const char *const *locations, struct dir_list *out);
/* A good image by location, or NULL. */
struct dir_image *dir_find(const struct dir_list *list, const char *location);
/* Whatever has that location, also what is not good, or NULL. */
const struct dir_image *dir_find_any(const struct dir_list *list, const char *location);
/* An error where some image cannot be read, and may so lie on that one. */
MUST_CHECK struct error *dir_check_sure(struct call *call, const struct dir_list *list,
                                        enum sr_failure which, const char *location);
/* Number of images in the chain that ends in 'image'; 0 if a part is missing or broken, or the
 * chain has no end. */
size_t dir_chain_length(const struct dir_list *list, const struct dir_image *image);
/* An error that says which part of it is missing or broken. */
MUST_CHECK struct error *dir_check_chain(struct call *call, const struct dir_list *list,
                                         const struct dir_image *image);
/* One whose data was destroyed, or NULL. */
struct dir_image *dir_find_stripped(const struct dir_list *list, const char *location);
/* As dir_find, but what it does not find is an error: VDI_MISSING, or that the VDI is not
 * available. */
MUST_CHECK struct error *dir_get(struct call *call, const struct sr_handle *sr,
                                 const struct dir_list *list, const char *location,
                                 struct dir_image **out);
/* VDI_IN_USE if a process writes to it. */
MUST_CHECK struct error *dir_check_unwritten(struct call *call, const struct dir_state *st,
                                             const char *location, const char *operation);
/* The data path, where that is what writes to it; else NULL. */
struct datapath *dir_served(struct call *call, const struct sr_handle *sr, const char *location);
/* Whether what lies on an image may be found in that itself no more (coalesce.c). */
MUST_CHECK struct error *dir_is_changing(struct call *call, const struct dir_state *st,
                                         const char *location, bool *out);
/* Fills an answer from an image and its sidecar. */
MUST_CHECK struct error *dir_info(struct call *call, const struct dir_state *st,
                                  const struct dir_image *image, struct vdi_info *out);
/* Whether looking at all images takes so long that nobody should wait for it. */
MUST_CHECK struct error *dir_has_many(struct call *call, const struct dir_state *st, bool *out);
/* Removes hidden images that nothing refers to.  The caller holds the lock. */
MUST_CHECK struct error *dir_collect(struct call *call, const struct dir_state *st);

/* The slots of the driver that are not in dir.c. */
MUST_CHECK struct error *dir_vdi_create(struct call *call, struct sr_handle *sr,
                                        const struct vdi_spec *spec, struct vdi_info *info);
MUST_CHECK struct error *dir_vdi_delete(struct call *call, struct sr_handle *sr,
                                        const char *location);
MUST_CHECK struct error *dir_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                      struct vdi_info *info);
MUST_CHECK struct error *dir_vdi_resize(struct call *call, struct sr_handle *sr,
                                        const char *location, int64_t size, struct vdi_info *info);
MUST_CHECK struct error *dir_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                                      const struct vdi_spec *spec, struct vdi_info *info,
                                      bool (*progress)(void *ctx, double done), void *ctx);
MUST_CHECK struct error *dir_vdi_describe(struct call *call, struct sr_handle *sr,
                                          const char *location, const char *name_label,
                                          const char *name_description);
MUST_CHECK struct error *dir_vdi_attach(struct call *call, struct sr_handle *sr,
                                        const char *location, bool writable, struct vdi_path *out);
void dir_vdi_detach(struct call *call, struct sr_handle *sr, const char *location);
MUST_CHECK struct error *dir_vdi_replace(struct call *call, struct sr_handle *sr,
                                         const char *location, const char *by,
                                         struct vdi_info *info);
MUST_CHECK struct error *dir_vdi_reset(struct call *call, struct sr_handle *sr,
                                       const char *location);
MUST_CHECK struct error *dir_vdi_strip(struct call *call, struct sr_handle *sr,
                                       const char *location);
MUST_CHECK struct error *dir_vdi_changed(struct call *call, struct sr_handle *sr, const char *from,
                                         const char *to, struct vdi_changes *out);
MUST_CHECK struct error *dir_vdi_coalesce(struct call *call, struct sr_handle *sr,
                                          const struct vdi_coalesce *what,
                                          bool (*progress)(void *ctx, double done), void *ctx);
MUST_CHECK struct error *dir_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                                      const char *base, const struct vdi_spec *spec,
                                      struct vdi_info *info);
