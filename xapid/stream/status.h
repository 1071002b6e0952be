/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* status.h -- GET /system-status and /host_logs_download: reports on this host as archives. */
#pragma once

struct http_request;

/* "entries" (between commas), "output" (tar, tar.bz2, zip); "list" asks what entries there are. */
void status_get(struct http_request *request, void *xapid);
/* The entries that are logs, as a tar archive. */
void status_get_logs(struct http_request *request, void *xapid);
