/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plugin.h -- programs of the administrator that calls can run: <config_dir>/plugins and
 * <config_dir>/extensions.
 *
 * A plug-in is run as XenServer runs them: its one argument is an XML-RPC call of the function with
 * a session and the arguments, and what it prints is an XML-RPC reply.
 */
#pragma once

#include "libxapi/base/call.h"

/* True if an extension of that name is installed here. */
bool extension_exists(struct call *call, const char *name);
