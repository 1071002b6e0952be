/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console_target.h -- which screen a request is about, and the way to it.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/http/http.h"

struct console_target {
    const struct vm *vm;
    enum console_protocol protocol;
};

/* The request's "uuid" or "ref": of a console, or of a VM, which stands for its screen. */
bool console_target_find(struct call *call, const struct http_request *request,
                         struct console_target *out);
/* The VM has a domain, on whichever host. */
bool console_target_lives(const struct console_target *target);
/* A socket of the screen on this host; -1 where nothing answers.  Does not block. */
int console_target_open(struct call *call, const struct console_target *target);
