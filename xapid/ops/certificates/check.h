/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.h -- is a certificate good enough to be installed?  Judged by what it says itself and by
 * the date: nothing is looked up, nothing is changed.
 */
#pragma once

#include "libxapi/base/call.h"
#include "xapid/http/certificate.h"

/* Of one text that is installed; a change of the database holds it. */
#define PEM_LIMIT ((size_t)512 << 10)

/* As host.install_server_certificate is given them; 'chain' may be empty. */
struct server_pem {
    const char *certificate, *key, *chain;
};
/*
 * The first fault, as one of the errors SERVER_CERTIFICATE_*; the key is judged before the
 * certificate, the chain last.  'file' is the text of a file with all of them, in the arena.
 */
MUST_CHECK struct error *check_server_pem(const struct call *call, const struct server_pem *in,
                                          usec_t now, const char **file);

/* The errors CA_CERTIFICATE_* where it is installed under a name, else TRUSTED_CERTIFICATE_*.
 * out->pem is the certificate alone. */
MUST_CHECK struct error *check_trusted_pem(const struct call *call, bool named, const char *pem,
                                           usec_t now, struct certificate_info *out);

/* CRL_CORRUPT(name).  'clean' is the list alone. */
MUST_CHECK struct error *check_revocation_list(const struct call *call, const char *name,
                                               const char *pem, const char **clean);

/* Names of files: letters, digits, '.', '_' and '-', beginning with a letter or digit. */
bool certificate_name_is_good(const char *name);

/* "2026-01-31T00:00:00Z", in the arena. */
const char *certificate_date(struct arena *arena, usec_t date);
