/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cli.h -- POST /cli: the thin protocol, by which an xe that knows no commands (that of XenServer)
 * has them run here.
 *
 * The commands are those of our own xe, which runs beside the daemon for each such client, in a
 * process of its own (xe --thin).  The daemon greets, starts it and carries bytes; the program
 * calls the daemon like any other client, with the user name and password or the session that came
 * with the request, on behalf of the client's address.  Only a client of the Unix socket is root
 * without being asked.
 */
#pragma once

#include "xapid/http/http.h"

/* A command with its arguments. */
#define CLI_REQUEST_MAX (200 << 10)
/* Clients at the same time: from the network, from one address of it, from this host. */
#define CLI_REMOTE_MAX 64
#define CLI_ADDRESS_MAX 16
#define CLI_LOCAL_MAX 64

struct clis;

struct clis *clis_new(void);
/* Ends all of them and waits.  After http_server_free.  NULL is fine. */
void clis_free(struct clis *clis);

/* 'ctx' is the struct xapid.  503 where there are too many. */
void cli_post(struct http_request *request, void *ctx);
