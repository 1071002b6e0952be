/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plugin.h -- programs of the administrator that calls can run: <config_dir>/plugins,
 * <config_dir>/extensions, and <config_dir>/vm-plugins: those that operators of a VM may run on its
 * host.
 *
 * A plug-in is run as XenServer runs them: its one argument is an XML-RPC call of the function with
 * a session and the arguments, and what it prints is an XML-RPC reply.
 *
 * An extension is a message that the XenAPI does not have: its program is named as the message, and
 * gets the whole call, as XML-RPC, on its standard input.
 */
#pragma once

#include "libxapi/base/call.h"
#include "libxapi/codec/codec.h"

/*
 * Runs the function of a plug-in in <config_dir>/<folder> and answers what it printed.
 * XENAPI_MISSING_PLUGIN, XENAPI_PLUGIN_FAILURE, or the error the plug-in gave.
 */
MUST_CHECK struct error *plugin_run(struct call *call, const char *folder, const char *plugin,
                                    const char *function, const struct strmap *args,
                                    const char **result);
/* True if an extension of that name is installed here. */
bool extension_exists(struct call *call, const char *name);
/*
 * Runs an extension with the XML-RPC text of a call; '*result', in the arena, is what it answers.
 * MESSAGE_METHOD_UNKNOWN where it is not installed, EXTENSION_PROTOCOL_FAILURE(name, why, output)
 * where it does not answer as it should, INTERNAL_ERROR where it fails, or the extension's own
 * error.
 */
MUST_CHECK struct error *extension_run(struct call *call, const char *name, const char *text,
                                       size_t size, const struct wire **result);
