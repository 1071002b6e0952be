/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* upload.h -- a file of this host, sent to a URL by curl. */
#pragma once

#include "libxapi/value/type.h"
#include "xapid/db/db.h"

/*
 * That the URL is one that things are sent to: ftp, http or https.  INVALID_VALUE(url, text); an
 * empty one, too: nobody collects reports about xapid.
 */
MUST_CHECK struct error *upload_check_url(struct call *call, const char *url);
/*
 * Sends a file (a path of the machine itself, not below the system root) to the URL, with PUT or
 * STOR.  The option "http_proxy" names a proxy.  INTERNAL_ERROR with what curl said.
 */
MUST_CHECK struct error *upload_file(struct call *call, const char *path, const char *url,
                                     const struct strmap *options);
/* A new empty file in <state_dir>/spool that goes with the scope, or with the next start
   (upload_settle); its path in the arena. */
struct upload_spool {
    const char *path;
    int fd;
};
MUST_CHECK struct error *upload_spool_make(struct call *call, const char *name,
                                           struct upload_spool *out);
void upload_spool_release(struct upload_spool *spool);
