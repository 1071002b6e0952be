/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats.h -- the history of what the host, its VMs and its storage use.
 *
 * Every five seconds one sample is taken of everything on this host and put into round-robin
 * databases in memory; files below <state>/stats keep them over restarts.  Nothing of it is in the
 * database.  README.md says which file does what.
 */
#pragma once

#include "xapid/http/http.h"
#include "xapid/stats/figures.h"

struct stats;
struct xapid;

/* Begins to sample, on a thread of its own.  xapid's database, hypervisor, sessions and workers
 * must be there. */
struct stats *stats_start(struct xapid *xapid);
/* Takes no more samples, and writes all files.  NULL is fine. */
void stats_stop(struct stats *stats);
/* After the last handler and call.  NULL is fine. */
void stats_free(struct stats *stats);

/*** handlers of HTTP requests; 'ctx' is the struct xapid ***/

void stats_get_host(struct http_request *request, void *ctx);    /* GET /host_rrd */
void stats_get_vm(struct http_request *request, void *ctx);      /* GET /vm_rrd */
void stats_get_sr(struct http_request *request, void *ctx);      /* GET /sr_rrd */
void stats_get_updates(struct http_request *request, void *ctx); /* GET /rrd_updates */
void stats_put(struct http_request *request, void *ctx);         /* PUT /rrd */
void stats_get_metrics(struct http_request *request, void *ctx); /* GET /metrics */

/* Bytes of an uploaded database. */
#define STATS_PUT_MAX (8 << 20)
