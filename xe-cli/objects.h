/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * objects.h -- records already seen, by class and reference, so that a list with names of other
 * objects takes one call for each class.  The first few objects of a class are fetched one by one;
 * then all of them at once.
 */
#pragma once

#include "xe-cli/xe.h"

struct xe_object {
    const char *ref;
    const struct wire *record;
};
struct xe_object_list {
    size_t n;
    const struct xe_object *v;
};

/* All objects of a class of the API ("VM"), in the server's order. */
MUST_CHECK struct error *objects_all(struct xe *xe, const char *class, struct xe_object_list *out);
/* One object's record; NULL for a null reference and for one that is not there. */
MUST_CHECK struct error *object_get(struct xe *xe, const char *class, const char *ref,
                                    const struct wire **record);
/* The same by uuid; an unknown uuid is the server's UUID_INVALID. */
MUST_CHECK struct error *object_by_uuid(struct xe *xe, const char *class, const char *uuid,
                                        struct xe_object *out);
/* The uuid of an object that a call has just made. */
MUST_CHECK struct error *object_uuid(struct xe *xe, const char *class, const char *ref,
                                     const char **uuid);
/* Forgets everything, before the state is looked at again. */
void objects_forget(struct xe *xe);

/* The pool, its coordinator, and the host that was connected to. */
MUST_CHECK struct error *object_pool(struct xe *xe, struct xe_object *out);
MUST_CHECK struct error *object_master(struct xe *xe, const char **host);
MUST_CHECK struct error *object_this_host(struct xe *xe, const char **host);

bool ref_text_is_null(const char *ref);
