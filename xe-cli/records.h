/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * records.h -- the table of what xe shows of each class.
 *
 * A parameter's value is found by its path in the record that get_record gives:
 *
 *   name_label               a field; a reference is shown as the uuid of what it refers to
 *   metrics>memory_actual    a field of the object that a reference (or each of a set) refers to
 *   =VM.get_possible_hosts   what this message answers for the object (it is expensive)
 *   @host>https_only         what all hosts agree on
 *   !sr_host                 a function of fields.c
 *
 * 'missing' is shown where the object that the path leads to is not there; NULL: <not in database>.
 * Parameters are set with <class>.set_<stem>, and changed with add_to_, remove_from_, add_ and
 * remove_; the stem is the path where NULL.
 */
#pragma once

#include "libxapi/base/base.h"
#include "libxapi/value/type.h"

enum xe_param_flags {
    XE_RO = 0,       /* ( RO) */
    XE_RW = 1 << 0,  /* ( RW): can be set, or for sets and maps: added to */
    XE_SET = 1 << 1, /* a set */
    XE_MAP = 1 << 2, /* a map */
    XE_SRO = XE_SET,
    XE_SRW = XE_SET | XE_RW,
    XE_MRO = XE_MAP,
    XE_MRW = XE_MAP | XE_RW,
    XE_SETTABLE = 1 << 3,  /* a set or map that can also be set as a whole: a,b,c */
    XE_HIDDEN = 1 << 4,    /* shown only when asked for by name */
    XE_EXPENSIVE = 1 << 5, /* needs calls of its own: lists show "<expensive field>" */
    XE_DEPRECATED = 1 << 6,
    XE_NOCASE = 1 << 7,   /* filters do not mind the case */
    XE_COMMA = 1 << 8,    /* elements are joined with ", " instead of "; " */
    XE_BYTES = 1 << 9,    /* a size: set with KiB, MiB, GiB or TiB */
    XE_CLEAR = 1 << 10,   /* a map that is cleared by setting it to nothing */
    XE_SET_MAP = 1 << 11, /* a map that is set as a whole from all "name:key=value" given */
    XE_SET_IN = 1 << 12,  /* a map whose keys are set with <class>.set_property(key, value) */
};

struct xe_param {
    const char *name;
    const char *path;
    unsigned flags;
    const char *stem;
    const char *missing;
};

struct xe_class {
    const char *name; /* "vm", as commands begin */
    const char *api;  /* "VM" */
    const struct xe_param *params;
    size_t n_params;
    const char *defaults; /* what lists show, separated by blanks; "" for everything */
    const char *filters;  /* "name=value name=value", always applied by lists */
};

/* In the order of help and completion; the last one has no commands of its own. */
extern const struct xe_class xe_classes[];
extern const size_t xe_n_classes;

/* By the name that commands begin with; NULL if there is none. */
const struct xe_class *xe_class_by_name(const char *name);
/* The first one made from this class of the API ("VM"); NULL if there is none. */
const struct xe_class *xe_class_by_api(const char *api);
/* NULL if there is none. */
const struct xe_param *xe_param_by_name(const struct xe_class *class, const char *name);
