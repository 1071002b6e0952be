/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* session_json.h -- sessions as members of a pool tell each other of them. */
#pragma once

#include <jansson.h>

#include "xapid/auth/session.h"

/* Who somebody is: what of a session never changes.  A new object; NULL for what is no UTF-8. */
json_t *session_to_json(struct arena *arena, const struct auth_session *session);
/* Fills *out; its strings are the arena's.  False if that is not understood. */
bool session_of_json(struct arena *arena, const json_t *json, struct auth_session *out);

/* The same of all there is to know of it. */
json_t *session_copy_to_json(struct arena *arena, const struct session_copy *copy);
bool session_copy_of_json(struct arena *arena, json_t *json, struct session_copy *out);

/* A member of an object: its text, "" where there is none; a reference, false where there is none.
 */
const char *member_text(const json_t *json, const char *key);
bool member_ref(const json_t *json, const char *key, ref_t *out);
