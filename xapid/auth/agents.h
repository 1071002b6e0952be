/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agents.h -- which client programs have logged in lately, by their User-Agent header.  Any thread.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

/* Programs that are remembered; who logged in longest ago is forgotten first. */
#define AGENTS_MAX 128
/* Bytes of a program's name and of its version; what is longer is cut. */
#define AGENT_NAME_MAX 64

struct agents;

struct agents *agents_new(void);
void agents_free(struct agents *agents);
/* A login came with that header, "name/version ..."; NULL: without one. */
void agents_note(struct agents *agents, const char *header);
/* The last version of each, by name; in the arena. */
struct strmap agents_seen(struct agents *agents, struct arena *arena);
