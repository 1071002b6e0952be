/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volumes.h -- within storage-repos/lvm: what a volume group holds, and LVM's commands. */
#pragma once

#include "storage-repos/common/qcow2.h"
#include "storage-repos/lvm/lvm.h"

#define LVM_GROUP "VG_XenStorage-"
#define LVM_POOL "pool"
#define LVM_NAME_SIZE 64 /* fits every name made of a uuid */

/* ---- one volume ---- */

enum lvm_kind { LVM_DISK, LVM_NEW, LVM_LEAF, LVM_OLD };

/* What its tags say. */
struct lvm_meta {
    const char *format; /* "qcow2", "raw" */
    const char *parent; /* location, "" if none */
    int64_t virtual_size;
    bool hidden;
    const char *name_label, *name_description;
    struct strmap sm_config;
};

struct lvm_volume {
    enum lvm_kind kind;
    const char *location;
    int64_t length; /* bytes of its device */
    int64_t size;   /* bytes it takes of the group: of a thin one, those in use */
    bool thin, active, open, suspended;
    struct lvm_meta meta;
    const char *tags; /* as LVM shows them: commas between them */
    size_t children;  /* disks that have it as parent */
};

/* A group as LVM reports it. */
struct lvm_group {
    int64_t size, free, extent; /* bytes */
    bool incomplete;            /* a physical volume is missing */
    bool thin;                  /* there is a pool */
    const char *system_id;      /* "": none */
    int64_t pool_size, pool_used;
    struct lvm_volume *v; /* ordered by location, then by kind */
    size_t n;
};

/* Reads what "lvm fullreport" says as JSON; false where it is no such report.  Volumes that are not
 * ours are left out. */
bool lvm_report_read(struct call *call, const char *text, size_t n, struct lvm_group *out);
/* A volume, or NULL. */
struct lvm_volume *lvm_find(const struct lvm_group *group, enum lvm_kind kind,
                            const char *location);
/* The volume that holds a disk: its own, or where a change was interrupted that which counts; NULL
 * for none. */
struct lvm_volume *lvm_disk(const struct lvm_group *group, const char *location);
/* Number of volumes in the chain that ends in 'disk'; 0 where a part is missing. */
size_t lvm_chain_length(const struct lvm_group *group, const struct lvm_volume *disk);
void lvm_volume_name(enum lvm_kind kind, const char *location, char out[LVM_NAME_SIZE]);
/* True for a uuid in lower case: the only locations there are. */
bool lvm_location_ok(const char *location);

/* ---- tags ---- */

#define LVM_TAGS_MAX 128
struct lvm_tags {
    const char *v[LVM_TAGS_MAX];
    size_t n;
};
/* False where the names are too long. */
bool lvm_tags_write(struct call *call, const struct lvm_meta *meta, struct lvm_tags *out);
/* From the text of a report; what cannot be read is "", and the format of one that is not ours too.
 */
void lvm_tags_read(struct call *call, const char *text, struct lvm_meta *out);

/* ---- sizes ---- */

/* All that an image of this format can become. */
int64_t lvm_full_size(const char *format, int64_t virtual_size);
/* What a qcow2 image takes that holds nothing. */
int64_t lvm_empty_size(int64_t virtual_size);

/* ---- a repository ---- */

struct lvm_state {
    const char *group;   /* its name */
    const char *devices; /* commas between them; NULL: all are looked at */
    const char *folder;  /* a file for each attached disk */
    const char *lock_path;
    const char *system_root;
    bool thin;           /* disks are, where the repository is made now */
    int lock;            /* 0: not held */
    struct lvm_group is; /* as of the last lvm_look */
    bool shared;         /* other hosts have it too */
    const char *turn;    /* as in struct sr_handle */
};

/* ---- turns ---- */

#define LVM_ID "xapid." /* before the name of a turn: a system ID */
/* What a turn has to do before it changes a group with this system ID. */
enum lvm_owner { LVM_OWN, LVM_TAKE, LVM_LOST, LVM_STRANGE };
/* LVM_OWN: the group is this host's.  LVM_TAKE: it is to be made so.  LVM_LOST: another host has
 * had a later turn, so this one is over.  LVM_STRANGE: it is nobody's whom we know. */
enum lvm_owner lvm_owner(const char *system_id, const char *turn);

MUST_CHECK struct error *lvm_state_of(struct call *call, const struct sr_handle *sr,
                                      struct lvm_state *out);
/* Waits for the repository's lock on this host. */
MUST_CHECK struct error *lvm_lock(struct call *call, struct lvm_state *st);
/* 'forget': the lock's file goes too. */
void lvm_unlock(struct lvm_state *st, bool forget);
/* Reads the group anew. */
MUST_CHECK struct error *lvm_look(struct call *call, struct lvm_state *st);
/* Whether there is the group; false where only that is the error. */
MUST_CHECK struct error *lvm_exists(struct call *call, struct lvm_state *st, bool *out);
/* One of LVM's commands, with its arguments; their last is NULL. It runs to its end even if this
 * process is killed. */
