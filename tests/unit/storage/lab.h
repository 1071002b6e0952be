/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lab.h -- a repository in a folder of its own, and ways to look at it, for the tests of storage.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "libxapi/base/call.h"
#include "storage-repos/dir/dir.h"

#define MIB ((int64_t)1024 * 1024)

struct lab {
    struct arena arena;
    struct call call;
    struct sr_handle sr;
    struct sr_site site;
    char *folder; /* where the images are; NULL: not in a folder */
    bool own_folder;
    bool attached;
    bool leaks; /* a write that failed may have cost a cluster, and nothing else */
};

/* What a repository is made of. */
struct lab_kind {
    const struct sr_driver *driver;
    struct strmap config;    /* device_config; empty: a folder of its own */
    const char *system_root; /* where the host's programs are played; NULL: they are not */
    const char *mounts;      /* where network storage is mounted, the repository's folder then */
};

/* Makes the folder and the repository, and attaches it.  Fails the test where that fails. */
void lab_open(struct lab *lab, const struct sr_driver *driver);
void lab_open_kind(struct lab *lab, const struct lab_kind *kind);
/* Detaches and removes everything. */
void lab_close(struct lab *lab);
/* Fixtures of cmocka: an open lab of the type ext as the state, and its end. */
int lab_set_up(void **state);
int lab_tear_down(void **state);
/* Detaches and attaches, as a restart of the daemon does. */
void lab_restart(struct lab *lab);

/* Fails the test with the error's text. */
void lab_must(struct lab *lab, struct error *e);
/* Fails the test unless the error has this code. */
void lab_fails(struct lab *lab, struct error *e, const char *code);
const char *lab_uuid(struct lab *lab);
/* A new disk of that size; returns its location. */
const char *lab_disk(struct lab *lab, const char *name, int64_t size);
struct vdi_info lab_stat(struct lab *lab, const char *location);
/* A snapshot or clone of a disk; returns its location, and that of the base if wanted. */
const char *lab_fork(struct lab *lab, const char *location, const char **base);

/* Fills 64 KiB at 'offset' with a byte, durably. */
void lab_write(struct lab *lab, const char *location, int64_t offset, int byte);
/* Fails unless the 64 KiB at 'offset' are all that byte. */
void lab_expect(struct lab *lab, const char *location, int64_t offset, int byte);
/* Runs qemu-img check on every image and fails unless all are clean. */
void lab_check_images(struct lab *lab);
/* Number of files in the folder whose name ends so; 0 where there is no folder. */
size_t lab_count_files(struct lab *lab, const char *ending);
/* The scan's entry for a location, or NULL. */
const struct vdi_info *lab_scan(struct lab *lab, const char *location, size_t *n);
char *lab_path(struct lab *lab, const char *name);
/* Writes a file into the folder. */
void lab_put(struct lab *lab, const char *name, const char *text);

/* Runs a program of this machine and fails the test unless it ends well. */
void lab_run(struct arena *arena, const char *const argv[]);

/* Whether the driver has all of these features; else the test is skipped. */
void lab_needs(struct lab *lab, unsigned features);

/* The tests that every driver with disks of its own must pass, as far as it has the features;
 * returns the number of failures. */
int conformance_run(const char *group, const struct lab_kind *kind);
/* Those for a driver that only shows what is there: the folder has "a.iso", which holds "content".
 */
int conformance_run_read_only(const char *group, const struct lab_kind *kind);
