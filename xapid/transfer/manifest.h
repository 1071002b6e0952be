/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * manifest.h -- ova.xml, the first member of an archive: the records of machines and of all they
 * stand on, as one XML-RPC value.  References in them are names of the archive's own ("Ref:12").
 */
#pragma once

#include "libxapi/codec/codec.h"
#include "xapid/transfer/tar.h"

#define MANIFEST_NAME "ova.xml"
/* The form that is written; later ones are not read. */
#define MANIFEST_VERSION 2
/* Of an archive with disks, and of one with records alone, which may be those of a whole pool. */
#define MANIFEST_MAX ((int64_t)8 * 1024 * 1024)
#define MANIFEST_MAX_ALONE ((int64_t)64 * 1024 * 1024)
#define MANIFEST_MAX_OBJECTS 100000
#define MANIFEST_ID_MAX 200

struct manifest_object {
    const struct class_desc *class; /* NULL: one that this version does not know */
    const char *id;
    const struct wire *record;
    /* What it becomes here, for import_plan.c. */
    ref_t ref;
    size_t place; /* in the file */
};

struct manifest {
    int64_t version;
    size_t n;
    struct manifest_object *v; /* by id, in strcmp order: that of the disks in the archive */
};

/* Reads the archive's first member. IMPORT_ERROR_UNEXPECTED_FILE, IMPORT_ERROR,
 * IMPORT_INCOMPATIBLE_VERSION. */
MUST_CHECK struct error *manifest_receive(struct call *call, struct tar_reader *tar, int64_t limit,
                                          struct manifest *out);
/* The same from its text. */
MUST_CHECK struct error *manifest_read(struct call *call, const char *text, size_t n,
                                       struct manifest *out);
/* NULL where there is none of that id; also for the null reference. */
struct manifest_object *manifest_find(const struct manifest *m, const char *id);
/* A member's text; "" where it is none. */
const char *manifest_text(const struct manifest_object *o, const char *field);
/* The same of a map that is a field. */
const char *manifest_find_text(const struct wire *map, const char *key);
bool manifest_flag(const struct manifest_object *o, const char *field);
/* The object that a field refers to; NULL for the null reference.
 * IMPORT_ERROR_FAILED_TO_FIND_OBJECT for one that is not there or of another class. */
MUST_CHECK struct error *manifest_follow(struct call *call, const struct manifest *m,
                                         const struct manifest_object *o, const char *field,
                                         int class_id, struct manifest_object **out);
/* True for the texts that stand for no object. */
bool manifest_id_is_null(const char *id);
