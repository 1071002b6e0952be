/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fields.h -- from a record to the text xe shows for a parameter, and back. */
#pragma once

#include "xe-cli/objects.h"
#include "xe-cli/records.h"
#include "xe-cli/xe.h"

/* What a path leads to. */
struct field_value {
    enum { FIELD_TEXT, FIELD_SET, FIELD_MAP } kind;
    bool missing; /* the object that the path leads to is not there */
    const char *text;
    struct strings set;
    struct xe_params map;
};

/* The value of a parameter.  Errors are those of the server and the transport. */
MUST_CHECK struct error *field_value(struct xe *xe, const struct xe_class *class,
                                     const struct xe_param *param, const struct xe_object *object,
                                     struct field_value *out);
/* As it is shown: sets and maps joined. */
MUST_CHECK struct error *field_text(struct xe *xe, const struct xe_class *class,
                                    const struct xe_param *param, const struct xe_object *object,
                                    const char **out);
/* "name-label ( RW)" and its value; "<expensive field>" in lists where a call would be needed. */
MUST_CHECK struct error *field_shown(struct xe *xe, const struct xe_class *class,
                                     const struct xe_param *param, const struct xe_object *object,
                                     bool in_list, struct xe_pair *out);
/* The field of the API a parameter is, for changing it; NULL where it is not one. */
const struct field_desc *field_of_param(const struct xe_class *class, const struct xe_param *param);

/* The text of a value as a type of the API: enums in xe's spelling, references as uuids. */
MUST_CHECK struct error *wire_shown(struct xe *xe, const struct type *type, const struct wire *w,
                                    struct field_value *out);
/*
 * Writes <value> for text given by a user: numbers, booleans, enums in either spelling, references
 * by uuid ("" is null), sets separated by commas.  'name' is what sentences call it.
 */
MUST_CHECK struct error *value_of_text(struct xe *xe, const char *name, const struct type *type,
                                       const char *text, bool bytes, struct buf *out);
/* True if there is a function for a path "!name". */
bool field_function_exists(const char *name);
/* xe's spelling of an enum's value. */
const char *enum_shown(const struct enum_desc *e, const char *value);
