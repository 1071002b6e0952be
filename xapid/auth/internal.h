/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* internal.h -- what the files of this folder share. */
#pragma once

#include "xapid/auth/auth.h"
#include "xapid/main/xapid.h"

#define AUTH_MAC_SIZE 32

/* Keyed hash of parts that are kept apart by their lengths. */
void auth_mac(const struct auth *auth, const char *a, const char *b, uint8_t out[AUTH_MAC_SIZE]);
/* Runs fn(arg) after the delay of failures; soon, if auth is being freed. */
void auth_later(struct auth *auth, void (*fn)(void *arg), void *arg);
/* Reads or makes <state_dir>/pool-secret; long-lived memory. */
MUST_CHECK struct error *pool_secret_load(struct arena *arena, const char *state_dir, char **out);
/* Another one takes its place, in the file as a whole. */
MUST_CHECK struct error *pool_secret_keep(struct arena *arena, const char *state_dir,
                                          const char *secret);
/* Another, in the arena. */
const char *pool_secret_make(struct arena *arena);

/*** counters of failed logins ***/

struct failures;
struct failures *failures_new(void);
void failures_free(struct failures *failures);
void failures_count(struct failures *failures, const struct auth_attempt *attempt);
void failures_take(struct failures *failures, struct arena *arena, struct auth_failures *out);

/*** good passwords, recognised by their keyed hash ***/

struct remembered;
struct remembered *remembered_new(void);
void remembered_free(struct remembered *r);
void remembered_add(struct remembered *r, const uint8_t mac[AUTH_MAC_SIZE], usec_t until);
bool remembered_has(struct remembered *r, const uint8_t mac[AUTH_MAC_SIZE], usec_t now);
void remembered_clear(struct remembered *r);

/*** identity of a user whose password is right ***/

/* SESSION_AUTHORIZATION_FAILED for a user that no subject stands for. */
MUST_CHECK struct error *auth_session_for(struct xapid *xapid, struct arena *arena,
                                          const char *user, const char *originator,
                                          const char *client, ref_t *out);
MUST_CHECK struct error *auth_failed_error(struct arena *arena, const char *user,
                                           enum auth_verdict verdict);
/* A session for somebody who is root without being asked: 'pool' for the pool itself. */
ref_t auth_root_session(struct xapid *xapid, const char *user, const char *originator,
                        const char *client, bool pool);
/* A session of the role client-cert, for who is known by a certificate. */
ref_t auth_certificate_session(struct xapid *xapid, const char *originator, const char *client);
