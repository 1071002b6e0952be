/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.h -- trusted certificates and revocation lists as files of this host.
 *
 * The database has them (class trust_file); the files follow it, and are for programs that want
 * files: <state_dir>/certificates/ca, pinned and crl hold one for each name, ca-bundle.pem the
 * authorities whose use is not limited.  Whatever becomes of the files, the next look mends them.
 */
#pragma once

#include "xapid/db/db.h"

/* Makes the files what the database says, and tells the HTTP server whom to believe. */
MUST_CHECK struct error *certificates_write(struct call *call);
