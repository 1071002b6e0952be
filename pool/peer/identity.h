/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity.h -- who this daemon is to the others: <dir>/peer.pem, a key and its certificate. */
#pragma once

#include <openssl/ssl.h>

#include "pool/peer/peer.h"

/*
 * Reads peer.pem, or makes it (durably, readable by its owner only) where there is none.  *ctx,
 * for both sides of TLS 1.3, is the caller's (SSL_CTX_free); it asks the other side for a
 * certificate and leaves judging it to the caller's callback.  After the certificate the file has
 * those that were renewed, the last one first, each of which has signed the one before it: both
 * sides show them too, so that who knows only an older one can follow.
 */
MUST_CHECK struct error *identity_open(struct arena *arena, const char *dir, SSL_CTX **ctx,
                                       char fingerprint[PEER_FINGERPRINT_SIZE]);
/* Makes another key and certificate, signed with the key of now, and replaces peer.pem. */
MUST_CHECK struct error *identity_renew(struct arena *arena, const char *dir, SSL_CTX **ctx,
                                        char fingerprint[PEER_FINGERPRINT_SIZE]);
/* How many certificates of before are kept and shown. */
#define IDENTITY_BEFORE 3
/* Of a certificate; false if it cannot be told. */
bool identity_fingerprint(const X509 *certificate, char out[PEER_FINGERPRINT_SIZE]);
