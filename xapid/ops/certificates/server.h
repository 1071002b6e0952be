/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server.h -- the certificate that this host shows to clients.
 *
 * It is one file (<state_dir>/xapid-tls.pem: key, certificate, chain), replaced as a whole; the
 * record in the database follows it.  At every moment the file holds a key with its certificate.
 */
#pragma once

#include "xapid/db/db.h"

/* At start: the record says what the file says, the files of trusted certificates are there. */
MUST_CHECK struct error *certificates_start(struct call *call);
/* Now and then: mends files, follows what other members changed, says what is about to end. */
void certificates_look_after(struct call *call);