MUST_CHECK struct error *lvm_run(struct call *call, struct lvm_state *st, enum sr_failure which,
                                 const char *const *words, const char **output);
#define LVM(call, st, which, ...)                                                                  \
    lvm_run(call, st, which, (const char *const[]){__VA_ARGS__, NULL}, NULL)
/* "group/volume" */
const char *lvm_target(struct call *call, const struct lvm_state *st, enum lvm_kind kind,
                       const char *location);
/* The block device of an active volume. */
const char *lvm_path(struct call *call, const struct lvm_state *st, enum lvm_kind kind,
                     const char *location);

/* A new, active volume with these tags, in the place of one that was left of the same name. */
MUST_CHECK struct error *lvm_make(struct call *call, struct lvm_state *st, enum lvm_kind kind,
                                  const char *location, int64_t size, const struct lvm_meta *meta);
MUST_CHECK struct error *lvm_rename(struct call *call, struct lvm_state *st,
                                    enum lvm_kind from_kind, const char *from, enum lvm_kind kind,
                                    const char *to);
/* VDI_IN_USE where somebody has it open. */
MUST_CHECK struct error *lvm_remove(struct call *call, struct lvm_state *st, enum lvm_kind kind,
                                    const char *location);
/* Grows a thick one to at least that; SR_FULL. */
MUST_CHECK struct error *lvm_grow(struct call *call, struct lvm_state *st,
                                  const struct lvm_volume *volume, int64_t size);
/* Says something else of a disk, in one step. */
MUST_CHECK struct error *lvm_retag(struct call *call, struct lvm_state *st,
                                   const struct lvm_volume *volume, const struct lvm_meta *meta);
/* Makes a disk and all it lies on active. */
MUST_CHECK struct error *lvm_activate(struct call *call, struct lvm_state *st,
                                      const struct lvm_volume *disk);
/* Disks in use on this host, each with all it lies on, stay active; no other disk does.  Failures
 * are logged. */
void lvm_settle(struct call *call, struct lvm_state *st);
/* Says that a disk is in use here; 'working': until this process ends. */
MUST_CHECK struct error *lvm_mark(struct call *call, const struct lvm_state *st,
                                  const char *location, bool working);
void lvm_unmark(struct call *call, const struct lvm_state *st, const char *location, bool working);

/* Finishes or takes back what was interrupted. */
MUST_CHECK struct error *lvm_repair(struct call *call, struct lvm_state *st);
/* Removes hidden disks that nothing lies on. */
MUST_CHECK struct error *lvm_collect(struct call *call, struct lvm_state *st);

/* ---- disks ---- */

/* VDI_MISSING. */
MUST_CHECK struct error *lvm_get(struct call *call, const struct sr_handle *sr,
                                 const char *location, struct lvm_volume **out);
/* VDI_IN_USE if a process of this host writes to it. */
MUST_CHECK struct error *lvm_check_unwritten(struct call *call, const struct lvm_state *st,
                                             const struct lvm_volume *disk, const char *operation);
void lvm_info(struct call *call, const struct lvm_volume *disk, struct vdi_info *out);
/* The metadata of a new disk. */
struct lvm_meta lvm_meta_new(const struct vdi_spec *spec, const char *format, const char *parent,
                             int64_t virtual_size);

/* The slots of the driver that are not in lvm.c. */
MUST_CHECK struct error *lvm_vdi_create(struct call *call, struct sr_handle *sr,
                                        const struct vdi_spec *spec, struct vdi_info *info);
MUST_CHECK struct error *lvm_vdi_delete(struct call *call, struct sr_handle *sr,
                                        const char *location);
MUST_CHECK struct error *lvm_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                      struct vdi_info *info);
MUST_CHECK struct error *lvm_vdi_resize(struct call *call, struct sr_handle *sr,
                                        const char *location, int64_t size, struct vdi_info *info);
MUST_CHECK struct error *lvm_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                                      const struct vdi_spec *spec, struct vdi_info *info,
                                      bool (*progress)(void *ctx, double done), void *ctx);
MUST_CHECK struct error *lvm_vdi_describe(struct call *call, struct sr_handle *sr,
                                          const char *location, const char *name_label,
                                          const char *name_description);
MUST_CHECK struct error *lvm_vdi_attach(struct call *call, struct sr_handle *sr,
                                        const char *location, bool writable, struct vdi_path *out);
void lvm_vdi_detach(struct call *call, struct sr_handle *sr, const char *location);
MUST_CHECK struct error *lvm_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                                      const char *base, const struct vdi_spec *spec,
                                      struct vdi_info *info);
MUST_CHECK struct error *lvm_vdi_replace(struct call *call, struct sr_handle *sr,
                                         const char *location, const char *by,
                                         struct vdi_info *info);
MUST_CHECK struct error *lvm_vdi_reset(struct call *call, struct sr_handle *sr,
                                       const char *location);
