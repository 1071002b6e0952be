/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* words.h -- what settings of network storage and files of the kernel say, the XML in which a probe
 * answers, uuids made of names. */
#pragma once

#include "libxapi/base/buf.h"

struct call;

/* Whether it is a name or an address of a host, as an argument of a program: nothing that could be
 * an option. */
bool sr_host_ok(const char *text);
/* The same as programs want it before a colon: an IPv6 address in brackets. */
const char *sr_host_word(struct call *call, const char *host);

/* What can be printed of a file of the kernel's, without blanks at its ends; "" where there is
 * none. Its first 'skip' bytes are left out. */
const char *sr_small_file(struct call *call, const char *path, size_t skip);
/* A uuid that follows from the repository's and a name in it. */
const char *sr_name_uuid(struct call *call, const char *sr_uuid, const char *name);

/* <name>text</name> */
void sr_element(struct buf *out, const char *name, const char *text);
/* What was written, in the arena; the buffer is empty afterwards. */
const char *sr_take(struct call *call, struct buf *from);
