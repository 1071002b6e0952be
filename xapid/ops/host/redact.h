/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* redact.h -- takes secrets out of texts that leave the host. */
#pragma once

#include <stddef.h>

/*
 * Overwrites with '*', in place, what stands behind a word that announces a secret (password,
 * passwd, secret, session_id, authorization, token) and one of "=:" with blanks and quotes around:
 * up to the next blank, quote, comma, '&', ';' or '<', after "authorization" to the line's end.  So
 * are: "user:password" in an address, what follows the options of programs that take a password,
 * and the session in the XML-RPC call that a plug-in's argument is.
 */
void redact(char *text, size_t size);
