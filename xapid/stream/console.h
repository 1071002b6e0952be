/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console.h -- /console: a client joined with the screen of a running VM, by CONNECT or WebSocket.
 *
 * Each connection has a thread of its own; there are at most CONSOLES_MAX.  'ctx' of the handlers
 * is the struct xapid.
 */
#pragma once

#include "xapid/http/http.h"

#define CONSOLES_MAX 256

struct consoles;

struct consoles *consoles_new(void);
/* Ends all connections and waits for them.  After http_server_free, before hypervisor, sessions and
 * database go. NULL is fine. */
void consoles_free(struct consoles *consoles);

/* CONNECT /console?uuid=|ref=: 200, then bytes both ways. */
void console_connect(struct http_request *request, void *ctx);
/* GET /console?uuid=|ref=: the same inside WebSocket frames, sub-protocol binary or base64. */
void console_websocket(struct http_request *request, void *ctx);
