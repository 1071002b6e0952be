/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* program.h -- where the host's own programs are. */
#pragma once

struct call;

/* The path of a program of the host, in the arena, or NULL where it has none.  'system_root' comes
 * before its folders: "" on a real host. */
const char *sr_program(struct call *call, const char *system_root, const char *name);
