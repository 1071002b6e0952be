/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* certificate.h -- the host's TLS certificate, and whose certificates of clients are believed. */
#pragma once

#include "libxapi/base/arena.h"

/*
 * Made on first start: ECDSA P-256, self-signed.
 *
 * Makes 'path' (key, then certificate, PEM, mode 0600, written to a temporary file and renamed)
 * unless it exists and reads well; one that does not is kept beside it as "<path>.bad".  SAN:
 * localhost, the host's names and all its addresses, 127.0.0.1 and ::1 among them.  Valid for ten
 * years.  Asks no name server.
 */
MUST_CHECK struct error *certificate_ensure(struct arena *arena, const char *path,
                                            const char *common_name);

/* A new key and certificate of that kind as PEM, in the arena. */
MUST_CHECK struct error *certificate_generate(struct arena *arena, const char *common_name,
                                              const char **pem);

struct certificate_info {
    usec_t not_before, not_after;
    const char *sha256, *sha1; /* upper-case hex pairs joined by ':' */
    const char *pem;           /* the certificate only */
    const char *name;          /* a host name it is good for: the common name, else the first */
};
/* Reads the first certificate in the text or the file; the texts are in the arena. */
MUST_CHECK struct error *certificate_of_text(struct arena *arena, const char *pem,
                                             struct certificate_info *out);
MUST_CHECK struct error *certificate_read(struct arena *arena, const char *path,
                                          struct certificate_info *out);

/* Which clients are known by their certificate: those that an authority certified under 'name'. */
struct certificate_trust {
    const char *authorities; /* PEM, one after another */
    const char *revoked;     /* PEM of revocation lists; may be empty */
    const char *name;        /* DNS name in the certificate */
};
