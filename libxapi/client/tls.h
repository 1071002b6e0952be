/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tls.h -- what link.c needs of OpenSSL, and whom a session trusts.  Private to this folder. */
#pragma once

#include "libxapi/client/link.h"

/* A client's end over the socket '*fd', which must outlive it, with the name and the session of the
 * target set.  NULL where OpenSSL is out of resources. */
SSL *tls_new(struct link_target *target, int *fd);
#define TLS_FINGERPRINT_SIZE 65
/* SHA-256 of the peer's certificate in hex; false and "" where it shows none. */
bool tls_fingerprint(SSL *ssl, char text[TLS_FINGERPRINT_SIZE]);
/* Checks the certificate against the target's fingerprint.  Authorities and the name were checked
 * by the handshake. */
bool tls_check_peer(SSL *ssl, const struct link_target *target, char *why, size_t size);
/* Keeps the session for the next connection. */
void tls_remember(SSL *ssl, struct link_target *target);
/* OpenSSL's queue of errors belongs to the thread and would be taken for ours. */
void tls_clear(void);
/* What went wrong last, as a part of a sentence. */
void tls_why(SSL *ssl, char *why, size_t size);
