/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stories.h -- what is done to disks of a directory, so that tests can let it go wrong anywhere. */
#pragma once

#include "tests/unit/storage/lab.h"

/* What one scenario works on; the same names in every round. */
struct story {
    struct lab lab;
    const char *disk, *base, *new, *upper;
    struct sr_handle second; /* another repository, in the folder of this one or beside it */
    const char *second_folder;
};

typedef struct error *work_fn(struct story *s);

/* A repository with the disk "disk", which holds a 'd' at its beginning. */
void story_begin(struct story *s, const struct lab_kind *kind);
/* True at every moment: the disk is there, once, with its content, and every image is sound. */
void story_disk_is_whole(struct story *s);
/* The new disk is complete wherever it is seen at all. */
void story_new_is_absent_or_whole(struct story *s, int byte);

struct error *story_fork(struct story *s);
void story_fork_is_complete(struct story *s);
/* The new disk and the base go, as after a fork that failed. */
struct error *story_undo(struct story *s);
struct error *story_delete_disk(struct story *s);

struct story_kind {
    const char *name;
    work_fn *before, *work;         /* 'before' may be NULL */
    bool disk_stays;                /* as it is for story_disk_is_whole, whatever happens */
    void (*check)(struct story *s); /* once it is done */
    work_fn *undo;                  /* instead of doing it again; may be NULL */
    unsigned needs;                 /* features of the driver */
    /* After one try, which ended with that error or with none; may be NULL. */
    void (*judge)(struct story *s, struct error *e);
};
/* Ends with one without a name. */
extern const struct story_kind story_kinds[];
